"""Frames → grid, and grid → frames (steps 1 and 5 of `regrid`).

Place o of `n_out` is next to place i of `n_in` by the distance, in grid steps,

    (o' n_in − i' n_out) / 2n,    o' = 2o, i' = 2i (DFT),    o' = 2o + 1, i' = 2i + 1 (DCT),

where n is the number of frames, whichever of the two has them. Numerators are whole numbers, so distances do not lose
digits however long an item is. Places beyond the ends wrap around (DFT) or are reflected (DCT) within the item.

For the DCT, points of the grid are stored in the order 0, 2, 4, …, 5, 3, 1 of their places on the half circle (Makhoul
1980): that is m ↦ 2π(m + ¼) / N around the whole circle.

Dimension 0 of a tile is time. Gathers are marked as contiguous along it, which is a hint and not the truth: lanes go
along time, not channels. Loads stay one number wide, as nothing is known to be aligned; so do stores, because lanes
that own four neighbours each would gather from four times as many lines at once.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels import regrid
from seqstride.core.kernels.launch import blocks, launch

TAPS = tl.constexpr(regrid.TAPS)
DEGREE = tl.constexpr(regrid.DEGREE)
POLYNOMIAL = tl.constexpr(regrid.POLYNOMIAL)

#: columns of `windows`: of a signal before and behind the crop
FRAMES, OUTPUT = 0, 3

#: places and channels of a program
PLACES, CHANNELS = 256, 8


@triton.jit
def _psi(u):
    v = 1.0 - u * u * (8.0 / (TAPS * TAPS))
    s = tl.zeros_like(u) + POLYNOMIAL[0]
    for k in tl.static_range(1, DEGREE + 1):
        s = s * v + POLYNOMIAL[k]
    return tl.where(v >= -1.0, s, 0.0)


@triton.jit
def _first_place(o, n_in, n_out, n, DCT: tl.constexpr):
    """The first place i (it may be negative) within TAPS / 2 grid steps of o, and the numerator of its distance."""
    odd = 1 if DCT else 0
    below = 2 * n_out.to(tl.int64)
    top = (2 * o + odd).to(tl.int64) * n_in
    least = top - n.to(tl.int64) * TAPS - odd * n_out
    # ⌈least / below⌉; n_in · below more make it positive, as integers are divided towards zero
    i = (least + below * n_in + below - 1) // below - n_in
    numerator = top - (2 * i + odd) * n_out
    return i.to(tl.int32), numerator.to(tl.int32)


@triton.jit
def _inside(i, n, DCT: tl.constexpr, PLACES: tl.constexpr):
    if DCT:
        i = tl.where(i < 0, -1 - i, i)
        i = tl.where(i >= n, 2 * n - 1 - i, i)
    else:
        i = tl.where(i < 0, i + n, i)
        i = tl.where(i >= n, i - n, i)
    return tl.max_contiguous(i, PLACES)


@triton.jit(do_not_specialize=["column", "C", "T", "N"])
def _spread_kernel(
    windows, x, grid, column, C, T, N,
    DCT: tl.constexpr, PLACES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    m = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    n = tl.load(windows + 4 * b + column).to(tl.int32)
    o = tl.minimum(m, N - 1)
    if DCT:
        o = tl.minimum(2 * o, 2 * (N - 1 - o) + 1)
    first, numerator = _first_place(o, n, N + n * 0, n, DCT)
    unit = 0.5 / n.to(tl.float32)
    line = b.to(tl.int64) * C + c
    row = x + line * T
    there = (c < C) & (m < N)[:, None]
    sums = tl.zeros([PLACES, CHANNELS], tl.float32)
    for k in range((n * TAPS) // N + 1):
        weight = _psi((numerator - 2 * k * N).to(tl.float32) * unit)
        i = _inside(first + k, n, DCT, PLACES)
        sums += tl.load(row + i[:, None], mask=there, other=0.0).to(tl.float32) * weight[:, None]
    tl.store(grid + line * N + m[:, None], sums, mask=there)


@triton.jit(do_not_specialize=["column", "C", "L", "N"])
def _read_kernel(
    windows, grid, y, column, C, L, N,
    DCT: tl.constexpr, PLACES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    l = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    n = tl.load(windows + 4 * b + column).to(tl.int32)
    first, numerator = _first_place(tl.minimum(l, n - 1), N + n * 0, n, n, DCT)
    unit = 0.5 / n.to(tl.float32)
    line = b.to(tl.int64) * C + c
    row = grid + line * N
    there = (c < C) & (l < n)[:, None]
    sums = tl.zeros([PLACES, CHANNELS], tl.float32)
    for k in range(TAPS):
        weight = _psi((numerator - 2 * k * n).to(tl.float32) * unit)
        m = _inside(first + k, N, DCT, PLACES)
        if DCT:
            m = tl.max_contiguous(tl.where(m % 2 == 0, m // 2, N - 1 - m // 2), PLACES)
        sums += tl.load(row + m[:, None], mask=there, other=0.0) * weight[:, None]
    tl.store(y + line * L + l[:, None], sums.to(y.dtype.element_ty), mask=(c < C) & (l < L)[:, None])


def _tile(places: int, channels: int) -> tuple[int, int]:
    return PLACES, min(CHANNELS, 1 << (channels - 1).bit_length())


def spread(x: Tensor, windows: Tensor, size: int, column: int, dct: bool) -> Tensor:
    """(B, C, T), contiguous → the grid (B, C, size), float32."""
    B, C, T = x.shape
    grid = torch.empty(B, C, size, dtype=torch.float32, device=x.device)
    places, channels = _tile(size, C)
    launch(
        _spread_kernel, (blocks(size, places), blocks(C, channels), B), (windows, x, grid, column, C, T, size),
        (dct, places, channels),
    )  # fmt: skip
    return grid


def read(grid: Tensor, windows: Tensor, width: int, column: int, dct: bool, dtype: torch.dtype) -> Tensor:
    """The grid (B, C, N) → frames (B, C, width) in `dtype`, 0 behind an item's own."""
    B, C, size = grid.shape
    y = torch.empty(B, C, width, dtype=dtype, device=grid.device)
    places, channels = _tile(width, C)
    launch(
        _read_kernel, (blocks(width, places), blocks(C, channels), B), (windows, grid, y, column, C, width, size),
        (dct, places, channels),
    )  # fmt: skip
    return y
