"""Layers with random parameters, random batches, and the oracles of both, for several test modules."""

from typing import NamedTuple

import numpy as np
import oracles
import torch
from hypothesis import strategies as st

import seqstride as ss
import seqstride.functional as F

KEYS = sorted(ss.DOWNSAMPLERS)


def keys_where(fact):
    """The keys of the registry for whose layer class `fact` holds."""
    return tuple(key for key in KEYS if fact(ss.DOWNSAMPLERS[key].layer))


INTEGER = keys_where(lambda layer: layer.whole_stride)
REAL = keys_where(lambda layer: not layer.whole_stride)
LEARNT = keys_where(lambda layer: layer.learns_stride)
ADAPTIVE = keys_where(lambda layer: issubclass(layer, ss.AdaStride1d))
SEEING = keys_where(lambda layer: layer.adaptive)  # plans depend on the values of the signal
CONTENT = keys_where(lambda layer: layer.content_lengths)  # output lengths follow from the content
COUNTED = keys_where(lambda layer: not layer.content_lengths)  # they follow from the input lengths
LINEAR = keys_where(lambda layer: layer.linear)
STREAMING = keys_where(lambda layer: layer.no_stream is None)
STRAIGHT = ("hnet",)  # decisions with gradients straight through, which are not those of finite differences
# the plan does all that the layer does
PLANNED = tuple(key for key in KEYS if not ss.make_downsampler(key, channels=2, stride=2).beyond_plan)
FRAMEWISE = tuple(key for key in ADAPTIVE if ss.DOWNSAMPLERS[key].options.get("scorer", "linear") == "linear")
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def build(key, channels=2, stride=2, peak=0.5, seed=0, dtype=torch.float64):
    """A layer of the registry; `peak` is the spread of the score weights of the adaptive ones."""
    torch.manual_seed(seed)
    layer = ss.make_downsampler(key, channels=channels, stride=stride).to(dtype)
    with torch.no_grad():
        if key in LEARNT:
            layer.stride_parameter.fill_(stride)  # 2.3 in the wanted dtype, not the float32 one made longer
        if hasattr(layer, "score"):
            layer.score.weight.normal_(0, peak)  # a layer starts with zeros there
    return layer


def oracle(key, layer, x):
    """The oracle's answer for one item x (C, T) of a float64 layer."""
    x = x.detach().numpy()
    function = getattr(oracles, ss.DOWNSAMPLERS[key].oracle)
    if isinstance(layer, ss.AdaStride1d):
        scores = oracle_scores(layer, x)
        sharpness = () if layer.sharpness is None else (layer.sharpness.detach().numpy(),)
        item = function(x, layer.stride, oracles.bounded(scores, layer.bound), *sharpness)
        return item._replace(penalty=item.penalty + oracles.excess_penalty(scores, layer.bound))
    if hasattr(layer, "score"):
        return function(x, stride_of(layer), oracle_scores(layer, x))
    if layer.learns_stride:
        return function(x, layer.stride_parameter.item())
    return function(x, layer.stride, *(parameter.detach().numpy() for parameter in layer.parameters()))


def resampled(layer, x, positions, lengths):
    """`x` by the functions of the package at the positions that an adaptive layer chose."""
    resample = F.scatter_align if layer.method == "scatter" else F.align
    empty = {"empty": layer.empty} if layer.method == "scatter" else {}
    if layer.sharpness is None:
        return resample(x, positions, lengths, **empty)
    weights = (layer.sharpness.detach().double()[:, None] * x).clamp(-5, 5).exp()
    sums, weight = (resample(values, positions, lengths) for values in (x * weights, weights))
    return sums / torch.where(weight == 0, 1.0, weight)


def oracle_expand(key, layer, x, z, positions):
    """The oracle's way back: z (C, L) of the plan of one item x (C, T), which has these positions."""
    way = getattr(oracles, f"{ss.DOWNSAMPLERS[key].oracle}_expand", None)
    return oracles.expand(z, positions) if way is None else way(z, oracle(key, layer, x))


def stride_of(layer):
    """The overall stride as a number, in full precision."""
    return layer.stride.item() if isinstance(layer.stride, torch.Tensor) else layer.stride


def oracle_penalty(key, layer, items):
    """The penalty of a batch of the oracle's items."""
    of_batch = getattr(oracles, f"{ss.DOWNSAMPLERS[key].oracle}_penalty", None)
    return np.mean([item.penalty for item in items]) if of_batch is None else of_batch(items, layer.stride)


def oracle_scores(layer, x):
    """The oracle's scores (T,) of one item of an adaptive layer, before any bound."""
    parameters = [parameter.detach().numpy() for parameter in layer.score.parameters()]
    return getattr(oracles, f"{getattr(layer, 'scorer', 'linear')}_scores")(x, *parameters)


def oracle_matrix(key, layer, positions, length):
    """The oracle's (L, T) matrix of one item's plan; adaptive methods take the positions as they are."""
    frames = len(positions)
    if key in ADAPTIVE:
        resample = oracles.align if layer.method == "matrix" else oracles.scatter_align
        return resample(np.eye(frames), positions, length).T
    if layer.adaptive:
        return getattr(oracles, f"{ss.DOWNSAMPLERS[key].oracle}_at")(np.eye(frames), positions, length).T
    if layer.beyond_plan:
        plain = oracles.average if layer.centred else oracles.subsample
        return oracles.matrix(plain, frames, layer.stride)
    return oracle(key, layer, torch.eye(frames, dtype=torch.float64)).output.T


class Batch(NamedTuple):
    """A padded batch in words; `tensors` makes it."""

    channels: int
    lengths: list
    extra: int
    stride: float
    peak: float
    seed: int

    def tensors(self, dtype=torch.float64, padding=float("nan")):
        """x (B, C, T) with `padding` behind every item, and its lengths (B,)."""
        generator = torch.Generator().manual_seed(self.seed)
        frames = max(self.lengths) + self.extra
        shape = (len(self.lengths), self.channels, frames)
        x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for item, length in enumerate(self.lengths):
            x[item, :, length:] = padding
        return x, torch.tensor(self.lengths)

    def layer(self, key):
        """A float64 layer with this batch's channels, stride and spread of scores."""
        return build(key, self.channels, self.stride, self.peak, self.seed)


@st.composite
def batches(draw, key):
    """Batches of short items: lengths of one frame, strides of one and beyond the length included."""
    if key in INTEGER:
        stride = draw(st.sampled_from([1, 2, 2, 3, 4, 7, 50]))
    else:
        stride = draw(st.sampled_from([1, 2, 50]) | st.integers(100, 600).map(lambda n: n / 100))
    return Batch(
        channels=draw(st.integers(1, 3)),
        lengths=draw(st.lists(st.integers(1, 40), min_size=1, max_size=4)),
        extra=draw(st.integers(0, 4)),
        stride=stride,
        peak=draw(st.sampled_from([0.3, 3.0, 30.0])),
        seed=draw(st.integers(0, 10_000)),
    )
