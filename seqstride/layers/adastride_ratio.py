"""AdaStride whose overall ratio is learnt: one for the layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqstride.core.derivatives import straight_through
from seqstride.core.lengths import TIE, Count, Frames, double
from seqstride.core.plan import Plan
from seqstride.core.positions import gap_penalty_from_positions, shares_from_scores
from seqstride.core.spectral_window import clamp_inward
from seqstride.layers.adastride_scored import ScoredDownsampler, Scorer
from seqstride.layers.learnt import Learnt
from seqstride.layers.scores import bounded_scores
from seqstride.layers.softpool import Pooling


class AdaStrideRatio1d(ScoredDownsampler, Learnt):
    """AdaStride with a learnt overall ratio: (B, C, T) → (B, C, ceil(T / S)), S learnt by gradient descent.

    Scores give every frame its share of the way, as in `AdaStride1d`: p_t = c_t / c_T · (T / S − 1). The length of the
    way is a real number, so that S has a gradient, dp_t / dS = −c_t / c_T · T / S²: through the positions it sees what
    the loss gains where frames stand further apart. Only the number of output frames, L = ceil(T / S), is rounded; the
    last of them stands at most one behind the last position. `seqstride.complexity` is what makes S larger.

    For an item of T ≤ S frames the way is 0, with the gradient straight through. The gradient of the batch is blocked
    where it would move S further out of 1 … the longest item; so it is a property of the batch.

    The plan's `penalty` is that of `AdaStride1d`.

    Args:
        channels: C of the input.
        stride: S at the start, real, ≥ 1; input frames per output frame.
        scorer, sigma_square, pooling: as in `AdaStride1d`.
        learnable: False keeps S.

    Raises:
        ValueError: naming argument, value and rule.

    Source: ours, after AdaStride (ICLR 2023 submission) and DiffStride (Riad et al. 2022).

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> layer = ss.AdaStrideRatio1d(64, stride=2.5)
        >>> layer(torch.randn(2, 64, 100)).shape
        torch.Size([2, 64, 40])
        >>> price = ss.complexity([layer])  # 1 / S
    """

    no_stream = "it learns its ratio on whole signals (an `AdaStride1d` of the learnt stride and scores streams)"

    def __init__(
        self,
        channels: int,
        stride: float,
        *,
        scorer: Scorer = "linear",
        sigma_square: float = 5.0,
        pooling: Pooling = "mean",
        learnable: bool = True,
    ) -> None:
        super().__init__(stride, learnable=learnable)
        self._score_by(channels, scorer, sigma_square, pooling)

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        number: float = torch.sym_max(self._number(stride), 1.0)  # type: ignore[assignment]
        if isinstance(lengths, Tensor):
            return (lengths / double(number, lengths.device) - TIE).ceil().long().clamp(min=1)
        return torch.sym_max(1, math.ceil(lengths / number - TIE))  # type: ignore[return-value]

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        scores, source = self.score(x, frames.given)
        scores, excess = bounded_scores(scores, self.bound, frames)
        positions = shares_from_scores(scores, frames) * self._way(frames)[:, None]
        penalty = gap_penalty_from_positions(positions, frames.input_lengths, frames.real) + excess
        return self.plan_at(positions, frames, penalty.to(self.score.precision(x)), (x, source))

    def _way(self, frames: Frames) -> Tensor:
        """T / S − 1 of each item, at least 0: (B,)."""
        value = self.stride_parameter.to(frames.dtype)
        one = torch.ones_like(value)
        inward = clamp_inward(value, one, frames.input_lengths.amax() * one)
        way = frames.input_lengths / straight_through(value.clamp(min=1.0), inward) - 1
        return straight_through(way.clamp(min=0.0), way)
