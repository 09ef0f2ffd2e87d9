"""Resampling: z_l = Σ_t A_lt x_t, with A_lt = exp(σ² (d_l² − (l − p_t)²)) / s_l over the run of row l.

d_l is the distance of l to the nearest position: the largest weight of a row is 1 before it is divided by the sum s_l,
wherever the row stands. Differences of squares are taken in double precision, because in a long gap both are large and
nearly equal; all that follows is in single precision.

A program has a tile of rows and channels of one item. In single precision every lane walks through its own row's run,
so that only entries of the band are computed. In half precision the program goes through all frames that its rows read,
a block at a time, with a matrix product: tensor cores take that precision as it is (`dot_exact`).

The backward needs each row's run, nearest position and 1 / s_l. In half precision it needs z in two parts: rounded, and
what rounding took off (`rest`). The gradient of a position sums A (l − p) (x − z) over rows; in a gap of g rows l − p
reaches g, and what rounding leaves of x − z would count g times.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import os
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import aligned, blocks, launch, narrow
from seqstride.core.kernels.runs import NEGLIGIBLE, band_runs
from seqstride.core.kernels.scatter import bin_runs
from seqstride.core.kernels.scores import real_length

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


class Tile(NamedTuple):
    """How the work is cut: rows, channels and warps of a program, and whether lanes walk through their rows' runs."""

    rows: int
    channels: int
    warps: int
    walk: bool


#: the fastest of some twenty on an H100 and an H200, for signals (8, 256, 4000) and (64, 512, 1600) at stride 2
SINGLE = Tile(rows=32, channels=64, warps=4, walk=True)
HALF = Tile(rows=32, channels=128, warps=8, walk=False)

#: frames of a block of a matrix product, and steps of a walk that are written out
FRAMES, UNROLL = 32, 2


class Rows(NamedTuple):
    """Of the rows of a batch (B, L), for the backward, and for other signals at the same positions.

    runs: (2, B, L) int32, first frame of the row's run, and the first one behind it.
    anchors: (2, B, L) float64, nearest position, and 1 / s (0 where a row reads nothing).
    """

    runs: Tensor
    anchors: Tensor


@triton.jit
def _product(a, b, sums):
    if INTERPRETED:  # numpy has no bfloat16, and the interpreter multiplies its bits
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, sums)


@triton.jit
def dot_exact(a, b, sums):
    """sums + a b, with a in half precision, and b, in single precision, in two parts of a's dtype."""
    b_high = b.to(a.dtype)
    sums = _product(a, (b - b_high.to(tl.float32)).to(a.dtype), sums)
    return _product(a, b_high, sums)


@triton.jit
def _find_rows(
    positions, l, n, rows, reach_square, steps, SCATTER: tl.constexpr, NEAREST: tl.constexpr,
):  # fmt: skip
    if SCATTER:
        first, behind, nearest = bin_runs(positions, l, n, rows, steps, NEAREST)
    else:
        first, behind, nearest = band_runs(positions, l, n, reach_square, steps)
    real = l < rows
    return tl.where(real, first, n), tl.where(real, behind, n), tl.where(real, nearest, l.to(tl.float64))


@triton.jit
def _walk(x, positions, l, n, first, behind, nearest, longest, c, C, row, sigma_square,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Σ e x (CHANNELS, ROWS) and Σ e (ROWS,), every lane along its row's run.

    No masks: behind its run a lane reads the run's last frame again, with weight 0, and a channel too many reads the
    last one's.
    """
    channels = x + (tl.minimum(c, C - 1) * row)[:, None]
    last = tl.maximum(tl.minimum(behind, n) - 1, 0)
    v = l.to(tl.float64)
    d = v - nearest
    square = d * d
    sums = tl.zeros([CHANNELS, ROWS], tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for j in range(0, longest, UNROLL):
        for i in tl.static_range(UNROLL):
            t = tl.minimum(first + (j + i), last)
            # a hint, not the truth: lanes go along rows, not channels. Loads stay one number wide, as nothing is known
            # to be aligned
            frames = tl.load(channels + tl.max_contiguous(t, ROWS)[None, :])
            u = v - tl.load(positions + t)
            logit = (square - u * u).to(tl.float32) * sigma_square
            e = tl.exp(tl.where(first + (j + i) < behind, logit, -float("inf")))
            sums += frames.to(tl.float32) * e[None, :]
            total += e
    return sums, total


@triton.jit
def _add_block(
    sums, total, x, positions, l, nearest, first, behind, c, C, row, t0, n, sigma_square,
    FRAMES: tl.constexpr, MASKED: tl.constexpr, SCATTER: tl.constexpr,
):  # fmt: skip
    """Adds a block of frames: weights (FRAMES, ROWS), and their product with the signal."""
    t = t0 + tl.arange(0, FRAMES)
    real = t < n
    if MASKED:
        p = tl.load(positions + t, mask=real, other=float("inf"))
        inside = (c < C)[:, None] & real[None, :]
    else:
        p = tl.load(positions + t)
        inside = (c < C)[:, None]
    frames = tl.load(x + (c * row)[:, None] + t[None, :], mask=inside, other=0.0)
    v = l.to(tl.float64)
    d = v - nearest
    u = v[None, :] - p[:, None]
    logit = ((d * d)[None, :] - u * u).to(tl.float32) * sigma_square
    if SCATTER:
        logit = tl.where((t[:, None] >= first[None, :]) & (t[:, None] < behind[None, :]), logit, -float("inf"))
    e = tl.exp(logit)
    return dot_exact(frames, e, sums), total + e


@triton.jit
def _multiply(
    x, positions, l, n, rows, first, behind, nearest, c, C, row, sigma_square,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr, SCATTER: tl.constexpr,
):  # fmt: skip
    """As `_walk`, by matrix products over all frames from the first to the last that the rows read."""
    start = tl.min(first, 0) // 16 * 16
    stop = tl.max(tl.where(l < rows, behind, 0), 0)
    # the blocks that end before n go without a mask along t, which would keep the loads from being wide
    full = tl.minimum(tl.maximum(stop - start + FRAMES - 1, 0) // FRAMES, (n - start) // FRAMES)
    sums = tl.zeros([CHANNELS, ROWS], tl.float32)
    total = tl.zeros([FRAMES, ROWS], tl.float32)
    for i in range(0, full):
        t0 = tl.multiple_of(start + i * FRAMES, 16)
        sums, total = _add_block(
            sums, total, x, positions, l, nearest, first, behind, c, C, row, t0, n, sigma_square, FRAMES, False, SCATTER
        )
    for t0 in range(start + full * FRAMES, stop, FRAMES):
        sums, total = _add_block(
            sums, total, x, positions, l, nearest, first, behind, c, C, row, t0, n, sigma_square, FRAMES, True, SCATTER
        )
    return sums, tl.sum(total, 0)


@triton.jit
def _store_rows(at, value, l, c, C, L, ROWS: tl.constexpr):
    if tl.program_id(0) * ROWS + ROWS <= L:
        tl.store(at, value, mask=(c < C)[:, None])
    else:
        tl.store(at, value, mask=(c < C)[:, None] & (l < L)[None, :])


@triton.jit(do_not_specialize=["steps", "B", "C", "T", "L", "parts"])
def _align_kernel(
    x, positions, lengths, output_lengths, runs, anchors, z, rest, gaps, penalty, sigma_square, reach_square, steps,
    B, C, T, L, parts,
    GIVEN: tl.constexpr, REST: tl.constexpr, FIND: tl.constexpr, SCATTER: tl.constexpr, NEAREST: tl.constexpr,
    PENALTY: tl.constexpr, WALK: tl.constexpr, ALIGNED_T: tl.constexpr, ALIGNED_L: tl.constexpr,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2)
    n = real_length(lengths, b, T, GIVEN)
    rows = tl.load(output_lengths + b).to(tl.int32)
    if PENALTY and (tl.program_id(0) + tl.program_id(1) + b == 0):  # here, to save a launch
        gap = tl.zeros([512], tl.float64)
        for i in range(0, parts, 512):
            j = i + tl.arange(0, 512)
            gap += tl.load(gaps + j, mask=j < parts, other=0.0)
        tl.store(penalty, tl.sum(gap, 0).to(tl.float32))
    l = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    place = b.to(tl.int64) * T + positions
    at = b * L + l
    if FIND:
        first, behind, nearest = _find_rows(place, l, n, rows, reach_square, steps, SCATTER, NEAREST)
    else:
        first = tl.load(runs + at, mask=l < L, other=0)
        behind = tl.load(runs + B * L + at, mask=l < L, other=0)
        nearest = tl.load(anchors + at, mask=l < L, other=0.0)
        first = tl.where(l < L, first, n)
        behind = tl.where(l < L, behind, n)
        nearest = tl.where(l < L, nearest, l.to(tl.float64))
    row = T // ALIGNED_T * ALIGNED_T
    item = x + b.to(tl.int64) * C * row
    if WALK:
        longest = tl.max(behind - first, 0)
        sums, total = _walk(
            item, place, l, n, first, behind, nearest, longest, c, C, row, sigma_square, ROWS, CHANNELS, UNROLL
        )
    else:
        sums, total = _multiply(
            item, place, l, n, rows, first, behind, nearest, c, C, row, sigma_square, ROWS, CHANNELS, FRAMES, SCATTER
        )
    read = (l < rows) & (total != 0.0)
    inverse = tl.where(read, 1.0 / tl.where(read, total, 1.0), 0.0)
    mean = tl.where(read[None, :], sums * inverse[None, :], 0.0)
    out_row = L // ALIGNED_L * ALIGNED_L
    out = b.to(tl.int64) * C * out_row + (c * out_row)[:, None] + l[None, :]
    rounded = mean.to(z.dtype.element_ty)
    _store_rows(z + out, rounded, l, c, C, L, ROWS)
    if REST:
        _store_rows(rest + out, (mean - rounded.to(tl.float32)).to(z.dtype.element_ty), l, c, C, L, ROWS)
    if FIND and (tl.program_id(1) == 0):
        tl.store(runs + at, first, mask=l < L)
        tl.store(runs + B * L + at, behind, mask=l < L)
        tl.store(anchors + at, nearest, mask=l < L)
        tl.store(anchors + B * L + at, inverse.to(tl.float64), mask=l < L)


def align_forward(
    x: Tensor,
    positions: Tensor,
    lengths: Tensor | None,
    output_lengths: Tensor,
    width: int,
    sigma_square: float,
    empty: str | None = None,
    *,
    dtype: torch.dtype | None = None,
    rows: Rows | None = None,
    keep_rest: bool = False,
    gaps: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Rows, Tensor | None]:
    """(B, C, T) → (B, C, width), contiguous.

    Args:
        x: contiguous, of a dtype in `DTYPES`.
        positions: (B, T) float64, contiguous, sorted over an item's real frames.
        lengths: (B,) integers on the device; None: all T frames are real.
        output_lengths: (B,) int64, each in 1 … width.
        empty: None for the matrix method; "nearest" or "zero" for the scatter method.
        dtype: of z; that of `x` by default.
        rows: of an earlier call with the same positions, lengths, width, σ² and `empty`.
        keep_rest: whether the positions will need a gradient.
        gaps: of `place_frames`, if the penalty is wanted.

    Returns:
        z; its rest, or None where z is in single precision or nobody wants it; rows; the penalty, 0-d float32, or None.
    """
    B, C, T = x.shape
    device = x.device
    z = torch.empty(B, C, width, dtype=dtype or x.dtype, device=device)
    rest = torch.empty_like(z) if keep_rest and z.dtype != torch.float32 else None
    given = rows is not None
    if rows is None:
        rows = Rows(
            torch.empty(2, B, width, dtype=torch.int32, device=device),
            torch.empty(2, B, width, dtype=torch.float64, device=device),
        )
    penalty = None if gaps is None else torch.empty((), dtype=torch.float32, device=device)
    tile = SINGLE if x.dtype == torch.float32 else HALF
    channels = narrow(tile.channels, C)
    # in a walk neighbouring lanes must have neighbouring rows; wide stores would give every lane four of them
    rows_of = (1, 1) if tile.walk else (aligned(T), aligned(width))
    launch(
        _align_kernel, (blocks(width, tile.rows), blocks(C, channels), B),
        (
            x, positions, output_lengths if lengths is None else lengths, output_lengths, *rows, z,
            z if rest is None else rest, positions if gaps is None else gaps, z if penalty is None else penalty,
            sigma_square, NEGLIGIBLE / sigma_square, T.bit_length(), B, C, T, width,
            0 if gaps is None else gaps.numel() // 2,
        ),
        (
            lengths is not None, rest is not None, not given, empty is not None, empty == "nearest", gaps is not None,
            tile.walk, *rows_of, tile.rows, channels, FRAMES, UNROLL,
        ),
        warps=tile.warps,
    )  # fmt: skip
    return z, rest, rows, penalty
