"""Products with banded matrices that differ from item to item.

Row l of item b reads one run of columns, and runs move forward with l. Such a matrix is stored as
its runs and multiplied as a sparse matrix in compressed rows, with a group of items on its diagonal. Only non-zero
weights are stored and multiplied, so time and memory are linear in T while the runs are bounded. The signal is
transposed, a group of items at a time, because a sparse product reads rows of channels.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# Size of a group of items, in numbers: transposed signals of this size (8 MB in float32) stay in the cache.
GROUP = 1 << 21


class Band(NamedTuple):
    """Runs of a batch of matrices (B, L, T), and their entries in order: item, row, column.

    `first` and `behind` (B, L) are a row's first and one-past-last column, both non-decreasing along an item's rows;
    `start` (B·L + 1,) counts the entries before each row. Entry i stands in row `row[i]` of all items' rows
    (0 … B·L − 1), in column `column[i]` of its item, which is `place[i]` among all items' columns (0 … B·T − 1).
    """

    first: Tensor
    behind: Tensor
    start: Tensor
    row: Tensor
    column: Tensor
    place: Tensor

    @classmethod
    def of(cls, first: Tensor, behind: Tensor, entries: int, frames: int) -> Band:
        """The band of these runs (B, L), with the number of their entries and T."""
        batch, rows = first.shape
        count = (behind - first).view(-1)
        start = torch.cat([count.new_zeros(1), count.cumsum(0)])
        row = torch.repeat_interleave(torch.arange(batch * rows, device=first.device), count, output_size=entries)
        column = torch.arange(entries, device=first.device) + (first.view(-1) - start[:-1])[row]
        return cls(first, behind, start, row, column, column + row // rows * frames)


def _transposed_entries(band: Band, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """The entries in the order item, column, row.

    Returns:
        Their rows within the item (n,), their numbers in `band` (n,), and the count before each column (B·T + 1,).

    The rows whose run holds column t are a run themselves: from the first with behind > t to the last with first ≤ t.
    """
    batch = band.first.shape[0]
    t = torch.arange(frames, device=band.first.device).expand(batch, frames).contiguous()
    top = torch.searchsorted(band.behind, t, right=True)
    count = (torch.searchsorted(band.first, t, right=True) - top).clamp(min=0).reshape(-1)
    start = torch.cat([count.new_zeros(1), count.cumsum(0)])
    entries = band.row.shape[0]
    place = torch.repeat_interleave(torch.arange(batch * frames, device=t.device), count, output_size=entries)
    row = torch.arange(entries, device=t.device) + (top.reshape(-1) - start[:-1])[place]
    flat_row = row + place // frames * band.first.shape[1]
    entry = band.start[:-1][flat_row] + place % frames - band.first.reshape(-1)[flat_row]
    return row, entry, start


@lru_cache(maxsize=1)
def _accept_beta() -> None:
    """Silences torch's warning, once per process, that sparse rows are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = torch.ones(1)
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), one, (1, 1)) @ one[:, None]


def _item_ranges(x: Tensor) -> list[tuple[int, int]]:
    """Ranges of items that are transposed together."""
    size = max(1, GROUP // (x.shape[1] * x.shape[2]))
    return [(begin, min(begin + size, x.shape[0])) for begin in range(0, x.shape[0], size)]


class _Rows:
    """One buffer (N·T, C) for the transposed signals of all groups of items, one group after the other."""

    def __init__(self, x: Tensor, frames: int, items: int, dtype: torch.dtype) -> None:
        self.memory = torch.empty(items, frames, x.shape[1], dtype=dtype, device=x.device)

    def empty(self, items: int) -> Tensor:
        """(N·T, C), to be written."""
        return self.memory[:items].view(-1, self.memory.shape[2])

    def load(self, x: Tensor) -> Tensor:
        """(N, C, T) → (N·T, C)."""
        self.memory[: x.shape[0]].copy_(x.transpose(1, 2))
        return self.empty(x.shape[0])

    def store(self, x: Tensor) -> None:
        """Writes what stands in the memory to x (N, C, T)."""
        # torch transposes matrices by blocks, but only one at a time: all at once take up to four times as long
        for item, rows in zip(x, self.memory, strict=False):
            item.copy_(rows.t())


class _Blocks:
    """Sparse matrices of groups of items, (N·rows, N·columns), cut out of one list of entries of all items."""

    def __init__(self, start: Tensor, minor: Tensor, values: Tensor, rows: int, columns: int) -> None:
        _accept_beta()
        self.start, self.minor, self.values, self.rows, self.columns = start, minor, values, rows, columns
        self.bounds: list[int] = start[::rows].tolist()  # entries before each item

    def matrix(self, begin: int, end: int) -> Tensor:
        low, high = self.bounds[begin], self.bounds[end]
        start = (self.start[begin * self.rows : end * self.rows + 1] - low).int()
        items = torch.arange(end - begin, device=start.device).repeat_interleave(
            torch.tensor(
                [b - a for a, b in zip(self.bounds[begin:end], self.bounds[begin + 1 : end + 1], strict=True)],
                device=start.device,
            )
        )
        minor = (self.minor[low:high] + items * self.columns).int()
        size = ((end - begin) * self.rows, (end - begin) * self.columns)
        return torch.sparse_csr_tensor(start, minor, self.values[low:high], size, check_invariants=False)


def band_product(x: Tensor, band: Band, values: Tensor) -> Tensor:
    """z[b, :, l] = Σ_t values[b, l, t] · x[b, :, t]: (B, C, T), (n,) → (B, C, L)."""
    rows, frames = band.first.shape[1], x.shape[2]
    matrices = _Blocks(band.start, band.column, values, rows, frames)
    groups = _item_ranges(x)
    source, product = (_Rows(x, size, groups[0][1], values.dtype) for size in (frames, rows))
    z = x.new_empty(x.shape[0], x.shape[1], rows)
    for begin, end in groups:
        out = product.empty(end - begin)
        torch.addmm(out, matrices.matrix(begin, end), source.load(x[begin:end]), beta=0, out=out)
        product.store(z[begin:end])
    return z


def band_adjoint(dz: Tensor, x: Tensor, band: Band, values: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `band_product`: dx (B, C, T) and dvalues (n,) = Σ_C dz[b, :, l] · x[b, :, t]."""
    rows, frames = band.first.shape[1], x.shape[2]
    row, entry, start = _transposed_entries(band, frames)
    adjoints = _Blocks(start, row, values[entry], frames, rows)
    matrices = _Blocks(band.start, band.column, values, rows, frames)
    groups = _item_ranges(x)
    source, product, gradient = (_Rows(x, size, groups[0][1], values.dtype) for size in (frames, frames, rows))
    dx, dvalues = torch.empty_like(x), torch.empty_like(values)
    for begin, end in groups:
        dz_rows, out = gradient.load(dz[begin:end]), product.empty(end - begin)
        torch.addmm(out, adjoints.matrix(begin, end), dz_rows, beta=0, out=out)
        product.store(dx[begin:end])
        x_rows = source.load(x[begin:end])
        gram = torch.sparse.sampled_addmm(matrices.matrix(begin, end), dz_rows, x_rows.t(), beta=0.0)
        dvalues[matrices.bounds[begin] : matrices.bounds[end]] = gram.values()
    return dx, dvalues
