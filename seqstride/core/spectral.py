"""Resampling in the frequency domain, and interpolation back to the input frames.

All spectral methods use `spectral_crop`: it transforms, keeps the lowest bins, multiplies the ramp, and transforms back
at the new length. Both transforms are scaled so that bin 0 is the mean, which makes the gain at DC one
whatever the lengths ("forward" normalisation). The other resamplers are in `align.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqstride.core.dense import dense_crop
from seqstride.core.derivatives import differentiable, refuse_second_derivative, widen_batches
from seqstride.core.kernels import dispatch
from seqstride.core.lengths import Frames
from seqstride.core.spectral_window import Windows
from seqstride.core.transforms import (
    LONGEST_PRODUCT,
    analysis_basis,
    cosine_analysis,
    cosine_synthesis,
    synthesis_basis,
)


def _analysis(x: Tensor, count: int, transform: str) -> Tensor:
    """(…, T) → (…, count): the lowest bins, bin 0 the mean."""
    frames = x.shape[-1]
    if frames <= LONGEST_PRODUCT[transform]:
        basis = analysis_basis(frames, transform, x.dtype, x.device)
        if transform == "dct":
            return x @ basis[:, :count]
        return torch.view_as_complex((x @ basis[:, : 2 * count]).unflatten(-1, (count, 2)))
    if transform == "dct":
        return cosine_analysis(x, count)
    return torch.fft.rfft(x, norm="forward")[..., :count]


def _synthesis(spectrum: Tensor, frames: int, transform: str) -> Tensor:
    """(…, K) → (…, frames): inverse of `_analysis` at any length; missing bins are 0."""
    if frames <= LONGEST_PRODUCT[transform]:
        parts = spectrum if transform == "dct" else torch.view_as_real(spectrum).flatten(-2)
        return parts @ synthesis_basis(frames, transform, parts.dtype, parts.device)[: parts.shape[-1]]
    if transform == "dct":
        return cosine_synthesis(spectrum, frames)
    return torch.fft.irfft(spectrum, n=frames, norm="forward")


def _items_by_window(windows: Tensor) -> list[tuple[slice | list[int], list[int]]]:
    """Items of the same window together, as an index into the batch: each length has a transform of its own."""
    rows = windows.tolist()
    members: dict[tuple[int, ...], list[int]] = {}
    for item, row in enumerate(rows):
        members.setdefault(tuple(row), []).append(item)
    if len(members) == 1:
        return [(slice(None), rows[0])]
    return [(slice(i[0], i[0] + 1) if len(i) == 1 else i, list(row)) for row, i in members.items()]


# The crop is a custom operator with its adjoint written by hand. torch's gradient of rfft is a complex transform of
# full length; this one takes two real transforms and keeps only the ramp of the spectrum. torch.compile keeps the
# operator whole. It has to: windows depend on a learnt stride, and torch does not compile complex numbers.
#
# On a GPU both are kernels, for items of all lengths at once (`seqstride.core.kernels.spectral`).


def _has_kernels(x: Tensor) -> bool:
    return x.device.type in dispatch.DEVICES and dispatch.has_kernels(x)


def _kernels() -> Any:
    from seqstride.core.kernels import spectral

    return spectral


@torch.library.custom_op("seqstride::spectral_crop", mutates_args=())
def _crop(
    x: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    """(B, C, width) and, where it is to be kept for the gradient, the spectrum in the ramp (B, C, W)."""
    if _has_kernels(x):
        return _kernels().crop_forward(x, ramp, windows, width, transform, official, keep)
    groups = _items_by_window(windows)
    whole = len(groups) == 1 and groups[0][1][3] == width
    weights = ramp.to(x.dtype)
    y = x.new_empty(0) if whole else x.new_zeros(*x.shape[:2], width)
    tops = _top_spectra(x, ramp, transform) if keep else x.new_empty(0)
    for items, (frames, flat, kept, output) in groups:
        spectrum = _analysis(x[items, :, :frames], kept, transform)
        top = spectrum[..., flat:]
        if keep:
            tops[items, :, : kept - flat] = top
        top *= weights[items, None, : kept - flat]
        part = _synthesis(spectrum, output, transform)
        if official:
            part *= frames / output
        if whole:
            return part, tops
        y[items, :, :output] = part
    return y, tops


def _top_spectra(x: Tensor, ramp: Tensor, transform: str) -> Tensor:
    """Zeros (B, C, W) for the spectra in the ramps."""
    double = x.dtype == torch.float64
    if transform == "dct":
        dtype = torch.float64 if double else torch.float32
    else:
        dtype = torch.complex128 if double else torch.complex64
    return x.new_zeros(*x.shape[:2], ramp.shape[1], dtype=dtype)


@torch.library.custom_op("seqstride::spectral_crop_backward", mutates_args=())
def _crop_backward(
    dy: Tensor, tops: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool
) -> tuple[Tensor, Tensor]:
    """Gradients for x (B, C, width) and the ramp.

    Forward, per item: X_n = (1/T) Σ_t x_t e^{−iθ_n t}; y_j = Re Σ_n w_n m_n X_n e^{2πi nj/L}, w_n = 1 at n = 0 and at
    the Nyquist bin of L, else 2 (the DCT has w = 1). With G = analysis(dy) the adjoint is

        dx = synthesis(m · Z) at T,    Z = (L/T)·G, halved at a bin that is Nyquist for L but not for T,
        dm_n = T v_n Σ_C Re(X_n conj Z_n),    v_n as w_n but for T.
    """
    if _has_kernels(dy):
        return _kernels().crop_backward(dy, tops, ramp, windows, width, transform, official)
    groups = _items_by_window(windows)
    weights = ramp.to(dy.dtype)
    whole = len(groups) == 1 and groups[0][1][0] == width
    dx = dy.new_empty(0) if whole else dy.new_zeros(*dy.shape[:2], width)
    dramp = torch.zeros_like(ramp)
    for items, (frames, flat, kept, output) in groups:
        spectrum = _analysis(dy[items, :, :output], kept, transform)
        spectrum *= 1.0 if official else output / frames
        if transform == "dft" and 2 * (kept - 1) == output and output < frames:
            spectrum[..., -1] *= 0.5
        top = spectrum[..., flat:]
        if tops.numel() and kept > flat:
            product = (tops[items, :, : kept - flat] * top.conj()).real.sum(1, dtype=ramp.dtype) * frames
            if transform == "dft":
                product *= 2
                if flat == 0:
                    product[..., 0] *= 0.5
                if 2 * (kept - 1) == frames:
                    product[..., -1] *= 0.5
            dramp[items, : kept - flat] = product
        top *= weights[items, None, : kept - flat]
        part = _synthesis(spectrum, frames, transform)
        if whole:
            return part, dramp
        dx[items, :, :frames] = part
    return dx, dramp


@_crop.register_fake
def _(
    x: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(*x.shape[:2], width), _top_spectra(x, ramp, transform) if keep else x.new_empty(0)


@_crop_backward.register_fake
def _(
    dy: Tensor, tops: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool
) -> tuple[Tensor, Tensor]:
    return dy.new_empty(*dy.shape[:2], width), torch.empty_like(ramp)


def _crop_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ramp, windows, _, *ctx.rest, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], ramp, windows)
    ctx.width = x.shape[2]


def _crop_gradient(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    with torch.autocast(dy.device.type, enabled=False):
        dx, dramp = _adjoint(dy, *ctx.saved_tensors, ctx.width, *ctx.rest)
    return dx, dramp, None, None, None, None, None


def _adjoint_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    dy, _, ramp, windows, _, *ctx.rest = inputs
    ctx.save_for_backward(ramp, windows)
    ctx.width = dy.shape[2]


def _adjoint_gradient(ctx: Any, ddx: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """For a ramp that does not learn the crop is linear, and the gradient of its adjoint the crop itself."""
    if ctx.needs_input_grad[2]:
        refuse_second_derivative("a stride that learns; those for the signal are there after `freeze()`")
    ramp, windows = ctx.saved_tensors
    with torch.autocast(ddx.device.type, enabled=False):
        ddy, _ = _differentiable_crop(ddx, ramp, windows, ctx.width, *ctx.rest, False)
    return ddy, None, None, None, None, None, None


def _crop_formula(
    x: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    bins = width if transform == "dct" else width // 2 + 1
    return dense_crop(x, ramp, windows, bins, width, transform, official), x.new_empty(0)


# To call an operator takes longer than to start its kernels, so eager code calls these as they are.


def _crop_now(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    crop = _kernels().crop_forward if _has_kernels(x) else _crop
    y, tops = crop(x, *arguments)
    return y, tops


def _crop_backward_now(dy: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    crop = _kernels().crop_backward if _has_kernels(dy) else _crop_backward
    dx, dramp = crop(dy, *arguments)
    return dx, dramp


for operator in (_crop, _crop_backward):
    widen_batches(operator)
_differentiable_crop = differentiable(_crop, _crop_setup, _crop_gradient, _crop_formula, _crop_now)
_adjoint = differentiable(_crop_backward, _adjoint_setup, _adjoint_gradient, None, _crop_backward_now)


def spectral_crop(x: Tensor, windows: Windows, width: int, transform: str, *, official_gain: bool = False) -> Tensor:
    """(B, C, T) → (B, C, width): keeps window b of the spectrum of item b and weighs its ramp.

    Args:
        x: (B, C, T); half precision is computed in float32 and cast back.
        windows: their frames are read, whatever stands behind.
        width: at least the largest output length.
        transform: "dft" or "dct".
        official_gain: multiply by T / L as the official DiffStride does (its gain jumps whenever L steps).

    Returns:
        (B, C, width), 0 behind an item's own output length.
    """
    half = x.dtype in (torch.float16, torch.bfloat16) and not _has_kernels(x)
    keep = windows.ramp.requires_grad and torch.is_grad_enabled()
    y: Tensor = _differentiable_crop(
        x.float() if half else x, windows.ramp, windows.table, width, transform, official_gain, keep
    )[0]
    return y.to(x.dtype)


def pooling_windows(lengths: Tensor, output_lengths: Tensor, transform: str) -> Windows:
    """Windows that keep the lowest bins for the given output lengths (spectral pooling, Rippel et al. 2015).

    For the DFT the top bin is the ramp: at even L < T it is the bin L/2, which `scipy.signal.resample` doubles, as both
    e^{±iπj} of the longer signal fall into it. For the DCT there is no ramp.

    Args:
        lengths, output_lengths: (B,) int64.
    """
    n = output_lengths
    if transform == "dct":
        table = torch.stack([lengths, n, n, n], 1)
        return Windows(table, torch.empty(n.shape[0], 0, dtype=torch.float32, device=n.device))
    doubled = (n % 2 == 0) & (n < lengths)
    return Windows(torch.stack([lengths, n // 2, n // 2 + 1, n], 1), 1.0 + doubled.float()[:, None])


def interpolate(z: Tensor, positions: Tensor, frames: Frames) -> Tensor:
    """Each input frame reads z at its position by linear interpolation: (B, C, L), (B, T) → (B, C, T).

    Positions are clipped to 0 … L_b − 1. Differentiable in z and in the positions. 0 in the padding.
    """
    last = (frames.lengths[:, None] - 1).to(positions.dtype)
    p = torch.minimum(positions.clamp(min=0.0), last)
    lower = torch.minimum(p.detach().floor(), (last - 1).clamp(min=0.0)).long()
    upper = torch.minimum(lower + 1, frames.lengths[:, None] - 1)
    fraction = (p - lower).to(z.dtype)[:, None]
    shape = (z.shape[0], z.shape[1], frames.width)
    below = z.gather(2, lower[:, None].expand(shape))
    above = z.gather(2, upper[:, None].expand(shape))
    y = torch.lerp(below, above, fraction)
    return y.masked_fill(~frames.real[:, None], 0.0) if frames.padded else y
