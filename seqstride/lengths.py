"""Lengths: how many leading frames of each item are real.

Inside the package lengths are absolute int64 counts of frames, shape (B,). SpeechBrain's relative lengths are
converted at the edge (`seqstride.lobes`), with `absolute_lengths` and `relative_lengths`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.distributed import ranks, sum_over_ranks


def float64_on(device: torch.device) -> torch.dtype:
    """float64 where `device` has it (everywhere but Apple's MPS), else float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_signal(x: Tensor, channels: int | None = None) -> None:
    """Checks that `x` is a real floating-point signal (B, C, T) with `channels` channels.

    Raises:
        ValueError: names `x`, what it is and the rule.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"`x` (a {type(x).__name__}) must be a torch.Tensor of shape (B, C, T)")
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"`x` (shape {tuple(x.shape)}) must have shape (B, C, T) with no empty axis")
    if not x.is_floating_point():
        raise ValueError(f"`x` (dtype {x.dtype}) must be a real floating-point tensor")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"`x` (shape {tuple(x.shape)}) must have {channels} channels on axis 1")


def check_lengths(lengths: Tensor, batch: int | None = None, name: str = "lengths") -> None:
    """Checks type and shape of `lengths`; the values are checked by `host_lengths`, which has to read them anyway.

    Raises:
        ValueError: names the argument, what it is and the rule.
    """
    if not isinstance(lengths, Tensor):
        raise ValueError(f"`{name}` (a {type(lengths).__name__}) must be an integer torch.Tensor of shape (B,)")
    if lengths.is_floating_point():
        raise ValueError(
            f"`{name}` (dtype {lengths.dtype}) must be integer counts of frames; "
            "for SpeechBrain's relative lengths use seqstride.lobes"
        )
    if lengths.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ValueError(f"`{name}` (dtype {lengths.dtype}) must be integer counts of frames")
    if lengths.ndim != 1 or (batch is not None and lengths.shape[0] != batch):
        want = "(B,)" if batch is None else f"({batch},), one for each item of the batch"
        raise ValueError(f"`{name}` (shape {tuple(lengths.shape)}) must have shape {want}")


def host_lengths(
    lengths: Tensor | None, batch: int, frames: int | None, stride: Tensor | None = None, name: str = "lengths"
) -> tuple[list[int], float]:
    """Reads and checks the lengths of a batch, and a learnt stride with them, in one device synchronisation.

    Args:
        lengths: (B,) integers in 1 … `frames`, or None where every item is `frames` long.
        batch: B.
        frames: T, or None where there is no padded tensor to compare with.
        stride: a 0-d tensor to read along, or None.
        name: of the argument, for errors.

    Returns:
        The lengths as Python integers, and the stride as a float (nan where none was given).

    Raises:
        ValueError: a length outside 1 … `frames`; a stride that is not finite.
    """
    if lengths is None:
        if frames is None:
            raise ValueError(f"`{name}` (None) must be given where there is no signal to take them from")
        values = [frames] * batch
        read = math.nan if stride is None else float(stride.detach())
    else:
        check_lengths(lengths, batch, name)
        if stride is None:
            values, read = lengths.tolist(), math.nan
        elif stride.device != lengths.device:
            values, read = lengths.tolist(), float(stride.detach())
        else:
            dtype = float64_on(lengths.device)
            *floats, read = torch.cat([lengths.to(dtype), stride.detach().to(dtype).reshape(1)]).tolist()
            values = [int(value) for value in floats]
    for value in values:
        if value < 1 or (frames is not None and value > frames):
            upper = "" if frames is None else f" and at most the {frames} frames of `x`"
            raise ValueError(f"`{name}` (={values}) must be at least 1{upper}")
    if stride is not None and not math.isfinite(read):
        raise ValueError(f"`stride` (={read}) must be finite")
    return values, read


@dataclass(frozen=True)
class Frames:
    """The time axis of a batch before and after, on the device and on the host.

    Attributes:
        input_lengths: (B,) int64, real frames of each item.
        lengths: (B,) int64, output frames of each item.
        host_input, host_output: the same as Python integers.
        width: T, the width of the batch, padding included.
    """

    input_lengths: Tensor
    lengths: Tensor
    host_input: list[int]
    host_output: list[int]
    width: int

    @classmethod
    def on(cls, device: torch.device, host_input: list[int], host_output: list[int], width: int) -> Frames:
        """From lengths on the host."""
        input_lengths = torch.tensor(host_input, device=device)
        return cls(input_lengths, torch.tensor(host_output, device=device), host_input, host_output, width)

    @property
    def padded(self) -> bool:
        """Whether any item is shorter than the batch."""
        return min(self.host_input) < self.width

    @property
    def cells(self) -> int:
        """Σ_b L_b·T_b, the size of all items' full matrices."""
        return sum(t * n for t, n in zip(self.host_input, self.host_output, strict=True))

    @property
    def output_width(self) -> int:
        """L of the widest item."""
        return max(self.host_output)


def ceil_length(length: int, stride: float) -> int:
    """ceil(length / stride) in double precision, rounded to 9 decimals first: 39 / 1.3 is 30 on every device."""
    return math.ceil(round(length / stride, 9))


def floor_length(length: int, stride: float) -> int:
    """max(1, floor(length / stride)), rounded as in `ceil_length`."""
    return max(1, math.floor(round(length / stride, 9)))


def length_mask(lengths: Tensor, frames: int) -> Tensor:
    """True on real frames.

    Args:
        lengths: (B,) integers.
        frames: T, the width of the batch.

    Returns:
        (B, T) bool.
    """
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, C, T) → (B, C, T): the padding of `x`, whatever stands there (NaN included), becomes 0."""
    return x.masked_fill(~length_mask(lengths, x.shape[-1])[:, None], 0.0)


def absolute_lengths(relative: Tensor, frames: int) -> Tensor:
    """SpeechBrain's relative lengths to counts of frames.

    Args:
        relative: (B,) floats in (0, 1]; 1 is the full width.
        frames: T, the width of the batch.

    Returns:
        (B,) int64, rounded to the nearest frame, at least 1.

    Raises:
        ValueError: `relative` is not floating point, or lies outside (0, 1].
    """
    if not relative.is_floating_point():
        raise ValueError(f"`relative` (dtype {relative.dtype}) must be floats in (0, 1], as SpeechBrain's wav_lens")
    values = relative.double()
    if not bool(((values > 0) & (values <= 1 + 1e-6)).all()):
        raise ValueError(f"`relative` (={relative.tolist()}) must lie in (0, 1]")
    return (values * frames).round().long().clamp(1, frames)


def relative_lengths(lengths: Tensor, frames: int) -> Tensor:
    """Counts of frames to SpeechBrain's relative lengths: (B,) int64 → (B,) float32 in (0, 1]."""
    return lengths.float() / frames


def masked_mean(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the real frames of each item: (B, C, T) → (B, C)."""
    if lengths is None:
        return x.mean(-1)
    return zero_padding(x, lengths).sum(-1) / lengths[:, None].to(x.dtype)


def masked_max(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Largest value over the real frames of each item: (B, C, T) → (B, C)."""
    if lengths is None:
        return x.amax(-1)
    return x.masked_fill(~length_mask(lengths, x.shape[-1])[:, None], -math.inf).amax(-1)


def masked_softmax_mean(x: Tensor, sharpness: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the real frames with the weights softmax(sharpness · x): (B, C, T), (C,) → (B, C).

    A sharpness of 0 gives the mean, of ∞ the largest value. Source: McFee, Salamon, Bello 2018, "Adaptive pooling
    operators for weakly labeled sound event detection", IEEE/ACM TASLP 26 (11), where classes stand for channels.
    """
    if lengths is not None:
        x = zero_padding(x, lengths)
    logits = sharpness[:, None] * x
    if lengths is not None:
        logits = logits.masked_fill(~length_mask(lengths, x.shape[-1])[:, None], -math.inf)
    return (logits.softmax(-1) * x).sum(-1)


class MaskedBatchNorm1d(nn.Module):
    """Batch normalisation whose statistics come from real frames only.

    (B, C, T), lengths (B,) or None → (B, C, T), with 0 in the padding. Parameters, buffers and, where nothing is
    padded, the result are those of `torch.nn.BatchNorm1d`. It does not derive from it: distributed training would
    replace it by `torch.nn.SyncBatchNorm`, which knows no lengths. In distributed training the statistics are those of
    the real frames of all ranks: first the mean, then the squares of the deviations from it are summed over the ranks,
    in the precision of the single process. Source: ours.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalises a batch; in training it also updates the running statistics."""
        if self.training:
            self.num_batches_tracked += 1
        if lengths is None and not (self.training and ranks() > 1):
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[-1], device=x.device)
        padding = ~length_mask(lengths, x.shape[-1])[:, None]
        if self.training:
            # in float32 at least, as torch's own: half precision has too few digits for a mean, and counts to 65504
            dtype = torch.promote_types(x.dtype, torch.float32)
            x = x.masked_fill(padding, 0.0)
            sums = sum_over_ranks(torch.cat([x.sum((0, 2), dtype=dtype), lengths.sum().to(dtype)[None]]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            squares = (x - mean[:, None]).masked_fill(padding, 0.0).square().sum((0, 2))
            variance = sum_over_ranks(squares) / count
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return ((x - mean[:, None]) * scale[:, None] + self.bias[:, None]).masked_fill(padding, 0.0)
