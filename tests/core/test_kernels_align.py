"""Kernels: resampling at given positions, by the matrix and by the scatter method, and its gradients."""

import oracles
import pytest
import torch
from interpreted import DEVICE, Batch, error, interpreter  # noqa: F401

from seqstride.core.align import align_frames, scatter_frames
from seqstride.core.lengths import Frames

nodes = pytest.importorskip("seqstride.core.kernels.nodes")

METHODS = [None, "nearest", "zero"]
SIGMA_SQUARE = 5.0


def _resample(batch, empty, sigma_square=SIGMA_SQUARE, **options):
    """z and the gradients for x and the positions."""
    x = batch.x.to(DEVICE, copy=True).requires_grad_()
    p = batch.positions().to(DEVICE).requires_grad_()
    z = nodes.align(x, p, batch.given, batch.output_lengths, batch.width, sigma_square, empty, **options)
    z.backward(batch.dz.to(DEVICE, z.dtype))
    return z.detach().cpu(), x.grad.cpu(), p.grad.cpu()


def _reference(batch, empty, sigma_square=SIGMA_SQUARE):
    """The same by the operators of the CPU, in float64."""
    lengths, rows = torch.tensor(batch.lengths), torch.tensor(batch.rows)
    frames = Frames(len(rows), batch.x.shape[2], max(batch.rows), torch.device("cpu"), lengths, rows)
    x, p = batch.x.double().requires_grad_(), batch.positions().requires_grad_()
    z = align_frames(x, p, frames, sigma_square) if empty is None else scatter_frames(x, p, frames, sigma_square, empty)
    dz = batch.dz.double()
    for item, rows in enumerate(batch.rows):
        dz[item, :, rows:] = 0.0
    z.backward(dz[..., : z.shape[2]])
    return torch.nn.functional.pad(z.detach(), (0, batch.width - z.shape[2])), x.grad, p.grad


CASES = {
    "even": Batch([90, 1, 41], channels=17, std=0.1),
    "peaky": Batch([100, 3, 41], std=3.0, stride=2.5, extra=3),
    "one gap": Batch([80], std="peak", stride=1.0),  # of 79 rows, and 40 frames in one place
    "one row": Batch([5, 1, 40], stride=100.0, std=1.0),
    "identity": Batch([64], stride=1.0, std=0.0),
    "one channel": Batch([33, 32], channels=1, stride=7.0, std=1.0),
}


@pytest.mark.parametrize("empty", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_agree_with_the_references(name, empty):
    batch = CASES[name]
    z, dx, dp = _resample(batch, empty)
    for item, x, _ in batch.items():
        n, rows = batch.lengths[item], batch.rows[item]
        p = batch.positions()[item, :n].numpy()
        wanted = (
            oracles.align(x, p, rows, SIGMA_SQUARE)
            if empty is None
            else oracles.scatter_align(x, p, rows, SIGMA_SQUARE, empty)
        )
        assert error(z[item, :, :rows], wanted) < 1e-6
        assert (z[item, :, rows:] == 0).all()
        assert (dx[item, :, n:] == 0).all()
        assert (dp[item, n:] == 0).all()
    _, wanted_dx, wanted_dp = _reference(batch, empty)
    assert error(dx, wanted_dx) < 1e-6
    if wanted_dp.abs().max() > 1e-9:
        assert error(dp, wanted_dp) < 5e-6
    else:  # one frame in every row: no position matters
        assert dp.abs().max() < 1e-4


@pytest.mark.parametrize("sigma_square", [0.5, 20.0])
def test_other_widths_of_the_weights(sigma_square):
    batch = Batch([70, 30], std=1.0)
    for found, wanted in zip(_resample(batch, None, sigma_square), _reference(batch, None, sigma_square), strict=True):
        assert error(found, wanted) < 5e-6


@pytest.mark.parametrize("empty", METHODS[:2])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 8e-3), (torch.float16, 5e-4)])
@pytest.mark.parametrize("std", [0.1, 2.0])
def test_half_precision_is_as_good_as_its_rounding(empty, dtype, bound, std):
    """The interpreter cuts off what does not fit into bfloat16, where a GPU rounds."""
    batch = Batch([70, 1, 41], std=std, dtype=dtype)
    z, dx, dp = _resample(batch, empty)
    wanted_z, wanted_dx, wanted_dp = _reference(batch, empty)
    assert z.dtype == dx.dtype == dtype
    assert error(z, wanted_z) < bound
    assert error(dx, wanted_dx) < bound
    assert error(dp, wanted_dp) < bound


def test_output_in_another_precision_than_the_signal():
    """As under autocast: the signal is read as it is, and only the result is rounded."""
    batch = Batch([77, 60], std=1.0)
    z, dx, dp = _resample(batch, None, dtype=torch.float16)
    assert z.dtype == torch.float16
    assert dx.dtype == torch.float32
    single = _resample(batch, None)
    assert torch.equal(z, single[0].half())
    assert error(dx, single[1]) < 1e-3  # the gradient that comes in is rounded, too
    assert error(dp, single[2]) < 1e-3


def test_rows_serve_other_signals_at_the_same_positions():
    batch = Batch([77, 30], std=1.0, channels=3)
    align_forward = pytest.importorskip("seqstride.core.kernels.align").align_forward
    other = torch.randn(2, 20, 77, device=DEVICE)
    arguments = batch.positions().to(DEVICE), batch.given, batch.output_lengths, batch.width, SIGMA_SQUARE
    for empty in METHODS:
        _, _, rows, _ = align_forward(batch.x.to(DEVICE), *arguments, empty)
        fresh = align_forward(other, *arguments, empty)
        given = align_forward(other, *arguments, empty, rows=rows)
        assert torch.equal(fresh[0], given[0])
        assert fresh[2].runs.equal(rows.runs)


def test_a_constant_stays_the_same_constant():
    batch = Batch([100, 41], std=2.0)
    batch.x[:] = torch.where(batch.x.isnan(), batch.x, 3.7)
    z = nodes.align(
        batch.x.to(DEVICE), Batch([100, 41], std=2.0).positions().to(DEVICE), batch.given, batch.output_lengths,
        batch.width, SIGMA_SQUARE,
    )  # fmt: skip
    for item, rows in enumerate(batch.rows):
        assert (z[item, :, :rows] - 3.7).abs().max() < 2e-6
