"""Segments: runs of neighbouring frames, each of which becomes one output frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seqstride.core.align import sum_frames
from seqstride.core.lengths import Frames, float64_on, zero_padding
from seqstride.core.plan import Plan

FINE = 1e9
"""Similarities and probabilities are compared in whole multiples of 1 / FINE, so that rounding breaks no tie."""

SCAN = (1, 2, 4, 8, 16, 32)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """cos(a_t, b_{t−1}) in double precision where the device has it: (B, C, T) each → (B, T), 0 for t = 0.

    Two frames of zeros are alike, with a cosine of 1; one beside another frame has 0 with it.
    """
    dtype = float64_on(a.device)
    alike = a is b
    a = a.to(dtype)
    b = a if alike else b.to(dtype)
    norms = torch.linalg.vector_norm(a, dim=1)
    others = norms if alike else torch.linalg.vector_norm(b, dim=1)
    norms, others = norms[:, 1:], others[:, :-1]
    product = norms * others
    cosine = (a[..., 1:] * b[..., :-1]).sum(1) / torch.where(product == 0, 1.0, product)
    return F.pad(torch.where((norms == 0) & (others == 0), 1.0, cosine), (1, 0))


class SegmentPlan(Plan):
    """A plan from the first frames of segments. The frames of segment l are spread evenly over l − ½ … l + ½.

    Args:
        rows: (B, T) int64, the segment of each frame; anything from 0 to L − 1 in the padding.
    """

    def __init__(self, frames: Frames, rows: Tensor, penalty: Tensor) -> None:
        super().__init__(frames, penalty)
        self.rows = rows
        counts = rows.new_zeros(frames.batch, frames.output_width)
        self.counts = counts.scatter_add(1, rows, frames.real.long())

    @property
    def starts(self) -> Tensor:
        """(B, L) int64: the first frame of every segment."""
        return self.counts.cumsum(1) - self.counts

    @property
    def positions(self) -> Tensor:
        t = torch.arange(self.frames.width, device=self.rows.device)
        inside = (t - self.starts.gather(1, self.rows)).to(self.frames.dtype) + 0.5
        p = self.rows - 0.5 + inside / self.counts.gather(1, self.rows).clamp(min=1)
        return p.masked_fill(~self.frames.real, 0.0)


def segment_rows(starts: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
    """(B, T) bool, True where a segment starts → the segment of each frame (B, T) and their number (B,), at least 1.

    The first frame of an item starts one.
    """
    counts = (starts & frames.real).cumsum(1).clamp(min=1)
    return counts - 1, counts[:, -1]


class MeanPlan(SegmentPlan):
    """Each output frame is the mean of its segment."""

    def resample(self, x: Tensor) -> Tensor:
        share = 1.0 / self.counts.clamp(min=1).to(self.frames.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return sum_frames(x, share.gather(1, self.rows), self.rows, self.frames)


class BoundaryPlan(SegmentPlan):
    """Each output frame is the first frame of its segment (H-Net's chunks).

    The boundary probability P_l of the frame gets a gradient straight through: z_l = x · P_l, with P_l counted as 1.

    Args:
        probabilities: p, (B, T), of a boundary; 1 for the first frame, ½ or more where a segment starts.
        rows, penalty: as in `SegmentPlan`.
    """

    def __init__(self, frames: Frames, probabilities: Tensor, rows: Tensor, penalty: Tensor) -> None:
        super().__init__(frames, rows, penalty)
        self.probabilities = probabilities
        self.inside = torch.arange(frames.width, device=rows.device) != self.starts.gather(1, rows)

    def _at_starts(self, values: Tensor) -> Tensor:
        """(B, C, T) → (B, C, L), anything behind an item's last segment."""
        last = self.frames.width - 1
        at = self.starts.clamp(max=last)[:, None].expand(-1, values.shape[1], -1)
        return values.gather(2, at)

    def resample(self, x: Tensor) -> Tensor:
        factors = straight_through(self._at_starts(self.probabilities[:, None]))
        return zero_padding(self._at_starts(x), self.lengths) * factors.to(x.dtype)

    def smooth(self, z: Tensor) -> Tensor:
        """z̄_l = P_l z_l + (1 − P_l) z̄_{l−1}: (B, C, L) → (B, C, L), in float32 at least.

        As 1 − P_l ≤ ½, what stands 64 output frames back weighs less than 2⁻⁶⁴, and six doublings compute the rest:
        behind each, z̄_l is the sum over twice as many output frames, and a_l what the one before them weighs.
        """
        weights = self._at_starts(self.probabilities[:, None]).to(torch.promote_types(z.dtype, torch.float32))
        # the number of output frames follows from the signal and may be 1
        y, rest = weights * z, 1.0 - weights
        for step in SCAN:
            y = y + rest * F.pad(y, (step, 0))[..., : y.shape[2]]
            rest = rest * F.pad(rest, (step, 0))[..., : rest.shape[2]]
        return y

    def expand(self, z: Tensor) -> Tensor:
        """The way back, H-Net's dechunking: smoothed output frames, each repeated over its segment.

        A frame's confidence c_t, p_t at a boundary and 1 − p_t elsewhere, gets a gradient straight through: it counts
        as a factor of 1. (B, C, L) → (B, C, T).

        Raises:
            ValueError: as `Plan.expand`.
        """
        self.check_output(z)
        smoothed = self.smooth(z).gather(2, self.rows[:, None].expand(-1, z.shape[1], -1))
        confidence = torch.where(self.inside, 1.0 - self.probabilities, self.probabilities)
        y = smoothed * straight_through(confidence)[:, None].to(smoothed.dtype)
        return y.masked_fill(~self.frames.real[:, None], 0.0).to(z.dtype)


def straight_through(values: Tensor) -> Tensor:
    """1 with the gradient of `values`."""
    return 1.0 + (values - values.detach())


def ratio_penalty(probabilities: Tensor, rows: Tensor, frames: Frames, stride: float) -> Tensor:
    """N / (N − 1) · ((N − 1) F G + (1 − F)(1 − G)), 0-d, with N = s > 1: H-Net's ratio loss.

    F is the share of the real frames of the batch that start a segment, G the mean of their probabilities (B, T). It
    is 1 where both are 1 / N.
    """
    count = frames.input_lengths.sum().to(probabilities.dtype)
    share = (rows[:, -1] + 1).sum() / count
    mean = probabilities.masked_fill(~frames.real, 0.0).sum() / count
    return stride / (stride - 1) * ((stride - 1) * share * mean + (1 - share) * (1 - mean))
