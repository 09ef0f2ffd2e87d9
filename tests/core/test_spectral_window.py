"""Windows of learnt strides: their sizes against the definition, and gradients that are neither dead nor biased."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from helpers import build
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import seqstride as ss
from seqstride.core import spectral_window
from seqstride.core.spectral_window import Shape, output_width, widest_output, window_sizes, windows_of

SHAPES = [
    {},
    {"smoothness": 0.3},
    {"smoothness": 1.7},
    {"smoothness": 9.5},
    {"relative_smoothness": 0.01},
    {"relative_smoothness": 0.1},
    {"relative_smoothness": 0.25},
    {"relative_smoothness": 0.8},
]
STRIDES = [0.7, 1.0, 1.0001, 1.1, 4 / 3, 1.5, 1.99, 2.0, 2.3, 3.0, 4.7, 8.0, 12.0, 24.99, 50.0, 333.0]
MOST = 90


def every_shape(test):
    return pytest.mark.parametrize("transform", ["dft", "dct"])(pytest.mark.parametrize("options", SHAPES)(test))


@every_shape
def test_windows_are_those_of_the_definition(transform, options):
    lengths = torch.arange(1, MOST + 1)
    for stride in STRIDES:
        shape = Shape(transform, **options)
        value = torch.tensor(stride, dtype=torch.float64)
        windows = windows_of(value, lengths, shape, stride, MOST)
        for (frames, flat, kept, _), ramp in zip(windows.table.tolist(), windows.ramp.numpy(), strict=True):
            mask = oracles.spectral_mask(frames, stride, transform=transform, **options)
            assert kept == len(mask), (stride, frames)
            found = np.concatenate([np.ones(flat), ramp[: kept - flat]])
            np.testing.assert_allclose(found, mask, rtol=0, atol=1e-9)
            assert not ramp[kept - flat :].any()


@every_shape
@pytest.mark.parametrize("multiple", [1, 2, 7])
def test_widths_are_those_of_all_items_one_by_one(transform, options, multiple, monkeypatch):
    """As numbers, as tensors, by the formula for long items, and the widest of all up to T."""
    shape = Shape(transform, length_multiple=multiple, **options)
    lengths = torch.arange(1, MOST + 1)
    for stride in STRIDES:
        found = window_sizes(torch.tensor(stride, dtype=torch.float64), lengths, shape)
        numbers = [window_sizes(stride, frames, shape) for frames in lengths.tolist()]
        assert found.output.tolist() == [size.output for size in numbers]
        assert found.kept.tolist() == [size.kept for size in numbers]
        for frames in range(1, MOST + 1):
            widest = max(size.output for size in numbers[:frames])
            assert widest_output(stride, frames, shape) == widest, (stride, frames)
            with monkeypatch.context() as compiling:
                compiling.setattr(torch.compiler, "is_compiling", lambda: True)
                assert output_width(stride, frames, shape) == numbers[frames - 1].output, (stride, frames)
                assert widest_output(stride, frames, shape) == widest, (stride, frames)


# --- dead gradients


def gradient(key, frames, stride, seed, **options):
    """That of a random loss of random frames; also the terms it is the sum of."""
    generator = torch.Generator().manual_seed(seed)
    layer = type(build(key))(1.0, **options).double()
    with torch.no_grad():
        layer.stride_parameter.fill_(stride)
    x = torch.randn(1, 1, frames, dtype=torch.float64, generator=generator)
    y = layer(x)
    (y * torch.randn(y.shape, dtype=torch.float64, generator=generator)).sum().backward()
    return layer.stride_parameter.grad.item()


smoothnesses = st.fixed_dictionaries({"smoothness": st.floats(0.1, 20)}) | st.fixed_dictionaries(
    {"relative_smoothness": st.floats(0.001, 1)}
)


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
@given(data=st.data(), frames=st.integers(4, 300), options=smoothnesses, seed=st.integers(0, 1000))
def test_a_stride_in_reach_of_an_item_has_a_gradient(key, data, frames, options, seed):
    stride = data.draw(st.floats(1, frames / 2))
    assert gradient(key, frames, stride, seed, **options) != 0


@every_shape
@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")  # torch.func loads such parts of torch
def test_no_length_is_dead_at_any_stride(transform, options):
    shape, lengths = Shape(transform, **options), torch.arange(4, 301)
    for stride in [1.0, *np.geomspace(1.001, 150, 50).tolist(), 1.5, 2.0, 111.0, 150.0]:
        value = torch.tensor(stride, dtype=torch.float64)

        def masses(value):
            return windows_of(value, lengths, shape, stride, 300).ramp.sum(1)  # noqa: B023

        slopes = torch.func.jvp(masses, (value,), (torch.ones_like(value),))[1]
        assert (slopes[lengths >= 2 * stride] < 0).all(), stride


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_a_large_stride_comes_back_on_short_items(key):
    layer = build(key, channels=1, stride=12.0, dtype=torch.float32)
    layer.relative_smoothness = 0.25
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.2)
    for seed in range(60):
        x = torch.randn(8, 1, 20, generator=torch.Generator().manual_seed(seed))
        optimiser.zero_grad()
        (-layer(x).square().sum(1).mean()).backward()  # for power
        optimiser.step()
    assert layer.stride.item() < 4


# --- biased gradients


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_a_stride_at_its_bound_does_not_drift_without_a_reason(key):
    """Labels are random, so the loss has no slope in S on average. Blocked item by item, S went to 1.5."""
    ends = []
    for seed in range(8):
        layer = build(key, channels=4, stride=1.0, seed=seed, dtype=torch.float32)
        optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
        for _ in range(40):
            labels = torch.randint(2, (32,)) * 2.0 - 1.0
            optimiser.zero_grad()
            (labels * layer(torch.randn(32, 4, 16)).square().mean((1, 2))).mean().backward()
            optimiser.step()
        ends.append(layer.stride.item())
    assert sum(ends) / len(ends) < 1.1, ends


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
@pytest.mark.parametrize(("stride", "outwards"), [(0.9, -1), (20.0, 1), (1.1, 0), (9.0, 0)])
def test_only_the_sum_over_a_batch_is_blocked(key, stride, outwards):
    """16 and 24 frames: bounds 1.33 … 8 and 1.2 … 12. Only beyond 1 … 12, and only the sum, stops."""
    layer, lengths = build(key, channels=1), torch.tensor([24, 16])
    with torch.no_grad():
        layer.stride_parameter.fill_(stride)
    x = torch.randn(2, 1, 24, dtype=torch.float64)
    weights = torch.randn(layer(x, lengths).shape, dtype=torch.float64)
    beside = [torch.tensor([1.0, share])[:, None, None] * weights for share in (0.0, -3.0, 1.0)]

    def of(weights):
        (slope,) = torch.autograd.grad((layer(x, lengths) * weights).sum(), layer.stride_parameter)
        return slope.item()

    for weights in beside:
        both = sorted([of(weights), of(-weights)])
        if outwards == 0:
            assert both[0] == -both[1] != 0
        else:  # descent moves S against the gradient
            assert min(map(abs, both)) == 0 < max(map(abs, both))
            assert (both[0] if outwards < 0 else both[1]) != 0


# torch.func loads parts of torch that still use this themselves
@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:FutureWarning")
def test_a_clamped_stride_keeps_its_slope_in_every_mode():
    layer = ss.DiffStride1d(1.0).double()
    x = torch.randn(3, 2, 16, dtype=torch.float64)

    def run(stride):
        return torch.func.functional_call(layer, {"stride_parameter": stride}, (x,))

    stride = torch.tensor(1.0, dtype=torch.float64)
    forward = torch.func.jvp(run, (stride,), (torch.ones_like(stride),))[1]
    assert_close(forward, torch.autograd.functional.jacobian(run, stride), rtol=1e-12, atol=1e-12)
    assert forward.abs().max() > 1e-3


def test_values_at_a_bound_are_exact():
    value = torch.tensor([0.3, 1.7, 9.1], dtype=torch.float64, requires_grad=True)
    low, high = torch.full((3,), 1.1, dtype=torch.float64), torch.full((3,), 7.7, dtype=torch.float64)
    assert spectral_window.clamp_inward(value, low, high).tolist() == [1.1, 1.7, 7.7]
