"""Stride and lengths → the windows of a spectral crop, and the gradient for the stride.

The formulas are those of `seqstride.core.spectral_window`, in one launch instead of some forty: numbers of the size of
the batch, so that starting kernels is all that they cost.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import double_bits, launch, narrow
from seqstride.core.lengths import TIE

#: items that a program has at a time, and bins, at most
ITEMS, BINS = 32, 64


class Settings(NamedTuple):
    """What a window is made with: smoothness R, or ρ, and a multiple for the output length."""

    dct: bool
    smoothness: float
    relative: float | None
    multiple: int


Plain = Callable[[Tensor], Tensor]
"""The ramp (B, W) of a stride, in plain torch."""


@triton.jit
def _double(bits):
    return tl.cast(bits, tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def _shape(stride, n, smoothness, relative, RELATIVE: tl.constexpr, DCT: tl.constexpr):
    """R, S within its bounds, and the threshold, of an item of n frames."""
    total = n.to(tl.float64)
    soft = _double(smoothness)
    if RELATIVE:
        soft = _double(relative) * total / stride
    soft = tl.minimum(tl.maximum(soft, 1.0), total / 4)
    low = total / (total - soft)
    if not DCT:
        low = tl.maximum(low, total / tl.maximum(2 * (n // 2) - 2, 2).to(tl.float64))
    effective = tl.maximum(tl.minimum(stride, total / 2), low)
    threshold = total / effective if DCT else total / (2 * effective) + 1
    return soft, effective, threshold


@triton.jit(do_not_specialize=["smoothness", "relative", "tie", "multiple", "W"])
def _windows_kernel(
    lengths, stride, table, ramp, smoothness, relative, tie, multiple, W,
    RELATIVE: tl.constexpr, DCT: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)
    n = tl.load(lengths + b)
    s = tl.load(stride).to(tl.float64)
    soft, _, threshold = _shape(s, n, smoothness, relative, RELATIVE, DCT)
    tie = _double(tie)
    bins = n if DCT else n // 2 + 1
    kept = tl.minimum(bins, tl.ceil(threshold + soft - tie).to(tl.int64))
    output = kept if DCT else 2 * (kept - 1) + tl.maximum(kept - bins + 1, 0)
    output = tl.minimum((output + multiple - 1) // multiple * multiple, n)
    flat = tl.minimum(kept, tl.ceil(threshold - tie).to(tl.int64))
    tl.store(table + 4 * b, n)
    tl.store(table + 4 * b + 1, flat)
    tl.store(table + 4 * b + 2, kept)
    tl.store(table + 4 * b + 3, output)
    for j0 in range(0, W, BINS):
        j = j0 + tl.arange(0, BINS)
        value = ((soft + threshold) - (flat + j).to(tl.float64)) / soft
        value = tl.where(flat + j < kept, tl.minimum(tl.maximum(value, 0.0), 1.0), 0.0)
        tl.store(ramp + b * W + j, value, mask=j < W)


@triton.jit(do_not_specialize=["smoothness", "relative", "B", "W"])
def _stride_kernel(
    lengths, stride, table, dramp, dstride, smoothness, relative, B, W,
    RELATIVE: tl.constexpr, DCT: tl.constexpr, ITEMS: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    """One program goes through all items, so that they are always summed in the same order."""
    s = tl.load(stride).to(tl.float64)
    total = tl.zeros([ITEMS], tl.float64)
    longest = tl.zeros([ITEMS], tl.int64)
    for b0 in range(0, B, ITEMS):
        b = b0 + tl.arange(0, ITEMS)
        real = b < B
        n = tl.load(lengths + b, mask=real, other=1)
        flat = tl.load(table + 4 * b + 1, mask=real, other=0)
        kept = tl.load(table + 4 * b + 2, mask=real, other=0)
        soft, effective, _ = _shape(s, n, smoothness, relative, RELATIVE, DCT)
        sums = tl.zeros([ITEMS, BINS], tl.float64)
        for j0 in range(0, W, BINS):
            j = (j0 + tl.arange(0, BINS))[None, :]
            ramp = (j < W) & (flat[:, None] + j < kept[:, None])
            sums += tl.load(dramp + (b * W)[:, None] + j, mask=ramp, other=0.0)
        slope = n.to(tl.float64) / (effective * effective)
        if not DCT:
            slope = slope / 2
        total -= tl.sum(sums, 1) / soft * slope
        longest = tl.maximum(longest, n)
    gradient = tl.sum(total, 0)
    # as `clamp_inward`: beyond the bounds of the batch, only what moves S inwards
    high = tl.max(longest, 0).to(tl.float64) / 2
    blocked = ((s < 1.0) & (gradient > 0.0)) | ((s > high) & (gradient < 0.0))
    tl.store(dstride, tl.where(blocked, 0.0, gradient))


def _numbers(settings: Settings) -> tuple[int, int]:
    return double_bits(settings.smoothness), double_bits(settings.relative or 0.0)


def _start(stride: Tensor, lengths: Tensor, settings: Settings, width: int) -> tuple[Tensor, Tensor]:
    table = torch.empty(len(lengths), 4, dtype=torch.int64, device=lengths.device)
    ramp = torch.empty(len(lengths), width, dtype=torch.float64, device=lengths.device)
    launch(
        _windows_kernel, (len(lengths), 1, 1),
        (lengths, stride, table, ramp, *_numbers(settings), double_bits(TIE), settings.multiple, width),
        (settings.relative is not None, settings.dct, narrow(BINS, width)), warps=1,
    )  # fmt: skip
    return table, ramp


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, stride: Tensor, lengths: Tensor, settings: Settings, width: int, plain: Plain
    ) -> tuple[Tensor, Tensor]:
        table, ramp = _start(stride, lengths, settings, width)
        ctx.save_for_backward(stride, lengths, table)
        ctx.settings, ctx.plain = settings, plain
        ctx.mark_non_differentiable(table)
        return table, ramp

    @staticmethod
    def backward(ctx: Any, _: Tensor, dramp: Tensor) -> Any:
        stride, lengths, table = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative may follow: plain torch has one
            (dstride,) = torch.autograd.grad(ctx.plain(stride), stride, dramp, create_graph=True)
            return dstride, None, None, None, None
        dstride = torch.empty_like(stride)
        B, width = dramp.shape
        launch(
            _stride_kernel, (1, 1, 1),
            (lengths, stride, table, dramp.contiguous(), dstride, *_numbers(ctx.settings), B, width),
            (ctx.settings.relative is not None, ctx.settings.dct, ITEMS, narrow(BINS, width)),
        )  # fmt: skip
        return dstride, None, None, None, None


def make_windows(
    stride: Tensor, lengths: Tensor, settings: Settings, width: int, plain: Plain
) -> tuple[Tensor, Tensor]:
    """Table (B, 4) int64 and ramp (B, width) float64 of `seqstride.core.spectral_window.Windows`.

    Args:
        stride: S, 0-d float64, on the device.
        lengths: (B,) int64, on the device, each at least 1.
        width: W, at least R of the longest item.
        plain: the same ramp as a function of the stride, for second derivatives.
    """
    table, ramp = _Windows.apply(stride, lengths.contiguous(), settings, width, plain)
    return table, ramp


def output_lengths(stride: Tensor, lengths: Tensor, settings: Settings) -> Tensor:
    """(B,) int64: the last column of that table, which is not kept."""
    return _start(stride, lengths.contiguous(), settings, 0)[0][:, 3].contiguous()
