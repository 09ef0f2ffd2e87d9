"""Spectral layers by kernels keep the contract: on a GPU where there is one, elsewhere in Triton's interpreter."""

import copy

import pytest
import torch
from helpers import build
from interpreted import DEVICE, error, interpreter, layers_use_kernels  # noqa: F401

import seqstride as ss

every_key = pytest.mark.parametrize("key", ["spectral", "dct", "diffstride", "dct_diffstride"])


def _layers(key, stride=2.3):
    """A layer in double precision on the CPU, and the same with kernels."""
    exact = build(key, 2, stride).double()
    return exact, copy.deepcopy(exact).to(DEVICE, torch.float32)


def _run(layer, x, lengths, dy):
    """Output, gradients for the signal and the stride, and output lengths."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    plan = layer.plan(x, lengths)
    y = plan(x)
    y.backward(dy[:, :, : y.shape[2]].to(y))
    return y.detach(), x.grad, [p.grad for p in layer.parameters()], plan.lengths.tolist()


@every_key
@pytest.mark.parametrize("lengths", [None, [40, 1, 27]])
def test_a_step_agrees_with_double_precision(key, lengths):
    exact, layer = _layers(key)
    x, dy = torch.randn(3, 2, 40, dtype=torch.float64), torch.randn(3, 2, 40, dtype=torch.float64)
    if lengths is not None:
        lengths = torch.tensor(lengths)
        x.masked_fill_(torch.arange(40) >= lengths[:, None, None], torch.nan)
    wanted = _run(exact, x, lengths, dy)
    found = _run(layer, x.float().to(DEVICE), lengths if lengths is None else lengths.to(DEVICE), dy)
    assert error(found[0], wanted[0]) < 1e-6
    assert error(found[1], wanted[1]) < 1e-6
    for a, b in zip(found[2], wanted[2], strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-5, abs=1e-5)
    assert found[3] == wanted[3]


@pytest.mark.parametrize("key", ["diffstride_narrowing", "dct_diffstride_narrowing"])
def test_a_wide_edge_agrees_with_double_precision(key):
    exact, layer = _layers(key, 5.0)
    for each in (exact, layer):
        ss.anneal(each, 0.3)
    x, dy = torch.randn(2, 2, 40, dtype=torch.float64), torch.randn(2, 2, 40, dtype=torch.float64)
    lengths = torch.tensor([40, 27])
    wanted, found = _run(exact, x, lengths, dy), _run(layer, x.float().to(DEVICE), lengths.to(DEVICE), dy)
    assert error(found[0], wanted[0]) < 1e-6
    assert error(found[1], wanted[1]) < 1e-6
    assert found[2][0].item() == pytest.approx(wanted[2][0].item(), rel=1e-5, abs=1e-5)
    assert found[3] == wanted[3]


@every_key
def test_no_loop_over_items_and_nothing_read(key, monkeypatch):
    """Beside the read of a learnt stride and the check of lengths, which encoders do once."""
    _, layer = _layers(key)
    x, lengths = torch.randn(2, 2, 30, device=DEVICE), torch.tensor([30, 17], device=DEVICE)
    stride = torch.as_tensor(layer.stride).item()
    y = layer(x, lengths)
    if DEVICE == "cuda":
        torch.cuda.synchronize()  # before and behind another stream
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda.set_sync_debug_mode("error")
            try:
                again = layer.plan_checked(x, lengths, stride)(x)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        assert torch.equal(again, y)
    monkeypatch.setattr(torch.Tensor, "tolist", None)
    assert torch.equal(layer.plan_checked(x, lengths, stride)(x), y)


@every_key
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_in_and_comes_out(key, dtype):
    exact, layer = _layers(key)
    x = torch.randn(2, 2, 30).to(dtype)
    y = layer(x.to(DEVICE))
    assert y.dtype == dtype
    assert error(y, exact(x.double())) < torch.finfo(dtype).eps


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_second_derivatives_of_a_frozen_layer(key):
    """The crop is linear: the second derivative of Σ y² is twice the crop and its adjoint."""
    exact, layer = _layers(key)
    exact.freeze()
    layer.freeze()
    x, v = torch.randn(1, 2, 24, dtype=torch.float64), torch.randn(1, 2, 24, dtype=torch.float64)
    seconds = []
    for each, dtype, device in ((exact, torch.float64, "cpu"), (layer, torch.float32, DEVICE)):
        signal = x.to(device, dtype).requires_grad_()
        (first,) = torch.autograd.grad(each(signal).square().sum(), signal, create_graph=True)
        seconds.append(torch.autograd.grad((first * v.to(first)).sum(), signal)[0])
    assert error(seconds[1], seconds[0]) < 2e-6


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_a_learning_layer_refuses_second_derivatives(key):
    _, layer = _layers(key)
    x = torch.randn(1, 2, 24, device=DEVICE, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives are not supported"):
        first.sum().backward()


@pytest.mark.parametrize("key", ["spectral", "dct_diffstride"])
def test_transforms_of_functions_take_the_plain_path(key):
    _, layer = _layers(key)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(3, 2, 2, 20, device=DEVICE)
    assert error(torch.func.vmap(layer)(x)[1], layer(x[1])) < 1e-6


@every_key
def test_inference_mode(key):
    _, layer = _layers(key)
    x = torch.randn(1, 2, 20, device=DEVICE)
    with torch.inference_mode():
        y = layer(x.clone())
    assert torch.equal(y, layer(x))
