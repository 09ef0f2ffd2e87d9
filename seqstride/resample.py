"""Resampling in the frequency domain, and the way back in time.

`spectral_crop` is the one engine of the spectral families: transform, keep the lowest bins, weigh the ramp, inverse
transform at the new length. Both transforms are scaled so that bin 0 is the mean, which makes the gain at DC one
whatever the lengths ("forward" normalisation). The other resamplers are in `align.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqstride.dct import cosine_analysis, cosine_synthesis
from seqstride.lengths import Frames, zero_padding
from seqstride.masks import Transform, Window


def _analysis(x: Tensor, count: int, transform: Transform) -> Tensor:
    """(…, T) → (…, count): the lowest bins, bin 0 the mean."""
    if transform == "dct":
        return cosine_analysis(x, count)
    return torch.fft.rfft(x, norm="forward")[..., :count]


def _synthesis(spectrum: Tensor, frames: int, transform: Transform) -> Tensor:
    """(…, K) → (…, frames): inverse of `_analysis` at any length; missing bins are 0."""
    if transform == "dct":
        return cosine_synthesis(spectrum, frames)
    return torch.fft.irfft(spectrum, n=frames, norm="forward")


def _groups(windows: list[Window]) -> list[tuple[slice | list[int], Window]]:
    """Items of the same window together, as an index into the batch: each length has a transform of its own."""
    members: dict[Window, list[int]] = {}
    for item, window in enumerate(windows):
        members.setdefault(window, []).append(item)
    if len(members) == 1:
        return [(slice(None), windows[0])]
    return [(slice(i[0], i[0] + 1) if len(i) == 1 else i, window) for window, i in members.items()]


class _SpectralCrop(torch.autograd.Function):
    """y = synthesis(mask · analysis(x)), with its adjoint.

    Forward, per item: X_n = (1/T) Σ_t x_t e^{−iθ_n t}; y_j = Re Σ_n w_n m_n X_n e^{2πi nj/L}, w_n = 1 at n = 0 and at
    the Nyquist bin of L, else 2 (the DCT has w = 1). With G = analysis(dy) the adjoint is

        dx = synthesis(m · Z) at T,    Z = (L/T)·G, halved at a bin that is Nyquist for L but not for T,
        dm_n = T v_n Σ_C Re(X_n conj Z_n),    v_n as w_n but for T,

    so the backward pass is the same two real transforms (torch's own gradient of rfft is a complex one of full length),
    and of the spectrum only the ramp has to be remembered.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, ramp: Tensor, windows: list[Window], transform: Transform, official: bool
    ) -> Tensor:
        width = max(window.output for window in windows)
        groups = _groups(windows)
        y = x.new_zeros(*x.shape[:-1], width) if len(groups) > 1 else x
        weights = ramp.to(x.dtype)
        ramp_spectra = []
        for items, window in groups:
            spectrum = _analysis(x[items, :, : window.frames], window.kept, transform)
            top = spectrum[..., window.flat :]
            if ctx.needs_input_grad[1]:
                ramp_spectra.append(top.clone())
            top *= weights[items, None, : window.kept - window.flat]
            part = _synthesis(spectrum, window.output, transform)
            if official:
                part *= window.frames / window.output
            if len(groups) == 1:
                y = part
            else:
                y[items, :, : window.output] = part
        ctx.save_for_backward(ramp, *ramp_spectra)
        ctx.windows, ctx.transform, ctx.official, ctx.frames = windows, transform, official, x.shape[-1]
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        gradient = gradients[0]
        ramp, *ramp_spectra = ctx.saved_tensors
        weights = ramp.to(gradient.dtype)
        groups = _groups(ctx.windows)
        padded = len(groups) > 1 or ctx.windows[0].frames < ctx.frames
        dx = gradient.new_zeros(*gradient.shape[:-1], ctx.frames) if ctx.needs_input_grad[0] and padded else None
        dramp = torch.zeros_like(ramp) if ctx.needs_input_grad[1] else None
        for group, (items, window) in enumerate(groups):
            spectrum = _analysis(gradient[items, :, : window.output], window.kept, ctx.transform)
            spectrum *= 1.0 if ctx.official else window.output / window.frames
            nyquist_of_output = ctx.transform == "dft" and 2 * (window.kept - 1) == window.output
            if nyquist_of_output and window.output < window.frames:
                spectrum[..., -1] *= 0.5
            top = spectrum[..., window.flat :]
            if dramp is not None:
                product = (ramp_spectra[group] * top.conj()).real.sum(1, dtype=ramp.dtype) * window.frames
                if ctx.transform == "dft":
                    product *= 2
                    if window.flat == 0:
                        product[..., 0] *= 0.5
                    if 2 * (window.kept - 1) == window.frames and window.kept > window.flat:
                        product[..., -1] *= 0.5
                dramp[items, : window.kept - window.flat] = product
            if ctx.needs_input_grad[0]:
                top *= weights[items, None, : window.kept - window.flat]
                part = _synthesis(spectrum, window.frames, ctx.transform)
                if dx is None:
                    return part, dramp, None, None, None
                dx[items, :, : window.frames] = part
        return dx, dramp, None, None, None


def spectral_crop(
    x: Tensor, ramp: Tensor, windows: list[Window], transform: Transform, *, official_gain: bool = False
) -> Tensor:
    """(B, C, T) → (B, C, L): keeps window b of the spectrum of item b and weighs its ramp.

    Args:
        x: (B, C, T) float32 or float64; half precision is computed in float32 and cast back.
        ramp: (B, W) weights of the bins flat … kept − 1 of each item.
        windows: one for each item; `window.frames` leading frames are read, whatever stands behind them.
        transform: "dft" or "dct".
        official_gain: multiply by T / L as the official DiffStride does (its gain jumps whenever L steps).

    Returns:
        (B, C, max L), 0 behind an item's own L.
    """
    half = x.dtype in (torch.float16, torch.bfloat16)
    y = _SpectralCrop.apply(x.float() if half else x, ramp, windows, transform, official_gain)
    return y.to(x.dtype)


def pooling_windows(lengths: list[int], output_lengths: list[int], transform: Transform) -> list[Window]:
    """Windows that keep the lowest bins for the given output lengths (spectral pooling, Rippel et al. 2015).

    For the DFT the top bin is the ramp: at even L < T it is the bin L/2, which `scipy.signal.resample` doubles, as both
    e^{±iπj} of the longer signal fall into it.
    """
    if transform == "dct":
        return [Window(t, n, n, n, 0.0) for t, n in zip(lengths, output_lengths, strict=True)]
    return [Window(t, n // 2, n // 2 + 1, n, 0.0) for t, n in zip(lengths, output_lengths, strict=True)]


def pooling_ramps(windows: list[Window], transform: Transform, like: Tensor) -> Tensor:
    """The (B, W) weights of `pooling_windows` on the device of `like`: the doubled top bin, or nothing for the DCT."""
    if transform == "dct":
        return torch.empty(len(windows), 0, dtype=torch.float32, device=like.device)
    doubled = [2.0 if w.output % 2 == 0 and w.output < w.frames else 1.0 for w in windows]
    return torch.tensor(doubled, dtype=torch.float32, device=like.device)[:, None]


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
    return zero_padding(y, frames.input_lengths) if frames.padded else y
