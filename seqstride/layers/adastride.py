"""AdaStride: a stride that varies inside one recording, by vector positioning."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from seqstride.core.checks import check_channels, check_stride
from seqstride.core.full import NEGLIGIBLE
from seqstride.core.kernels import dispatch
from seqstride.core.lengths import Count, Frames, ceil_lengths, float64_on
from seqstride.core.plan import AlignPlan, Plan, PositionPlan, ScatterPlan, autocast_dtype
from seqstride.core.positions import place_frames
from seqstride.layers.base import Downsampler
from seqstride.layers.pace import Pace
from seqstride.layers.pooling import AvgPool1d
from seqstride.layers.scores import ChangeScore, ContextScore, FrameScore, Level, bounded_scores, soft_clamp
from seqstride.layers.softpool import Pooling, new_sharpness, softmax_pool
from seqstride.layers.stream import Stream

#: the scores there are
SCORERS = {"linear": FrameScore, "context": ContextScore, "change": ChangeScore}

#: of scores that are ours, unless another is asked for
BOUND = 16.0


class AdaStride1d(Downsampler):
    """AdaStride: (B, C, T) → (B, C, ceil(T / s)) at a fixed overall ratio s, spent where the content needs it.

    Every frame gets a score, the exponentials of the scores are steps on a line, and the line is cut into ceil(T / s)
    output frames: high-scoring stretches get more of them. The scores' weights start at zero, the uniform stride.

    The plan's `penalty` (mean excess of steps over one output frame) belongs in the loss, with weight 1 by default: it
    keeps output frames from standing in gaps, and bounded scores from running away. `nn.Sequential` has no place for
    it, so there it is lost; the encoders of this package add the penalties up.

    On CUDA the gradient reads the output again, as that of `tanh` does: torch refuses a backward pass if the output was
    changed in place, as `nn.ReLU(inplace=True)` does.

    Args:
        channels: C of the input.
        stride: s, overall ratio, real, ≥ 1; input frames per output frame.
        method: "matrix" (each output a softmax-weighted mean of the frames around it, exact) or "scatter"
            (AdaStride-F: each frame goes to the nearest output frame).
        sigma_square: σ², multiplies squared distances in the weights exp(−σ² (l − p)²); the trade-off between
            information loss (large) and blurring (small), and worth tuning.
        empty: for "scatter", output frames without a nearest input frame: "nearest" copies the input frame at the
            nearest position, "zero" leaves them 0 (the paper's method).
        scorer: "linear" (the paper's: wᵀx of every frame by itself), "context" (of the frames around, ours) or "change"
            (from the frame before to this one, ours): see `seqstride.layers.scores`.
        context: for "context", frames on either side that a score sees. A mean over more frames has less noise, and
            marks more of an event's surroundings.
        pooling: "mean", or "softmax": frames with large values weigh more in an output frame than the others around it,
            channel by channel (`seqstride.layers.softpool.softmax_pool`), with a learnt sharpness for each. An event
            of few frames then comes through where a mean would dilute it. The plan stays linear, and means are what
            it makes of other signals, such as the shortcut of a residual block.
        bound: a soft bound of local strides, which lie within s / bound … bound · s (`seqstride.layers.scores.
            soft_clamp`): scores that run away make all frames but a few stand in one place. None: 16, and no bound for
            "linear", which is the paper's. `math.inf`: no bound.

    Raises:
        ValueError: naming argument, value and rule.

    Source: AdaStride (ICLR 2023 submission), vector positioning; later TadaStride, official code. Ours: real s,
    positions in double precision, the scale of the scores, `empty="nearest"`, `scorer`, `pooling`, `bound`.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> layer = ss.AdaStride1d(64, stride=2.5)
        >>> x, lengths = torch.randn(2, 64, 100), torch.tensor([100, 73])
        >>> layer(x, lengths).shape
        torch.Size([2, 64, 40])
        >>> layer.plan(x, lengths).lengths
        tensor([40, 30])
    """

    stride: float
    channels: int
    adaptive = True
    half_under_autocast = True
    no_stream = None
    bins = "mean"
    along_frequency = AvgPool1d

    def __init__(
        self,
        channels: int,
        stride: float,
        *,
        method: Literal["matrix", "scatter"] = "matrix",
        sigma_square: float = 5.0,
        empty: Literal["nearest", "zero"] = "nearest",
        scorer: Literal["linear", "context", "change"] = "linear",
        context: int = 7,
        pooling: Pooling = "mean",
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.channels = check_channels(channels)
        self.stride = check_stride(stride)
        check_alignment(method, sigma_square, empty)
        if scorer not in SCORERS:
            raise ValueError(f"`scorer` (={scorer!r}) must be 'linear', 'context' or 'change'")
        if isinstance(context, bool) or not isinstance(context, int) or context < 0:
            raise ValueError(f"`context` (={context!r}) must be an integer of at least 0")
        if bound is not None and not (isinstance(bound, (int, float)) and bound > 1):
            raise ValueError(f"`bound` (={bound!r}) must be a number above 1, math.inf for none, or None")
        self.method, self.sigma_square, self.empty = method, float(sigma_square), empty
        self.scorer = scorer
        self.bound = float(bound) if bound is not None else math.inf if scorer == "linear" else BOUND
        self.score = ContextScore(channels, context) if scorer == "context" else SCORERS[scorer](channels)
        self.sharpness = new_sharpness(channels, pooling)
        self.beyond_plan = self.sharpness is not None
        self.input_macs = self.score.macs

    def stream(self, *, drift: float = 60.0) -> Stream:
        """As `Downsampler.stream`, with positions that do not need the end of the signal.

        The mean of the steps so far takes the place of that of all, and a control of the rate keeps |s·p_t − t| ≤
        `drift`, whatever the scores: the ratio of any 6000 frames (60 s at 100 per second) is s within 2 %. Constant
        scores give the uniform stride t / s exactly. The result is that of `seqstride.functional.align` (or
        `scatter_align`; with `pooling="softmax"` that of a quotient of two) at the stream's positions, which are not
        those of the whole signal: on speech, scored by trained models, the logarithms of the local strides correlate
        with those of the whole signal by 0.96 to 0.99.
        `seqstride.layers.pace` shows why the bound holds and what is given up; `AdaStrideStream` says when output
        frames are ready. Scores that see `context` frames behind their own are known as many frames later, and so is
        everything else; `positions`, `strides` and `times` are of the frames that were placed.

        Args:
            drift: D, input frames, at least 3: how far positions may run ahead of the line t / s, or fall behind. Any N
                input frames become N / s output frames within 2D / s: larger values leave the strides more freedom, and
                the ratio too. For 2 % over 60 s at another frame rate: 0.6 times that rate.

        Raises:
            ValueError: a `drift` below 3 or not finite.

        Source: ours.
        """
        if not 3 <= drift < float("inf"):
            raise ValueError(f"`drift` (={drift}) must be a finite number of input frames of at least 3")
        return AdaStrideStream(self, float(drift))

    def extra_repr(self) -> str:
        detail = f"method={self.method!r}, sigma_square={self.sigma_square:g}"
        if (self.scorer, self.bound) != ("linear", math.inf):
            detail += f", scorer={self.scorer!r}, bound={self.bound:g}"
        if self.sharpness is not None:
            detail += ", pooling='softmax'"
        return f"{self.channels}, {super().extra_repr()}, {detail}"

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        return ceil_lengths(lengths, self.stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        kernels = x.device.type in dispatch.DEVICES and dispatch.has_kernels(x)
        if kernels and self.scorer == "linear" and self.bound == math.inf and self.sharpness is None:
            return self._plan_by_kernels(x, frames)
        scores, source = self.score(x, frames.given)
        scores, excess = bounded_scores(scores, self.bound, frames)
        if kernels:
            from seqstride.core.kernels import nodes

            positions, penalty = nodes.positions_from_scores(scores, frames.given, frames.lengths)
        else:
            positions, penalty = place_frames(scores, frames)
        return self.plan_at(positions, frames, (penalty + excess).to(self.score.precision(x)), (x, source))

    def _plan_by_kernels(self, x: Tensor, frames: Frames) -> Plan:
        """The plan, with `x` resampled in it: one node of autograd, which reads the signal as few times as possible."""
        from seqstride.core.kernels import nodes

        empty = None if self.method == "matrix" else self.empty
        z, positions, penalty, _, rows = nodes.adastride(
            x, self.score.weight.view(-1), frames.given, self.stride, frames.output_width, self.sigma_square, empty,
            autocast_dtype(x),
        )  # fmt: skip
        plan = self.plan_at(positions, frames, penalty, (x, x))
        plan.keep(x, z, rows)
        return plan

    def plan_at(
        self, positions: Tensor, frames: Frames, penalty: Tensor, source: tuple[Tensor, Tensor]
    ) -> PositionPlan:
        """The plan with these positions (B, T); arguments as in `seqstride.core.plan.PositionPlan`."""
        if self.method == "matrix":
            return AlignPlan(frames, positions, penalty, source, self.sigma_square)
        return ScatterPlan(frames, positions, penalty, source, self.sigma_square, self.empty)

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        """As `Downsampler.pool`."""
        return softmax_pool(x, plan, self.sharpness)


def check_alignment(method: str, sigma_square: float, empty: str) -> None:
    """Raises a ValueError naming argument, value and rule for the arguments of an alignment."""
    if method not in ("matrix", "scatter"):
        raise ValueError(f"`method` (={method!r}) must be 'matrix' or 'scatter'")
    if not (sigma_square > 0 and sigma_square < float("inf")):
        raise ValueError(f"`sigma_square` (={sigma_square}) must be positive and finite")
    if empty not in ("nearest", "zero"):
        raise ValueError(f"`empty` (={empty!r}) must be 'nearest' or 'zero'")


class AdaStrideStream(Stream):
    """AdaStride with positions that do not need the end of the signal (`seqstride.layers.pace`).

    The scores are those of the layer, which depend on a frame and the `score.context` frames on either side: a frame
    is placed when so many more have arrived. A stream cannot see the whole signal, so running means replace the
    normalisation, and the level that bounded scores count from; `seqstride.layers.pace` says what this guarantees and
    what it gives up.

    Output frame l is ready once the position p of the newest frame has passed it so far that no later frame weighs
    anything in it (see `seqstride.core.align`): p > l + d + reach, where d is the distance of l to the nearest position
    and reach = √(22 / σ²), in float64 √(45 / σ²), and 1 for the scatter method. That is about s (reach + ½) input
    frames after the one that l stands for: 5 at s = 2 and σ² = 5 (50 ms at 100 frames per second; 17 at most on the
    speech of `seqstride.layers.pace`), and never more than s·reach + 2.2 D + 3, as p keeps within D / s of t / s. To
    that come the frames that a score looks ahead: 7 for "context", unless `context` says otherwise. The stream keeps
    at most twice as many frames.
    """

    layer: AdaStride1d

    def __init__(self, layer: AdaStride1d, drift: float) -> None:
        super().__init__(layer)
        self._drift = drift
        self._paces: list[Pace] = []
        self._levels: list[Level] = []
        self._line = torch.empty(0)  # (B, n) float64 on the CPU: positions of the frames that are kept

    def _place(self, x: Tensor) -> Tensor:
        context = self.layer.score.context
        before = self._before()
        signal = torch.cat([self._kept[..., self._kept.shape[2] - before - self._waiting :], x], 2)
        scores = self._scores(signal)
        if not scores.isfinite().all():
            wrong = ~signal.isfinite().all(1)
            wrong = wrong if wrong.any() else ~scores.isfinite()
            frame = self.input_frames - before - self._waiting + int(wrong.any(0).nonzero()[0])
            raise ValueError(f"`x` must have finite scores: a value of frame {frame} of the stream is NaN or infinite")
        return self._line_up(scores[:, before : max(before, scores.shape[1] - context)])

    def _place_rest(self) -> Tensor:
        before = self._before()
        signal = self._kept[..., self._kept.shape[2] - before - self._waiting :]
        return self._line_up(self._scores(signal)[:, before:]) if self._waiting else self.positions[:, :0]

    def _before(self) -> int:
        """How many of the placed frames the scores of the next ones read."""
        return min(self.layer.score.context, self.input_frames - self._waiting)

    def _scores(self, signal: Tensor) -> Tensor:
        # in double precision, so that sums in another order, as chunks of other sizes have them, do not tell
        scores: Tensor = self.layer.score(signal.to(float64_on(signal.device)))[0].cpu()
        return scores

    def _line_up(self, scores: Tensor) -> Tensor:
        """Positions of the frames with these scores, the next ones: (B, t) → (B, t)."""
        if not self._paces:
            self._paces = [Pace(self.layer.stride, self._drift) for _ in scores]
            self._levels = [Level() for _ in scores]
            self._line = torch.empty(len(scores), 0, dtype=torch.float64)
        if self.layer.bound < math.inf:
            centred = [level.take_off(item) for level, item in zip(self._levels, scores.tolist(), strict=True)]
            scores = soft_clamp(torch.tensor(centred, dtype=torch.float64), self.layer.bound)
        placed = [pace.place(item) for pace, item in zip(self._paces, scores.tolist(), strict=True)]
        positions = torch.tensor(placed, dtype=torch.float64)
        self._line = torch.cat([self._line, positions], 1)
        return positions.to(self._kept.device, float64_on(self._kept.device))

    def _rows(self) -> list[int]:
        """floor(p_T) + 1 of each item, rounded as in `seqstride.core.lengths.ceil_lengths`."""
        return [math.floor(round(p, 9)) + 1 for p in self._line[:, -1].tolist()]

    def _plan(self) -> tuple[Plan, int]:
        # nothing may round to a frame before the first: the scatter method would move it there
        row = min(self._ready, math.floor(float(self._line[:, 0].min())))
        placed = self._placed()
        batch, _, width = placed.shape
        device = placed.device
        rows = torch.tensor(self._rows(), device=device) - row
        frames = Frames(batch, width, int(rows.max()), device, output=rows)
        p = (self._line - row).to(device, float64_on(device))
        return self.layer.plan_at(p, frames, p.new_zeros(()), (placed, placed)), row

    def _reach(self) -> float:
        if self.layer.method == "scatter":
            return 1.0
        return math.sqrt(NEGLIGIBLE[torch.promote_types(self._kept.dtype, torch.float32)] / self.layer.sigma_square)

    def _nearest(self, rows: Tensor) -> Tensor:
        """The distance of output frames (N,) to the nearest position of each item: (B, N)."""
        p, rows = self._line, rows.to(torch.float64).expand(len(self._line), -1).contiguous()
        right = torch.searchsorted(p, rows).clamp(max=p.shape[1] - 1)
        left = (right - 1).clamp(min=0)
        return torch.minimum((rows - p.gather(1, left)).abs(), (p.gather(1, right) - rows).abs())

    def _settled(self) -> int:
        if self._line.shape[1] == 0:
            return self._ready
        reach, newest = self._reach(), self._line[:, -1:]
        rows = torch.arange(self._ready, max(self._ready, math.ceil(float(newest.min()) - reach)))
        if len(rows) == 0:
            return self._ready
        # l + d never falls, so the ready ones are the first of them
        passed = rows + self._nearest(rows) + reach < newest
        return self._ready + int(passed.sum(1).min())

    def _forget(self) -> int:
        # l − d never falls either: what the next output frame does not reach, no later one does. The frame before that
        # stays: it may turn out to be the nearest, and `times` reads it.
        if self._line.shape[1] == 0:
            return 0
        lowest = self._ready - self._nearest(torch.tensor([self._ready])) - self._reach()
        read = int(torch.searchsorted(self._line, lowest).min()) - 1
        # and the scores of the next frames read some
        frames = max(0, min(read, self._line.shape[1] - self.layer.score.context))
        self._line = self._line[:, frames:].clone()
        return frames

    def _last_lengths(self) -> Tensor:
        return torch.tensor(self._rows(), device=self.lengths.device)
