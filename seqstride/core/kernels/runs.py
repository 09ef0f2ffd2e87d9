"""Runs of the matrix method: the input frames whose weight in an output frame is not negligible.

Output frame l weighs input frame t by softmax_t(−σ² (l − p_t)²). With d the distance of l to the nearest position, a
frame at distance u has e^(−σ² (u² − d²)) of the nearest one's weight: below e^(−NEGLIGIBLE) outside

    |l − p_t| ≤ √(d² + NEGLIGIBLE / σ²).

Positions are sorted, so these frames are a run [first, behind). d changes by at most 1 from l to l + 1, and so does the
root: both ends of the runs move forward with l, in gaps, too, where the runs get shorter the farther away positions
are. Rows behind an item's last one have the empty run [n, n).
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

#: −log of the weight, relative to the nearest position's, that is left out: 3e-10, nothing in single precision
NEGLIGIBLE = 22.0


@triton.jit
def bits(size):
    """Steps of a binary search in `size` numbers."""
    steps = 0
    while size > 0:
        size = size // 2
        steps += 1
    return steps


@triton.jit
def count_below(sorted, low, high, value, steps):
    """low + how many of sorted[low:high] are < value, in every lane."""
    for _ in range(steps):
        open = low < high
        middle = (low + high) // 2
        below = open & (tl.load(sorted + middle, mask=open, other=0) < value)
        high = tl.where(below, high, middle)
        low = tl.where(below, middle + 1, low)
    return low


@triton.jit
def count_both(a, low_a, high_a, value_a, b, low_b, high_b, value_b, steps, UPTO_A: tl.constexpr):
    """Two searches side by side: of a for < value_a (UPTO_A: ≤ value_a), and of b for ≤ value_b."""
    for _ in range(steps):
        open_a = low_a < high_a
        open_b = low_b < high_b
        middle_a = (low_a + high_a) // 2
        middle_b = (low_b + high_b) // 2
        found_a = tl.load(a + middle_a, mask=open_a, other=0)
        found_b = tl.load(b + middle_b, mask=open_b, other=0)
        below_a = open_a & (found_a <= value_a) if UPTO_A else open_a & (found_a < value_a)
        below_b = open_b & (found_b <= value_b)
        high_a = tl.where(below_a, high_a, middle_a)
        high_b = tl.where(below_b, high_b, middle_b)
        low_a = tl.where(below_a, middle_a + 1, low_a)
        low_b = tl.where(below_b, middle_b + 1, low_b)
    return low_a, low_b


@triton.jit
def band_runs(positions, l, n, reach_square, steps):
    """Rows l (R,) of one item of n frames: first, behind, and the position nearest to l.

    Args:
        reach_square: NEGLIGIBLE / σ².
        steps: of a binary search in n frames.
    """
    v = l.to(tl.float64)
    right = count_below(positions, l * 0, l * 0 + n, v, steps)
    before = tl.maximum(right - 1, 0)
    after = tl.minimum(right, n - 1)
    p_before = tl.load(positions + before)
    p_after = tl.load(positions + after)
    left_nearer = tl.abs(v - p_before) <= tl.abs(p_after - v)
    nearest = tl.where(left_nearer, p_before, p_after)
    place = tl.where(left_nearer, before, after)
    d = v - nearest
    reach = tl.sqrt(d * d + reach_square)
    # most runs end within 32 frames of the nearest position: look there first
    low = tl.maximum(right - 32, 0)
    high = tl.minimum(right + 32, n - 1)
    low = tl.where(tl.load(positions + low) < v - reach, low, 0)
    high = tl.where(tl.load(positions + high) > v + reach, high, n)
    steps = bits(tl.max(tl.maximum(right - low, high - right), 0))
    first, behind = count_both(positions, low, right, v - reach, positions, right, high, v + reach, steps, False)
    # rounding, and positions that are not numbers, must not leave the nearest frame out
    return tl.minimum(first, place), tl.maximum(behind, place + 1), nearest
