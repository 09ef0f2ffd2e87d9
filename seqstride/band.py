"""Products with banded matrices that differ from item to item, in blocks.

A banded (B, L, T) matrix is a list of blocks of `ROWS` rows; a block is zero outside its window of columns. Each block
is one dense product on a view of the signal, without a copy: linear in T while the windows stay narrow, and at the
worst (windows as wide as the signal) the dense product itself. Windows are widened to a few sizes, so that blocks of
one size form a batch, and what is computed per weight is computed for a whole batch at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqstride.lengths import Frames

# Rows of a block. Wider blocks multiply more zeros, narrower ones make more calls: measured on (8, 256, 4000) at
# stride 2 on two CPU cores, 16 32 64 128 rows take 20, 13, 12 and 17 ms for one product.
ROWS = 64

# Weights of a batch of blocks: a batch's temporaries (2 MB in float64) stay in the processor's cache.
CELLS = 1 << 18


class Batch(NamedTuple):
    """Blocks of the same size: rows r0 … r0 + rows − 1 and columns c0 … c0 + columns − 1 of an item."""

    blocks: list[tuple[int, int, int]]  # item, r0, c0
    rows: int
    columns: int

    def indices(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Items (N, 1), rows (N, rows) and columns (N, columns) of the N blocks."""
        item, r0, c0 = torch.tensor(self.blocks, device=device).t()[..., None]
        rows = r0 + torch.arange(self.rows, device=device)
        return item, rows, c0 + torch.arange(self.columns, device=device)


def _width_class(columns: int, longest: int) -> int:
    """The next of a few widths, at most a sixth wider than needed (or 15 columns), and at most the item itself."""
    step = 1 << max(4, columns.bit_length() - 3)
    return min(-(-columns // step) * step, longest)


def block_rows(frames: Frames) -> tuple[Tensor, Tensor]:
    """First and last row of every block of `ROWS` rows: two (B, Q) int64, past an item's end its last row."""
    start = torch.arange(0, frames.output_width, ROWS, device=frames.lengths.device)
    last = frames.lengths[:, None] - 1
    return torch.minimum(start, last), torch.minimum(start + ROWS - 1, last)


def batches_of(windows: list[list[list[int]]], frames: Frames) -> list[Batch]:
    """Batches that cover every item's output; windows[item][block] is [first, one past last] of a block's columns."""
    classes: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for item, (longest, rows) in enumerate(zip(frames.host_input, frames.host_output, strict=True)):
        for block, r0 in enumerate(range(0, rows, ROWS)):
            first, behind = windows[item][block]
            columns = _width_class(max(1, behind - first), longest)
            size = (min(ROWS, rows - r0), columns)
            classes.setdefault(size, []).append((item, r0, min(first, longest - columns)))
    batches = []
    for (rows, columns), blocks in classes.items():
        most = max(1, CELLS // (rows * columns))
        batches += [Batch(blocks[i : i + most], rows, columns) for i in range(0, len(blocks), most)]
    return batches


def band_product(z: Tensor, x: Tensor, batch: Batch, weights: Tensor) -> None:
    """Writes z[b, :, r] = Σ_c weight[r, c] · x[b, :, c] for the rows of a batch; weights (N, rows, columns)."""
    inputs, outputs = x.unbind(0), z.unbind(0)
    for (item, r0, c0), weight in zip(batch.blocks, weights.transpose(1, 2).unbind(0), strict=True):
        source = inputs[item][:, c0 : c0 + batch.columns]
        torch.mm(source, weight, out=outputs[item][:, r0 : r0 + batch.rows])


def band_adjoint(dx: Tensor, dz: Tensor, batch: Batch, weights: Tensor) -> None:
    """Adds dx[b, :, c] += Σ_r weight[r, c] · dz[b, :, r] for the rows of a batch."""
    inputs, outputs = dz.unbind(0), dx.unbind(0)
    for (item, r0, c0), weight in zip(batch.blocks, weights.unbind(0), strict=True):
        outputs[item][:, c0 : c0 + batch.columns].addmm_(inputs[item][:, r0 : r0 + batch.rows], weight)


def band_gram(dz: Tensor, x: Tensor, batch: Batch) -> Tensor:
    """The gradient of a batch's weights, Σ_C dz[:, r] · x[:, c]: (N, rows, columns)."""
    gram = x.new_empty(len(batch.blocks), batch.rows, batch.columns)
    inputs, gradients = x.unbind(0), dz.unbind(0)
    for (item, r0, c0), out in zip(batch.blocks, gram.unbind(0), strict=True):
        torch.mm(gradients[item][:, r0 : r0 + batch.rows].t(), inputs[item][:, c0 : c0 + batch.columns], out=out)
    return gram
