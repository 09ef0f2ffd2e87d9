"""Continuous integrate-and-fire: as many output frames as the weights of the frames sum to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_channels, check_stride
from seqstride.core.integrate import FirePlan, fired_lengths, quantity_penalty, running_sums
from seqstride.core.lengths import Frames, double, float64_on
from seqstride.core.plan import Plan
from seqstride.layers.base import Downsampler
from seqstride.layers.pooling import AvgPool1d
from seqstride.layers.scores import FrameScore
from seqstride.layers.stream import Stream

LEAST = -30.0
"""The logit of the smallest weight, 1e-13: an item whose weights are all 0 would have no mean."""


class CIF1d(Downsampler):
    """Continuous integrate-and-fire: (B, C, T) → (B, C, L), where L follows from the content of each item.

    Every frame gets a weight α_t = sigmoid(wᵀx_t + b + logit(1 / s)). Frames are added up, each with its weight, until
    the weights reach 1; then an output frame is fired, and a frame on the boundary is split between two. w and b start
    at 0, where all weights are 1 / s and the layer is average pooling. `seqstride.core.integrate` has the arithmetic
    and says what becomes of the tail. With stride 1 all weights are 1.

    The plan's `penalty`, |s · mean(α) − 1| over all real frames of the batch, belongs in the loss: it holds the mean
    ratio at s. It is a property of the batch, all else is one of the item.

    Args:
        channels: C of the input.
        stride: s, the mean ratio aimed at, real, ≥ 1; input frames per output frame.

    Raises:
        ValueError: naming argument, value and rule.

    Source: Dong and Xu 2020, "CIF: Continuous integrate-and-fire for end-to-end speech recognition", §3.2: the firing
    and the tail of at least ½. Ours: the score of a single frame, its start, the quantity loss as a ratio (the paper
    counts labels, and scales the weights to them in training), at least one output frame, the division of the tail with
    its gradient, sums in double precision.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> layer = ss.CIF1d(64, stride=2.5)
        >>> plan = layer.plan(torch.randn(2, 64, 100), torch.tensor([100, 73]))
        >>> plan.lengths  # at the start of training; later the content decides
        tensor([40, 29])
    """

    stride: float
    channels: int
    adaptive = True
    content_lengths = True
    half_under_autocast = True
    no_stream = None
    bins = "mean"
    along_frequency = AvgPool1d

    def __init__(self, channels: int, stride: float) -> None:
        super().__init__()
        self.channels, self.stride = check_channels(channels), check_stride(stride)
        self.score = FrameScore(channels)
        self.bias = nn.Parameter(torch.zeros(1))
        self.input_macs = self.score.weight.numel()

    def weights(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """α (B, T) in double precision where the device has it, 0 in the padding, and the signal (`FrameScore`)."""
        scores, source = self.score(x, lengths)
        start = math.inf if self.stride == 1 else -math.log(self.stride - 1)
        logits = scores + self.bias.to(scores.dtype) + double(start, scores.device).to(scores.dtype)
        return logits.clamp(min=LEAST).sigmoid(), source

    def stream(self) -> Stream:
        """As `Downsampler.stream`; the outputs, joined along time, are the layer's output of the whole signal."""
        return CIFStream(self)

    def extra_repr(self) -> str:
        return f"{self.channels}, {super().extra_repr()}"

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        weights, source = self.weights(x, frames.given)
        weights = weights.to(frames.dtype).masked_fill(~frames.real, 0.0)
        penalty = quantity_penalty(weights, frames, self.stride).to(self.score.precision(x))
        before, sums = running_sums(weights)
        frames = frames.ending(fired_lengths(sums[:, -1]))
        return FirePlan(frames, before, sums, penalty, (x, source))


class CIFStream(Stream):
    """CIF needs no frame behind the one that fires: an output frame is ready when the sum of the weights passes it.

    The stream keeps the frames since the last output frame, and one before them.
    """

    layer: CIF1d

    def __init__(self, layer: CIF1d) -> None:
        super().__init__(layer)
        self._before = self._sums = torch.empty(0)  # (B, n), of the kept frames

    def _place(self, x: Tensor) -> Tensor:
        precision = float64_on(x.device)
        # in double precision, so that sums in another order, as chunks of other sizes have them, do not tell
        weights = self.layer.weights(x.to(precision))[0]
        broken = (~weights.isfinite()).any(0)
        if broken.any():
            frame = self.input_frames + int(broken.nonzero()[0])
            raise ValueError(f"`x` must have finite scores: a value of frame {frame} of the stream is NaN")
        if self.input_frames == 0:
            self._before = self._sums = weights.new_empty(len(x), 0)
            start = weights.new_zeros(len(x), 1)
        else:
            start = self._sums[:, -1:]
        line = torch.cat([start, weights], 1).cumsum(1)
        self._before = torch.cat([self._before, line[:, :-1]], 1)
        self._sums = torch.cat([self._sums, line[:, 1:]], 1)
        return (line[:, :-1] + line[:, 1:]) / 2 - 0.5

    def _plan(self) -> tuple[Plan, int]:
        row = int(self._before[:, 0].min().floor())
        rows = fired_lengths(self._sums[:, -1]) - row
        frames = Frames(len(rows), self._kept.shape[2], 1, rows.device).ending(rows)
        before, sums = self._before - row, self._sums - row
        return FirePlan(frames, before, sums, sums.new_zeros(()), (self._kept, self._kept)), row

    def _settled(self) -> int:
        return max(self._ready, int(self._sums[:, -1].min().floor()))

    def _forget(self) -> int:
        # `times` reads the frame before
        frames = max(0, int((self._sums <= self._ready).sum(1).min()) - 1)
        self._before, self._sums = self._before[:, frames:].clone(), self._sums[:, frames:].clone()
        return frames

    def _last_lengths(self) -> Tensor:
        return fired_lengths(self._sums[:, -1])
