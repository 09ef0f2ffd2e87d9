"""Kernels: windows of a spectral crop, and the gradient of their stride."""

import math

import pytest
import torch
from interpreted import DEVICE, interpreter  # noqa: F401

from seqstride.core.kernels import dispatch
from seqstride.core.spectral_window import Shape, output_lengths, windows_of

#: short ones, where strides, bins and R meet their bounds, and long ones
LENGTHS = torch.cat([torch.arange(1, 13), torch.tensor([40, 41, 77, 128, 300, 293])])


def windows(stride, shape, kernels, monkeypatch):
    monkeypatch.setattr(dispatch, "DEVICES", (DEVICE,) if kernels else ())
    return windows_of(stride, LENGTHS.to(DEVICE), shape, stride.item(), int(LENGTHS.max()))


@pytest.mark.parametrize("transform", ["dft", "dct"])
@pytest.mark.parametrize(("relative", "multiple"), [(None, 1), (0.1, 4), (0.6, 1)])
@pytest.mark.parametrize("stride", [0.9, 1.0, 2.0, 5.3, 200.0])
def test_windows_are_those_of_plain_torch(monkeypatch, stride, transform, relative, multiple):
    shape = Shape(transform, 4.0, relative, multiple)
    value = torch.tensor(stride, dtype=torch.float64, device=DEVICE, requires_grad=True)
    wanted = windows(value, shape, False, monkeypatch)
    found = windows(value, shape, True, monkeypatch)
    assert torch.equal(found.table, wanted.table)
    assert (found.ramp - wanted.ramp).abs().max() < 1e-13
    assert torch.equal(output_lengths(stride, LENGTHS.to(DEVICE), shape), wanted.table[:, 3])
    dramp = torch.randn_like(wanted.ramp)
    for way in (dramp, -dramp):  # beyond the bounds of the batch, one of them is blocked
        (gradient,) = torch.autograd.grad(wanted.ramp, value, way, retain_graph=True)
        for again in (False, True):  # in backward that may be differentiated again, plain torch computes it
            (kernel,) = torch.autograd.grad(found.ramp, value, way, retain_graph=True, create_graph=again)
            assert kernel.item() == pytest.approx(gradient.item(), rel=1e-10, abs=1e-10)


def test_a_window_has_a_second_derivative(monkeypatch):
    value = torch.tensor(2.0, dtype=torch.float64, device=DEVICE, requires_grad=True)
    seconds = []
    for kernels in (False, True):
        ramp = windows(value, Shape("dft"), kernels, monkeypatch).ramp
        (first,) = torch.autograd.grad(ramp.sum(), value, create_graph=True)
        seconds.append(torch.autograd.grad(first, value)[0].item())
    assert math.isfinite(seconds[0])
    assert seconds[1] == pytest.approx(seconds[0], rel=1e-10)
