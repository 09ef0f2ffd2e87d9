"""Alignment with full matrices: for items so short, or runs so long, that a band costs more.

On a CPU items of the same lengths go together, without their padding. Elsewhere nothing is read: all items are as long
as the batch, and their padding has the weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from seqstride.core.lengths import reading_waits, zero_padding

# −log of the weight, relative to the nearest position's, that is left out
NEGLIGIBLE = {torch.float64: 45.0, torch.float32: 22.0}

# Cells of full matrices that are computed at a time, on a CPU and elsewhere; a step takes about 40 bytes per cell.
CELLS, CELLS_ELSEWHERE = 1 << 21, 1 << 25


def full_align(
    x: Tensor, p: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, sigma_square: float, dtype: torch.dtype
) -> Tensor:
    """(B, C, T) → (B, C, width); see `seqstride.core.align`.

    Args:
        p: (B, T), +inf in the padding.
        dtype: of the weights.
    """
    waits = reading_waits(x.device)
    z = x.new_empty(*x.shape[:2], width)
    if waits:
        x = zero_padding(x, lengths)
    elif bool((output_lengths < width).any()):
        z.zero_()
    for items, length, rows in _parts(lengths, output_lengths, x.shape[2], width):
        weights = _weights(p[items, :length], rows, sigma_square, dtype).to(x.dtype)
        part = x[items, :, :length] @ weights.transpose(1, 2)
        if part.shape == z.shape:
            z = part
        else:
            z[items, :, :rows] = part
    return zero_padding(z, output_lengths) if waits else z


def full_align_backward(
    dz: Tensor, x: Tensor, p: Tensor, lengths: Tensor, output_lengths: Tensor, sigma_square: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Gradients for x and the positions; the derivation stands in `seqstride.core.align`."""
    dx, dp = torch.empty_like(x), torch.zeros_like(p)
    if reading_waits(x.device):
        x, dz = zero_padding(x, lengths), zero_padding(dz, output_lengths)
    elif bool((lengths < x.shape[2]).any()):
        dx.zero_()
    for items, length, rows in _parts(lengths, output_lengths, x.shape[2], dz.shape[2]):
        positions = p[items, :length]
        weights = _weights(positions, rows, sigma_square, dtype)
        dz_part, x_part = dz[items, :, :rows], x[items, :, :length]
        dx_part = dz_part @ weights.to(x.dtype)
        if dx_part.shape == x.shape:
            dx = dx_part
        else:
            dx[items, :, :length] = dx_part
        dlogits = (dz_part.transpose(1, 2) @ x_part).to(dtype).mul_(weights)  # of softmax: A ⊙ dA − A Σ_t A ⊙ dA
        dlogits.addcmul_(weights, dlogits.sum(2, keepdim=True), value=-1)
        # Σ_l dO (l − p) with l counted from the middle: the two sums stay small against each other
        middle = rows // 2
        moments = torch.ones(2, rows, dtype=dtype, device=x.device)
        moments[0] = torch.arange(rows, device=x.device) - middle
        first, zeroth = (moments @ dlogits).unbind(1)
        finite = positions.masked_fill(positions == torch.inf, 0.0)
        dp[items, :length] = first - (finite - middle) * zeroth
    return dx, dp.mul_(2 * sigma_square)


def _weights(p: Tensor, rows: int, sigma_square: float, dtype: torch.dtype) -> Tensor:
    """softmax_t(−σ² (l − p_t)²) of items of one length: (N, T_b) → (N, L_b, T_b).

    Negligible weights are 0, as in a band. In float32 many of them would be smaller than 1e-38, and products with such
    numbers take ten times as long on a CPU.
    """
    square = (torch.arange(rows, device=p.device, dtype=p.dtype)[:, None] - p[:, None]).square_()
    logits = square.sub_(square.amin(2, keepdim=True)).mul_(-sigma_square).to(dtype)
    return torch.softmax(nn.functional.threshold(logits, -NEGLIGIBLE[dtype], -torch.inf, inplace=True), dim=2)


def _parts(
    lengths: Tensor, output_lengths: Tensor, frames: int, width: int
) -> Iterator[tuple[slice | list[int], int, int]]:
    """Items that are computed together, as many as have `CELLS` cells (at least one): index, frames, output frames."""
    if reading_waits(lengths.device):
        most = max(1, CELLS_ELSEWHERE // (frames * width))
        yield from ((slice(i, i + most), frames, width) for i in range(0, len(lengths), most))
        return
    members: dict[tuple[int, int], list[int]] = {}
    for item, size in enumerate(zip(lengths.tolist(), output_lengths.tolist(), strict=True)):
        members.setdefault(size, []).append(item)
    for (length, rows), items in members.items():
        most = max(1, CELLS // (length * rows))
        if len(members) == 1 and len(items) <= most:
            yield slice(None), length, rows
        else:
            yield from ((items[i : i + most], length, rows) for i in range(0, len(items), most))
