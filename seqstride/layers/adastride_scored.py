"""The scores of AdaStride layers whose overall ratio is no constant."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from seqstride.core.checks import check_channels
from seqstride.core.lengths import Frames
from seqstride.core.plan import AlignPlan, Plan, PositionPlan
from seqstride.layers.adastride import BOUND, SCORERS, check_alignment
from seqstride.layers.base import Downsampler
from seqstride.layers.pooling import AvgPool1d
from seqstride.layers.softpool import Pooling, new_sharpness, softmax_pool

Scorer = Literal["linear", "context", "change"]


class ScoredDownsampler(Downsampler):
    """What `AdaStrideRatio1d` and `AdaStrideContent1d` share with `AdaStride1d`: its scores and its matrix method."""

    channels: int
    adaptive = True
    half_under_autocast = True
    bins = "mean"
    along_frequency = AvgPool1d
    method = "matrix"

    def _score_by(self, channels: int, scorer: Scorer, sigma_square: float, pooling: Pooling) -> None:
        if scorer not in SCORERS:
            raise ValueError(f"`scorer` (={scorer!r}) must be 'linear', 'context' or 'change'")
        check_alignment("matrix", sigma_square, "nearest")
        self.channels, self.scorer, self.sigma_square = check_channels(channels), scorer, float(sigma_square)
        self.bound = math.inf if scorer == "linear" else BOUND
        self.score = SCORERS[scorer](channels)
        self.sharpness = new_sharpness(channels, pooling)
        self.beyond_plan = self.sharpness is not None
        self.input_macs = self.score.macs

    def plan_at(
        self, positions: Tensor, frames: Frames, penalty: Tensor, source: tuple[Tensor, Tensor]
    ) -> PositionPlan:
        """The plan with these positions (B, T); arguments as in `seqstride.core.plan.PositionPlan`."""
        return AlignPlan(frames, positions, penalty, source, self.sigma_square)

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        """As `Downsampler.pool`."""
        return softmax_pool(x, plan, self.sharpness)

    def extra_repr(self) -> str:
        detail = f"scorer={self.scorer!r}, sigma_square={self.sigma_square:g}"
        if self.sharpness is not None:
            detail += ", pooling='softmax'"
        return f"{self.channels}, {super().extra_repr()}, {detail}"
