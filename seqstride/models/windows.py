"""Windows of recordings: a random one for training, and all of them for decisions by their mean.

Source: Riad et al. 2022, §4.1 (audio classification on random windows of 1 s). Our addition: the last window moves back
instead of being padded, so every window is full.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_windows(signal: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns a random window of every item.

    Args:
        signal: (B, T) or (B, T, C).
        lengths: (B,) int64.
        size: frames of a window; items up to this length stay whole.

    Returns:
        The windows, (B, min(T, size)) or with C behind, and their lengths (B,).
    """
    size = min(size, signal.shape[1])
    room = (lengths - size).clamp(min=0)
    # drawn on the CPU, so that a seed gives the same windows on every device
    starts = (torch.rand(len(signal), dtype=torch.float64) * (room.cpu() + 1)).long().to(signal.device)
    return cut(signal, torch.arange(len(signal), device=signal.device), starts, size), lengths.clamp(max=size)


def all_windows(signal: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the fewest windows that cover every item, evenly spread from its start to its end.

    Args:
        signal: (B, T) or (B, T, C).
        lengths: (B,) int64.
        size: frames of a window; items up to this length are one window.

    Returns:
        The windows, (N, min(T, size)) or with C behind, their lengths (N,), and the item of each, (N,).
    """
    size = min(size, signal.shape[1])
    owners, starts = window_starts(lengths, size)
    return cut(signal, owners, starts, size), lengths.clamp(max=size)[owners], owners


def window_starts(lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns the item (N,) and the first frame (N,) of each window of `all_windows`."""
    counts = -(-lengths // size)
    owners = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), counts)
    index = torch.arange(len(owners), device=lengths.device) - (counts.cumsum(0) - counts)[owners]
    room = (lengths - size).clamp(min=0)[owners]
    return owners, index * room // (counts[owners] - 1).clamp(min=1)


def every_window(lengths: Tensor, size: int, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns `most` windows of every item in tensors alone, whatever the lengths; further ones repeat the last.

    For exporters. All is (B·most,), as on axes of their own the exporter would ask whether `most` is 1.

    Returns:
        The item and the first frame of each window, and its share in the mean of its item, 0 for the further ones.
    """
    place = torch.arange(lengths.shape[0] * most, device=lengths.device)
    owners = place // most
    index, length = place - owners * most, lengths[owners]
    counts, room = (length + size - 1) // size, (length - size).clamp(min=0)
    starts = torch.minimum(index * room // (counts - 1).clamp(min=1), room)
    return owners, starts, (index < counts) / counts


def mean_by_owner(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Returns the mean over the windows of each item: (N, K), owners (N,) → (count, K)."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, owners, values)
    return total / torch.bincount(owners, minlength=count)[:, None]


def cut(signal: Tensor, items: Tensor, starts: Tensor, size: int) -> Tensor:
    """Cuts windows of `size` frames: (B, T) or (B, T, C), items and first frames (N,) → (N, size) or (N, size, C)."""
    return signal[items[:, None], starts[:, None] + torch.arange(size, device=signal.device)]
