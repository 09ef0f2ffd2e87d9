"""What the methods are for: properties of signals, and of what can be learnt."""

import math

import numpy as np
import oracles
import pytest
import torch
from helpers import COUNTED, FRAMEWISE, LEARNT, REAL, SEEING, TIGHT, build
from torch.testing import assert_close

import seqstride as ss

MASKED = tuple(key for key in LEARNT if key not in SEEING)  # a stride learnt through a mask
DFT, COSINE = ("spectral", "diffstride"), ("dct", "dct_diffstride")


def kept_and_flat(key, frames, stride):
    """How many bins the method keeps, and how many of them untouched."""
    if key in LEARNT:
        mask = oracles.spectral_mask(frames, stride, transform="dct" if key in COSINE else "dft")
        return len(mask), int((mask == 1).sum())
    length = oracles.floor_length(frames, stride)
    if key == "dct":
        return length, length
    return length // 2 + 1, (length + 1) // 2  # the bin L/2 of an even length is on the edge


def tone(key, frequency, frames, phase=0.0):
    """A sinusoid of so many periods (DFT) or half periods (DCT) per item."""
    t = torch.arange(frames, dtype=torch.float64)
    if key in COSINE:
        return (math.pi * frequency * (t + 0.5) / frames).cos()
    return (2 * math.pi * frequency * t / frames + phase).cos()


@pytest.mark.parametrize("key", DFT + COSINE)
@pytest.mark.parametrize("frames", [64, 65])
def test_tones_pass_inside_the_mask_and_are_gone_outside(key, frames):
    layer = build(key, channels=1, stride=2.3, dtype=torch.float32)
    kept, flat = kept_and_flat(key, frames, layer.stride if key not in LEARNT else layer.stride.item())
    bins = frames if key in COSINE else frames // 2 + 1
    assert 0 < flat <= kept < bins
    for n in range(bins):
        y = layer(tone(key, n, frames, 0.7).float()[None, None])[0, 0]
        if n < flat:
            assert_close(y, tone(key, n, y.shape[0], 0.7).float(), rtol=0, atol=1e-5)
        elif n >= kept:
            assert_close(y, torch.zeros_like(y), rtol=0, atol=1e-5)
        elif key in LEARNT and key in COSINE:  # on the ramp: the mask itself
            gain = oracles.spectral_mask(frames, layer.stride.item(), transform="dct")[n]
            assert_close(y, gain * tone(key, n, y.shape[0]).float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", DFT + COSINE)
@pytest.mark.parametrize("phase", [0.0, 0.8, math.pi / 2])
def test_tones_between_bins_well_above_the_cut_off_are_damped(key, phase):
    frames, stride = 256, 4.0
    layer = build(key, channels=1, stride=stride)
    t = torch.arange(frames, dtype=torch.float64)
    for periods in (75.3, 90.5, 110.8):  # the cut-off is at 32
        x = (2 * math.pi * periods * t / frames + phase).cos()
        y = layer(x[None, None]).detach()
        assert 20 * math.log10(x.square().mean().sqrt() / y.square().mean().sqrt()) > 20


@pytest.mark.parametrize("key", [key for key in REAL if key in COUNTED])
@pytest.mark.parametrize(
    ("frames", "stride", "expected"), [(39, 1.3, 30), (33, 1.1, 30), (57, 1.14, 50), (21, 1.4, 15)]
)
def test_lengths_do_not_suffer_from_binary_fractions(key, frames, stride, expected):
    layer = ss.make_downsampler(key, channels=1, stride=stride)
    x = torch.randn(2, 1, frames + 5)
    lengths = torch.tensor([frames, frames])
    if key in LEARNT:  # lengths follow the parameter, a number in single precision, or its mask
        parameter = layer.stride_parameter.item()
        expected = oracles.ceil_length(frames, parameter)
    if key in MASKED:
        expected = getattr(oracles, ss.DOWNSAMPLERS[key].oracle)(np.zeros((1, frames)), parameter).output.shape[1]
    assert layer.output_lengths(lengths).tolist() == [expected] * 2
    assert layer(x, lengths).shape[2] == expected


@pytest.mark.parametrize(("stride", "length"), [(2.0, 40), (4.0, 24)])
def test_diffstride_lengths_known_from_the_official_code(stride, length):
    assert ss.DiffStride1d(stride)(torch.randn(1, 1, 64)).shape == (1, 1, length)


def test_a_batch_is_as_wide_as_its_widest_output():
    # S = 2: 19 frames stay 19, 20 become 18. The longest item is not the widest.
    y = ss.DiffStride1d(2.0)(torch.randn(2, 1, 20), torch.tensor([20, 19]))
    assert y.shape[2] == 19
    assert not y[0, :, 18:].any()


# --- adaptive strides


@pytest.mark.parametrize("method", ["matrix", "scatter"])
def test_training_starts_at_the_uniform_stride(method):
    layer = ss.AdaStride1d(3, 2, method=method).double()
    assert (layer.score.weight == 0).all()
    x = torch.randn(1, 3, 41, dtype=torch.float64)
    plan = layer.plan(x)
    assert_close(plan.positions[0], torch.arange(41, dtype=torch.float64) / 2, **TIGHT)
    assert_close(plan.strides(), torch.full((1, 41), 2.0, dtype=torch.float64), **TIGHT)
    assert plan.penalty == 0
    oracle = oracles.adastride if method == "matrix" else oracles.adastride_f
    np.testing.assert_allclose(layer(x)[0].detach(), oracle(x[0].numpy(), 2, np.zeros(41)).output, **TIGHT)
    # Zero scores are a start and not a dead end.
    layer(x).square().sum().backward()
    assert layer.score.weight.grad.abs().min() > 1e-6


@pytest.mark.parametrize("key", FRAMEWISE)
def test_larger_scores_get_smaller_strides(key):
    layer = build(key, channels=1, stride=4)
    with torch.no_grad():
        layer.score.weight.fill_(1.0)
    x = torch.zeros(1, 1, 100, dtype=torch.float64)
    x[..., 40:60] = math.log(5.0)
    plan = layer.plan(x)
    # 79 steps of 1 and 20 of 5 fill 24 output frames.
    strides, step = plan.strides()[0], 24 / (79 + 5 * 20)
    assert_close(strides[39:59], torch.full((20,), 1 / (5 * step), dtype=torch.float64))
    assert_close(strides[:39], torch.full((39,), 1 / step, dtype=torch.float64))
    inside = ((plan.times() >= 40) & (plan.times() < 60)).sum().item()
    assert inside == pytest.approx(20 * 5 * step, abs=1)
    assert inside > 2 * 20 / 4  # a uniform stride has 5 output frames there


@pytest.mark.parametrize("key", FRAMEWISE)
@pytest.mark.parametrize("score", [-40.0, 40.0])
def test_one_extreme_score_anywhere_is_right(key, score):
    # T = 20 and S = 4: with or without one frame, none of the even positions falls between two bins.
    layer = build(key, channels=2, stride=4)
    with torch.no_grad():
        layer.score.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1))
    for frame in range(20):
        x = torch.randn(1, 2, 20, dtype=torch.float64)
        x[0, 0] = 0.0
        x[0, 0, frame] = score
        x.requires_grad_()
        plan = layer.plan(x)
        y = plan(x)
        (y.square().sum() + plan.penalty).backward()
        expected = getattr(oracles, ss.DOWNSAMPLERS[key].oracle)(x[0].detach().numpy(), 4, x[0, 0].detach().numpy())
        np.testing.assert_allclose(plan.positions[0].detach(), expected.positions, **TIGHT)
        np.testing.assert_allclose(y[0].detach(), expected.output, **TIGHT)
        np.testing.assert_allclose(plan.penalty.item(), expected.penalty, **TIGHT)
        assert x.grad.isfinite().all()
        if frame == 0:  # the first score cancels
            uniform = torch.arange(20, dtype=torch.float64) * 4 / 19
            assert_close(plan.positions[0].detach(), uniform, **TIGHT)


def test_the_gap_penalty_pulls_gaps_together():
    layer = build("adastride", channels=1, stride=2)
    with torch.no_grad():
        layer.score.weight.fill_(3.0)
    x = torch.randn(4, 1, 60, dtype=torch.float64)
    before = layer.plan(x).penalty
    before.backward()
    with torch.no_grad():
        layer.score.weight -= 0.1 * layer.score.weight.grad.sign()
    assert layer.plan(x).penalty < before
    assert before > 0.1


def test_an_encoder_adds_the_penalties_up():
    encoder = ss.ResNet1d(1, channels=(4, 4), strides=(2, 2), downsampler="adastride")
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "score" in name:
                parameter.normal_(0, 5)
    encoded = encoder(torch.randn(3, 1, 60))
    penalties = [plan.penalty for plan in encoded.plans]
    assert min(penalties) > 0.01
    assert_close(encoded.penalty, penalties[0] + penalties[1])


# --- learnt strides


@pytest.mark.parametrize("key", MASKED)
@pytest.mark.parametrize("frames", [63, 64])
@pytest.mark.parametrize("stride", [1.13, 1.9, 2.3, 4.7, 13.3, 25.1])
def test_stride_gradients_are_finite_differences(key, frames, stride):
    layer = build(key, channels=2, stride=stride)
    x = torch.randn(1, 2, frames, dtype=torch.float64)
    length = getattr(oracles, ss.DOWNSAMPLERS[key].oracle)(x[0].numpy(), stride).output.shape[1]
    weights = np.random.default_rng(0).normal(size=(2, length))
    (layer(x)[0] * torch.from_numpy(weights)).sum().backward()
    values = []
    for moved in (stride + 1e-5, stride - 1e-5):
        output = getattr(oracles, ss.DOWNSAMPLERS[key].oracle)(x[0].numpy(), moved).output
        assert output.shape[1] == length  # no step of the length in between
        values.append((output * weights).sum())
    slope = (values[0] - values[1]) / 2e-5
    assert abs(slope) > 1e-4
    assert layer.stride_parameter.grad.item() == pytest.approx(slope, rel=1e-5)


def gradient_of(layer, x, weights):
    layer.zero_grad()
    (layer(x) * weights).sum().backward()
    return layer.stride_parameter.grad.item()


@pytest.mark.parametrize("kind", [ss.DiffStride1d, ss.DCTDiffStride1d])
def test_the_gradient_below_the_bound_of_an_item_is_that_at_the_bound(kind):
    # T = 63, R = 3.5: bounds 1.0588 and 31.5.
    layer = kind(1.01, smoothness=3.5).double()
    x = torch.randn(1, 1, 63, dtype=torch.float64)
    weights = torch.randn(layer(x).shape, dtype=torch.float64)
    passed = gradient_of(layer, x, weights)
    assert passed == -gradient_of(layer, x, -weights) != 0
    bound, step = 63 / 59.5, 1e-5
    oracle = oracles.diffstride if kind is ss.DiffStride1d else oracles.dct_diffstride
    values = [(oracle(x[0].numpy(), bound + n * step, 3.5).output * weights[0].numpy()).sum() for n in (1, 2)]
    assert passed == pytest.approx((values[1] - values[0]) / step, rel=1e-2)


@pytest.mark.parametrize("kind", [ss.DiffStride1d, ss.DCTDiffStride1d])
def test_a_gradient_above_the_bound_of_the_longest_item_passes_when_it_points_inwards(kind):
    layer = kind(40.0, smoothness=3.5).double()
    x = torch.randn(1, 1, 63, dtype=torch.float64)
    weights = torch.randn(layer(x).shape, dtype=torch.float64)
    gradients = sorted([gradient_of(layer, x, weights), gradient_of(layer, x, -weights)])
    assert gradients[0] == 0  # one of two opposite losses
    assert gradients[1] > 1e-4  # and descent along the other makes S smaller


@pytest.mark.parametrize("key", MASKED)
def test_each_item_of_a_batch_has_its_own_bound(key):
    # S = 1.2 is below the bound of 8 frames (4/3) and inside that of 63: their gradients add up.
    layer = build(key, channels=1, stride=1.2)
    x = torch.randn(2, 1, 63, dtype=torch.float64)
    lengths = torch.tensor([63, 8])
    weights = torch.randn(layer(x, lengths).shape, dtype=torch.float64)
    for sign in (1, -1):
        layer.zero_grad()
        (sign * weights * layer(x, lengths)).sum().backward()
        together = layer.stride_parameter.grad.item()
        alone = []
        for b, length in enumerate(lengths.tolist()):
            item = x[b : b + 1, :, :length]
            width = layer(item).shape[2]
            alone.append(gradient_of(layer, item, sign * weights[b : b + 1, :, :width]))
        assert together == pytest.approx(sum(alone), rel=1e-9)
        assert alone[0] != 0


@pytest.mark.parametrize("key", MASKED)
@pytest.mark.parametrize(("stride", "wish"), [(1.0, -1.0), (60.0, 1.0)])
def test_a_stride_beyond_its_bounds_comes_back(key, stride, wish):
    # Noise: its power falls with the stride. wish = -1 asks for less power, +1 for more.
    layer = build(key, channels=1, stride=stride, dtype=torch.float32)
    x = torch.randn(8, 1, 64)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.5)
    for _ in range(70):
        optimiser.zero_grad()
        (-wish * layer(x).square().sum(1).mean()).backward()
        optimiser.step()
    s = layer.stride.item()
    assert s > 3 if wish < 0 else s < 30


@pytest.mark.parametrize("key", MASKED)
def test_freezing_fixes_the_stride_and_unfreezing_frees_it(key):
    layer = build(key, channels=1, stride=2.3)
    x = torch.randn(1, 1, 50, dtype=torch.float64)
    free = layer(x)
    layer.freeze()
    frozen = layer(x)
    assert not frozen.requires_grad
    assert_close(frozen, free, rtol=0, atol=0)
    assert not any(p.requires_grad for p in layer.parameters())
    assert layer.stride.item() == 2.3
    layer.unfreeze()
    (layer(x) ** 2).sum().backward()
    assert layer.stride_parameter.grad.abs() > 1e-4


@pytest.mark.parametrize("key", MASKED)
def test_a_stride_that_is_not_learnable_stays(key):
    layer = ss.make_downsampler(key, channels=1, stride=2.3)
    fixed = type(layer)(2.3, learnable=False)
    x = torch.randn(2, 1, 50)
    assert not fixed(x).requires_grad
    assert_close(fixed(x), layer(x).detach())


def test_the_stride_of_a_layer():
    assert ss.AdaStride1d(4, 1.5).stride == 1.5
    stride = ss.DiffStride1d(2.5).stride
    assert stride.shape == ()
    assert stride.item() == 2.5
    stride.backward()  # for penalties of one's own
