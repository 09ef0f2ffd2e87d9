"""Short transforms as matrix products, which then beat the fast ones.

A fast transform makes several passes over the signal; a short one is done sooner by one product with a small matrix.
Measured on two CPU cores with 64 to 4096 rows, analysis and synthesis at stride 2: the product is 1.2 to 2 times faster
up to 64 frames for the DFT (and slower at 128), 3 to 20 times up to 256 frames for the DCT (slower at 512).

The scale is that of `seqstride.resample`: coefficient 0 is the mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqstride.memory_cache import cached_by_size

#: longest transform, in frames, that is a matrix product
SHORT = {"dft": 64, "dct": 256}

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
