"""Kernels: AdaStride from end to end, as one node of autograd."""

from functools import partial

import pytest
import torch
from interpreted import DEVICE, Batch, error, interpreter  # noqa: F401

from seqstride import AdaStride1d

nodes = pytest.importorskip("seqstride.core.kernels.nodes")


def _weight(batch, mixed=False):
    """Scores are the first channel, or a mixture of all."""
    weight = torch.zeros(batch.x.shape[1])
    weight[0] = 1.0
    return torch.linspace(-0.5, 0.5, batch.x.shape[1]) if mixed else weight


def _run(batch, weight, empty=None, dpositions=None, x=None, dz=None, share=0.7):
    """The node's results, and its gradients for x and the weight."""
    x = (batch.x if x is None else x).to(DEVICE, copy=True).requires_grad_()
    w = weight.to(DEVICE, copy=True).requires_grad_()
    width = batch.width if dz is None else dz.shape[2]
    z, p, penalty, rows, _ = nodes.adastride(x, w, batch.given, batch.stride, width, 5.0, empty)
    gradients = [(batch.dz if dz is None else dz).to(DEVICE), torch.tensor(share, device=DEVICE)]
    if dpositions is None:
        torch.autograd.backward([z, penalty], gradients)
    else:
        torch.autograd.backward([z, penalty, p], [*gradients, dpositions.to(DEVICE)])
    return z.detach().cpu(), p.detach().cpu(), penalty.detach().cpu(), x.grad.cpu(), w.grad.cpu(), rows.tolist()


@pytest.mark.parametrize(
    ("std", "bound", "empty", "mixed"),
    [
        (0.1, 3e-6, None, True),
        (1.0, 3e-6, None, True),
        (3.0, 3e-5, None, False),
        (1.0, 3e-6, "nearest", True),
        (3.0, 3e-5, "zero", False),
    ],
)
def test_agrees_with_the_layer_in_double_precision(std, bound, empty, mixed):
    """Gradients of peaky scores sum up numbers that nearly cancel, which leaves fewer digits."""
    batch = Batch([90, 1, 41], channels=17, std=std, extra=2)
    weight = _weight(batch, mixed)
    dpositions = torch.randn(3, 92, dtype=torch.float64)
    for item, n in enumerate(batch.lengths):
        dpositions[item, n:] = torch.nan
    z, p, penalty, dx, dw, rows = _run(batch, weight, empty, dpositions)
    layer = AdaStride1d(17, 2, method="matrix" if empty is None else "scatter", empty=empty or "nearest").double()
    with torch.no_grad():
        layer.score.weight.copy_(weight[None, :, None])
    x = batch.x.double().requires_grad_()
    plan = layer.plan(x, torch.tensor(batch.lengths))
    wanted = plan(x)
    dz = batch.dz[..., : wanted.shape[2]].double().nan_to_num(0.0)
    total = (wanted * dz).sum() + 0.7 * plan.penalty + (plan.positions * dpositions.nan_to_num(0.0)).sum()
    total.backward()
    assert rows == batch.rows
    assert error(z[..., : wanted.shape[2]], wanted) < 1e-6
    assert (z[..., wanted.shape[2] :] == 0).all()
    assert error(p, plan.positions) < 1e-13
    assert penalty.item() == pytest.approx(plan.penalty.item(), rel=1e-6, abs=1e-12)
    assert error(dx, x.grad) < bound
    assert error(dw, layer.score.weight.grad[0, :, 0]) < bound


@pytest.mark.parametrize("empty", [None, "nearest"])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.long)])
def test_an_item_alone_is_the_item_in_a_batch(empty, dtype):
    """To the bit in the interpreter; on a GPU the width of loads decides the order of some sums in double precision."""
    batch = Batch([70, 41], std=2.0, dtype=dtype, extra=450)  # more tiles of scores and positions in the batch
    weight = _weight(batch)
    z, p, _, dx, _, rows = _run(batch, weight, empty, share=0.0)  # the penalty is a mean over items
    for item, (n, length) in enumerate(zip(batch.lengths, rows, strict=True)):
        alone = Batch([n], std=2.0, dtype=dtype)
        x, dz = batch.x[item : item + 1, :, :n], batch.dz[item : item + 1, :, :length]
        one = _run(alone, weight, empty, x=x, dz=dz, share=0.0)
        pairs = (one[0][0], z[item, :, :length]), (one[1][0], p[item, :n]), (one[3][0], dx[item, :, :n])
        bounds = torch.finfo(dtype).eps, 1e-15, torch.finfo(dtype).eps
        for (found, wanted), bound in zip(pairs, bounds, strict=True):
            assert torch.equal(found, wanted) if DEVICE == "cpu" else error(found, wanted) < bound


def test_same_bits_twice():
    batch = Batch([70, 41], std=3.0)
    for first, second in zip(_run(batch, _weight(batch)), _run(batch, _weight(batch)), strict=True):
        assert first == second if isinstance(first, list) else torch.equal(first, second)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, in the interpreter
def test_a_frame_that_is_not_a_number_stays_in_its_item():
    batch = Batch([80, 80, 80], std=1.0)
    batch.x[1, 0, 50] = torch.nan
    z, *_ = _run(batch, _weight(batch))
    assert z[[0, 2]].isfinite().all()
    assert z[1].isnan().any()


@pytest.mark.parametrize("learns", [(True, False), (False, True), (False, False)])
def test_only_wanted_gradients(learns):
    batch = Batch([40, 30])
    x, w = batch.x.to(DEVICE, copy=True).requires_grad_(learns[0]), _weight(batch).to(DEVICE).requires_grad_(learns[1])
    z, _, penalty, _, _ = nodes.adastride(x, w, batch.given, 2.0, batch.width, 5.0)
    if any(learns):
        (z.sum() + penalty).backward()
    assert (x.grad is not None, w.grad is not None) == learns


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradients_the_same_numbers_come_out_and_nothing_is_kept(dtype, monkeypatch):
    batch = Batch([40, 30], std=1.0, dtype=dtype)
    x, weight = batch.x.to(DEVICE), _weight(batch).to(DEVICE).requires_grad_()
    wanted = nodes.adastride(x, weight, batch.given, 2.0, batch.width, 5.0)
    aligned = nodes.align(x, wanted[1].detach(), batch.given, batch.output_lengths, batch.width, 5.0)
    kept = []
    for name in ("adastride_forward", "align_forward"):

        def watched(*arguments, forward, **options):
            kept.append(options.get("keep_rest", False))
            return forward(*arguments, **options)

        monkeypatch.setattr(nodes, name, partial(watched, forward=getattr(nodes, name)))
    with torch.no_grad():
        found = nodes.adastride(x, weight, batch.given, 2.0, batch.width, 5.0)
        assert torch.equal(nodes.align(x, found[1], batch.given, batch.output_lengths, batch.width, 5.0), aligned)
    assert kept == [False, False]
    for a, b in zip((*found[:4], *found[4]), (*wanted[:4], *wanted[4]), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad


def test_penalty_alone_has_a_gradient():
    batch = Batch([100, 30], std=2.0)
    w = _weight(batch).to(DEVICE).requires_grad_()
    nodes.adastride(batch.x.to(DEVICE), w, batch.given, 2.0, batch.width, 5.0)[2].backward()
    assert w.grad.isfinite().all()
    assert w.grad.abs().max() > 0


def test_second_derivative_is_refused():
    batch = Batch([30])
    x = batch.x.to(DEVICE, copy=True).requires_grad_()
    z, *_ = nodes.adastride(x, _weight(batch).to(DEVICE), None, 2.0, batch.width, 5.0)
    (dx,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        dx.sum().backward()
