"""Streams: equal results however the signal is cut, bounds that hold for any scores, and nothing that grows."""

import copy
import io
import itertools
import math
import os
import pickle
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracles
import pytest
import soundfile
import torch
from helpers import ADAPTIVE, CONTENT, INTEGER, KEYS, PLANNED, STREAMING, TIGHT, build, resampled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import seqstride as ss
import seqstride.functional as F
from seqstride.encoders.frontend import LogMel
from seqstride.layers.pace import MEMORY, Pace

POOLED = [key for key in INTEGER if key in STREAMING]

DRIFT = 60.0


class Streamed(NamedTuple):
    """All that a stream gave, joined along time."""

    output: torch.Tensor
    positions: torch.Tensor
    strides: torch.Tensor
    times: torch.Tensor
    lengths: torch.Tensor


def streamed(layer, x, sizes, **options):
    stream = layer.stream(**options)
    parts = []
    for chunk in x.split(sizes, 2):
        parts.append((stream.push(chunk), stream.positions, stream.strides(), stream.times()))
    parts.append((stream.finish(), stream.positions, stream.strides(), stream.times()))
    return Streamed(*(torch.cat(tensors, -1) for tensors in zip(*parts, strict=True)), stream.lengths)


def scored(scores, stride, key="adastride", **options):
    """A layer whose scores are the signal's only channel, and that signal: (T,) or (B, T) scores."""
    layer = ss.make_downsampler(key, channels=1, stride=stride, **options).double()
    with torch.no_grad():
        layer.score.weight.fill_(1.0)
    return layer, torch.as_tensor(scores, dtype=torch.float64).reshape(-1, 1, np.shape(scores)[-1])


def signal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def cuts(draw, most=40):
    """Sizes of chunks."""
    return draw(st.lists(st.integers(1, most), min_size=1, max_size=8) | st.integers(1, most).map(lambda n: [1] * n))


# --- however it is cut


@pytest.mark.parametrize("key", POOLED)
@settings(max_examples=12)
@given(sizes=cuts(), stride=st.sampled_from([1, 2, 3, 5, 50]), batch=st.integers(1, 2))
def test_fixed_strides_are_the_layer_on_the_whole_signal(key, sizes, stride, batch):
    layer, x = build(key, stride=stride), signal(batch, 2, sum(sizes))
    plan, got = layer.plan(x), streamed(layer, x, sizes)
    exact = {"rtol": 0, "atol": 0} if key in ("average", "max") else TIGHT
    assert_close(got.output, layer(x).detach(), **exact)
    assert_close(got.positions, plan.positions, **TIGHT)
    assert_close(got.times, plan.times(), **TIGHT)
    assert got.lengths.tolist() == plan.lengths.tolist()
    assert got.strides.shape == (batch, sum(sizes))
    if x.shape[2] > 1:
        assert_close(got.strides, torch.full_like(got.strides, stride), **TIGHT)


@pytest.mark.parametrize("key", [key for key in STREAMING if key in CONTENT])
@settings(max_examples=12)
@given(
    sizes=cuts(),
    stride=st.sampled_from([1, 1.3, 2, 5, 50]),
    spread=st.sampled_from([0.3, 3.0, 30.0]),
    seed=st.integers(0, 100),
)
def test_output_lengths_of_the_content_are_those_of_the_whole_signal(key, sizes, stride, spread, seed):
    layer, x = build(key, stride=stride, peak=spread, seed=seed), signal(2, 2, sum(sizes), seed=seed)
    plan, got = layer.plan(x), streamed(layer, x, sizes)
    assert got.lengths.tolist() == plan.lengths.tolist()
    assert_close(got.output, layer(x).detach(), **TIGHT)
    assert_close(got.positions, plan.positions.detach(), **TIGHT)
    assert_close(got.times, plan.times(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("key", POOLED)
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_every_length_of_a_last_window(key, stride):
    layer = build(key, stride=stride)
    for frames, size in itertools.product(range(1, 3 * stride + 2), (1, 2, 3, 5)):
        x = signal(1, 2, frames)
        got = streamed(layer, x, size)
        assert_close(got.output, layer(x).detach(), **TIGHT)
        assert_close(got.times, layer.plan(x).times(), **TIGHT)


OPTIONS = [{}, {"method": "scatter"}, {"method": "scatter", "empty": "zero"}, {"pooling": "softmax"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(max_examples=12)
@given(
    sizes=cuts(),
    stride=st.sampled_from([1, 1.3, 2, 3.7, 50]),
    spread=st.sampled_from([0.3, 2.0, 30.0]),
    seed=st.integers(0, 100),
)
def test_adaptive_strides_do_not_depend_on_the_cuts(options, sizes, stride, spread, seed):
    layer, x = ss.AdaStride1d(2, stride, **options).double(), signal(2, 2, sum(sizes), seed=seed)
    with torch.no_grad():
        layer.score.weight.normal_(0, spread)
    got, whole = streamed(layer, x, sizes), streamed(layer, x, x.shape[2])
    assert_close(got.positions, whole.positions, rtol=0, atol=1e-9)
    assert_close(got.output, whole.output, **TIGHT)
    # the package's own resampler, once, at the same positions
    assert_close(got.output, resampled(layer, x, got.positions, got.lengths), **TIGHT)
    for item, length in enumerate(got.lengths.tolist()):
        p = got.positions[item].numpy()
        assert length == math.floor(round(p[-1], 9)) + 1
        assert_close(got.times[item, :length].numpy(), oracles.times(p, length), rtol=1e-7, atol=1e-7)
        if len(p) > 1:
            with np.errstate(divide="ignore"):
                expected = 1 / np.diff(p)
            assert_close(got.strides[item].numpy(), np.append(expected, expected[-1]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("key", ADAPTIVE)
def test_long_signals_are_resampled_as_a_whole_too(key):
    # more than 256 frames: bands instead of full matrices, and gaps in between
    layer, x = build(key, 2, 2.5, peak=3.0), 3 * signal(1, 2, 3000)
    got = streamed(layer, x, [7, 1500, 1, 1, 300, 1191])
    assert layer.bound < math.inf or (got.positions.diff() > 2).any()
    assert_close(got.output, resampled(layer, x, got.positions, got.lengths), **TIGHT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("key", STREAMING)
def test_other_precisions_within_their_digits(key, dtype):
    layer = build(key, dtype=dtype)
    x = signal(1, 2, 500).to(dtype)
    got = streamed(layer, x, 13)
    assert got.output.dtype == dtype
    adaptive = key in ADAPTIVE
    expected = resampled(layer, x.double(), got.positions, got.lengths) if adaptive else layer(x).detach()
    tolerance = 4 * torch.finfo(dtype).eps * x.abs().max().item()
    assert_close(got.output.double(), expected.double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("key", STREAMING)
def test_an_item_of_a_batch_is_the_item_alone(key):
    layer, x = build(key, peak=3.0), signal(3, 2, 200)
    together = streamed(layer, x, 7)
    bounded = getattr(layer, "bound", math.inf) < math.inf  # strides that hardly differ
    assert key in INTEGER or bounded or len(set(together.lengths.tolist())) > 1
    for item, length in enumerate(together.lengths.tolist()):
        alone = streamed(layer, x[item : item + 1], 50)
        assert alone.lengths.tolist() == [length]
        assert_close(together.output[item : item + 1, :, :length], alone.output, **TIGHT)
        assert_close(together.times[item : item + 1, :length], alone.times, **TIGHT)
        assert not together.output[item, :, length:].any()
        assert not together.times[item, length:].any()


# --- positions


def expected_positions(scores, stride):
    """The formulas of `seqstride.layers.pace` with the mean as it is, for scores that do not overflow."""
    a, m, u, p = np.exp(scores), 0.0, 0.0, [0.0]
    for t in range(1, len(scores)):
        alpha = 1 / min(t, MEMORY)
        step = a[t] if t == 1 else min(a[t], m * DRIFT / 3)
        m = (1 - alpha) * m + alpha * step
        x = abs(u) / DRIFT
        u += (step / m * (1 - x**3) if u >= 0 else step / m + x**3) - 1
        p.append((t + u) / stride)
    return np.array(p)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_positions_are_those_of_the_formulas(spread):
    scores = spread * np.random.default_rng(0).normal(size=3000) + 5.0
    got = Pace(2.5, DRIFT).place(scores.tolist())
    np.testing.assert_allclose(got, expected_positions(scores, 2.5), rtol=0, atol=1e-8)


@pytest.mark.parametrize("stride", [1, 1.3, 2, 7])
@pytest.mark.parametrize("score", [0.0, -3.0, 1e4, -1e4])
def test_constant_scores_are_the_uniform_stride_exactly(stride, score):
    p = Pace(stride, DRIFT).place([score] * 5000)
    assert p == [t / stride for t in range(5000)]


@pytest.mark.parametrize("key", ADAPTIVE)
@pytest.mark.parametrize("frames", [1, 2, 9, 10, 41])
def test_an_untrained_layer_streams_uniform_strides(key, frames):
    layer, x = ss.make_downsampler(key, channels=2, stride=2).double(), signal(1, 2, frames)
    got = streamed(layer, x, 3)
    assert got.lengths.tolist() == layer.output_lengths(torch.tensor([frames])).tolist()
    if frames % 2:  # the last frame of an even number does not stand on an output frame
        assert_close(got.output, layer(x).detach(), **TIGHT)


def test_positions_know_neither_the_level_of_the_scores_nor_the_first_one():
    scores = signal(2000)
    p = np.array(Pace(2, DRIFT).place(scores.tolist()))
    np.testing.assert_allclose(Pace(2, DRIFT).place((scores + 700).tolist()), p, rtol=0, atol=1e-7)
    scores[0] = 1e4
    np.testing.assert_array_equal(Pace(2, DRIFT).place(scores.tolist()), p)


def check_bounds(scores, stride, drift=DRIFT):
    """The promises of `seqstride.layers.pace` for any scores."""
    p = np.array(Pace(stride, drift).place(scores))
    steps, ahead = np.diff(p), stride * p - np.arange(len(p))
    assert np.isfinite(p).all()
    assert (steps >= 0).all()
    assert steps.max(initial=0) <= (drift / 3 + 1) / stride + 1e-9
    assert np.abs(ahead).max() <= drift + 1e-9
    return ahead


@settings(max_examples=15)
@given(
    runs=st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(1, 400), st.floats(0, 50)), min_size=1, max_size=12),
    stride=st.sampled_from([1, 2, 3.7]),
    drift=st.sampled_from([3.0, 15.0, DRIFT, 400.0]),
    seed=st.integers(0, 1000),
)
def test_wild_scores_keep_within_the_bounds(runs, stride, drift, seed):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([level + spread * rng.normal(size=frames) for level, frames, spread in runs])
    check_bounds(scores.tolist(), stride, drift)


@pytest.mark.parametrize("drift", [15.0, DRIFT])
def test_scores_that_drive_positions_to_the_bounds_come_close_and_no_further(drift):
    # ever rising scores ask for the longest steps for ever, ever falling ones for none
    ahead = check_bounds((10.0 * np.arange(2000)).tolist(), 2, drift)
    assert ahead.max() > 0.6 * drift
    behind = check_bounds((-10.0 * np.arange(2000)).tolist(), 2, drift)
    assert behind.min() < -0.9 * drift


def assert_ratio(p, stride, frames=6000):
    """Within 2 % over any 60 s at 100 frames per second."""
    spans = p[frames - 1 :] - p[: len(p) - frames + 1]
    assert len(spans)
    assert np.abs(spans * stride / (frames - 1) - 1).max() <= 0.02 + 1e-4


@pytest.mark.parametrize("kind", ["noise", "slow", "pauses", "louder"])
def test_the_ratio_of_any_minute_is_within_two_percent(kind):
    rng, t = np.random.default_rng(0), np.arange(20_000)
    scores = {
        "noise": 2 * rng.normal(size=len(t)),
        "slow": 3 * np.sin(2 * np.pi * t / 4000),
        "pauses": np.where(t // 500 % 2 == 0, 0.0, 3.0) + 0.3 * rng.normal(size=len(t)),
        "louder": np.where(t < 8000, 0.0, 4.0) + 0.3 * rng.normal(size=len(t)),
    }[kind]
    p = np.array(Pace(2, DRIFT).place(scores.tolist()))
    assert_ratio(p, 2)
    assert np.diff(p).std() > 0.05  # and it still adapts


def test_local_strides_are_near_those_of_the_whole_signal():
    # loud and quiet stretches of 0.1 to 0.4 s, as syllables are
    rng = np.random.default_rng(0)
    scores = np.concatenate([np.full(rng.integers(10, 40), rng.normal(0, 0.6)) for _ in range(260)])[:6000]
    layer, x = scored(scores, 2)
    online, offline = streamed(layer, x, 6000).positions, layer.plan(x).positions.detach()
    a, b = online.diff()[0, 500:].log(), offline.diff()[0, 500:].log()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.9


DATA = pytest.mark.skipif("SEQSTRIDE_TEST_DATA" not in os.environ, reason="SEQSTRIDE_TEST_DATA names no recordings")


def minute(name):
    """Log energies, of spread 0.5, of recordings joined to 60 s, one each 10 ms: (6000,)."""
    folder = Path(os.environ["SEQSTRIDE_TEST_DATA"]) / {"fsdd": "fsdd/recordings", "kerstin": "kerstin16k/wavs"}[name]
    samples, rate = [], 0
    files = sorted(folder.iterdir())
    for file in files[:: 13 if name == "fsdd" else 11]:
        part, rate = soundfile.read(file, dtype="float32")
        samples.append(torch.from_numpy(part))
        if sum(map(len, samples)) >= 60 * rate:
            break
    joined = torch.cat(samples)[None, : 60 * rate]
    assert joined.shape[1] == 60 * rate
    energy = LogMel(rate, bands=40)(joined, torch.tensor([60 * rate]))[0].double().mean(1)[0, :6000]
    return 0.5 * (energy - energy.mean()) / energy.std()


@DATA
# the digits are those of six speakers at levels of their own, which is a slow change
@pytest.mark.parametrize(("name", "near"), [("fsdd", 0.87), ("kerstin", 0.95)])
def test_a_minute_of_speech(name, near):
    layer, x = scored(minute(name), 2)
    got = streamed(layer, x, 10)
    p, offline = got.positions[0].numpy(), layer.plan(x).positions[0].detach().numpy()
    assert_ratio(p, 2)
    assert got.lengths.item() == pytest.approx(3000, rel=0.02)
    assert np.corrcoef(np.log(np.diff(p)), np.log(np.diff(offline)))[0, 1] > near
    assert_close(got.output, F.align(x, got.positions, got.lengths), **TIGHT)


# --- when output frames are ready


def delays(layer, x):
    """Frames from the one that an output frame stands for to the one it was ready at, pushed one by one."""
    stream, late = layer.stream(), []
    for frame, chunk in enumerate(x.split(1, 2)):
        stream.push(chunk)
        late += (frame - stream.times()).flatten().tolist()
    return np.array(late)


def test_output_frames_are_ready_soon():
    x = signal(1, 2, 300)
    for stride in (2, 3):
        assert delays(build("average", stride=stride), x).max() == (stride - 1) / 2
        assert delays(build("strided", stride=stride), x).max() == 1
        assert delays(build("blur", stride=stride), x).max() == stride - 1
    # uniform positions stand on output frames: s·reach, and the first frame behind it
    layer = ss.AdaStride1d(2, 2)
    assert delays(layer, x.float()).max() == math.floor(2 * math.sqrt(22 / 5)) + 1
    assert delays(ss.AdaStride1d(2, 2, method="scatter"), x.float()).max() == 3


@pytest.mark.parametrize("key", [key for key in ADAPTIVE if key in PLANNED])
def test_no_scores_hold_an_output_frame_back_for_long(key):
    reach = math.sqrt(45 / 5) if key == "adastride" else 1.0
    t = np.arange(1200)
    for scores in (20 * signal(1200).numpy(), -10.0 * t, np.where(t // 300 % 2 == 0, 0.0, -50.0)):
        late = delays(*scored(scores, 2, key))
        assert len(late) > 500
        assert late.max() <= 2 * reach + 2.2 * DRIFT + 3 + build(key).score.context


# --- what does not grow


def size_of(stream):
    file = io.BytesIO()
    pickle.dump(stream, file)
    return file.tell()


@pytest.mark.parametrize("key", STREAMING)
def test_memory_and_time_do_not_grow(key):
    layer = build(key, channels=1, peak=2.0, dtype=torch.float32)
    stream, sizes, seconds = layer.stream(), [], []
    for number in range(200):
        chunk = signal(1, 1, 500, seed=number % 7).float()
        start = time.thread_time()
        stream.push(chunk)
        seconds.append(time.thread_time() - start)
        sizes.append(size_of(stream))
    assert stream.input_frames == 100_000
    if key not in CONTENT:
        assert stream.lengths.item() == pytest.approx(50_000, abs=DRIFT)
    frames = 2 * (2 * 2.1 + 2.2 * DRIFT + 3)  # as the documentation says, with twelve bytes each
    assert max(sizes) < size_of(layer.stream()) + 12 * frames + 16 * 500 * 3 + 4096
    assert max(sizes[100:]) <= 1.1 * max(sizes[:100])
    assert np.median(seconds[-50:]) < 3 * np.median(seconds[:50])


# --- life


@pytest.mark.parametrize("key", STREAMING)
def test_state_is_in_the_stream_and_chunks_may_be_written_over(key):
    layer = build(key)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = signal(2, 2, 120)
    expected = streamed(layer, x, 40).output
    streams, parts = [layer.stream(), layer.stream()], [[], []]
    ring = torch.empty(1, 2, 10, dtype=torch.float64)
    for chunk in x.split(10, 2):
        for item, stream in enumerate(streams):
            ring.copy_(chunk[item : item + 1])
            parts[item].append(stream.push(ring))
        streams = copy.deepcopy(streams)  # a copy goes on by itself
    for item, stream in enumerate(streams):
        y = torch.cat([*parts[item], stream.finish()], 2)
        assert not y.requires_grad
        assert_close(y, expected[item : item + 1, :, : y.shape[2]], **TIGHT)
    assert_close(layer.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in STREAMING])
def test_spectral_methods_say_what_to_do_instead(key):
    with pytest.raises(ValueError, match=r"(?s)`layer`.*cannot stream because it.*all_windows.*AdaStride"):
        build(key).stream()


@pytest.mark.parametrize("key", ADAPTIVE)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_and_forgotten(key, bad):
    layer, x = build(key), signal(1, 2, 30)
    stream = layer.stream()
    parts = [stream.push(x[..., :10])]
    broken = x[..., 10:20].clone()
    broken[0, 1, 3] = bad
    with pytest.raises(ValueError, match=r"`x` must .*frame 13"):
        stream.push(broken)
    parts += [stream.push(x[..., 10:]), stream.finish()]
    assert_close(torch.cat(parts, 2), streamed(layer, x, 30).output, **TIGHT)


def test_a_fixed_stride_passes_nan_where_it_is_read():
    layer, x = build("strided", stride=2), signal(1, 2, 30)
    x[0, 0, 7] = float("nan")
    assert_close(streamed(layer, x, 4).output, layer(x).detach(), equal_nan=True, **TIGHT)


@pytest.mark.parametrize("key", STREAMING)
def test_chunks_that_do_not_fit(key):
    layer = build(key)
    stream = layer.stream()
    with pytest.raises(ValueError, match=r"`finish` must come after .*`push`"):
        stream.finish()
    for x in (torch.zeros(2, 2, 0), torch.zeros(2, 2), torch.zeros(2, 2, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"`x` .*must"):
            stream.push(x)
    stream.push(signal(2, 2, 5))
    for x in (signal(1, 2, 5), signal(2, 3, 5), signal(2, 2, 5).float()):
        with pytest.raises(ValueError, match=r"`x` \(shape .*must"):
            stream.push(x)
    assert stream.input_frames == 5
    stream.finish()
    for call in (stream.finish, lambda: stream.push(signal(2, 2, 5))):
        with pytest.raises(ValueError, match=r"must come before `finish`.*layer\.stream\(\)"):
            call()


@pytest.mark.parametrize("bad", [2.9, 0, -60, float("nan"), float("inf")])
def test_the_drift_is_a_number_of_frames(bad):
    with pytest.raises(ValueError, match=r"`drift` .*must"):
        ss.AdaStride1d(2, 2).stream(drift=bad)
