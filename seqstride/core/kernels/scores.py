"""Scores of frames, s_t = wᵀx_t, and how long the output is.

A tile of frames also leaves its largest score m and Σ exp(s − m), in one pass over the signal: the positions need the
largest score of an item and the sum of all exp(s − largest) before them, and get both from a few numbers per item.
The score of frame 0 is in neither: positions do not depend on it (`positions`).

Scores are summed and kept in double precision. Products of two numbers in single or half precision are exact in it.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import aligned, blocks, double_bits, launch

#: frames of a tile of scores
TILE = 128


@triton.jit
def real_length(lengths, b, T, GIVEN: tl.constexpr):
    """Real frames of item b: all T where no lengths are given."""
    return tl.load(lengths + b).to(tl.int32) if GIVEN else T


@triton.jit
def _store_moments(score, t, n, moments):
    """Largest of a tile's scores (FRAMES,) at frames 1 … n − 1, and the sum of exp(score − largest)."""
    step = (t > 0) & (t < n)
    inside = tl.where(step, score, -float("inf"))
    largest = tl.max(inside, 0)
    shift = tl.where(largest == -float("inf"), 0.0, largest)
    tl.store(moments, largest)
    tl.store(moments + 1, tl.sum(tl.where(step, tl.exp(inside - shift), 0.0), 0))


@triton.jit(do_not_specialize=["stride_bits", "C", "T", "tiles"])
def _score_kernel(
    x, weight, lengths, scores, moments, output_lengths, stride_bits, C, T, tiles,
    GIVEN: tl.constexpr, ALIGNED: tl.constexpr, FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A program has one tile of one item."""
    k = tl.program_id(0)
    b = tl.program_id(1)
    n = real_length(lengths, b, T, GIVEN)
    if k == 0:
        # ceil(round(n / stride, 9)), as `ceil_length`
        exact = n.to(tl.float64) / tl.cast(stride_bits, tl.int64).to(tl.float64, bitcast=True)
        tl.store(output_lengths + b, tl.ceil(tl.floor(exact * 1e9 + 0.5) / 1e9).to(tl.int64))
    row = T // ALIGNED * ALIGNED
    t = k * FRAMES + tl.arange(0, FRAMES)
    real = t < n
    item = x + b.to(tl.int64) * C * row
    sums = tl.zeros([CHANNELS, FRAMES], tl.float64)
    if (k + 1) * FRAMES <= n:  # a mask along t would keep the loads from being wide
        for c0 in range(0, C, CHANNELS):
            c = c0 + tl.arange(0, CHANNELS)
            w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float64)
            frames = tl.load(item + (c * row)[:, None] + t[None, :], mask=(c < C)[:, None], other=0.0)
            sums += frames.to(tl.float64) * w[:, None]
    elif k * FRAMES < n:
        for c0 in range(0, C, CHANNELS):
            c = c0 + tl.arange(0, CHANNELS)
            w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float64)
            inside = (c < C)[:, None] & real[None, :]
            frames = tl.load(item + (c * row)[:, None] + t[None, :], mask=inside, other=0.0)
            sums += frames.to(tl.float64) * w[:, None]
    score = tl.where(real, tl.sum(sums, 0), 0.0)
    tl.store(scores + b * T + t, score, mask=t < T)
    _store_moments(score, t, n, moments + 2 * (b * tiles + k))


@triton.jit(do_not_specialize=["T", "tiles"])
def _moments_kernel(scores, lengths, moments, T, tiles, GIVEN: tl.constexpr, FRAMES: tl.constexpr):
    k = tl.program_id(0)
    b = tl.program_id(1)
    n = real_length(lengths, b, T, GIVEN)
    t = k * FRAMES + tl.arange(0, FRAMES)
    score = tl.load(scores + b * T + t, mask=t < n, other=0.0).to(tl.float64)
    _store_moments(score, t, n, moments + 2 * (b * tiles + k))


def score_frames(
    x: Tensor, weight: Tensor, lengths: Tensor | None, stride: float
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(B, C, T), (C,) → scores (B, T) float64, moments of their tiles (B, K, 2), output lengths (B,) int64."""
    B, C, T = x.shape
    tiles = blocks(T, TILE)
    scores = torch.empty(B, T, dtype=torch.float64, device=x.device)
    moments = torch.empty(B, tiles, 2, dtype=torch.float64, device=x.device)
    output_lengths = torch.empty(B, dtype=torch.int64, device=x.device)
    given = output_lengths if lengths is None else lengths
    launch(
        _score_kernel, (tiles, B, 1),
        (x, weight, given, scores, moments, output_lengths, double_bits(stride), C, T, tiles),
        (lengths is not None, aligned(T), TILE, 16), warps=8,
    )  # fmt: skip
    return scores, moments, output_lengths


def score_moments(scores: Tensor, lengths: Tensor | None) -> Tensor:
    """Moments (B, K, 2) of the tiles of given scores (B, T)."""
    B, T = scores.shape
    tiles = blocks(T, TILE)
    moments = torch.empty(B, tiles, 2, dtype=torch.float64, device=scores.device)
    given = scores if lengths is None else lengths
    launch(_moments_kernel, (tiles, B, 1), (scores, given, moments, T, tiles), (lengths is not None, TILE))
    return moments
