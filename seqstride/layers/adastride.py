"""AdaStride: a stride that varies inside one recording, by vector positioning."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from seqstride.core.checks import check_channels, check_stride
from seqstride.core.lengths import Frames, ceil_length
from seqstride.core.plan import AlignPlan, Plan, ScatterPlan
from seqstride.core.positions import gap_penalty_from_positions, positions_from_scores
from seqstride.layers.base import Downsampler
from seqstride.layers.frame_score import FrameScore
from seqstride.layers.stream import AdaStrideStream, Stream


class AdaStride1d(Downsampler):
    """AdaStride: (B, C, T) → (B, C, ceil(T / s)) at a fixed overall ratio s, spent where the content needs it.

    Every frame gets a score, the exponentials of the scores are steps on a line, and the line is cut into ceil(T / s)
    output frames: high-scoring stretches get more of them. The scores' weights start at zero, the uniform stride.

    The plan's `penalty` (mean excess of steps over one output frame) belongs in the loss, with weight 1 by default: it
    keeps output frames from standing in gaps. `nn.Sequential` has no place for it, so there it is lost; the encoders
    of this package add the penalties up.

    Args:
        channels: C of the input.
        stride: s, overall ratio, real, ≥ 1; input frames per output frame.
        method: "matrix" (each output a softmax-weighted mean of the frames around it, exact) or "scatter"
            (AdaStride-F: each frame goes to the nearest output frame).
        sigma_square: σ², multiplies squared distances in the weights exp(−σ² (l − p)²); the trade-off between
            information loss (large) and blurring (small), and worth tuning.
        empty: for "scatter", output frames that no input frame is nearest to: "nearest" copies the input frame at the
            nearest position, "zero" leaves them 0 (the paper's method).

    Raises:
        ValueError: naming argument, value and rule.

    Source: AdaStride (ICLR 2023 submission), vector positioning; later TadaStride, official code. Ours: real s,
    positions in double precision, the scale of the scores, `empty="nearest"`.
    """

    stride: float
    channels: int

    def __init__(
        self,
        channels: int,
        stride: float,
        *,
        method: Literal["matrix", "scatter"] = "matrix",
        sigma_square: float = 5.0,
        empty: Literal["nearest", "zero"] = "nearest",
    ) -> None:
        super().__init__()
        self.channels = check_channels(channels)
        self.stride = check_stride(stride)
        check_alignment(method, sigma_square, empty)
        self.method, self.sigma_square, self.empty = method, float(sigma_square), empty
        self.score = FrameScore(channels)
        self.input_macs = self.score.weight.numel()

    def stream(self, *, drift: float = 60.0) -> Stream:
        """As `Downsampler.stream`, with positions that do not need the end of the signal.

        The mean of the steps so far takes the place of that of all, and a control of the rate keeps |s·p_t − t| ≤
        `drift`, whatever the scores: the ratio of any 6000 frames (60 s at 100 per second) is s within 2 %. Constant
        scores give the uniform stride t / s exactly. The result is that of `seqstride.functional.align` (or
        `scatter_align`) at the stream's positions, which are not those of the whole signal: on speech, scored by
        trained models, the logarithms of the local strides correlate with those of the whole signal by 0.96 to 0.99.
        What is given up, and why the bound holds: `seqstride.layers.pace`; when output frames are ready:
        `seqstride.layers.stream.AdaStrideStream`.

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
        return f"{self.channels}, {super().extra_repr()}, {detail}"

    def _output_length(self, length: int, stride: float) -> int:
        return ceil_length(length, self.stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        scores, source = self.score(x, frames.host_input)
        p = positions_from_scores(scores, frames.lengths, frames.input_lengths)
        penalty = gap_penalty_from_positions(p, frames.input_lengths).to(scores.dtype)
        return self.plan_at(p, frames, penalty, (x, source))

    def plan_at(self, positions: Tensor, frames: Frames, penalty: Tensor, source: tuple[Tensor, Tensor]) -> Plan:
        """The plan with these positions (B, T); arguments as in `seqstride.core.plan.PositionPlan`."""
        if self.method == "matrix":
            return AlignPlan(frames, positions, penalty, source, self.sigma_square)
        return ScatterPlan(frames, positions, penalty, source, self.sigma_square, self.empty)


def check_alignment(method: str, sigma_square: float, empty: str) -> None:
    """Raises a ValueError naming argument, value and rule for the arguments of an alignment."""
    if method not in ("matrix", "scatter"):
        raise ValueError(f"`method` (={method!r}) must be 'matrix' or 'scatter'")
    if not (sigma_square > 0 and sigma_square < float("inf")):
        raise ValueError(f"`sigma_square` (={sigma_square}) must be positive and finite")
    if empty not in ("nearest", "zero"):
        raise ValueError(f"`empty` (={empty!r}) must be 'nearest' or 'zero'")
