"""Stride → soft spectral window (DiffStride and DCT-DiffStride).

The window is 1 up to a threshold, falls linearly over R bins and is 0 beyond (Riad et al. 2022, §3 and the authors'
code):

    mask_n = clamp((R + threshold − n) / R, 0, 1),    threshold = T / (2S) + 1  (DFT),    T / S  (DCT, ours).

Only bins with mask > 0 are kept. Only the bins above the threshold (the ramp) have values other than 1 and depend on S.
So a window has two parts. The number of flat bins, the number of kept bins and the output length are computed on the
host in double precision. The ramp is a short tensor that carries the gradient to S.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqstride.core.checks import check_stride
from seqstride.core.derivatives import differentiable
from seqstride.core.lengths import float64_on

Transform = Literal["dft", "dct"]


class SpectralWindow(NamedTuple):
    """The host part of a window for an item of `frames` frames."""

    frames: int  # T
    flat: int  # bins 0 … flat − 1 pass unchanged
    kept: int  # bins flat … kept − 1 are the ramp; further bins are cropped
    output: int  # L
    smoothness: float  # R_eff, bins


def _clamp(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(value, high), low)


def _clamp_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _clamp_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    value, low, high = ctx.saved_tensors
    # a negative gradient makes gradient descent increase the value
    blocked = ((value < low) & (gradient > 0)) | ((value > high) & (gradient < 0))
    return gradient.masked_fill(blocked, 0.0).sum_to_size(value.shape), None, None


_inward = differentiable(_clamp, _clamp_setup, _clamp_gradient)


def clamp_inward(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Returns clamp(value, low, high). At a bound, the gradient passes if it moves the value inwards.

    If `low` > `high`, the result is `low`. `value` broadcasts against `low` and `high`. The official DiffStride
    overwrites its parameter in forward, so that it does not stick at a bound. This function has the same effect on
    training and does not write (ours).
    """
    clamped: Tensor = _inward(value, low, high)
    return clamped


def effective_smoothness(stride: float, frames: int, smoothness: float, relative: float | None) -> float:
    """Returns R_eff = min(R, T / 4) in bins. With a relative smoothness ρ, R = max(½, ρ·T / S) (ours)."""
    bins = smoothness if relative is None else max(0.5, relative * frames / stride)
    return min(bins, frames / 4)


def spectral_window(
    stride: float,
    frames: int,
    *,
    smoothness: float = 4.0,
    relative_smoothness: float | None = None,
    transform: Transform = "dft",
    length_multiple: int = 1,
) -> SpectralWindow:
    """Returns the window of a stride for an item of `frames` frames.

    The output length is rounded up to a multiple of `length_multiple`, but to T at most. For other arguments, see
    `spectral_mask`.
    """
    smoothness = effective_smoothness(stride, frames, smoothness, relative_smoothness)
    low, high = frames / (frames - smoothness), frames / 2
    effective = max(min(stride, high), low)
    if transform == "dft":
        bins, threshold = frames // 2 + 1, frames / (2 * effective) + 1
    else:
        bins, threshold = frames, frames / effective
    # 9 decimals, as for lengths, so that every device keeps the same bins
    kept = min(bins, math.ceil(round(threshold + smoothness, 9)))
    flat = min(kept, math.floor(round(threshold, 9)) + 1)
    output = kept if transform == "dct" else frames if kept == bins else min(2 * (kept - 1), frames)
    output = min(-(-output // length_multiple) * length_multiple, frames)
    return SpectralWindow(frames, flat, kept, output, smoothness)


def ramps(stride: Tensor, windows: list[SpectralWindow], transform: Transform) -> Tensor:
    """Returns the ramps of a batch of windows, differentiable in the stride.

    Args:
        stride: 0-d tensor.
        windows: one for each of B items, made from the same stride.

    Returns:
        (B, W) in double precision if the device has it. W is the longest ramp; shorter ramps end with zeros.
        Inside a ramp, d mask / dS = −T / (2 S² R) (DFT) or −T / (S² R) (DCT).
    """
    dtype = float64_on(stride.device)
    table = torch.tensor([[w.frames, w.flat, w.kept, w.smoothness] for w in windows], dtype=torch.float64)
    frames, flat, kept, smoothness = table.to(device=stride.device, dtype=dtype).unbind(1)
    effective = clamp_inward(stride.to(dtype), frames / (frames - smoothness), frames / 2)
    threshold = frames / (2 * effective) + 1 if transform == "dft" else frames / effective
    width = max(w.kept - w.flat for w in windows)
    n = flat[:, None] + torch.arange(width, device=stride.device)
    value = ((smoothness + threshold)[:, None] - n) / smoothness[:, None]
    return value.clamp(0.0, 1.0).masked_fill(n >= kept[:, None], 0.0)


@lru_cache(maxsize=256)
def fixed_ramps(
    stride: float, windows: tuple[SpectralWindow, ...], transform: Transform, device: torch.device
) -> Tensor:
    """Returns the ramps of a fixed stride. They are cached for batches with the same lengths."""
    with torch.inference_mode(False), torch.no_grad():
        return ramps(torch.tensor(stride, dtype=float64_on(device), device=device), list(windows), transform)


def check_smoothness(smoothness: float, relative_smoothness: float | None) -> None:
    """Raises a ValueError if a smoothness is not positive."""
    if not smoothness > 0:
        raise ValueError(f"`smoothness` (={smoothness}) must be positive (in bins)")
    if relative_smoothness is not None and not relative_smoothness > 0:
        raise ValueError(f"`relative_smoothness` (={relative_smoothness}) must be positive or None")


def spectral_mask(
    stride: Tensor | float,
    length: int,
    *,
    smoothness: float = 4.0,
    relative_smoothness: float | None = None,
    transform: Transform = "dft",
) -> Tensor:
    """Returns the soft low-pass mask over the bins that a stride keeps.

    Args:
        stride: S, a 0-d tensor (the mask is differentiable in it) or a number; clamped to the range in
            which the mask has a slope.
        length: T, number of frames of the signal.
        smoothness: R, number of bins over which the mask falls from 1 to 0.
        relative_smoothness: ρ; R = max(½, ρ·T / S), without gradient through R.
        transform: "dft" (mask over the bins of `torch.fft.rfft`) or "dct" (over the DCT coefficients).

    Returns:
        (K,): the mask of bins 0 … K − 1; all further bins are cropped.

    Raises:
        ValueError: a length below 1, a smoothness that is not positive, a stride that is not finite or below 1.

    Source: Riad et al. 2022, §3; bounds and the DCT form are ours.
    """
    if length < 1:
        raise ValueError(f"`length` (={length}) must be at least 1")
    if transform not in ("dft", "dct"):
        raise ValueError(f"`transform` (={transform!r}) must be 'dft' or 'dct'")
    check_smoothness(smoothness, relative_smoothness)
    value = stride if isinstance(stride, Tensor) else torch.tensor(stride, dtype=torch.float64)
    number = check_stride(float(value.detach()))
    window = spectral_window(
        number, length, smoothness=smoothness, relative_smoothness=relative_smoothness, transform=transform
    )
    ramp = ramps(value, [window], transform)[0]
    ramp = ramp.to(value.dtype if isinstance(stride, Tensor) else torch.get_default_dtype())
    return torch.cat([ramp.new_ones(window.flat), ramp])
