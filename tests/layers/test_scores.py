"""Scores of frames are summed in double precision: the same frames come out anywhere."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from helpers import oracle_scores
from torch import Tensor
from torch.testing import assert_close

import seqstride as ss
from seqstride.core.lengths import Frames
from seqstride.layers.pace import Pace
from seqstride.layers.scores import CHUNK, FrameScore, bounded_scores, soft_clamp

OPTIONS: list[dict[str, Any]] = [
    {"scorer": "context"},
    {"scorer": "change"},
    {"scorer": "linear", "bound": 4.0},
    {"scorer": "context", "bound": math.inf},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)

# several items at a time, one item at a time, some channels at a time, one channel at a time
SHAPES = [(5, 3, 40), (2, 64, 1500), (2, 64, 5000), (1, 2, CHUNK + 3)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_double_precision(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    layer = FrameScore(shape[1])
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(shape).to(dtype)
    lengths = torch.tensor([shape[2], *[shape[2] - 7] * (shape[0] - 1)])
    for given in (None, lengths):
        scores, source = layer(x, given)
        expected = torch.einsum("bct,c->bt", x.double(), layer.weight[0, :, 0].double())
        if given is not None:
            expected[1:, -7:] = 0
        assert scores.dtype == torch.float64
        assert_close(scores, expected, rtol=0, atol=1e-13)
        assert torch.equal(source, x)


@pytest.mark.parametrize("method", ["matrix", "scatter"])
def test_frames_do_not_depend_on_the_batch_and_its_width(method: str) -> None:
    """In float32 they stood 4e-4 elsewhere: an error of 3e-6 in a score moves frames by 3e-6 · L."""
    layer = ss.AdaStride1d(48, 2, method=method)
    torch.nn.init.normal_(layer.score.weight, std=3 / 48**0.5)
    signal = torch.randn(1, 48, 6001)
    expected = layer.double().plan(signal.double()).positions
    layer.float()
    batch = torch.full((3, 48, 7001), torch.nan)
    batch[:2, :, :5000] = torch.randn(2, 48, 5000)
    batch[2:, :, :6001] = signal
    padded = layer.plan(batch, torch.tensor([5000, 4000, 6001]))
    for plan, positions in ((layer.plan(signal), None), (padded, padded.positions[2:, :6001])):
        found = plan.positions if positions is None else positions
        assert_close(found, expected, rtol=0, atol=1e-9)
        assert plan.penalty.dtype == torch.float32


def test_half_precision_has_the_frames_of_its_own_numbers() -> None:
    layer, signal = ss.AdaStride1d(48, 2), torch.randn(2, 48, 500).bfloat16()
    torch.nn.init.normal_(layer.score.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer.plan(signal)
    assert_close(found.positions, layer.plan(signal.double()).positions, rtol=0, atol=1e-9)
    assert found.penalty.dtype == torch.float32


# --- scores that see more than their own frame


def layer_with(seed: int = 0, stride: float = 2.3, **options: Any) -> ss.AdaStride1d:
    torch.manual_seed(seed)
    layer = ss.AdaStride1d(3, stride, **options).double()
    torch.nn.init.normal_(layer.score.weight, std=0.5)
    return layer


def padded_batch() -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([40, 1, 26, 9])
    x = torch.randn(4, 3, 44, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for item, length in enumerate(lengths):
        x[item, :, length:] = torch.nan
    return x, lengths


@every_option
def test_scores_are_those_of_the_definition(options: dict[str, Any]) -> None:
    layer, (x, lengths) = layer_with(**options), padded_batch()
    scores, plan = layer.score(x, lengths)[0], layer.plan(x, lengths)
    for item, length in enumerate(lengths.tolist()):
        expected = oracle_scores(layer, x[item, :, :length].numpy())
        np.testing.assert_allclose(scores[item, :length].detach(), expected, rtol=0, atol=1e-12)
        assert not scores[item, length:].any()
        placed = oracles.bounded(expected, layer.bound)
        wanted = oracles.adastride(x[item, :, :length].numpy(), layer.stride, placed)
        np.testing.assert_allclose(plan.positions[item, :length].detach(), wanted.positions, rtol=0, atol=1e-10)


@every_option
def test_scores_and_gradients_know_neither_padding_nor_batch_mates(options: dict[str, Any]) -> None:
    layer, (x, lengths) = layer_with(**options), padded_batch()
    weights = torch.randn(4, 3, 20, dtype=torch.float64)

    def gradients(x: Tensor, lengths: Tensor | None, weights: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        plan = layer.plan(x, lengths)
        y = plan(x)
        loss = (y * weights[..., : y.shape[2]]).sum() + len(x) * plan.penalty
        return list(torch.autograd.grad(loss, [x, *layer.parameters()]))

    dx, *together = gradients(x, lengths, weights)
    alone = [
        gradients(x[item : item + 1, :, :length], None, weights[item : item + 1]) for item, length in enumerate(lengths)
    ]
    for item, length in enumerate(lengths):
        assert_close(dx[item : item + 1, :, :length], alone[item][0], rtol=1e-9, atol=1e-9)
        assert not dx[item, :, length:].any()
    for index, found in enumerate(together):
        assert_close(found, sum(item[1 + index] for item in alone), rtol=1e-9, atol=1e-9)


@every_option
def test_gradients_of_scores(options: dict[str, Any]) -> None:
    layer, (x, lengths) = layer_with(**options), padded_batch()
    x = x[:, :, :40].nan_to_num(0.0)[2:].requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer.plan(x, lengths[2:]).positions, (x, *layer.score.parameters()))


@every_option
def test_single_precision_has_the_frames_of_its_numbers(options: dict[str, Any]) -> None:
    layer, (x, lengths) = layer_with(**options), padded_batch()
    single = copy.deepcopy(layer).float()
    layer.load_state_dict(single.state_dict())
    expected = layer.plan(x.float().double(), lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = single.plan(x.float(), lengths)
    assert_close(found.positions, expected.positions, rtol=0, atol=1e-9)
    assert found.penalty.dtype == torch.float32


@every_option
@pytest.mark.parametrize("sizes", [1, 5, 13, [3, 1, 60, 1, 35]], ids=str)
def test_a_stream_has_the_same_frames_however_it_is_cut(options: dict[str, Any], sizes: int | list[int]) -> None:
    layer, x = layer_with(**options), torch.randn(2, 3, 100, dtype=torch.float64)

    def streamed(sizes: int | list[int]) -> list[Tensor]:
        stream = layer.stream()
        calls = [*(functools.partial(stream.push, chunk) for chunk in x.split(sizes, 2)), stream.finish]
        parts = [(call(), stream.positions, stream.strides(), stream.times()) for call in calls]
        return [torch.cat(tensors, -1) for tensors in zip(*parts, strict=True)]

    found, whole = streamed(sizes), streamed(100)
    for a, b in zip(found, whole, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert found[1].shape == found[2].shape == (2, 100)
    for item, scores in enumerate(layer.score(x)[0].detach().numpy()):
        if layer.bound < math.inf:  # less the mean so far
            scores = scores - np.cumsum(scores) / np.arange(1, 101)
            scores = scores / np.hypot(1.0, scores / (math.log(layer.bound) / 2))
        placed = Pace(layer.stride, 60.0).place(scores.tolist())
        np.testing.assert_allclose(found[1][item], placed, rtol=0, atol=1e-9)


def test_a_stream_looks_ahead_as_far_as_its_scores() -> None:
    layer, x = layer_with(scorer="context"), torch.randn(1, 3, 60, dtype=torch.float64)
    stream = layer.stream()
    stream.push(x[..., :7])
    assert stream.positions.shape == (1, 0)
    stream.push(x[..., 7:40])
    assert stream.positions.shape == (1, 33)
    with pytest.raises(ValueError, match="a value of frame 43 of the stream is NaN or infinite"):
        stream.push(torch.where(torch.arange(20) == 3, torch.nan, x[..., 40:]))
    stream.push(x[..., 40:])
    assert stream.positions.shape == (1, 20)
    stream.finish()
    assert stream.positions.shape == (1, 7)


# --- bounds


@pytest.mark.parametrize("bound", [1.5, 16.0, 1e4])
@pytest.mark.parametrize("scorer", ["linear", "context"])
def test_a_local_stride_is_within_its_bound(scorer: str, bound: float) -> None:
    for seed, spread in enumerate([0.1, 3.0, 1e3, 1e8]):
        layer = layer_with(scorer=scorer, bound=bound, seed=seed, stride=7)
        torch.nn.init.normal_(layer.score.weight, std=spread)
        x, lengths = torch.randn(3, 3, 200, dtype=torch.float64), torch.tensor([200, 190, 60])
        plan = layer.plan(x, lengths)
        for item, length in enumerate(lengths.tolist()):
            uniform = (length - 1) / (plan.lengths[item].item() - 1)
            ratio = uniform * plan.positions[item, :length].diff()
            assert ratio.min() >= (1 - 1e-9) / bound
            assert ratio.max() <= (1 + 1e-9) * bound


def test_the_bound_is_reached_and_a_score_beyond_it_comes_back() -> None:
    scores = torch.tensor([[0.0, *[1e6] * 2, *[-1e6] * 997]], dtype=torch.float64)
    steps = bounded_scores(scores, 16.0, Frames(1, 1000, 1, scores.device))[0][:, 1:].exp()
    assert (steps[0, 0] / steps.mean()).item() == pytest.approx(16, rel=0.04)
    at = torch.tensor([30.0], dtype=torch.float64, requires_grad=True)
    soft_clamp(at, 16.0).backward()
    assert at.grad.item() == pytest.approx((math.log(4) / 30) ** 3, rel=0.01)
    assert ss.AdaStride1d(3, 2).bound == math.inf  # the paper's
    assert ss.AdaStride1d(3, 2, scorer="context").bound == ss.AdaStride1d(3, 2, scorer="change").bound == 16


@pytest.mark.parametrize(("options", "message"), [
    ({"scorer": "deep"}, r"`scorer` \(='deep'\) must be 'linear', 'context' or 'change'"),
    ({"bound": 1.0}, r"`bound` \(=1.0\) must be a number above 1"),
    ({"bound": math.nan}, r"`bound` \(=nan\) must be a number above 1"),
    ({"bound": "inf"}, r"`bound` \(='inf'\) must be a number above 1"),
    ({"context": 2.5}, r"`context` \(=2.5\) must be an integer of at least 0"),
    ({"context": "7"}, r"`context` \(='7'\) must be an integer of at least 0"),
    ({"context": -1}, r"`context` \(=-1\) must be an integer of at least 0"),
])  # fmt: skip
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ss.AdaStride1d(3, 2, **options)


def test_the_papers_layer_has_the_weights_it_had() -> None:
    assert list(ss.AdaStride1d(3, 2).state_dict()) == ["score.weight"]
    assert ss.AdaStride1d(3, 2).score.weight.shape == (1, 3, 1)
    assert str(ss.AdaStride1d(3, 2)) == str(ss.AdaStride1d(3, 2, scorer="linear", bound=math.inf))


@pytest.mark.parametrize(("scorer", "macs"), [("linear", 24), ("context", 26 * 16 + 15), ("change", 51 * 16)])
def test_scores_have_their_price(scorer: str, macs: int) -> None:
    assert ss.AdaStride1d(24, 2, scorer=scorer).input_macs == macs


def test_scores_do_not_run_away() -> None:
    layer, x = layer_with(scorer="context"), torch.randn(2, 3, 60, dtype=torch.float64)
    before = layer.plan(x)
    level = torch.full((2, 60), 1e3, dtype=torch.float64)
    frames = before.frames
    bounded, excess = bounded_scores(layer.score(x)[0], 16.0, frames)
    shifted, _ = bounded_scores(layer.score(x)[0] + level, 16.0, frames)
    assert_close(shifted, bounded, rtol=0, atol=1e-9)  # positions do not know the level
    assert excess == 0
    with torch.no_grad():
        layer.score.weight.mul_(10.0)
    _, price = bounded_scores(layer.score(x)[0], 16.0, frames)
    (slope,) = torch.autograd.grad(price, layer.score.weight)
    assert price > 0.1
    assert (slope * layer.score.weight).sum() > 0.1  # smaller weights are cheaper
    assert layer.plan(x).penalty > price
