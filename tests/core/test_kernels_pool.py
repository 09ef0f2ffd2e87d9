"""Kernels: pooling over real frames, against plain torch in double precision."""

import pytest
import torch
from interpreted import DEVICE, error, interpreter  # noqa: F401

from seqstride.layers.pooling import average_pool, blur_kernel, blur_pool, every_frame, max_pool

nodes = pytest.importorskip("seqstride.core.kernels.pool_node")


def _by_kernel(kind, x, stride, lengths, width):
    if kind == "max":
        return nodes.pool_largest(x, stride, lengths, width)
    weights, before = {
        "average": ((1.0,) * stride, 0),
        "every": ((1.0,), 0),
        "blur": (blur_kernel(stride), stride - 1),
    }[kind]
    return nodes.pool_mean(x, weights, before, stride, lengths, width, x.dtype)


def _plain(kind, x, stride, lengths, width):
    pool = {"max": max_pool, "average": average_pool, "every": every_frame, "blur": blur_pool}[kind]
    real = torch.arange(x.shape[2]) < lengths[:, None]
    own = torch.arange(width) < -(-lengths // stride)[:, None]
    y = pool(x.masked_fill(~real[:, None], 0.0), stride, lengths, width)[..., :width]
    return y.masked_fill(~own[:, None], 0.0)


class Case:
    """A batch with NaN in its padding, and a gradient with NaN behind an item's own rows."""

    def __init__(self, lengths, channels=5, stride=2, extra=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(0)
        self.lengths, self.stride = torch.tensor(lengths), stride
        frames = max(lengths) + extra
        self.width = -(-frames // stride)
        self.x = torch.randn(len(lengths), channels, frames, generator=generator).to(dtype)
        self.dz = torch.randn(len(lengths), channels, self.width, generator=generator).to(dtype)
        self.own = (torch.arange(self.width) < -(-self.lengths // stride)[:, None])[:, None].expand(self.dz.shape)
        self.real = (torch.arange(frames) < self.lengths[:, None])[:, None].expand(self.x.shape)
        self.x[~self.real] = torch.nan
        self.dz[~self.own] = torch.nan

    @property
    def given(self):
        return None if self.real.all() else self.lengths.to(DEVICE)

    def found(self, kind):
        x = self.x.to(DEVICE, copy=True).requires_grad_()
        z = _by_kernel(kind, x, self.stride, self.given, self.width)
        return z, *torch.autograd.grad(z, x, self.dz.to(DEVICE))

    def wanted(self, kind):
        x = torch.where(self.real, self.x.double(), 0.0).requires_grad_()
        z = _plain(kind, x, self.stride, self.lengths, self.width)
        return z, *torch.autograd.grad(z, x, torch.where(self.own, self.dz.double(), 0.0))


KINDS = ["average", "blur", "every", "max"]
CASES = {
    "even": Case([90, 1, 41], channels=17, extra=6),
    "odd": Case([300, 2, 257, 256], channels=2, stride=3, extra=2),
    "full": Case([64, 64]),
    "one item": Case([33], channels=1, stride=7),
    "one row": Case([5, 1], stride=40, extra=3),
    "a longer output": Case([30, 9], stride=4, extra=25),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradient_agree_with_double_precision(name, kind):
    case = CASES[name]
    (z, dx), (wanted, wanted_dx) = case.found(kind), case.wanted(kind)
    assert error(z, wanted) < 5e-7
    assert error(dx, wanted_dx) < 5e-7
    assert not z[~case.own].any()
    assert not dx[~case.real].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 8e-3), (torch.float16, 1e-3)])
def test_half_precision_is_as_good_as_its_rounding(kind, dtype, bound):
    """The interpreter cuts off what does not fit into bfloat16, where a GPU rounds."""
    case = Case([90, 1, 41], extra=6, dtype=dtype)
    for found, wanted in zip(case.found(kind), case.wanted(kind), strict=True):
        assert found.dtype == dtype
        assert error(found, wanted) < bound


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_twice_and_in_another_batch(kind):
    case = Case([70, 41])
    first, second = case.found(kind), case.found(kind)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    alone = _by_kernel(kind, case.x[1:, :, :41].to(DEVICE), 2, None, 21)
    assert torch.equal(alone[0], first[0][1, :, :21])


def test_a_constant_stays_the_same_constant():
    for kind, stride in [("average", 3), ("blur", 2), ("blur", 16)]:
        x = torch.full((2, 3, 50), 3.7, device=DEVICE)
        lengths = torch.tensor([50, 1], device=DEVICE)
        z = _by_kernel(kind, x, stride, lengths, -(-50 // stride))
        assert (z[0] - 3.7).abs().max() < 1e-6
        assert (z[1, :, 0] - 3.7).abs().max() < 1e-6


def test_the_first_of_equal_numbers_gets_the_gradient_and_what_is_no_number_stays():
    x = torch.tensor([[[1.0, 1.0, -torch.inf, -torch.inf, torch.nan, 2.0, 3.0, torch.nan]]], device=DEVICE)
    z, dx = _run(x)
    wanted, wanted_dx = _run(x, torch.nn.functional.max_pool1d)
    assert torch.equal(z.isnan(), wanted.isnan())
    assert torch.equal(z.nan_to_num(), wanted.nan_to_num())
    assert torch.equal(dx, wanted_dx)


def _run(x, pool=lambda x, stride: nodes.pool_largest(x, stride, None, x.shape[2] // 2)):
    x = x.clone().requires_grad_()
    z = pool(x, 2)
    return z.detach(), torch.autograd.grad(z.sum(), x)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_those_of_plain_torch(kind):
    case = Case([20, 11])

    def second(pool, x, dz, lengths):
        z = pool(kind, x, 2, lengths, case.width)
        (dx,) = torch.autograd.grad(z, x, dz, create_graph=True)
        return torch.autograd.grad(dx.square().sum() + dx.sum(), dz)[0]

    x, dz = torch.where(case.real, case.x, 0.0), torch.where(case.own, case.dz, 0.0)
    found = second(_by_kernel, x.to(DEVICE).requires_grad_(), dz.to(DEVICE).requires_grad_(), case.given)
    wanted = second(_plain, x.double().requires_grad_(), dz.double().requires_grad_(), case.lengths)
    assert error(found, wanted) < 1e-6


def test_weights_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        nodes.pool_mean(torch.randn(1, 2, 9, device=DEVICE), (0.3, 0.7), 0, 2, None, 5, torch.float32)
    x = torch.randn(1, 2, 9, device=DEVICE, requires_grad=True)
    nodes.pool_mean(x, (0.3, 0.7), 0, 2, None, 5, torch.float32).sum().backward()
    assert x.grad.isfinite().all()
