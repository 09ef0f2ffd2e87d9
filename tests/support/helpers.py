"""What several test modules need: layers with random parameters, random batches, and their oracles."""

from typing import NamedTuple

import numpy as np
import oracles
import torch
from hypothesis import strategies as st

import seqstride as ss

KEYS = sorted(ss.DOWNSAMPLERS)
INTEGER = ("average", "blur", "max", "strided")  # methods whose stride is a whole number
REAL = tuple(key for key in KEYS if key not in INTEGER)
LEARNT = ("dct_diffstride", "diffstride")
ADAPTIVE = ("adastride", "adastride_f")
LINEAR = tuple(key for key in KEYS if key != "max")
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def build(key, channels=2, stride=2, peak=0.5, seed=0, dtype=torch.float64):
    """A layer of the registry; `peak` is the spread of the score weights of the adaptive ones."""
    torch.manual_seed(seed)
    layer = ss.make_downsampler(key, channels=channels, stride=stride).to(dtype)
    with torch.no_grad():
        if key in LEARNT:
            layer.stride_parameter.fill_(stride)  # 2.3 in the wanted dtype, not the float32 one made longer
        if key in ADAPTIVE:
            layer.score.weight.normal_(0, peak)
    return layer


def oracle(key, layer, x):
    """The oracle's answer for one item x (C, T) of a float64 layer."""
    x = x.detach().numpy()
    if key in ADAPTIVE:
        scores = layer.score.weight.detach().numpy()[0, :, 0] @ x
        return getattr(oracles, key)(x, layer.stride, scores)
    if key in LEARNT:
        return getattr(oracles, key)(x, layer.stride_parameter.item())
    if key == "strided":
        weight, bias = layer.conv.weight.detach().numpy(), layer.conv.bias.detach().numpy()
        return oracles.strided(x, layer.stride, weight, bias)
    return {"dct": oracles.dct_pool, "max": oracles.maximum}.get(key, getattr(oracles, key, None))(x, layer.stride)


def oracle_matrix(key, layer, positions, length):
    """The oracle's (L, T) matrix of one item's plan; adaptive methods take the positions as they are."""
    frames = len(positions)
    if key == "adastride":
        return oracles.align(np.eye(frames), positions, length).T
    if key == "adastride_f":
        return oracles.scatter_align(np.eye(frames), positions, length).T
    if key == "strided":
        return oracles.matrix(oracles.subsample, frames, layer.stride)
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
