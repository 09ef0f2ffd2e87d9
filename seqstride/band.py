"""Products with banded matrices that differ from item to item, in blocks.

A banded (B, L, T) matrix is a list of blocks: rows r0 … r1 − 1 of item b are zero outside columns c0 … c1 − 1. Each
block is one dense product on a view of the signal, without a copy: linear in T while the windows stay narrow, and at
the worst (windows as wide as the signal) the dense product itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Rows of a block. Wider blocks multiply more zeros, narrower ones make more calls: measured on (8, 256, 4000) at
# stride 2 on two CPU cores, 16 32 64 128 rows take 20, 13, 12 and 17 ms for one product.
ROWS = 64

Block = tuple[int, int, int, int, int]  # item, r0, r1, c0, c1


def band_product(x: Tensor, blocks: Sequence[Block], weights: Sequence[Tensor], width: int, full: bool) -> Tensor:
    """z[b, :, r] = Σ_c weight[r, c] · x[b, :, c]: (B, C, T) → (B, C, width).

    Args:
        x: (B, C, T).
        blocks: every output frame is in at most one block.
        weights: (r1 − r0, c1 − c0) for each block, in the dtype of `x`.
        width: L of the widest item.
        full: the blocks cover all of the output, so that nothing has to be zeroed first.
    """
    z = x.new_empty(*x.shape[:2], width) if full else x.new_zeros(*x.shape[:2], width)
    inputs, outputs = x.unbind(0), z.unbind(0)
    for (item, r0, r1, c0, c1), weight in zip(blocks, weights, strict=True):
        torch.mm(inputs[item][:, c0:c1], weight.t(), out=outputs[item][:, r0:r1])
    return z


def band_adjoint(gradient: Tensor, blocks: Sequence[Block], weights: Sequence[Tensor], frames: int) -> Tensor:
    """dx[b, :, c] = Σ_r weight[r, c] · gradient[b, :, r]: (B, C, L) → (B, C, frames)."""
    dx = gradient.new_zeros(*gradient.shape[:2], frames)
    inputs, outputs = gradient.unbind(0), dx.unbind(0)
    for (item, r0, r1, c0, c1), weight in zip(blocks, weights, strict=True):
        outputs[item][:, c0:c1].addmm_(inputs[item][:, r0:r1], weight)
    return dx


def band_gram(gradient: Tensor, x: Tensor, block: Block) -> Tensor:
    """The gradient of one block's weights: Σ_C gradient[:, r] · x[:, c], shape (r1 − r0, c1 − c0)."""
    item, r0, r1, c0, c1 = block
    return torch.mm(gradient[item, :, r0:r1].t(), x[item, :, c0:c1])


def block_rows(output_lengths: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last row of every block of `ROWS` rows: two (B, Q) int64, past an item's end its last row."""
    start = torch.arange(0, width, ROWS, device=output_lengths.device)
    last = output_lengths[:, None] - 1
    return torch.minimum(start, last), torch.minimum(start + ROWS - 1, last)


def blocks_of(first: Tensor, behind: Tensor, host_output: Sequence[int]) -> list[Block]:
    """Blocks from the (B, Q) first and one-past-last columns of their windows, read from the device once."""
    windows = torch.stack([first, behind], dim=-1).tolist()
    return [
        (item, r0, min(r0 + ROWS, rows), *windows[item][block])
        for item, rows in enumerate(host_output)
        for block, r0 in enumerate(range(0, rows, ROWS))
    ]
