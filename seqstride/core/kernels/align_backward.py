"""Gradients of the resampling for the signal and the positions.

With A_lt the weight of frame t in row l,

    dx_t = Σ_l A_lt dz_l,        dp_t = 2σ² Σ_l A_lt (l − p_t) Σ_c dz_cl (x_ct − z_cl).

In this form nothing cancels: where a frame has all of a row's weight, x − z is 0, and that is most of a long gap.

A program has a tile of frames of one item, and some blocks of channels. The rows that read a frame are a run: from the
first whose own run ends behind it to the last whose run starts at or before it. Every lane walks through the rows of
its frame. A frame at the edge of a gap is read by all rows of half the gap; where a tile has few frames of more than
`LONG` rows, all lanes work on one of them after the other for what is left.

With the scores' gradient ds, which is known once dp is, a second pass over the same rows gives all that is left:

    dx_t = Σ_l A_lt dz_l + w ds_t,        dw = Σ_bt ds_t x_t (a part per tile; they are summed afterwards).
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.align import Rows
from seqstride.core.kernels.launch import blocks, launch, narrow
from seqstride.core.kernels.runs import bits, count_both
from seqstride.core.kernels.scores import real_length

#: frames and channels of a tile, blocks of channels of a program, rows of a walk that are written out
FRAMES, CHANNELS, SPAN, UNROLL = 32, 32, 2, 2

#: rows that a lane walks through alone, and rows that all lanes take at a time of those behind them
LONG, TOGETHER = 32, 32


@triton.jit
def _reading_rows(runs, p, t, n, B, L, b):
    """Frames t (F,) at p: the rows [low, high) that read them. Most are next to p: look there first."""
    near = tl.minimum(tl.maximum(p, 0.0), (L - 1).to(tl.float64)).to(tl.int32)
    low = tl.maximum(near - 8, 0)
    high = tl.minimum(near + 8, L - 1)
    firsts = runs + b * L
    ends = runs + (B + b) * L
    low = tl.where(tl.load(ends + low) <= t, low, 0)
    high = tl.where(tl.load(firsts + high) > t, high, L)
    high = tl.where(t < n, high, low)
    steps = bits(tl.max(high - low, 0))
    return count_both(ends, low, high, t, firsts, low, high, t, steps, True)


@triton.jit
def _weights(anchors, runs, l, p, sigma_square, B, L, b, DP: tl.constexpr, SCATTER: tl.constexpr):
    """A of rows l for frames at p, and A (l − p), of one shape with l."""
    at = b * L + l
    v = l.to(tl.float64)
    d = v - tl.load(anchors + at)
    u = v - p
    weight = tl.exp((d * d - u * u).to(tl.float32) * sigma_square) * tl.load(anchors + B * L + at).to(tl.float32)
    moved = weight * u.to(tl.float32)
    if DP and SCATTER:
        # a copied frame, or one alone in its row, has weight 1 wherever it is
        moved = tl.where(tl.load(runs + B * L + at) - tl.load(runs + at) > 1, moved, 0.0)
    return weight, moved


@triton.jit
def _walk_rows(
    dz, z, rest, runs, anchors, frames, low, high, longest, p, sigma_square, c, C, L, B, b, item,
    REST: tl.constexpr, DX: tl.constexpr, DP: tl.constexpr, SCATTER: tl.constexpr, FRAMES: tl.constexpr,
    CHANNELS: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """dx and the summands of dp over channels, (CHANNELS, FRAMES), of the first `longest` rows of every frame.

    No masks, as in the forward: behind its rows a lane reads the last again, with weight 0.
    """
    last = tl.maximum(high - 1, 0)
    offset = item + (tl.minimum(c, C - 1) * L)[:, None]
    dx = tl.zeros([CHANNELS, FRAMES], tl.float32)
    dp = tl.zeros([CHANNELS, FRAMES], tl.float32)
    for j in range(0, longest, UNROLL):
        for i in tl.static_range(UNROLL):
            l = tl.minimum(low + (j + i), last)
            inside = (low + (j + i) < high) & (j + i < longest)
            weight, moved = _weights(anchors, runs, l, p, sigma_square, B, L, b, DP, SCATTER)
            at = offset + tl.max_contiguous(l, FRAMES)[None, :]  # a hint, as in the forward
            gradient = tl.load(dz + at).to(tl.float32)
            if DX:
                dx += gradient * tl.where(inside, weight, 0.0)[None, :]
            if DP:
                apart = frames - tl.load(z + at).to(tl.float32)
                if REST:
                    apart -= tl.load(rest + at).to(tl.float32)
                dp += gradient * tl.where(inside, moved, 0.0)[None, :] * apart
    return dx, dp


@triton.jit
def _sum_rows(
    dz, z, rest, runs, anchors, frame, low, high, p, sigma_square, c, C, L, B, b, item,
    REST: tl.constexpr, DX: tl.constexpr, DP: tl.constexpr, SCATTER: tl.constexpr, CHANNELS: tl.constexpr,
    TOGETHER: tl.constexpr,
):  # fmt: skip
    """As `_walk_rows`, of rows low … high − 1 of one frame (CHANNELS,): both (CHANNELS,)."""
    dx = tl.zeros([CHANNELS, TOGETHER], tl.float32)
    dp = tl.zeros([CHANNELS, TOGETHER], tl.float32)
    for l0 in range(low, high, TOGETHER):
        l = l0 + tl.arange(0, TOGETHER)
        weight, moved = _weights(anchors, runs, tl.minimum(l, high - 1), p, sigma_square, B, L, b, DP, SCATTER)
        at = item + (c * L)[:, None] + l[None, :]
        mask = (c < C)[:, None] & (l < high)[None, :]
        gradient = tl.load(dz + at, mask=mask, other=0.0).to(tl.float32)
        if DX:
            dx += gradient * weight[None, :]
        if DP:
            apart = frame[:, None] - tl.load(z + at, mask=mask, other=0.0).to(tl.float32)
            if REST:
                apart -= tl.load(rest + at, mask=mask, other=0.0).to(tl.float32)
            dp += gradient * moved[None, :] * apart
    return tl.sum(dx, 1), tl.sum(dp, 1)


@triton.jit
def _at(values, lanes, lane):
    """The number in one lane."""
    return tl.sum(tl.where(lanes == lane, values, 0), 0)


@triton.jit(do_not_specialize=["B", "C", "T", "L", "tiles"])
def _align_backward_kernel(
    dz, x, z, rest, positions, weight, dscores, given_dp, lengths, runs, anchors, dx, dp, sums, parts, sigma_square,
    B, C, T, L, tiles,
    GIVEN: tl.constexpr, REST: tl.constexpr, DX: tl.constexpr, DP: tl.constexpr, MORE: tl.constexpr,
    SCORE: tl.constexpr, SCATTER: tl.constexpr, FRAMES: tl.constexpr, CHANNELS: tl.constexpr, SPAN: tl.constexpr,
    UNROLL: tl.constexpr, LONG: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0)
    split = tl.program_id(1)
    b = tl.program_id(2)
    n = real_length(lengths, b, T, GIVEN)
    lanes = tl.arange(0, FRAMES)
    t = k * FRAMES + lanes
    real = t < n
    p = tl.load(positions + b.to(tl.int64) * T + t, mask=real, other=0.0)
    low, high = _reading_rows(runs, p, t, n, B, L, b)
    longest = tl.max(high - low, 0)
    # a step of all lanes together takes as long as some two of a walk; where most frames are read by many rows, walk
    together = tl.sum(tl.maximum(high - low - LONG + TOGETHER - 1, 0) // TOGETHER, 0)
    walked = tl.where(LONG + 2 * together < longest, LONG, longest)
    if SCORE:
        ds = tl.load(dscores + b * T + t, mask=real, other=0.0)
    out_item = b.to(tl.int64) * C * L
    sum_dp = tl.zeros([FRAMES], tl.float32)
    for c0 in range(split * SPAN * CHANNELS, tl.minimum((split + 1) * SPAN * CHANNELS, C), CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        at = b.to(tl.int64) * C * T + (c * T)[:, None] + t[None, :]
        frames = tl.zeros([CHANNELS, FRAMES], tl.float32)
        if DP or SCORE:
            frames = tl.load(x + at, mask=(c < C)[:, None] & real[None, :], other=0.0).to(tl.float32)
        sum_dx, dp_c = _walk_rows(
            dz, z, rest, runs, anchors, frames, low, high, walked, p, sigma_square, c, C, L, B, b,
            out_item, REST, DX, DP, SCATTER, FRAMES, CHANNELS, UNROLL,
        )  # fmt: skip
        if walked < longest:
            lane = tl.min(tl.where(high - low > LONG, lanes, FRAMES), 0)
            while lane < FRAMES:
                frame = tl.sum(tl.where((lanes == lane)[None, :], frames, 0.0), 1)
                more_dx, more_dp = _sum_rows(
                    dz, z, rest, runs, anchors, frame, _at(low, lanes, lane) + LONG, _at(high, lanes, lane),
                    _at(p, lanes, lane), sigma_square, c, C, L, B, b, out_item, REST, DX, DP, SCATTER, CHANNELS,
                    TOGETHER,
                )  # fmt: skip
                sum_dx += tl.where((lanes == lane)[None, :], more_dx[:, None], 0.0)
                dp_c += tl.where((lanes == lane)[None, :], more_dp[:, None], 0.0)
                lane = tl.min(tl.where((high - low > LONG) & (lanes > lane), lanes, FRAMES), 0)
        if DP:
            sum_dp += tl.sum(tl.where((c < C)[:, None], dp_c, 0.0), 0)
        if SCORE:
            w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
            sum_dx += w[:, None] * ds[None, :]
            at_part = c.to(tl.int64) * tl.num_programs(2) * tiles + b * tiles + k
            tl.store(parts + at_part, tl.sum(frames * ds[None, :], 1), mask=c < C)
        if DX:
            value = tl.where(real[None, :], sum_dx, 0.0).to(dx.dtype.element_ty)
            tl.store(dx + at, value, mask=(c < C)[:, None] & (t < T)[None, :])
    if DP:
        value = (sum_dp * 2.0).to(tl.float64) * sigma_square
        if MORE and (split == 0):
            value += tl.load(given_dp + b * T + t, mask=real, other=0.0)
        value = tl.where(real, value, 0.0)
        tl.store(dp + (split * B + b) * T + t, value, mask=t < T)
        store = sums + 2 * ((split * B + b) * tiles + k)
        tl.store(store, tl.sum(value, 0))
        tl.store(store + 1, tl.sum(value * p, 0))


class Gradients(NamedTuple):
    """Of an alignment; None where it was not wanted.

    dx: (B, C, T).
    dp: (S, B, T) float64, to be summed over its S parts; sums (S, B, K, 2): Σ dp and Σ dp · p of its tiles of `FRAMES`.
    dw: (C, N) float32, to be summed over its N parts.
    """

    dx: Tensor | None
    dp: Tensor | None
    sums: Tensor | None
    dw: Tensor | None


def align_backward(
    dz: Tensor,
    x: Tensor,
    z: Tensor,
    rest: Tensor | None,
    positions: Tensor,
    lengths: Tensor | None,
    rows: Rows,
    sigma_square: float,
    empty: str | None = None,
    *,
    want_dx: bool = True,
    want_dp: bool = True,
    more_dp: Tensor | None = None,
    score: tuple[Tensor, Tensor] | None = None,
) -> Gradients:
    """Gradients of `align_forward`, from what it was given and gave; all tensors contiguous.

    Args:
        dz: (B, C, L); what stands behind an item's own output length is not read.
        more_dp: (B, T) float64, a gradient of the positions from elsewhere, to be added.
        score: weight (C,) and gradient (B, T) float32 of the scores; dx then has w ⊗ ds in it, and dw is given, too.
    """
    B, C, T = x.shape
    L = z.shape[2]
    device = x.device
    channels = narrow(CHANNELS, C)
    tiles, splits = blocks(T, FRAMES), blocks(C, channels * SPAN)
    none = rows.anchors  # any pointer: it is not used
    dx = torch.empty_like(x) if want_dx else None
    dp = torch.empty(splits, B, T, dtype=torch.float64, device=device) if want_dp else None
    sums = torch.empty(splits, B, tiles, 2, dtype=torch.float64, device=device) if want_dp else None
    dw = torch.empty(C, B * tiles, dtype=torch.float32, device=device) if score is not None else None
    launch(
        _align_backward_kernel, (tiles, splits, B),
        (
            dz, x, z, z if rest is None else rest, positions, *(score or (none, none)),
            none if more_dp is None else more_dp, none if lengths is None else lengths, *rows,
            x if dx is None else dx, none if dp is None else dp, none if sums is None else sums,
            none if dw is None else dw, sigma_square, B, C, T, L, tiles,
        ),
        (
            lengths is not None, want_dp and rest is not None, want_dx, want_dp, want_dp and more_dp is not None,
            score is not None, empty is not None, FRAMES, channels, SPAN, UNROLL, LONG, TOGETHER,
        ),
    )  # fmt: skip
    return Gradients(dx, dp, sums, dw)
