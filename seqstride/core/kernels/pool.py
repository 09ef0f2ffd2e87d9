"""Pooling over real frames: weighted means, and largest values, of windows a whole stride apart.

A mean with K weights, of windows that begin `before` frames ahead of frame l s:

    z_l = Σ_j w_j x_(l s − before + j) / Σ_j w_j,        both sums over 0 ≤ j < K that are on real frames.

Ones make average pooling, the binomial kernel a low-pass, and one weight every s-th frame. The divisor of a row is a
difference of two sums of all weights up to some j, in double precision. Backward, a frame collects from the ⌈K / s⌉
rows that read it. Rows without a real frame are 0.

For the largest value, K = s, the offset j of the frame that it came from is kept, as 16 bits.

Hints of contiguous addresses are not the truth: they lay neighbouring lanes along t, where neighbours in memory are.
Loads stay one number wide, as nothing is known to be aligned.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import aligned, blocks, launch, narrow
from seqstride.core.kernels.scores import real_length

#: frames or rows of a tile, and numbers of a tile
FRAMES, NUMBERS = 128, 2048


class Window(NamedTuple):
    """A weighted mean: weights (K,) float32, their sums (K + 1,) float64 from none to all, and where windows begin."""

    weights: Tensor
    sums: Tensor
    before: int

    @classmethod
    def of(cls, weights: Tensor, before: int) -> Window:
        """Of weights (K,) in double precision."""
        return cls(weights.float(), torch.nn.functional.pad(weights.cumsum(0), (1, 0)), before)


@triton.jit
def _divisor(sums, l, n, before, TAPS: tl.constexpr, STRIDE: tl.constexpr):
    """Sum of a row's weights on real frames; 1 where there are none."""
    start = l * STRIDE - before
    low = tl.minimum(tl.maximum(-start, 0), TAPS)
    high = tl.maximum(tl.minimum(n - start, TAPS), low)
    total = tl.load(sums + high) - tl.load(sums + low)
    return tl.where(high > low, total, 1.0).to(tl.float32)


@triton.jit
def _place(lengths, B, T, GIVEN: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr):
    """Item, its real frames, and this program's channels and frames or rows. Programs of an item are neighbours."""
    tiles = tl.num_programs(0) // B
    b = tl.program_id(0) // tiles
    n = real_length(lengths, b, T, GIVEN)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    t = tl.program_id(0) % tiles * FRAMES + tl.arange(0, FRAMES)
    return b.to(tl.int64), n, c, t


@triton.jit(do_not_specialize=["before", "B", "C", "T", "L"])
def _mean_kernel(
    x, weights, sums, lengths, z, before, B, C, T, L,
    TAPS: tl.constexpr, STRIDE: tl.constexpr, GIVEN: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    b, n, c, l = _place(lengths, B, T, GIVEN, CHANNELS, ROWS)
    channels = x + b * C * T + (c * T)[:, None]
    start = l * STRIDE - before
    total = tl.zeros([CHANNELS, ROWS], tl.float32)
    for j in range(0, TAPS):
        t = start + j
        inside = (c < C)[:, None] & ((t >= 0) & (t < n))[None, :]
        at = channels + tl.max_contiguous(start + j, ROWS)[None, :]
        total += tl.load(at, mask=inside, other=0.0).to(tl.float32) * tl.load(weights + j)
    mean = tl.where((l * STRIDE < n)[None, :], total / _divisor(sums, l, n, before, TAPS, STRIDE)[None, :], 0.0)
    at = b * C * L + (c * L)[:, None] + l[None, :]
    tl.store(z + at, mean.to(z.dtype.element_ty), mask=(c < C)[:, None] & (l < L)[None, :])


@triton.jit(do_not_specialize=["before", "B", "C", "T", "L"])
def _mean_backward_kernel(
    dz, weights, sums, lengths, dx, before, B, C, T, L,
    TAPS: tl.constexpr, STRIDE: tl.constexpr, GIVEN: tl.constexpr, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr,
    FRAMES: tl.constexpr,
):  # fmt: skip
    b, n, c, t = _place(lengths, B, T, GIVEN, CHANNELS, FRAMES)
    channels = dz + b * C * L + (c * L)[:, None]
    last = (t + before) // STRIDE
    total = tl.zeros([CHANNELS, FRAMES], tl.float32)
    for i in range(0, (TAPS + STRIDE - 1) // STRIDE):
        l = last - i
        j = t + before - l * STRIDE
        # rows that begin behind the last real frame belong to nobody: they stay unread
        reads = (l >= 0) & (l < L) & (j < TAPS) & (t < n) & (l * STRIDE < n)
        share = tl.load(weights + j, mask=reads, other=0.0)
        share /= _divisor(sums, tl.where(reads, l, 0), n, before, TAPS, STRIDE)
        inside = (c < C)[:, None] & reads[None, :]
        at = channels + tl.max_contiguous(tl.minimum(last - i, L - 1), FRAMES)[None, :]
        total += tl.load(at, mask=inside, other=0.0).to(tl.float32) * share[None, :]
    row = T // ALIGNED * ALIGNED
    at = b * C * row + (c * row)[:, None] + t[None, :]
    tl.store(dx + at, total.to(dx.dtype.element_ty), mask=(c < C)[:, None] & (t < row)[None, :])


@triton.jit(do_not_specialize=["B", "C", "T", "L"])
def _largest_kernel(
    x, lengths, z, offsets, B, C, T, L,
    STRIDE: tl.constexpr, GIVEN: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    b, n, c, l = _place(lengths, B, T, GIVEN, CHANNELS, ROWS)
    channels = x + b * C * T + (c * T)[:, None]
    largest = tl.full([CHANNELS, ROWS], -float("inf"), tl.float32)
    offset = tl.zeros([CHANNELS, ROWS], tl.int32)
    for j in range(0, STRIDE):
        t = l * STRIDE + j
        inside = (c < C)[:, None] & (t < n)[None, :]
        at = channels + tl.max_contiguous(l * STRIDE + j, ROWS)[None, :]
        frames = tl.load(at, mask=inside, other=-float("inf")).to(tl.float32)
        larger = (frames > largest) | (frames != frames)  # what is not a number stays, as in torch
        largest = tl.where(larger, frames, largest)
        offset = tl.where(larger, j, offset)
    real = (l * STRIDE < n)[None, :]
    at = b * C * L + (c * L)[:, None] + l[None, :]
    stored = (c < C)[:, None] & (l < L)[None, :]
    tl.store(z + at, tl.where(real, largest, 0.0).to(z.dtype.element_ty), mask=stored)
    tl.store(offsets + at, offset.to(tl.int16), mask=stored)


@triton.jit(do_not_specialize=["B", "C", "T", "L"])
def _largest_backward_kernel(
    dz, offsets, lengths, dx, B, C, T, L,
    STRIDE: tl.constexpr, GIVEN: tl.constexpr, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    b, n, c, t = _place(lengths, B, T, GIVEN, CHANNELS, FRAMES)
    l = t // STRIDE
    at = b * C * L + (c * L)[:, None] + tl.max_contiguous(t // STRIDE, FRAMES)[None, :]
    inside = (c < C)[:, None] & (t < n)[None, :]
    chosen = tl.load(offsets + at, mask=inside, other=-1) == (t - l * STRIDE)[None, :]
    value = tl.where(chosen, tl.load(dz + at, mask=inside, other=0.0).to(tl.float32), 0.0)
    row = T // ALIGNED * ALIGNED
    to = b * C * row + (c * row)[:, None] + t[None, :]
    tl.store(dx + to, value.to(dx.dtype.element_ty), mask=(c < C)[:, None] & (t < row)[None, :])


def _cut(shape: torch.Size) -> tuple[tuple[int, int, int], int, int]:
    """Grid, channels and frames of tiles for the last axis of a tensor (B, C, T)."""
    B, C, T = shape
    frames = narrow(FRAMES, T)
    channels = narrow(NUMBERS // frames, C)
    return (B * blocks(T, frames), blocks(C, channels), 1), channels, frames


def mean_windows(
    x: Tensor, window: Window, stride: int, lengths: Tensor | None, width: int, dtype: torch.dtype
) -> Tensor:  # fmt: skip
    """(B, C, T), contiguous → (B, C, width) in `dtype`.

    Args:
        window: with at least one weight on frame l s, so that a row with a real frame there has a divisor.
        lengths: (B,) integers on the device; None: all T frames are real.
    """
    B, C, T = x.shape
    z = torch.empty(B, C, width, dtype=dtype, device=x.device)
    grid, channels, rows = _cut(z.shape)
    weights, sums, before = window
    launch(
        _mean_kernel, grid,
        (x, weights, sums, weights if lengths is None else lengths, z, before, B, C, T, width),
        (len(weights), stride, lengths is not None, channels, rows),
    )  # fmt: skip
    return z


def mean_windows_backward(
    dz: Tensor, window: Window, stride: int, lengths: Tensor | None, frames: int, dtype: torch.dtype
) -> Tensor:
    """Gradient (B, C, frames) of the signal in `dtype`; the rows behind an item's own are not read."""
    B, C, L = dz.shape
    dx = torch.empty(B, C, frames, dtype=dtype, device=dz.device)
    grid, channels, columns = _cut(dx.shape)
    weights, sums, before = window
    launch(
        _mean_backward_kernel, grid,
        (dz, weights, sums, weights if lengths is None else lengths, dx, before, B, C, frames, L),
        (len(weights), stride, lengths is not None, aligned(frames), channels, columns),
    )  # fmt: skip
    return dx


def largest_of_windows(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> tuple[Tensor, Tensor]:
    """(B, C, T), contiguous → (B, C, width), and the offset of each number in its window, (B, C, width) int16."""
    B, C, T = x.shape
    z = torch.empty(B, C, width, dtype=x.dtype, device=x.device)
    offsets = torch.empty(B, C, width, dtype=torch.int16, device=x.device)
    grid, channels, rows = _cut(z.shape)
    launch(
        _largest_kernel, grid, (x, x if lengths is None else lengths, z, offsets, B, C, T, width),
        (stride, lengths is not None, channels, rows),
    )  # fmt: skip
    return z, offsets


def largest_of_windows_backward(
    dz: Tensor, offsets: Tensor, stride: int, lengths: Tensor | None, frames: int
) -> Tensor:  # fmt: skip
    """Gradient (B, C, frames) of the signal; the rows behind an item's own are not read."""
    B, C, L = dz.shape
    dx = torch.empty(B, C, frames, dtype=dz.dtype, device=dz.device)
    grid, channels, columns = _cut(dx.shape)
    launch(
        _largest_backward_kernel, grid, (dz, offsets, offsets if lengths is None else lengths, dx, B, C, frames, L),
        (stride, lengths is not None, aligned(frames), channels, columns),
    )  # fmt: skip
    return dx
