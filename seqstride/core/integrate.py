"""Continuous integrate-and-fire: frames are poured into output frames of one unit each.

Frame t has a weight α_t in (0, 1]. With c_t the sum of the weights so far, it covers c_{t−1} … c_t of a line, and
output frame l covers l … l + 1. A frame gives to each output frame what it covers of it, so z_l = Σ_t |overlap| · x_t,
and the overlaps of one output frame sum to 1. As α_t ≤ 1, a frame reaches two output frames at most.

The tail behind the last whole unit is an output frame of its own if it is at least ½, divided by what it has; a smaller
one is dropped. An item has at least one output frame. So L = max(1, floor(c_T + ½)).

The middle of what a frame covers is its place: p_t = (c_{t−1} + c_t) / 2 − ½ counts from the middle of output frame 0.
With α = 1 / s this is average pooling and its positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seqstride.core.align import sum_frames
from seqstride.core.lengths import TIE, Frames, double
from seqstride.core.plan import PositionPlan


def fired_lengths(total: Tensor) -> Tensor:
    """max(1, floor(c_T + ½)): (B,) → (B,) int64; sums that are a half but for rounding count as one."""
    return (total.detach() + double(0.5 + TIE, total.device)).floor().long().clamp(min=1)


class FirePlan(PositionPlan):
    """A plan from the running sum of weights.

    Args:
        sums: c, (B, T), in double precision where the device has it; it stays the same in the padding.
        before: c_{t−1}, (B, T).
        penalty, source: as in `PositionPlan`.
    """

    def __init__(
        self, frames: Frames, before: Tensor, sums: Tensor, penalty: Tensor, source: tuple[Tensor, Tensor]
    ) -> None:
        positions = ((before + sums) / 2 - 0.5).masked_fill(~frames.real, 0.0)
        super().__init__(frames, positions, penalty, source)
        self.before, self.sums = before, sums

    def align(self, x: Tensor) -> Tensor:
        first = self.before.detach().floor()
        # not floor(c_t): a frame of weight 1 may end beyond the second by rounding
        behind = (self.sums - (first + 1)).relu()
        own = self.sums - self.before - behind
        last = self.frames.lengths[:, None] - 1
        # the last output frame has 1 or, as the tail, less
        filled = (self.sums[:, -1:] - last).clamp(max=1.0)
        z = None
        for rows, shares in ((first, own), (first + 1, behind)):
            shares = torch.where(rows == last, shares / filled, shares).masked_fill(rows > last, 0.0)
            # rows of an item with NaN must be sorted, or it would spoil the others
            part = sum_frames(x, shares, rows.nan_to_num(nan=2.0**40), self.frames)
            z = part if z is None else z + part
        assert z is not None
        return z


def running_sums(weights: Tensor) -> tuple[Tensor, Tensor]:
    """c_{t−1} and c_t: (B, T) → (B, T) each."""
    sums = weights.cumsum(1)
    return F.pad(sums[:, :-1], (1, 0)), sums


def quantity_penalty(weights: Tensor, frames: Frames, stride: float) -> Tensor:
    """|s · mean(α) − 1|, 0-d: how far the mean over all real frames of the batch is from 1 / s, relative to it.

    Over the batch and not per item, so that one item may have more output frames than another.
    """
    mean = weights.sum() / frames.input_lengths.sum()
    return (mean * stride - 1).abs()
