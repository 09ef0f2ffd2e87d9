"""Transforms: the discrete cosine transform, and short transforms as products with a matrix.

The DCT of any length takes O(T log T): one real FFT of length T and a twiddle.
The DCT-II of x is read off the DFT V of a reordered signal v = (x_0, x_2, x_4, …, x_5, x_3, x_1)
(Makhoul 1980, "A fast cosine transform in one and two dimensions", eq. 12–15):

    2 Σ_t x_t cos(π k (2t + 1) / 2T) = 2 Re(w_k V_k),     w_k = exp(−iπk / 2T).

v is real, so V_{T−k} = conj(V_k), and as w_{T−k} = −i·conj(w_k) the upper half comes from the same bins:
2 Re(w_{T−k} V_{T−k}) = −2 Im(w_k V_k). Half the bins of one real FFT give all the coefficients.

Short transforms, DCT and DFT, are products with a matrix (`analysis_basis`, `synthesis_basis`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqstride.core.derivatives import differentiable
from seqstride.core.memory_cache import cached_by_size


@cached_by_size(64)
def _tables(frames: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The tables of a transform of T frames: w_k times the orthonormal scale (T // 2 + 1,), complex, and two orders.

    The scale is √2 for k > 0 against 1 for k = 0. `order` (T,) gives v = x[order], `back` (T,) undoes it.
    """
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training
        k = torch.arange(frames // 2 + 1, dtype=torch.float64)
        scale = torch.full_like(k, math.sqrt(2.0))
        scale[0] = 1.0
        twiddle = torch.polar(scale, k * (-math.pi / (2 * frames)))
        t = torch.arange(frames)
        order = torch.cat([t[::2], t[1::2].flip(0)])
        complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
        return twiddle.to(device=device, dtype=complex_dtype), order.to(device), order.argsort().to(device)


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    """x[..., order]; on a CPU gathering from a matrix is the fastest way there, five times faster than indexing."""
    flat = x.reshape(-1, x.shape[-1])
    return flat.gather(1, order.expand(flat.shape)).view(x.shape)


def cosine_analysis(x: Tensor, count: int) -> Tensor:
    """The first `count` coefficients of the DCT-II, with coefficient 0 equal to the mean (dct(x) / √T).

    (…, T) → (…, count), 1 ≤ count ≤ T, float32 or float64.
    """
    frames = x.shape[-1]
    half = frames // 2 + 1
    twiddle, order, _ = _tables(frames, x.dtype, x.device)
    spectrum = torch.fft.rfft(_reordered(x, order), norm="forward").mul_(twiddle)
    if count <= half:
        return spectrum[..., :count].real.contiguous()
    coefficients = x.new_empty(*x.shape[:-1], count)
    coefficients[..., :half] = spectrum.real
    # k = T − j for j = T − half … T − count + 1 ≥ 1
    coefficients[..., half:] = -spectrum[..., frames - count + 1 : frames - half + 1].imag.flip(-1)
    return coefficients


def cosine_synthesis(coefficients: Tensor, frames: int) -> Tensor:
    """Inverse of `cosine_analysis` at any length: (…, K) → (…, frames), K ≤ frames; missing coefficients are 0.

    V_k = conj(w_k) (a_k X_k − i a_{T−k} X_{T−k}) / 2 with a_0 = 2, a_k = √2 and X_T = 0 undoes the twiddle.
    """
    count = coefficients.shape[-1]
    half = frames // 2 + 1
    twiddle, _, back = _tables(frames, coefficients.dtype, coefficients.device)
    low = min(count, half)
    spectrum = coefficients.new_zeros(*coefficients.shape[:-1], low, dtype=twiddle.dtype)
    spectrum.real[...] = coefficients[..., :low]
    if count > frames - half + 1:  # X_{T−k} is among the given coefficients from this k on
        spectrum.imag[..., frames - count + 1 :] = -coefficients[..., frames - half + 1 :].flip(-1)
    spectrum[..., 1:] *= twiddle[1:low].conj() / 2
    return _reordered(torch.fft.irfft(spectrum, n=frames, norm="forward"), back)


def _forth(x: Tensor) -> Tensor:
    return cosine_analysis(x, x.shape[-1]) * math.sqrt(x.shape[-1])


def _back(coefficients: Tensor) -> Tensor:
    frames = coefficients.shape[-1]
    return cosine_synthesis(coefficients, frames) * math.sqrt(1.0 / frames)


def _nothing_to_keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    pass


# The transform is orthogonal, so its gradient is its inverse.
_dct: Callable[[Tensor], Tensor] = differentiable(
    _forth, _nothing_to_keep, lambda ctx, gradient: _idct(gradient), lambda x: x @ _orthonormal(x)
)
_idct: Callable[[Tensor], Tensor] = differentiable(
    _back, _nothing_to_keep, lambda ctx, gradient: _dct(gradient), lambda x: x @ _orthonormal(x).t()
)


def _orthonormal(x: Tensor) -> Tensor:
    """(T, T), the matrix of the transform of (…, T)."""
    return analysis_basis(x.shape[-1], "dct", x.dtype, x.device) * math.sqrt(x.shape[-1])


def _check(name: str, x: Tensor) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"`{name}` (dtype {x.dtype}) must be float32 or float64")
    if x.ndim < 1 or 0 in x.shape:
        raise ValueError(
            f"`{name}` (shape {tuple(x.shape)}) must have shape (…, T), at least one element on every axis"
        )


def dct(x: Tensor) -> Tensor:
    """Orthonormal DCT-II over the last axis.

    Args:
        x: (…, T), float32 or float64, any T ≥ 1.

    Returns:
        (…, T), the coefficients k = 0 … T − 1; as `scipy.fft.dct(x, norm="ortho")`.

    Raises:
        ValueError: another dtype, or an empty axis.

    Source: Makhoul 1980; the gradient is ours.
    """
    _check("x", x)
    return _dct(x)


def idct(coefficients: Tensor) -> Tensor:
    """Inverse of `dct` (the orthonormal DCT-III) over the last axis: (…, T) → (…, T).

    Raises:
        ValueError: a dtype other than float32 or float64, or an empty axis.
    """
    _check("coefficients", coefficients)
    return _idct(coefficients)


# Short transforms as matrix products
#
# A fast transform makes several passes over the signal; for short signals one product with a small matrix is faster.
# Measured on two CPU cores with 64 to 4096 rows, analysis and synthesis at stride 2: the product is 1.2 to 2 times
# faster up to 64 frames for the DFT (and slower at 128), 3 to 20 times up to 256 frames for the DCT (slower at 512).
#
# The scale is that of `seqstride.core.spectral`: coefficient 0 is the mean.

#: longest transform, in frames, that is a matrix product
LONGEST_PRODUCT = {"dft": 64, "dct": 256}

#: megabytes of either cache: all bases up to 256 frames take 22 in float32
CACHE = 64


@cached_by_size(CACHE)
def analysis_basis(frames: int, transform: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(T, bins): the DCT's basis, or the DFT's with real and imaginary parts side by side (T, 2·bins)."""
    return _basis(frames, transform).t().div(frames).to(device=device, dtype=dtype).contiguous()


@cached_by_size(CACHE)
def synthesis_basis(frames: int, transform: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(bins, T) or (2·bins, T), the inverse of `analysis_basis`; its first rows synthesise from the lowest bins."""
    basis = _basis(frames, transform)
    if transform == "dft":
        # a bin stands for its negative frequency, too, but for 0 and the Nyquist bin
        basis[2:] *= 2
        if frames % 2 == 0:
            basis[frames:] /= 2
    return basis.to(device=device, dtype=dtype)


def _basis(frames: int, transform: str) -> Tensor:
    """Rows of unit scale: √2·cos(πk(2t + 1) / 2T), 1 for k = 0, or cos and −sin of 2πnt / T alternating."""
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training
        t = torch.arange(frames, dtype=torch.float64)
        if transform == "dct":
            basis = (t[:, None] * (2 * t + 1) * (math.pi / (2 * frames))).cos() * math.sqrt(2.0)
            basis[0] = 1.0
            return basis
        angle = t[: frames // 2 + 1, None] * t * (2 * math.pi / frames)
        return torch.stack([angle.cos(), -angle.sin()], dim=1).reshape(-1, frames)
