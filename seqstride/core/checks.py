"""Checks of what callers give: signals, lengths, strides and channels. An error names argument, value and rule."""

from __future__ import annotations

import math
from collections.abc import Iterable

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


def read_batch(
    x: Tensor, lengths: Tensor | None, channels: int | None, stride: Tensor | None
) -> tuple[list[int], float]:
    """Checks a signal (B, C, T) and its lengths; returns what `host_lengths` returns.

    Raises:
        ValueError: names argument, value and rule.
    """
    check_signal(x, channels)
    return host_lengths(lengths, x.shape[0], x.shape[2], stride)


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
            raise ValueError(f"`{name}` (None) must be given if there is no signal")
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
