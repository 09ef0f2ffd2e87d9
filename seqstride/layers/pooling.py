"""The methods a user has today, behind the same plan: strided convolution and fixed pooling."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.checks import check_channels, check_stride
from seqstride.core.lengths import Frames, length_mask, zero_padding
from seqstride.core.plan import IdentityPlan, Plan, UniformPlan
from seqstride.layers.base import Downsampler
from seqstride.layers.stream import PoolStream, Stream

Kind = Literal["strided", "average", "max", "blur"]


def average_pool(x: Tensor, stride: int, lengths: Tensor, width: int) -> Tensor:
    """Mean over windows of `stride` frames, the last one over its real frames; (B, C, T) zero-padded → (B, C, L)."""
    y = F.avg_pool1d(F.pad(x, (0, width * stride - x.shape[-1])), stride)
    start = torch.arange(width, device=x.device) * stride
    real = (lengths[:, None] - start).clamp(0, stride)
    return y * (stride / real.clamp(min=1).to(y.dtype))[:, None]


def blur_kernel(stride: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Binomial kernel of 2s − 1 taps with sum 1; s = 2: [1, 2, 1] / 4. By logarithms: a long one must not overflow."""
    n = 2 * stride - 2
    scale = math.lgamma(n + 1) - n * math.log(2.0)
    taps = [math.exp(scale - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(n + 1)]
    return torch.tensor(taps, dtype=dtype, device=device)


def blur_pool(x: Tensor, stride: int, lengths: Tensor, width: int) -> Tensor:
    """Binomial kernel centred on frames 0, s, 2s, …, renormalised over real frames; (B, C, T) → (B, C, L)."""
    batch, channels, frames = x.shape
    kernel = blur_kernel(stride, x.dtype, x.device)[None, None]
    y = F.conv1d(x.reshape(batch * channels, 1, frames), kernel, stride=stride, padding=stride - 1)
    real = length_mask(lengths, frames)[:, None].to(x.dtype)
    weight = F.conv1d(real, kernel, stride=stride, padding=stride - 1)[..., :width]
    return y.view(batch, channels, -1)[..., :width] / weight.masked_fill(weight == 0, 1.0)


class PoolPlan(UniformPlan):
    """Windows of a fixed integer stride.

    `strided` and `blur` stand on frames 0, s, 2s, …: p_t = t / s; `average` and `max` on the middle of their windows:
    p_t = (t + ½) / s − ½.
    """

    def __init__(self, frames: Frames, kind: Kind, stride: int, like: Tensor) -> None:
        batch = len(frames.host_input)
        offset = 0.0 if kind in ("strided", "blur") else 0.5 / stride - 0.5
        super().__init__(frames, [1.0 / stride] * batch, [offset] * batch, like)
        self.kind, self.stride = kind, stride

    def resample(self, x: Tensor) -> Tensor:
        frames, width = self.frames, self.frames.output_width
        if frames.padded:
            x = zero_padding(x, frames.input_lengths)[..., : max(frames.host_input)]
        if self.kind == "max":
            if frames.padded:
                x = x.masked_fill(~length_mask(frames.input_lengths, x.shape[-1])[:, None], -math.inf)
            y = F.max_pool1d(x, self.stride, ceil_mode=True) if x.shape[-1] > self.stride else x.amax(-1, keepdim=True)
        elif self.kind == "average":
            whole = not frames.padded and x.shape[-1] % self.stride == 0
            y = F.avg_pool1d(x, self.stride) if whole else average_pool(x, self.stride, frames.input_lengths, width)
        elif self.kind == "blur":
            y = blur_pool(x, self.stride, frames.input_lengths, width)
        else:
            y = x[..., :: self.stride]
        return zero_padding(y, frames.lengths) if min(frames.host_output) < width else y

    def matrix(self) -> Tensor:
        if self.kind == "max":
            raise ValueError("`max` pooling is not linear: its plan has no matrix")
        return super().matrix()


class _IntegerStride(Downsampler):
    """A fixed integer stride; L = ceil(T_b / s)."""

    kind: Kind
    stride: int

    def __init__(self, stride: float) -> None:
        super().__init__()
        self.stride = int(check_stride(stride, integer=True, method=f"`{self.kind}`"))

    def stream(self) -> Stream:
        """As `Downsampler.stream`; what comes out, joined along time, is the layer's output of the whole signal."""
        # the frames before and behind l·s that output frame l reads
        before, behind = {
            "strided": (1, 1),
            "average": (0, self.stride - 1),
            "max": (0, self.stride - 1),
            "blur": (self.stride - 1, self.stride - 1),
        }[self.kind]
        return PoolStream(self, self.stride, before, behind)

    def _output_length(self, length: int, stride: float) -> int:
        return -(-length // self.stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        if self.stride == 1 and self.kind in ("average", "blur"):
            return IdentityPlan(frames, x)
        return PoolPlan(frames, self.kind, self.stride, x)


class AvgPool1d(_IntegerStride):
    """Average pooling, kernel = stride; the last window averages its real frames only. (B, C, T) → (B, C, ceil(T / s)).

    Args:
        stride: integer ≥ 1.

    Raises:
        ValueError: any other stride.
    """

    kind: Kind = "average"


class MaxPool1d(_IntegerStride):
    """Max pooling, kernel = stride, over real frames. (B, C, T) → (B, C, ceil(T / s)). Arguments as `AvgPool1d`."""

    kind: Kind = "max"


class BlurPool1d(_IntegerStride):
    """BlurPool: a binomial low-pass of 2s − 1 taps, then every s-th frame. (B, C, T) → (B, C, ceil(T / s)).

    The kernel is centred on frames 0, s, 2s, … and renormalised over the real frames at both ends, so that a constant
    stays that constant. Arguments as `AvgPool1d`.

    Source: Zhang 2019, "Making convolutional networks shift-invariant again", §3; kernel width and ends are ours.
    """

    kind: Kind = "blur"


class StridedConv1d(_IntegerStride):
    """Strided convolution of 3 taps, padding 1: (B, C, T) → (B, C, ceil(T / s)); padding counts as zeros.

    Its plan keeps frames 0, s, 2s, … (the convolution happens before), so that a shortcut can follow it.

    Args:
        channels: C, in and out.
        stride: integer ≥ 1.

    Raises:
        ValueError: a stride that is not an integer ≥ 1, or channels below 1.
    """

    kind: Kind = "strided"
    channels: int

    def __init__(self, channels: int, stride: float) -> None:
        super().__init__(stride)
        self.channels = check_channels(channels)
        self.conv = nn.Conv1d(channels, channels, 3, stride=self.stride, padding=1)
        self.output_macs = self.conv.weight.numel()

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        frames = plan.frames
        if not frames.padded:
            return self.conv(x)
        y = self.conv(zero_padding(x, frames.input_lengths)[..., : max(frames.host_input)])
        return zero_padding(y, frames.lengths)
