"""What a plan tells about time: positions read in every way, and checked against signals that show time."""

import math

import numpy as np
import oracles
import pytest
import torch
from helpers import INTEGER, KEYS, LINEAR, TIGHT, Batch, batches, build, oracle_expand, oracle_matrix
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import seqstride as ss

every_key = pytest.mark.parametrize("key", KEYS)
SPECTRAL = ["spectral", "diffstride", "dct", "dct_diffstride"]


@every_key
@given(data=st.data())
def test_every_reading_of_a_plan_is_the_oracles(key, data):
    batch = data.draw(batches(key))
    layer, (x, lengths) = batch.layer(key), batch.tensors()
    with torch.no_grad():
        plan = layer.plan(x, lengths)
        strides, durations, times = plan.strides(), plan.durations(), plan.times()
        z = torch.randn(len(lengths), 2, int(plan.lengths.max()), dtype=torch.float64)
        expanded = plan.expand(z)
    frames, width = x.shape[2], z.shape[2]
    assert strides.dtype == times.dtype == plan.positions.dtype == torch.float64
    assert durations.dtype == torch.int64
    assert strides.shape == plan.positions.shape == (len(lengths), frames)
    assert durations.shape == times.shape == (len(lengths), width)
    assert expanded.shape == (len(lengths), 2, frames)
    for b, (length, out) in enumerate(zip(batch.lengths, plan.lengths.tolist(), strict=True)):
        # The positions themselves are compared in the contract; the readings are of these very numbers.
        p = plan.positions[b, :length].numpy()
        np.testing.assert_allclose(strides[b, :length], oracles.local_strides(p), **TIGHT)
        np.testing.assert_array_equal(durations[b, :out], oracles.durations(p, out))
        assert durations[b].sum() == length
        np.testing.assert_allclose(times[b, :out], oracles.times(p, out), **TIGHT)
        expected = oracle_expand(key, layer, x[b, :, :length], z[b, :, :out].numpy(), p)
        np.testing.assert_allclose(expanded[b, :, :length], expected, **TIGHT)
        for padding in (strides[b, length:], durations[b, out:], times[b, out:], expanded[b, :, length:]):
            assert not padding.any()


@pytest.mark.parametrize("key", LINEAR)
@given(data=st.data())
def test_the_matrix_is_the_oracles_and_does_what_the_plan_does(key, data):
    batch = data.draw(batches(key))
    layer, (x, lengths) = batch.layer(key), batch.tensors()
    with torch.no_grad():
        plan = layer.plan(x, lengths)
        matrix = plan.matrix()
        # Any tensor of the same batch and length, of any number of channels: a shortcut branch.
        other = torch.randn(len(lengths), 4, x.shape[2], dtype=torch.float64)
        y = plan(other)
    assert_close(y, torch.einsum("blt,bct->bcl", matrix, other), **TIGHT)
    for b, (length, out) in enumerate(zip(batch.lengths, plan.lengths.tolist(), strict=True)):
        expected = oracle_matrix(key, layer, plan.positions[b, :length].numpy(), out)
        np.testing.assert_allclose(matrix[b, :out, :length], expected, **TIGHT)
        assert not matrix[b, out:].any()
        assert not matrix[b, :, length:].any()


@pytest.mark.parametrize(("frames", "stride"), [(9, 1.5), (12, 1.5), (40, 2), (45, 6), (900, 98), (983, 196)])
@pytest.mark.parametrize("key", ["strided", "blur", "average", "max", "spectral", "dct"])
def test_durations_of_fixed_strides_are_exact(key, frames, stride):
    # floor(p + 1/2) in whole numbers: rounding errors of p must not move a frame to the next output.
    if key in INTEGER and stride == 1.5:
        stride = 2
    plan = build(key, stride=stride).plan(torch.zeros(1, 2, frames))
    length = plan.lengths.item()
    expected = [0] * length
    for t in range(frames):
        place = {
            "strided": lambda t: (2 * t + stride) // (2 * stride),
            "average": lambda t: t // stride,
            "spectral": lambda t: (2 * t * length + frames) // (2 * frames),
            "dct": lambda t: (2 * t + 1) * length // (2 * frames),
        }[{"blur": "strided", "max": "average"}.get(key, key)](t)
        expected[min(place, length - 1)] += 1
    assert plan.durations().tolist() == [expected]


@pytest.mark.parametrize("key", ["adastride", "adastride_f"])
def test_the_uniform_start_fills_its_bins_evenly(key):
    # p = t / 2: every second frame lies between two outputs and must always go the same way.
    for frames in range(5, 200, 2):
        plan = build(key, peak=0.0).plan(torch.zeros(1, 2, frames))
        assert plan.durations().tolist() == [[1] + [2] * (frames // 2)], frames


def test_readings_by_hand():
    layer = ss.AdaStride1d(1, 4 / 3).double()
    with torch.no_grad():
        layer.score.weight.fill_(1.0)
    # Steps of 1, 2, 1 on the way from 0 to 2: positions 0, 0.5, 1.5, 2 in ceil(4 / (4 / 3)) = 3 frames.
    plan = layer.plan(torch.tensor([[[9.0, 0.0, math.log(2.0), 0.0]]], dtype=torch.float64))
    assert_close(plan.positions, torch.tensor([[0.0, 0.5, 1.5, 2.0]], dtype=torch.float64))
    assert_close(plan.strides(), torch.tensor([[2.0, 1.0, 2.0, 2.0]], dtype=torch.float64))
    assert plan.durations().tolist() == [[1, 1, 2]]
    assert_close(plan.times(), torch.tensor([[0.0, 1.5, 3.0]], dtype=torch.float64))


def test_the_middle_of_a_flat_run():
    layer = ss.AdaStride1d(1, 2).double()
    with torch.no_grad():
        layer.score.weight.fill_(1.0)
    # exp(-2000) is zero: frames 0 to 3 stand at 0, the others at the end.
    x = torch.full((1, 1, 8), -1000.0, dtype=torch.float64)
    x[..., 4] = 1000.0
    plan = layer.plan(x)
    assert plan.positions.tolist() == [[0, 0, 0, 0, 3, 3, 3, 3]]
    assert_close(plan.times()[0, [0, 3]], torch.tensor([1.5, 5.5], dtype=torch.float64))
    assert plan.strides().tolist() == [[8, 8, 8, pytest.approx(1 / 3), 8, 8, 8, 8]]
    assert plan.durations().tolist() == [[4, 0, 0, 4]]


# --- signals that carry their own clock


@pytest.mark.parametrize("key", ["spectral", "diffstride"])
@pytest.mark.parametrize(("frames", "stride"), [(64, 2.0), (65, 2.7), (101, 1.3)])
def test_a_slow_sinusoid_keeps_its_phase_on_the_periodic_grid(key, frames, stride):
    angle = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames
    plan = build(key, stride=stride).plan(torch.zeros(1, 2, frames, dtype=torch.float64))
    cosine, sine = plan(torch.stack([angle.cos(), angle.sin()])[None])[0]
    seen = torch.atan2(sine, cosine).remainder(2 * math.pi) * frames / (2 * math.pi)
    difference = (seen - plan.times()[0] + frames / 2).remainder(frames) - frames / 2
    assert difference.abs().max() < 0.01


@pytest.mark.parametrize("key", ["dct", "dct_diffstride"])
@pytest.mark.parametrize(("frames", "stride"), [(64, 2.0), (65, 2.7), (101, 1.3)])
def test_a_slow_sinusoid_keeps_its_phase_on_the_symmetric_grid(key, frames, stride):
    half_wave = (math.pi * (torch.arange(frames, dtype=torch.float64) + 0.5) / frames).cos()
    plan = build(key, channels=1, stride=stride).plan(torch.zeros(1, 1, frames, dtype=torch.float64))
    seen = plan(half_wave[None, None])[0, 0].clamp(-1, 1).acos() * frames / math.pi - 0.5
    assert (seen - plan.times()[0]).abs().max() < 0.01


@pytest.mark.parametrize("key", ["average", "blur", "adastride"])
@pytest.mark.parametrize("stride", [2, 4])
def test_the_inside_of_a_ramp_comes_out_as_times(key, stride):
    frames = 20 * stride + 1
    ramp = torch.arange(frames, dtype=torch.float64)[None, None]
    # Zero scores: the grid around an inner output frame is symmetric.
    plan = build(key, channels=1, stride=stride, peak=0.0).plan(torch.zeros_like(ramp))
    inside = slice(4, -4)
    assert_close(plan(ramp)[0, 0, inside], plan.times()[0, inside], rtol=0, atol=1e-9)


def test_the_middle_of_a_symmetric_ramp_under_uneven_scores():
    scores = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, 0.5, 2.0, -1.0, 1.0], dtype=torch.float64)
    layer = ss.AdaStride1d(1, 9 / 5).double()
    with torch.no_grad():
        layer.score.weight.fill_(1.0)
    # The score of frame t acts on the step that leads to it: the eight steps are symmetric around frame 4.
    plan = layer.plan(scores[None, None])
    y = plan(torch.arange(9, dtype=torch.float64)[None, None])
    assert_close(plan.times()[0, 2].item(), 4.0)
    assert_close(y[0, 0, 2].item(), 4.0)


@every_key
def test_expanding_a_constant_gives_the_constant_where_frames_are_real(key):
    layer = build(key, stride=3 if key in INTEGER else 2.3, peak=3.0)
    x, lengths = Batch(2, [29, 8, 1], 2, 2, 3.0, 0).tensors()
    plan = layer.plan(x, lengths)
    z = torch.full((3, 2, int(plan.lengths.max())), 5.0, dtype=torch.float64)
    expected = torch.where(torch.arange(31) < lengths[:, None, None], 5.0, 0.0).expand(3, 2, 31)
    assert_close(plan.expand(z), expected.double(), **TIGHT)


@pytest.mark.parametrize("key", ["adastride", "adastride_f"])
def test_expand_and_matrix_let_gradients_through(key):
    layer = build(key, peak=0.3)
    x, lengths = Batch(2, [9, 6], 0, 2, 0.3, 0).tensors(padding=0.0)
    z = torch.randn(2, 1, 5, dtype=torch.float64, requires_grad=True)

    def expanded(z, _):
        return layer.plan(x, lengths).expand(z)

    def matrix(_):
        return layer.plan(x, lengths).matrix()

    assert torch.autograd.gradcheck(expanded, (z, layer.score.weight))
    assert torch.autograd.gradcheck(matrix, (layer.score.weight,))


# --- several plans after one another


def test_an_encoder_composes_uniform_positions_exactly():
    encoder = ss.ResNet1d(3, channels=(4, 4), strides=(2, 3), downsampler="strided")
    encoded = encoder(torch.randn(2, 3, 49), torch.tensor([49, 25]))
    for b, length in enumerate([49, 25]):  # 24 · 2 · 1 + 1: the last frame is sampled by both blocks
        assert encoded.lengths[b] == (length - 1) // 6 + 1
        expected = torch.arange(length, dtype=torch.float64) / 6
        assert_close(encoded.positions[b, :length], expected)
        assert not encoded.positions[b, length:].any()
        expected = torch.arange(encoded.lengths[b], dtype=torch.float64) * 6
        assert_close(encoded.times()[b, : encoded.lengths[b]], expected)


def test_an_encoder_composes_adaptive_positions():
    encoder = ss.ResNet1d(3, channels=(4, 4), strides=(2, 2), downsampler="adastride").double().eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "score" in name:
                parameter.normal_(0, 0.7)
    lengths = torch.tensor([41, 27])
    encoded = encoder(torch.randn(2, 3, 41, dtype=torch.float64), lengths)
    first, second = encoded.plans
    assert_close(encoded.lengths, second.lengths)
    for b, length in enumerate(lengths.tolist()):
        inner = second.positions[b, : second.input_lengths[b]].detach().numpy()
        p = np.interp(first.positions[b, :length].detach().numpy(), np.arange(len(inner)), inner)
        np.testing.assert_allclose(encoded.positions[b, :length].detach(), p, **TIGHT)
        out = int(encoded.lengths[b])
        times = encoded.times()[b, :out].detach().numpy()
        assert times[0] == 0
        assert times[-1] == pytest.approx(length - 1)
        # Composed either way round, an output frame keeps its place to within the frame it falls in.
        assert np.abs(times - oracles.times(p, out)).max() < 1
