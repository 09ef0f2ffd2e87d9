"""Checks of what callers give: signals, lengths, strides and channels. An error names argument, value and rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqstride.core.lengths import float64_on


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
    """Checks type and shape of `lengths`; `read_lengths` checks the values.

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


class Checked(NamedTuple):
    """The lengths of a batch, checked, and learnt strides."""

    lengths: Tensor | None
    """(B,) int64; None: all items are as long as the batch is wide."""
    strides: list[float]
    """Learnt strides as numbers, in a graph as multiples of 1 / `FINE`; nan for a stride that is fixed."""


def read_batch(
    x: Tensor, lengths: Tensor | None, channels: int | None, strides: Sequence[Tensor | None] = ()
) -> Checked:
    """Checks a signal (B, C, T) and its lengths, which it brings to the signal's device; see `read_lengths`.

    Raises:
        ValueError: names argument, value and rule.
        RuntimeError: under `torch.jit.trace`, which would keep the numbers of its example for every signal.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        raise RuntimeError(
            "a downsampling layer cannot be traced by torch.jit.trace, which would keep the number of frames of its "
            "example: use torch.export, torch.onnx.export with dynamo=True, or `seqstride export`"
        )
    check_signal(x, channels)
    checked = read_lengths(lengths, x.shape[0], x.shape[2], strides)
    if checked.lengths is None:
        return checked
    own = checked.lengths.to(x.device, non_blocking=True)
    # plans and gradients read lengths later, when the caller may have filled the tensor for the next batch
    return checked._replace(lengths=own.clone() if own is lengths else own)


def read_lengths(
    lengths: Tensor | None,
    batch: int,
    frames: int | None,
    strides: Sequence[Tensor | None] = (),
    name: str = "lengths",
) -> Checked:
    """Checks the lengths of a batch and reads learnt strides, in at most one synchronisation with the device.

    Lengths on the CPU are checked at no cost. A graph of `torch.compile` or `torch.export` takes lengths as they are:
    it cannot depend on their values.

    Args:
        lengths: (B,) integers in 1 … `frames`, or None where every item is `frames` long.
        batch: B.
        frames: T, or None where there is no padded tensor to compare with.
        strides: 0-d tensors to read along; None for a stride that is a number.
        name: of the argument, for errors.

    Raises:
        ValueError: a length outside 1 … `frames`; a stride that is not finite.
    """
    if lengths is None:
        if frames is None:
            raise ValueError(f"`{name}` (None) must be given if there is no signal")
    else:
        check_lengths(lengths, batch, name)
        lengths = lengths.long()
    if torch.compiler.is_compiling():
        return Checked(lengths, _read_outside(strides))
    try:
        values, read = _read(lengths, [stride for stride in strides if stride is not None])
    except RuntimeError as error:
        if "vmap" not in str(error) and "storage" not in str(error):
            raise
        raise RuntimeError(f"`{name}` and learnt strides cannot be batched by vmap: they are read") from error
    for value in values:
        if value < 1 or (frames is not None and value > frames):
            upper = "" if frames is None else f" and at most the {frames} frames of `x`"
            raise ValueError(f"`{name}` (={values}) must be at least 1{upper}")
    if frames is not None and all(value == frames for value in values):
        lengths = None
    numbers = iter(read)
    return Checked(lengths, [math.nan if stride is None else _finite(next(numbers)) for stride in strides])


def _read(lengths: Tensor | None, strides: list[Tensor]) -> tuple[list[int], list[float]]:
    """Lengths and strides as numbers of Python; those on one device in one read."""
    if lengths is not None and lengths.device.type == "cpu":
        return lengths.tolist(), _read(None, strides)[1]
    if not strides:
        return ([] if lengths is None else lengths.tolist()), []
    if all(stride.device.type == "cpu" for stride in strides):
        return _read(lengths, [])[0], [float(stride.detach()) for stride in strides]
    dtype = float64_on(strides[0].device)
    parts = [stride.detach().to(dtype).reshape(1) for stride in strides]
    if lengths is not None:
        parts.append(lengths.to(strides[0].device, dtype))
    numbers: list[float] = torch.cat(parts).tolist()
    return [int(number) for number in numbers[len(strides) :]], numbers[: len(strides)]


def _read_outside(strides: Sequence[Tensor | None]) -> list[float]:
    """Strides as numbers, read between two graphs of `torch.compile`; strides that are fixed need no break.

    They enter the graph as multiples of 2⁻⁴⁰ (`FINE`), because it is made for any integer, but for one float.
    """
    learnt = [stride for stride in strides if stride is not None]
    if not learnt:
        return [math.nan] * len(strides)
    # called here, because as a decorator it would import the compiler along with the package
    numbers = iter(torch.compiler.disable(_whole_numbers)(learnt))
    return [math.nan if stride is None else next(numbers) for stride in strides]


FINE = 1 << 40


def _whole_numbers(strides: list[Tensor]) -> list[int]:
    return [round(_finite(float(stride.detach())) * FINE) for stride in strides]


def _finite(stride: float) -> float:
    if not math.isfinite(stride):
        raise ValueError(f"`stride` (={stride}) must be finite")
    return stride


def check_stride(stride: float, *, integer: bool = False, method: str = "") -> float:
    """Returns `stride` as a float (an int where `integer`), or raises a ValueError naming argument, value and rule."""
    if isinstance(stride, bool) or not isinstance(stride, (int, float)):
        raise ValueError(f"`stride` (={stride!r}) must be a number, at least 1")
    if not (math.isfinite(stride) and stride >= 1):
        raise ValueError(f"`stride` (={stride}) must be finite and at least 1")
    if integer and stride != int(stride):
        raise ValueError(f"`stride` (={stride}) must be an integer for {method}")
    return int(stride) if integer else float(stride)


def check_widths(channels: Iterable[int]) -> list[int]:
    """Returns the numbers of channels of several layers, each checked by `check_channels`."""
    return [check_channels(width) for width in channels]


def check_channels(channels: int) -> int:
    """Returns `channels`, or raises a ValueError where it is not an integer of at least 1."""
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise ValueError(f"`channels` (={channels!r}) must be an integer of at least 1")
    return channels
