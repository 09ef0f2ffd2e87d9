"""Runs of the scatter method (AdaStride-F): the input frames that round to an output frame.

Frame t goes to row d_t = floor(p_t + ½), held within 0 … L − 1, with a weight that is the softmax of −σ² (d_t − p_t)²
over the frames of its row: the matrix method, but for the runs. So the same kernels resample by both, and only look at
other runs here. Rows that no frame rounds to stay 0, or copy the frame at the nearest position (NEAREST).
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

from seqstride.core.kernels.runs import count_below


@triton.jit
def _count_rounded(positions, low, high, row, steps):
    """How many frames round to a row before `row`: `nearest_output` in sorted positions, without its bounds."""
    for _ in range(steps):
        open = low < high
        middle = (low + high) // 2
        # 1e-9 keeps the halves of a uniform grid together on the upper side
        below = open & (tl.load(positions + middle, mask=open, other=0.0) + 0.5 + 1e-9 < row)
        high = tl.where(below, high, middle)
        low = tl.where(below, middle + 1, low)
    return low


@triton.jit
def bin_runs(positions, l, n, rows, steps, NEAREST: tl.constexpr):
    """Rows l (R,) of one item of n frames: first, behind, and the position nearest to l among the row's own."""
    none = l * 0
    all = none + n
    v = l.to(tl.float64)
    first = tl.where(l == 0, 0, _count_rounded(positions, none, all, v, steps))
    behind = tl.where(l >= rows - 1, n, _count_rounded(positions, none, all, v + 1, steps))
    if NEAREST:
        vacant = first == behind
        before = tl.maximum(first - 1, 0)
        after = tl.minimum(first, n - 1)
        left_nearer = tl.abs(v - tl.load(positions + before)) <= tl.abs(tl.load(positions + after) - v)
        source = tl.where(left_nearer, before, after)
        first = tl.where(vacant, source, first)
        behind = tl.where(vacant, source + 1, behind)
    # the first frame of the row at or behind l, or the one before it
    right = count_below(positions, first, behind, v, steps)
    lowest = tl.minimum(first, n - 1)
    highest = tl.maximum(behind - 1, lowest)
    p_before = tl.load(positions + tl.minimum(tl.maximum(right - 1, lowest), highest))
    p_after = tl.load(positions + tl.minimum(tl.maximum(right, lowest), highest))
    nearest = tl.where(tl.abs(v - p_before) <= tl.abs(p_after - v), p_before, p_after)
    return first, behind, nearest
