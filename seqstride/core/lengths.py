"""Lengths: how many leading frames of each item are real.

Inside the package lengths are int64 counts of frames, shape (B,). `seqstride.lobes` converts SpeechBrain's relative
lengths.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor


def float64_on(device: torch.device) -> torch.dtype:
    """float64 where `device` has it (everywhere but Apple's MPS), else float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def reading_waits(device: torch.device) -> bool:
    """Whether the program waits for the work on `device` when it reads a number from there: all but a CPU."""
    return device.type != "cpu"


class Frames:
    """The time axis of a batch before and after a layer. Nothing in it has to be read from the device.

    Args:
        batch: B.
        width: T, the width of the batch, padding included.
        output_width: L, at least the output length of the longest item.
        device: of the lengths and masks.
        given: (B,) int64, real frames of each item; None: all T.
        output: (B,) int64, output frames of each item; None: all L.

    Attributes, besides the arguments:
        padded: whether `given` is there: items may be shorter than the batch.
        output: (B,) int64 or None, as it was given: the `given` of what comes behind.
        dtype: of positions: double precision where the device has it.
    """

    def __init__(
        self,
        batch: int,
        width: int,
        output_width: int,
        device: torch.device,
        given: Tensor | None = None,
        output: Tensor | None = None,
    ) -> None:
        self.batch, self.width, self.output_width, self.device = batch, width, output_width, device
        self.given, self.padded, self.output = given, given is not None, output
        self._input, self._output = given, output
        self._real: Tensor | None = None
        self._real_output: Tensor | None = None
        self.dtype = float64_on(device)

    def ending(self, output: Tensor) -> Frames:
        """The same with output lengths (B,) int64 that follow from the signal. The largest, L, is read from the device.

        Nothing else says how wide the output is. torch.compile reads the number between two graphs.

        Raises:
            RuntimeError: under vmap.
        """
        return Frames(self.batch, self.width, _read_width(output), self.device, self.given, output)

    @property
    def input_lengths(self) -> Tensor:
        """(B,) int64, real frames of each item."""
        if self._input is None:
            self._input = torch.full((self.batch,), self.width, device=self.device)
        return self._input

    @property
    def lengths(self) -> Tensor:
        """(B,) int64, output frames of each item."""
        if self._output is None:
            self._output = torch.full((self.batch,), self.output_width, device=self.device)
        return self._output

    @property
    def real(self) -> Tensor:
        """(B, T) bool, True on real input frames."""
        if self._real is None:
            self._real = length_mask(self.input_lengths, self.width)
        return self._real

    @property
    def real_output(self) -> Tensor:
        """(B, L) bool, True on real output frames."""
        if self._real_output is None:
            self._real_output = length_mask(self.lengths, self.output_width)
        return self._real_output


def _read_width(output: Tensor) -> int:
    if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
        return torch.compiler.disable(largest)(output)
    try:
        return largest(output)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        raise RuntimeError(
            "output lengths that follow from the signal cannot be batched by vmap: they are read"
        ) from error


Count = TypeVar("Count", int, Tensor)
"""A number of frames, or one for each item: (B,) int64."""

TIE = 5e-10
"""Quotients this close to a whole number are that number, so that every device rounds 39 / 1.3 to 30."""


LONGEST = 1 << 62
"""A stride beyond all lengths: whole strides up to this one can be added to a length in int64."""


def ceil_lengths(lengths: Count, stride: float) -> Count:
    """ceil(length / stride), in double precision, for a number or a tensor of lengths."""
    if stride == int(stride):
        whole = min(int(stride), LONGEST)
        # not −(−T // s): quotients of negative numbers are truncated in ONNX
        return (lengths + whole - 1) // whole
    if isinstance(lengths, Tensor):
        return (lengths / double(stride, lengths.device) - TIE).ceil().long()
    return math.ceil(lengths / stride - TIE)


def floor_lengths(lengths: Count, stride: float) -> Count:
    """max(1, floor(length / stride)), rounded as in `ceil_lengths`."""
    whole = min(int(stride), LONGEST) if stride == int(stride) else None
    if isinstance(lengths, Tensor):
        count = lengths // whole if whole else (lengths / double(stride, lengths.device) + TIE).floor().long()
        return count.clamp(min=1)
    number: int = torch.sym_max(1, lengths // whole if whole else math.floor(lengths / stride + TIE))  # type: ignore[assignment]
    return number


def double(value: float, device: torch.device) -> Tensor:
    """A number as a 0-d tensor in double precision.

    Beside integers a number of Python would be taken in single precision, and exporters store it so. `full` makes the
    tensor on the device without waiting for it; in a graph that is exported the number has to be a constant.
    """
    if torch.compiler.is_exporting():
        return torch.tensor(value, dtype=float64_on(device), device=device)
    return torch.full((), value, dtype=float64_on(device), device=device)


def largest(values: Tensor) -> int:
    """The largest of positive integers, as a number that is read; in a graph that is exported, as a symbol."""
    number: int = values.max().item()  # type: ignore[assignment]
    torch._check(number >= 1)
    return number


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
