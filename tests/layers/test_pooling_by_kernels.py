"""Pooling by kernels keeps the contract: on a GPU where there is one, elsewhere in Triton's interpreter."""

import copy

import pytest
import torch
from interpreted import DEVICE, error, interpreter  # noqa: F401

import seqstride as ss
from seqstride.core.kernels import dispatch
from seqstride.layers.pooling import blur_kernel, sums_by_convolution, sums_by_slices

LAYERS = [ss.AvgPool1d, ss.MaxPool1d, ss.BlurPool1d, lambda stride: ss.StridedConv1d(5, stride)]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=["average", "max", "blur", "strided"])
#: the convolution of a strided layer goes through TF32 on a GPU
TF32 = 2e-3


@pytest.fixture
def kernels(monkeypatch):
    """In the interpreter the kernels take tensors of the CPU; the calls of them."""
    nodes = pytest.importorskip("seqstride.core.kernels.pool_node")
    monkeypatch.setattr(dispatch, "DEVICES", (DEVICE,))
    calls = []
    for name in ("pool_mean", "pool_largest"):
        pool = getattr(nodes, name)
        monkeypatch.setattr(nodes, name, lambda *arguments, pool=pool: calls.append(pool) or pool(*arguments))
    return calls


def _run(layer, x, lengths):
    x = x.clone().requires_grad_()
    plan = layer.plan(x, lengths)
    outputs = layer.pool(x, plan), plan(x)
    (gradient,) = torch.autograd.grad(sum(z.square().sum() for z in outputs), x)
    return *outputs, gradient


@every_layer
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("lengths", [None, [60, 1, 41]])
def test_a_step_agrees_with_double_precision(layer, stride, lengths, kernels):
    exact = layer(stride).double()
    x = torch.randn(3, 5, 60)
    given = None if lengths is None else torch.tensor(lengths)
    for item, length in enumerate(lengths or []):
        x[item, :, length:] = torch.nan
    wanted = _run(exact, x.double(), given)  # there are no kernels in double precision
    single = copy.deepcopy(exact).to(DEVICE, torch.float32)
    found = _run(single, x.to(DEVICE), None if given is None else given.to(DEVICE))
    bound = TF32 if DEVICE == "cuda" and isinstance(exact, ss.StridedConv1d) else 1e-6
    for a, b in zip(found, wanted, strict=True):
        assert error(a[..., : b.shape[2]], b) < bound
        assert not a[..., b.shape[2] :].any()
    if lengths is not None or (stride > 1 and not isinstance(exact, ss.StridedConv1d)):
        assert kernels


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_makes_a_blur_half_and_leaves_averages(dtype, kernels):
    x, lengths = torch.randn(2, 3, 20, device=DEVICE), torch.tensor([20, 11], device=DEVICE)
    with torch.autocast(DEVICE, dtype=dtype):
        assert ss.BlurPool1d(2)(x, lengths).dtype == dtype
        assert ss.AvgPool1d(2)(x, lengths).dtype == torch.float32
    assert kernels


def test_transforms_of_functions_take_the_plain_path(kernels):
    x = torch.randn(3, 2, 2, 20, device=DEVICE)
    for layer in (ss.AvgPool1d(2), ss.MaxPool1d(3)):
        batched = torch.func.vmap(layer)(x)
        assert not kernels
        torch.testing.assert_close(batched[1], layer(x[1]))
        kernels.clear()


def test_a_method_of_its_own_keeps_its_arithmetic(kernels):
    class Last(ss.AvgPool1d):
        @staticmethod
        def pool_frames(x, stride, lengths, width):
            return x[..., stride - 1 :: stride][..., :width]

    x = torch.arange(8.0, device=DEVICE)[None, None]
    assert Last(2)(x).flatten().tolist() == [1, 3, 5, 7]
    assert not kernels


@pytest.mark.parametrize("stride", [2, 3, 8])
def test_sums_by_slices_are_those_by_a_convolution(stride):
    x = torch.randn(2, 3, 37, dtype=torch.float64)
    kernel = blur_kernel(stride)
    assert error(sums_by_slices(x, kernel, stride), sums_by_convolution(x, kernel, stride)) < 1e-14


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_a_blur_in_plain_torch_has_the_digits_of_float32(monkeypatch):
    monkeypatch.setattr(dispatch, "DEVICES", ())
    x, lengths = torch.randn(3, 64, 400), torch.tensor([400, 1, 333])
    assert error(ss.BlurPool1d(2)(x.cuda(), lengths.cuda()), ss.BlurPool1d(2)(x.double(), lengths)) < 1e-6
