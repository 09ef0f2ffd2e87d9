"""What happens to the bins of the grid: the window, the spectrum in the ramp, and the ramp's gradient.

The grid v_0 … v_{N−1} of a channel is real. Its FFT V takes half the numbers, H = N / 2, as the FFT Z of
z_j = v_2j + i v_{2j+1}. No channel touches another one, which two channels in one complex signal would do as soon as
their sizes differ. With W = conj Z_{H−p}, ω = e^(−2πi/N), for p = 0 … H:

    E = (Z_p + W) / 2,    O = (Z_p − W) / 2i        transforms of v_0, v_2, … and of v_1, v_3, …
    V_p = E + ω^p O,      conj V_{H−p} = E − ω^p O

and back, for a new spectrum U of a grid, with a factor of N that 1 / T does not have:

    Z_p = S + D,  Z_{H−p} = conj(S − D),    S = U_p + conj U_{H−p},  D = i ω^−p (U_p − conj U_{H−p}).

DFT: U_p = g_p V_p, g = w m / (T ψ^²), halved for n > 0 because V_{N−p} = conj V_p counts, too.

DCT: with τ = e^(−iπ/2N) the sums Σ_m v_m cos(πn (2m + 1) / 2N) of bins n are, in the order of the grid (Makhoul 1980),

    Re τ^p V_p  (n = p),    −Im τ^p V_p  (n = N − p),

so that τ^p U_p has g_p / 2 of the real part of τ^p V_p, and g_{N−p} / 2 of its imaginary part; g_0 of the real part at
p = 0, which nothing else meets.

Complex numbers are loaded and stored whole, as integers of 64 bits: their parts apart would be every other number.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import blocks, launch

#: bins and channels of a program: of the window; of the ramp's gradient
BINS, CHANNELS = 64, 8
RAMP_BINS, RAMP_CHANNELS = 8, 64


@triton.jit
def _times(ar, ai, br, bi):
    return ar * br - ai * bi, ar * bi + ai * br


@triton.jit
def _load(at, mask):
    """Real and imaginary parts."""
    both = tl.load(at, mask=mask, other=0)
    return both.to(tl.int32).to(tl.float32, bitcast=True), (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _store(at, real, imaginary, mask):
    low = real.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    tl.store(at, low | (imaginary.to(tl.int32, bitcast=True).to(tl.int64) << 32), mask=mask)


@triton.jit
def _halves(row, turns, p, own, mirrored, wanted, mask):
    """E and ω^p O from bins `own` and `mirrored`: p and H − p, or 0 for H. Dimension 0 is bins, with mask `wanted`."""
    zr, zi = _load(row + own[:, None], mask)
    wr, wi = _load(row + mirrored[:, None], mask)
    cosine, sine = _load(turns + 4 * p, wanted)
    br, bi = _times(0.5 * (zi + wi), 0.5 * (wr - zr), cosine[:, None], -sine[:, None])
    return 0.5 * (zr + wr), 0.5 * (zi - wi), br, bi


@triton.jit
def _gain(n, windows, ramp, inverse, W, wanted, scale, DCT: tl.constexpr):
    """w_n m_n scale / ψ^² of bins n; 0 for bins that are cropped or not wanted."""
    flat = tl.load(windows + 1).to(tl.int32)
    kept = tl.load(windows + 2).to(tl.int32)
    wanted = wanted & (n < kept)
    mask = tl.load(ramp + (n - flat), mask=wanted & (n >= flat), other=1.0).to(tl.float32)
    deconvolution = tl.load(inverse + n, mask=wanted, other=0.0)
    return _weight(n, windows, DCT) * mask * deconvolution * deconvolution * scale


@triton.jit
def _weight(n, windows, DCT: tl.constexpr):
    once = n == 0
    if not DCT:
        once = once | (2 * n == tl.load(windows + 3).to(tl.int32))
    return tl.where(once, 1.0, 2.0)


@triton.jit
def _scaled(r, i, real, imaginary, cosine, sine):
    """(r + i·i) turned backwards, its parts scaled, and turned again."""
    r, i = _times(r, i, cosine, -sine)
    return _times(r * real, i * imaginary, cosine, sine)


@triton.jit(do_not_specialize=["C", "N", "W"])
def _filter_kernel(
    windows, spectrum, ramp, turns, inverse, C, N, W,
    OFFICIAL: tl.constexpr, DCT: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """In place: a program has bins p ≤ N / 4 of Z, and H − p."""
    b = tl.program_id(2)
    windows += 4 * b
    ramp += b * W
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    p = tl.program_id(0) * BINS + tl.arange(0, BINS)
    q = N // 2 - p
    row = spectrum + (b.to(tl.int64) * C + c) * (N // 2)
    kept = tl.load(windows + 2).to(tl.int32)
    scale = 1.0 / tl.load(windows + (3 if OFFICIAL else 0)).to(tl.float32)
    own = p <= N // 4
    wanted = own & (p < kept)  # p is the lowest of the bins p, H − p, N − p and H + p
    inside = (c < C) & own[:, None]
    # marked as in `spread`, for lanes that go along bins
    mirrored = tl.max_contiguous(tl.where(p == 0, 0, q), BINS)
    er, ei, br, bi = _halves(row, turns, p, p, mirrored, wanted, (c < C) & wanted[:, None])
    low = (_gain(p, windows, ramp, inverse, W, wanted, scale, DCT) * tl.where(p == 0, 1.0, 0.5))[:, None]
    high = (_gain(q, windows, ramp, inverse, W, wanted, scale, DCT) * 0.5)[:, None]
    if DCT:
        cosine, sine = _load(turns + p, wanted)
        far = (_gain(N - p, windows, ramp, inverse, W, wanted, scale, DCT) * 0.5)[:, None]
        ur, ui = _scaled(er + br, ei + bi, low, far, cosine[:, None], sine[:, None])
        cosine, sine = _load(turns + q, wanted)
        far = (_gain(N - q, windows, ramp, inverse, W, wanted, scale, DCT) * 0.5)[:, None]
        xr, xi = _scaled(er - br, ei - bi, high, far, cosine[:, None], -sine[:, None])
    else:
        ur, ui = low * (er + br), low * (ei + bi)
        xr, xi = high * (er - br), high * (ei - bi)
    cosine, sine = _load(turns + 4 * p, wanted)
    dr, di = _times(ur - xr, ui - xi, -sine[:, None], cosine[:, None])
    _store(row + p[:, None], ur + xr + dr, ui + xi + di, inside)
    other = inside & ((p > 0) & (p < q))[:, None]
    _store(row + tl.max_contiguous(q, BINS)[:, None], ur + xr - dr, di - ui - xi, other)


@triton.jit
def _coefficients(row, turns, inverse, n, N, wanted, mask, DCT: tl.constexpr):
    """Σ_t x_t e^(−2πi nt/T), or Σ_t x_t cos(πn (2t + 1) / 2T) and 0, of bins n in dimension 0."""
    p = tl.where(wanted, tl.minimum(n, N - n), 0)
    own = tl.where(2 * p == N, 0, p)
    mirrored = tl.where((p == 0) | (2 * p == N), 0, N // 2 - p)
    er, ei, br, bi = _halves(row, turns, p, own, mirrored, wanted, mask)
    r = er + br
    i = ei + bi
    if DCT:
        cosine, sine = _load(turns + p, wanted)
        r, i = _times(r, i, cosine[:, None], -sine[:, None])
        r = tl.where((n == p)[:, None], r, -i)
        i = r * 0.0
    deconvolution = tl.load(inverse + n, mask=wanted, other=0.0)[:, None]
    return r * deconvolution, i * deconvolution


@triton.jit(do_not_specialize=["C", "N", "W"])
def _tops_kernel(
    windows, spectrum, turns, inverse, tops, C, N, W,
    DCT: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The spectrum of x in the ramp, scaled so that bin 0 is the mean; 0 behind an item's own ramp."""
    b = tl.program_id(2)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    j = tl.program_id(0) * BINS + tl.arange(0, BINS)
    windows += 4 * b
    n = tl.load(windows + 1).to(tl.int32) + j
    wanted = n < tl.load(windows + 2).to(tl.int32)
    line = b.to(tl.int64) * C + c
    r, i = _coefficients(spectrum + line * (N // 2), turns, inverse, n, N, wanted, (c < C) & wanted[:, None], DCT)
    scale = 1.0 / tl.load(windows).to(tl.float32)
    inside = (c < C) & (j < W)[:, None]
    if DCT:
        scale = scale * tl.where(n == 0, 1.0, 1.4142135623730951)[:, None]
        tl.store(tops + line * W + j[:, None], r * scale, mask=inside)
    else:
        _store(tops + line * W + j[:, None], r * scale, i * scale, inside)


@triton.jit(do_not_specialize=["C", "N", "W"])
def _ramp_kernel(
    windows, spectrum, turns, inverse, tops, dramp, C, N, W,
    OFFICIAL: tl.constexpr, DCT: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The sum over channels of the spectra in the ramp of x (`tops`) and of dy: a program has all channels of a bin."""
    b = tl.program_id(1)
    j = tl.program_id(0) * BINS + tl.arange(0, BINS)
    windows += 4 * b
    n = tl.load(windows + 1).to(tl.int32) + j
    wanted = n < tl.load(windows + 2).to(tl.int32)
    sums = tl.zeros([BINS, CHANNELS], tl.float64)
    for c0 in range(0, C, CHANNELS):
        c = (c0 + tl.arange(0, CHANNELS))[None, :]
        mask = (c < C) & wanted[:, None]
        line = b.to(tl.int64) * C + c
        r, i = _coefficients(spectrum + line * (N // 2), turns, inverse, n, N, wanted, mask, DCT)
        if DCT:
            sums += r.to(tl.float64) * tl.load(tops + line * W + j[:, None], mask=mask, other=0.0)
        else:
            real, imaginary = _load(tops + line * W + j[:, None], mask)
            sums += r.to(tl.float64) * real + i.to(tl.float64) * imaginary
    weight = _weight(n, windows, DCT).to(tl.float64)
    if DCT:
        weight = tl.sqrt(weight)  # the other half is in `tops`
    if OFFICIAL:
        weight = weight * tl.load(windows).to(tl.float64) / tl.load(windows + 3).to(tl.float64)
    tl.store(dramp + b * W + j, (tl.sum(sums, 1) * weight).to(dramp.dtype.element_ty), mask=j < W)


def apply_window(
    spectrum: Tensor, ramp: Tensor, windows: Tensor, tables: tuple[Tensor, Tensor], official: bool, dct: bool
) -> None:
    """Z (B, C, H) → that of the grid which is to be read, in place."""
    B, C, half = spectrum.shape
    channels = min(CHANNELS, 1 << (C - 1).bit_length())
    launch(
        _filter_kernel, (blocks(half // 2 + 1, BINS), blocks(C, channels), B),
        (windows, spectrum.view(torch.int64), ramp, *tables, C, 2 * half, ramp.shape[1]),
        (official, dct, BINS, channels),
    )  # fmt: skip


def top_spectra(
    spectrum: Tensor, windows: Tensor, width: int, tables: tuple[Tensor, Tensor], dct: bool
) -> Tensor:  # fmt: skip
    """Z of a grid (B, C, H) → the item's spectrum in its ramp, (B, C, width), complex for the DFT."""
    B, C, half = spectrum.shape
    tops = torch.empty(B, C, width, dtype=torch.float32 if dct else torch.complex64, device=spectrum.device)
    numbers = tops if dct else tops.view(torch.int64)
    if width == 0:
        return tops
    launch(
        _tops_kernel, (blocks(width, RAMP_BINS), blocks(C, RAMP_CHANNELS), B),
        (windows, spectrum.view(torch.int64), *tables, numbers, C, 2 * half, width), (dct, RAMP_BINS, RAMP_CHANNELS),
    )  # fmt: skip
    return tops


def ramp_gradient(
    spectrum: Tensor,
    tops: Tensor,
    ramp: Tensor,
    windows: Tensor,
    tables: tuple[Tensor, Tensor],
    official: bool,
    dct: bool,
) -> Tensor:
    """Z of the grid of dy (B, C, H) and `tops` of x → the gradient for the ramp (B, W)."""
    B, C, half = spectrum.shape
    dramp = torch.empty_like(ramp)
    numbers = tops if dct else tops.view(torch.int64)
    launch(
        _ramp_kernel, (blocks(ramp.shape[1], RAMP_BINS), B, 1),
        (windows, spectrum.view(torch.int64), *tables, numbers, dramp, C, 2 * half, ramp.shape[1]),
        (official, dct, RAMP_BINS, RAMP_CHANNELS),
    )  # fmt: skip
    return dramp
