"""AdaStride whose ratio follows from the content: every item has its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_stride
from seqstride.core.lengths import TIE, Frames, double, float64_on
from seqstride.core.plan import Plan
from seqstride.layers.adastride import AdaStrideStream
from seqstride.layers.adastride_scored import ScoredDownsampler, Scorer
from seqstride.layers.annealing import stairs
from seqstride.layers.scores import LevelledScore, soft_clamp
from seqstride.layers.softpool import Pooling
from seqstride.layers.stream import Stream

#: of `AdaStrideContent1d`: the odds of a step lie between 1/64 and 64 times those of the uniform stride
CONTENT_BOUND = 4096.0

#: δ of the penalty: near the target it is a parabola, and its gradient does not jump with every batch
SOFT = 0.2


class AdaStrideContent1d(ScoredDownsampler):
    """AdaStride with a ratio that follows from the content: (B, C, T) → (B, C, L), L from the signal of each item.

    Every frame has a step a_t = sigmoid(score_t + b + logit(1 / s)) in (0, 1], and positions are their running sum:
    p_1 = 0, p_t = p_{t−1} + a_t, L = floor(p_T) + 1. So an item without content gets few output frames, and a dense
    one many; in `AdaStride1d` steps are relative to those of the same item, and every item gets its T / s. No step is
    longer than one output frame, so that none stands in a gap. Scores and b start at 0, the uniform stride s. With
    s = 1 all steps are 1.

    The plan's `penalty`, √(e² + δ²) − δ with e = s · mean(a) − 1 over all steps of the batch, belongs in the loss: it
    holds the mean ratio at s. It is over the batch and not per item, so that items may differ: a property of the batch,
    all else is one of the item. Beyond δ its slope is that of |e|, so that the mean stays near s as long as the loss
    gains less than the penalty costs; nearer to the target it falls, so that it does not jump from batch to batch.

    With `scorer="context"` the layer adapts far: its scores are counted from their mean over the training so far
    (`seqstride.layers.scores.LevelledScore`), and steps may lie 64 times below and above the mean. Where s is large, a
    uniform start misses what is short, and nothing tells the scores where it is. With `start`, and `seqstride.anneal`
    in the training loop, the layer aims at that ratio first, and goes to s later in the training. The README of
    `recipes/Synthetic/bursts` says what it reaches.

    Args:
        channels: C of the input.
        stride: s, the mean ratio aimed at, real, ≥ 1; input frames per output frame.
        scorer, sigma_square, pooling: as in `AdaStride1d`.
        start: the ratio aimed at when the training begins, above 1; None, and where s is smaller: s.

    Raises:
        ValueError: naming argument, value and rule.

    Source: ours, after AdaStride (ICLR 2023 submission); the penalty after the quantity loss of CIF (Dong and Xu 2020)
    and the ratio loss of H-Net (Hwang et al. 2025).

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> layer = ss.AdaStrideContent1d(64, stride=2.5)
        >>> plan = layer.plan(torch.randn(2, 64, 100), torch.tensor([100, 73]))
        >>> plan.lengths  # at the start of training; later the content decides
        tensor([40, 29])
    """

    stride: float
    start_share: float
    """1 where the layer aims at `start`, 0 where it aims at its stride; `anneal` sets it, and training reads it."""
    content_lengths = True
    no_stream = None

    def __init__(
        self,
        channels: int,
        stride: float,
        *,
        scorer: Scorer = "linear",
        sigma_square: float = 5.0,
        pooling: Pooling = "mean",
        start: float | None = None,
    ) -> None:
        super().__init__()
        self.stride = check_stride(stride)
        if start is not None and not 1 < start < math.inf:
            raise ValueError(f"`start` (={start}) must be a number above 1, or None")
        self.start = self.stride if start is None else min(float(start), self.stride)
        self.start_share = 0.0
        self._score_by(channels, scorer, sigma_square, pooling)
        if scorer == "context":
            self.score, self.bound = LevelledScore(channels), CONTENT_BOUND
        self.bias = nn.Parameter(torch.zeros(1))

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        scores, source = self.score(x, frames.given)
        steps = self._steps(scores, frames)
        penalty = self._penalty(steps, frames)
        positions = steps.cumsum(1)
        last = positions[:, -1:]
        # an item with NaN is NaN everywhere
        positions = torch.where(last.isnan(), last, positions).masked_fill(~frames.real, 0.0)
        frames = frames.ending((last.detach()[:, 0] + TIE).floor().long().clamp(min=0) + 1)
        return self.plan_at(positions, frames, penalty.to(self.score.precision(x)), (x, source))

    def stream(self) -> Stream:
        """As `Downsampler.stream`: positions need no later frame, so the result is that of the whole signal."""
        return ContentStream(self)

    def aim(self) -> float:
        """The mean ratio aimed at: `stride`, or early in a training something between it and `start`."""
        return self.stride * (self.start / self.stride) ** self._start_share

    def expected_length(self, frames: Tensor) -> Tensor:
        """n divided by the ratio aimed at, which is smaller early in a training with a `start`."""
        return frames / self.aim()

    def anneal(self, progress: float) -> None:
        """Sets the ratio aimed at for this point of the training.

        It is `start` for 5/16 of the steps, because the scores must have found the content before frames get rare. Then
        it goes on by eight equal factors, and is the stride from 3/4 on.
        """
        self.start_share = stairs(progress, begin=0.25, end=0.75, steps=8) if self.start < self.stride else 0.0

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", start={self.start:g}" if self.start < self.stride else "")

    @property
    def _start_share(self) -> float:
        return self.start_share if self.training else 0.0

    def _penalty(self, steps: Tensor, frames: Frames) -> Tensor:
        """√(e² + δ²) − δ with e = s · mean(a) − 1; an item of one frame has no step."""
        count = (frames.input_lengths - 1).sum()
        excess = (steps.sum() * self.aim() - count) / count.clamp(min=1)
        return (excess.square() + SOFT**2).sqrt() - SOFT

    def _steps(self, scores: Tensor, frames: Frames) -> Tensor:
        """a (B, T), 0 for the first frame and in the padding."""
        real = frames.real.clone()
        real[:, 0] = False
        return self.steps(scores).to(frames.dtype).masked_fill(~real, 0.0)

    def steps(self, scores: Tensor) -> Tensor:
        """a, of the same shape: how far each frame stands behind the one before, in output frames."""
        # while frames are many, a score of the wrong sign must not take all of them from the content: the bound to this
        # power, which is 16 at the start. Neither it nor the aim is a constant of a graph, which then serves all stairs
        power = 1 - self._start_share * 2 / 3
        uniform = -double(self.aim() - 1, scores.device).log()  # without end where all steps are 1
        logits = power * soft_clamp(scores / power, self.bound) + self.bias.to(scores) + uniform.to(scores.dtype)
        return logits.sigmoid()


class ContentStream(AdaStrideStream):
    """As `AdaStrideStream`, with the positions of the whole signal: the running sum of the steps."""

    layer: AdaStrideContent1d  # type: ignore[assignment]

    def __init__(self, layer: AdaStrideContent1d) -> None:
        super().__init__(layer, math.inf)  # type: ignore[arg-type]
        self._sum: Tensor | None = None  # (B, 1), the newest position

    def _line_up(self, scores: Tensor) -> Tensor:
        steps = self.layer.steps(scores).detach()
        if self._sum is None and steps.shape[1]:
            steps[:, 0] = 0.0
            self._line = steps.new_empty(len(steps), 0)
        start = steps.new_zeros(len(steps), 1) if self._sum is None else self._sum
        positions = torch.cat([start, steps], 1).cumsum(1)[:, 1:]
        if steps.shape[1]:
            self._sum = positions[:, -1:]
        self._line = torch.cat([self._line, positions], 1)
        return positions.to(self._kept.device, float64_on(self._kept.device))
