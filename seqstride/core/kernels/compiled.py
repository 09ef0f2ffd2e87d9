"""The kernels inside operators of compiled code, which keeps operators whole and knows no other nodes of autograd.

Such an operator returns its output alone, so its adjoint computes again what the nodes of eager code keep.
"""

from __future__ import annotations

from torch import Tensor

from seqstride.core.kernels.align import align_forward
from seqstride.core.kernels.align_backward import align_backward as gradients


def align(
    x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, sigma_square: float
) -> Tensor:
    """`align_forward` of the matrix method: (B, C, T) → (B, C, width)."""
    positions = positions.double().contiguous()
    return align_forward(x.contiguous(), positions, lengths, output_lengths, width, sigma_square)[0]


def align_backward(
    dz: Tensor, x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, sigma_square: float
) -> tuple[Tensor, Tensor]:
    """Gradients for x and the positions."""
    x, p = x.contiguous(), positions.double().contiguous()
    z, rest, rows, _ = align_forward(x, p, lengths, output_lengths, dz.shape[2], sigma_square, keep_rest=True)
    dx, dp, *_ = gradients(dz.contiguous(), x, z, rest, p, lengths, rows, sigma_square, None)
    assert dx is not None
    assert dp is not None
    return dx, dp.sum(0).to(positions.dtype)
