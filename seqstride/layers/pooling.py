"""Methods with a fixed integer stride: strided convolution, average, max and blur pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.checks import check_channels, check_stride
from seqstride.core.kernels import dispatch
from seqstride.core.lengths import Count, Frames, ceil_lengths, double, length_mask
from seqstride.core.plan import Plan, UniformPlan, autocast_dtype
from seqstride.layers.base import Downsampler
from seqstride.layers.stream import PoolStream, Stream

Pool = Callable[[Tensor, int, Tensor | None, int], Tensor]
"""x (B, C, T) with 0 in the padding, stride, lengths (B,) or None where all frames are real, L → (B, C, L)."""


def average_pool(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
    """Mean over windows of `stride` frames, the last one over its real frames; arguments as `Pool`."""
    if stride == 1:
        return x
    # an exported graph is for any T
    if lengths is None and not torch.compiler.is_exporting() and x.shape[-1] % stride == 0:
        return F.avg_pool1d(x, stride)
    y = F.avg_pool1d(F.pad(x, (0, width * stride - x.shape[-1])), stride)
    ends = x.new_full((1,), x.shape[-1], dtype=torch.int64) if lengths is None else lengths
    start = torch.arange(width, device=x.device) * stride
    real = (ends[:, None] - start).clamp(0, stride)
    return y * (stride / real.clamp(min=1).to(y.dtype))[:, None]


def max_pool(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
    """Largest value over windows of `stride` frames; arguments as `Pool`."""
    if lengths is not None:
        x = x.masked_fill(~length_mask(lengths, x.shape[-1])[:, None], -math.inf)
    if torch.compiler.is_compiling():  # pooling in a graph is made for one length of the signal
        return F.pad(x, (0, width * stride - x.shape[-1]), value=-math.inf).unflatten(2, (width, stride)).max(3)[0]
    return F.max_pool1d(x, stride, ceil_mode=True) if x.shape[-1] > stride else x.amax(-1, keepdim=True)


def every_frame(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
    """Frames 0, s, 2s, …; arguments as `Pool`."""
    return x[..., ::stride]


def blur_kernel(stride: int) -> tuple[float, ...]:
    """Binomial kernel of 2s − 1 taps with sum 1; s = 2: [1, 2, 1] / 4. By logarithms: a long one must not overflow."""
    n = 2 * stride - 2
    scale = math.lgamma(n + 1) - n * math.log(2.0)
    return tuple(math.exp(scale - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(n + 1))


#: for eager code: torch.compile does not look behind a cache
_kept_blur_kernel = cache(blur_kernel)


def sums_by_slices(x: Tensor, kernel: tuple[float, ...], stride: int) -> Tensor:
    """Σ_k w_k x_(l s − s + 1 + k) for 2s − 1 taps, with zeros around x: (B, C, T) → (B, C, ceil(T / s))."""
    rows = -(-x.shape[2] // stride)
    x = F.pad(x, (stride - 1, rows * stride - x.shape[2]))
    first, *others = (x[..., k : k + (rows - 1) * stride + 1 : stride] * weight for k, weight in enumerate(kernel))
    return sum(others, first)


def sums_by_convolution(x: Tensor, kernel: tuple[float, ...], stride: int) -> Tensor:
    """As `sums_by_slices`."""
    taps = torch.tensor(kernel, dtype=x.dtype, device=x.device)[None, None]
    y = F.conv1d(x.reshape(-1, 1, x.shape[2]), taps, stride=stride, padding=stride - 1)
    return y.view(*x.shape[:2], -1)


def blur_pool(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
    """Binomial kernel centred on frames 0, s, 2s, …, renormalised over real frames; arguments as `Pool`."""
    if stride == 1:
        return x
    frames, kernel = x.shape[2], blur_kernel(stride)
    # on CUDA a convolution in float32 would go through TF32, which has three digits; a graph of slices is made once,
    # and torch compiles a convolution anew for another T
    slices = (x.device.type == "cuda" and x.dtype == torch.float32) or torch.compiler.is_dynamo_compiling()
    sums = sums_by_slices if slices else sums_by_convolution
    real = x.new_ones(1, 1, frames) if lengths is None else length_mask(lengths, frames)[:, None].to(x.dtype)
    weight = sums(real, kernel, stride)[..., :width]
    return sums(x, kernel, stride)[..., :width] / weight.masked_fill(weight == 0, 1.0)


def real_frames(x: Tensor, frames: Frames, stride: int) -> Tensor:
    """`x` with 0 in the padding, and without the frames that no output frame reads where L is less than ⌈T / s⌉."""
    x = x.masked_fill(~frames.real[:, None], 0.0)
    # in a graph L follows from T, and comparing the two would make a graph for odd T and one for even
    return x if torch.compiler.is_compiling() else x[..., : frames.output_width * stride]


def pool_by_kernel(pool: Pool, x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor | None:
    """What `pool` computes, in one pass that never reads the padding, and 0 behind an item's rows; None: no kernel."""
    if lengths is None and (stride == 1 or pool is every_frame):
        return None  # a view
    from seqstride.core.kernels import pool_node

    if pool is max_pool:
        return pool_node.pool_largest(x, stride, lengths, width) if stride <= pool_node.LONGEST else None
    if pool is blur_pool:
        return pool_node.pool_mean(x, _kept_blur_kernel(stride), stride - 1, stride, lengths, width, autocast_dtype(x))
    if pool is average_pool or pool is every_frame:
        weights = (1.0,) * (stride if pool is average_pool else 1)
        return pool_node.pool_mean(x, weights, 0, stride, lengths, width, x.dtype)
    return None


class PoolPlan(UniformPlan):
    """Windows of a fixed integer stride.

    Output frames stand on the middle of their windows where these are centred, p_t = (t + ½) / s − ½, and else on
    frames 0, s, 2s, …: p_t = t / s.
    """

    def __init__(self, frames: Frames, pool: Pool, stride: int, centred: bool, linear: bool, like: Tensor) -> None:
        super().__init__(frames, like)
        self.pool, self.stride, self.centred, self.linear = pool, stride, centred, linear

    def line(self) -> tuple[Tensor, Tensor]:
        offset = 0.5 / self.stride - 0.5 if self.centred else 0.0
        return double(1.0 / self.stride, self.frames.device), double(offset, self.frames.device)

    def resample(self, x: Tensor) -> Tensor:
        frames = self.frames
        if x.device.type in dispatch.DEVICES and dispatch.has_kernels(x):
            y = pool_by_kernel(self.pool, x, self.stride, frames.given, frames.output_width)
            if y is not None:
                return y
        if not frames.padded:
            return self.pool(x, self.stride, None, frames.output_width)
        x = real_frames(x, frames, self.stride)
        y = self.pool(x, self.stride, frames.input_lengths, frames.output_width)
        return y.masked_fill(~frames.real_output[:, None], 0.0)


class WholeStride(Downsampler):
    """The easy base of a new method: a fixed integer stride s; L = ceil(T_b / s).

    A subclass sets `pool_frames` and, to stream, `_reach`. Without `_reach` it works on whole signals only, and
    `stream` says so. It also sets the attributes that differ from average pooling, such as `centred` and `linear`.

    Args:
        stride: integer ≥ 1.

    Raises:
        ValueError: any other stride.
    """

    centred: ClassVar[bool] = True
    """Whether output frames stand on the middle of their windows, and not on frames 0, s, 2s, …."""
    whole_stride = True
    no_stream = None
    stride: int

    def __init__(self, stride: float) -> None:
        super().__init__()
        self.stride = int(check_stride(stride, integer=True, method=type(self).__name__))

    def stream(self) -> Stream:
        """As `Downsampler.stream`; the outputs, joined along time, are the layer's output of the whole signal."""
        if self.no_stream is not None:
            return super().stream()
        return PoolStream(self, self.stride, *self._reach())

    @staticmethod
    def pool_frames(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
        """The arithmetic of the layer, in tensors alone; arguments as `Pool`."""
        raise NotImplementedError("a subclass of WholeStride must define the static method `pool_frames`")

    def _reach(self) -> tuple[int, int]:
        """How many frames before and behind l·s output frame l reads."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_reach` to stream: how many frames before and behind l·s output frame "
            "l reads; or set `no_stream` to the reason why it cannot"
        )

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        return ceil_lengths(lengths, self.stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        return PoolPlan(frames, self.pool_frames, self.stride, self.centred, self.linear, x)


class AvgPool1d(WholeStride):
    """Average pooling, kernel = stride; the last window averages its real frames only. (B, C, T) → (B, C, ceil(T / s)).

    Args:
        stride: integer ≥ 1.

    Raises:
        ValueError: any other stride.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.AvgPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 7.0, 9.0]]]))
        tensor([[[2., 6., 9.]]])
    """

    pool_frames = staticmethod(average_pool)

    def _reach(self) -> tuple[int, int]:
        return 0, self.stride - 1


class MaxPool1d(WholeStride):
    """Max pooling, kernel = stride, over real frames. (B, C, T) → (B, C, ceil(T / s)). Arguments as `AvgPool1d`."""

    pool_frames = staticmethod(max_pool)
    linear = False

    def _reach(self) -> tuple[int, int]:
        return 0, self.stride - 1


class BlurPool1d(WholeStride):
    """BlurPool: a binomial low-pass of 2s − 1 taps, then every s-th frame. (B, C, T) → (B, C, ceil(T / s)).

    The kernel is centred on frames 0, s, 2s, … and renormalised over the real frames at both ends, so that a constant
    stays that constant. Arguments as `AvgPool1d`.

    Source: Zhang 2019, "Making convolutional networks shift-invariant again", §3; kernel width and ends are ours.
    """

    pool_frames = staticmethod(blur_pool)
    centred = False
    half_under_autocast = True

    def _reach(self) -> tuple[int, int]:
        return self.stride - 1, self.stride - 1


class StridedConv1d(WholeStride):
    """Strided convolution of 3 taps, padding 1: (B, C, T) → (B, C, ceil(T / s)); padding counts as zeros.

    Its plan keeps frames 0, s, 2s, … (the convolution happens before), so that a shortcut can follow it.

    Args:
        channels: C, in and out.
        stride: integer ≥ 1.

    Raises:
        ValueError: a stride that is not an integer ≥ 1, or channels below 1.
    """

    pool_frames = staticmethod(every_frame)
    centred = False
    beyond_plan = True
    half_under_autocast = True
    bins = "items"
    channels: int

    def __init__(self, channels: int, stride: float) -> None:
        super().__init__(stride)
        self.channels = check_channels(channels)
        self.conv = nn.Conv1d(channels, channels, 3, stride=self.stride, padding=1)
        self.output_macs = self.conv.weight.numel()

    def _reach(self) -> tuple[int, int]:
        return 1, 1

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        frames = plan.frames
        if not frames.padded:
            return self.conv(x)
        y = self.conv(real_frames(x, frames, self.stride))
        return y.masked_fill(~frames.real_output[:, None], 0.0)
