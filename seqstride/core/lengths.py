"""Lengths: how many leading frames of each item are real.

Inside the package lengths are int64 counts of frames, shape (B,). `seqstride.lobes` converts SpeechBrain's relative
lengths.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def float64_on(device: torch.device) -> torch.dtype:
    """float64 where `device` has it (everywhere but Apple's MPS), else float32."""
    return torch.float32 if device.type == "mps" else torch.float64


class Frames:
    """The time axis of a batch before and after a layer, on the device and on the host.

    Args:
        input_lengths: (B,) int64, real frames of each item.
        lengths: (B,) int64, output frames of each item.
        host_input, host_output: the same as Python integers.
        width: T, the width of the batch, padding included.

    Attributes, besides the arguments:
        padded: whether any item is shorter than the batch.
        output_width: L, the output length of the longest item.
        real: (B, T) bool, True on real input frames.
        real_output: (B, L) bool, True on real output frames.
        dtype: of positions: double precision where the device has it.
    """

    def __init__(
        self, input_lengths: Tensor, lengths: Tensor, host_input: list[int], host_output: list[int], width: int
    ) -> None:
        self.input_lengths, self.lengths = input_lengths, lengths
        self.host_input, self.host_output, self.width = host_input, host_output, width
        self.padded = min(host_input) < width
        self._measure(max(host_output))

    @classmethod
    def on(cls, device: torch.device, host_input: list[int], host_output: list[int], width: int) -> Frames:
        """Frames of lengths that stand on the host; their tensors are made on `device`."""
        if device.type == "cuda" and not torch.compiler.is_compiling():
            # one copy for both, of pinned memory: it does not wait for the device
            table = torch.tensor([host_input, host_output]).pin_memory().to(device, non_blocking=True)
            return cls(table[0], table[1], host_input, host_output, width)
        input_lengths = torch.tensor(host_input, device=device)
        return cls(input_lengths, torch.tensor(host_output, device=device), host_input, host_output, width)

    @property
    def given(self) -> Tensor | None:
        """The input lengths as kernels take them: None where all frames are real."""
        return self.input_lengths if self.padded else None

    def _measure(self, output_width: int) -> None:
        self.output_width = output_width
        self.real = length_mask(self.input_lengths, self.width)
        self.real_output = length_mask(self.lengths, output_width)
        self.dtype = float64_on(self.lengths.device)


def ceil_lengths(lengths: list[int], stride: float) -> list[int]:
    """ceil(length / stride) of each item.

    Quotients are rounded to 9 decimals in double precision first: 39 / 1.3 is 30 on every device.
    """
    return [math.ceil(round(length / stride, 9)) for length in lengths]


def floor_lengths(lengths: list[int], stride: float) -> list[int]:
    """max(1, floor(length / stride)) of each item, rounded as in `ceil_lengths`."""
    return [max(1, math.floor(round(length / stride, 9))) for length in lengths]


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
