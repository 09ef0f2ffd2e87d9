"""Lengths: how many leading frames of each item are real.

Inside the package lengths are absolute int64 counts of frames, shape (B,). SpeechBrain's relative lengths are
converted at the edge (`seqstride.lobes`), with `absolute_lengths` and `relative_lengths`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def float64_on(device: torch.device) -> torch.dtype:
    """float64 where `device` has it (everywhere but Apple's MPS), else float32."""
    return torch.float32 if device.type == "mps" else torch.float64


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
