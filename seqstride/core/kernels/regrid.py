"""The grid that all items of a spectral crop share, whatever their lengths.

The crop of an item of T frames to L frames is a product with the matrix

    DFT: M_lt = (1/T) Σ_n w_n m_n cos(2πn (l/L − t/T)),
    DCT: M_lt = (1/T) Σ_n w_n m_n cos(πn (2l + 1) / 2L) cos(πn (2t + 1) / 2T),

with the mask m, w_0 = 1 and w_n = 2 for n > 0 (1 at the Nyquist bin of L for the DFT). Transforms of T and of L points
would need lengths of their own for every item. Instead (non-uniform FFT: Dutt & Rokhlin 1993, "Fast Fourier transforms
for nonequispaced data"; kernel: Barnett, Magland & af Klinteberg 2019, "A parallel nonuniform fast Fourier transform
library based on an exponential of semicircle kernel"):

1. spread: every frame adds ψ(distance) to the grid points around it, on a grid of N points around the circle;
2. FFT of N points: bin n is the item's, times the transform ψ^ of ψ;
3. mask, and division by ψ^ twice, for 1 and for 5;
4. inverse FFT;
5. read: every output frame sums the grid points around it, with weights ψ(distance).

The DCT is the same with the half circle that frames stand on reflected: its grid has the points 2π(m + ¼) / N, whose
reflections lie halfway between them. ψ is 0 beyond TAPS / 2 grid steps. The gradient for x is the product with the
transposed matrix: the same steps from L to T frames.

N depends on the number of bins only, N ≥ 2σ(K − 1) (DFT) or σ(K − 1) (DCT), so that aliases of bins below K meet a
small ψ^. σ = 1.75 with 9 taps: the matrix is right to 1e-7 of its norm, and what single precision loses (3e-7) is
amplified by ψ^ hardly more than at σ = 2, with a grid of 7/8 of the size.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from seqstride.core.memory_cache import cached_by_size

#: σ, and the width of ψ in grid steps
OVERSAMPLING, TAPS = 1.75, 9

#: ψ = exp(BETA (√(1 − z) − 1)), z = (2u / TAPS)², as a polynomial of this degree
BETA, DEGREE = 2.12 * TAPS, 13


def kernel_polynomial() -> tuple[float, ...]:
    """Coefficients of ψ in 1 − 2z, the highest power first.

    All are positive, so that single precision evaluates it to 2e-7. The polynomial is ψ: what it lacks to the
    exponential (3e-9) is no error, as ψ^ is its own.
    """

    v = np.polynomial.chebyshev.chebpts1(DEGREE + 1)
    z = (1 - v) / 2
    series = np.polynomial.chebyshev.chebfit(v, np.exp(-BETA * z / (1 + np.sqrt(1 - z))), DEGREE)
    return tuple(float(c) for c in np.polynomial.chebyshev.cheb2poly(series)[::-1])


POLYNOMIAL = kernel_polynomial()


@cache
def grid_size(bins: int, transform: str) -> int:
    """Points N of the grid for bins 0 … bins − 1.

    One of {8, 9, 10, 12, 14, 15} · 2^k, and of multiples of 16 up to 128: few plans for cuFFT, all of them fast.
    """
    least = math.ceil(OVERSAMPLING * (bins - 1) * (1 if transform == "dct" else 2)) + 2
    if least <= 128:
        return max(32, -(-least // 16) * 16)
    unit = 1 << ((least - 1).bit_length() - 4)
    return next(unit * m for m in (8, 9, 10, 12, 14, 15, 16) if unit * m >= least)


@cached_by_size(64)
def grid_tables(size: int, transform: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Turns e^(iπk / 2N), k = 0 … 2N, and 1 / ψ^ of the bins that the grid can hold.

    Both in single precision; turns with their two parts in one integer of 64 bits.
    """
    angles = torch.arange(2 * size + 1, dtype=torch.float64) * (math.pi / (2 * size))
    turns = torch.stack([angles.cos(), angles.sin()], 1)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    values = np.polyval(POLYNOMIAL, 1 - 2 * nodes**2) * weights * (TAPS / 2)
    period = 2 * size if transform == "dct" else size
    bins = np.arange(int(period / (2 * OVERSAMPLING)) + 1)
    inverse = 1 / (np.cos(np.outer(bins * (math.pi * TAPS / period), nodes)) @ values)
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training
        return (
            turns.to(torch.float32).view(torch.int64)[:, 0].to(device),
            torch.from_numpy(inverse).to(device=device, dtype=torch.float32),
        )
