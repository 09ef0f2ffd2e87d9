"""Pooling by kernels as nodes of autograd, with derivatives of every order."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from seqstride.core.kernels.pool import (
    Window,
    largest_of_windows,
    largest_of_windows_backward,
    mean_windows,
    mean_windows_backward,
)

#: strides up to which offsets in a window fit into 16 bits
LONGEST = 1 << 15


@cache
def _window(weights: tuple[float, ...], before: int, device: torch.device) -> Window:
    with torch.inference_mode(False):
        return Window.of(torch.tensor(weights, dtype=torch.float64, device=device), before)


class _Mean(torch.autograd.Function):
    """A weighted mean is linear, and its adjoint's adjoint is itself."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        lengths: Tensor | None,
        window: Window,
        stride: int,
        width: int,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(lengths)
        ctx.window, ctx.stride, ctx.frames, ctx.dtype = window, stride, x.shape[2], x.dtype
        return mean_windows(x.contiguous(), window, stride, lengths, width, dtype)

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> Any:
        (lengths,) = ctx.saved_tensors
        dx = _MeanAdjoint.apply(dz, lengths, ctx.window, ctx.stride, ctx.frames, ctx.dtype)
        return dx, None, None, None, None, None


class _MeanAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        dz: Tensor,
        lengths: Tensor | None,
        window: Window,
        stride: int,
        frames: int,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(lengths)
        ctx.window, ctx.stride, ctx.width, ctx.dtype = window, stride, dz.shape[2], dz.dtype
        return mean_windows_backward(dz.contiguous(), window, stride, lengths, frames, dtype)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        (lengths,) = ctx.saved_tensors
        ddz = _Mean.apply(ddx, lengths, ctx.window, ctx.stride, ctx.width, ctx.dtype)
        return ddz, None, None, None, None, None


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor | None, stride: int, width: int) -> Tensor:
        z, offsets = largest_of_windows(x.contiguous(), stride, lengths, width)
        ctx.save_for_backward(offsets, lengths)
        ctx.stride, ctx.frames = stride, x.shape[2]
        return z

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> Any:
        offsets, lengths = ctx.saved_tensors
        dx = _LargestAdjoint.apply(dz, offsets, lengths, ctx.stride, ctx.frames)
        return dx, None, None, None


class _LargestAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dz: Tensor, offsets: Tensor, lengths: Tensor | None, stride: int, frames: int
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(offsets, lengths)
        ctx.stride = stride
        return largest_of_windows_backward(dz.contiguous(), offsets, stride, lengths, frames)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> Any:
        offsets, lengths = ctx.saved_tensors
        starts = torch.arange(offsets.shape[2], device=offsets.device) * ctx.stride
        # rows without a real frame got their gradient from nowhere
        real = starts < (ddx.shape[2] if lengths is None else lengths[:, None, None])
        frames = (starts + offsets).clamp(max=ddx.shape[2] - 1)
        return torch.where(real, ddx.gather(2, frames), 0.0), None, None, None, None


def pool_mean(
    x: Tensor,
    weights: tuple[float, ...],
    before: int,
    stride: int,
    lengths: Tensor | None,
    width: int,
    dtype: torch.dtype,
) -> Tensor:
    """Weighted mean over the real frames of windows, (B, C, T) → (B, C, width) in `dtype`, 0 behind an item's rows.

    Args:
        weights: of a window's frames.
        before: how many frames a window begins before frame l s, at most as many as there are weights, less one.
        lengths: (B,) integers on the device; None: all T frames are real.
        width: of the output; row l is an item's own if its frame l s is real.
    """
    window = _window(weights, before, x.device)
    z: Tensor = _Mean.apply(x, lengths, window, stride, width, dtype)
    return z


def pool_largest(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
    """Largest value of windows of `stride` ≤ `LONGEST` real frames: (B, C, T) → (B, C, width); arguments as above."""
    z: Tensor = _Largest.apply(x, lengths, stride, width)
    return z
