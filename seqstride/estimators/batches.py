"""Batches of items (C, T) for training: the validation part, batches of similar lengths, windows and dropout.

All random numbers come from the generator that is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seqstride.estimators.network import Network

POOL = 8
"""Number of batches whose items are sorted by length together."""
SHARES = 5
"""Number of different shares of a series that a training window can have."""
LENGTHS = 8
"""Number of different window lengths between a power of two and the next."""


def split(
    labels: Tensor | None, count: int, fraction: float, generator: torch.Generator
) -> tuple[list[int], list[int]]:
    """Draws the indices of the training and of the validation part.

    scikit-learn's `train_test_split` divides the classes differently and cannot draw from torch's generator, so with it
    the recorded results would change.

    Args:
        labels: (N,) integers, or None. With labels, the same share of every class is held out, rounded, and at least
            one item of the class stays in the training part.
        count: N.
        fraction: the share of the validation part.
        generator: on the CPU.

    Returns:
        The indices of the training part and those of the validation part, both sorted.
    """
    whole = torch.arange(count)
    groups = [whole] if labels is None else [whole[labels == label] for label in labels.unique()]
    held_out = []
    for group in groups:
        order = torch.randperm(len(group), generator=generator)
        held_out += group[order][: min(round(fraction * len(group)), len(group) - 1)].tolist()
    return sorted(set(range(count)) - set(held_out)), sorted(held_out)


def training_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yields batches of at most `size` indices, in random order; the items of a batch have similar lengths."""
    count = math.ceil(len(lengths) / size)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pools = [order[start : start + POOL * size] for start in range(0, len(order), POOL * size)]
    flat = torch.tensor([i for pool in pools for i in sorted(pool, key=lengths.__getitem__)])
    batches = flat.tensor_split(count)
    for index in torch.randperm(count, generator=generator).tolist():
        yield batches[index].tolist()


def crop(items: Sequence[Tensor], least: float, generator: torch.Generator) -> list[Tensor]:
    """Cuts a window out of each item (C, T), at a random place.

    All windows of a batch have the same share of their items, drawn between `least` and 1, so that items of equal
    lengths stay equal and need no padding. The window lengths are rounded down to one of `LENGTHS` values between a
    power of two and the next: convolutions prepare for every new length, and transforms are slow for lengths with
    large prime factors.
    """
    if least == 1:
        return list(items)
    share = least + (1 - least) * int(torch.randint(SHARES, (), generator=generator)) / (SHARES - 1)
    parts = []
    for item in items:
        length = max(1, round(share * item.shape[1]))
        step = max(1, 2 ** (length.bit_length() - 1) // LENGTHS)
        length = length // step * step
        start = int(torch.randint(item.shape[1] - length + 1, (), generator=generator))
        parts.append(item[:, start : start + length])
    return parts


def dropout(network: Network, batch: int, share: float, generator: torch.Generator) -> list[Tensor] | None:
    """Draws the dropout factors for the inputs of the network's linear layers.

    Returns:
        (B, C) for each layer: 0 for a random `share` of the factors, 1 / (1 − share) for the others; None for a share
        of 0.
    """
    if share == 0:
        return None
    # drawn on the CPU, so that a seed drops the same on every device
    device = next(network.parameters()).device
    widths = [head.linear.in_features for head in network.heads]  # type: ignore[union-attr]
    kept = [torch.empty(batch, width).bernoulli_(1 - share, generator=generator) for width in widths]  # type: ignore[arg-type]
    return [(factors / (1 - share)).to(device) for factors in kept]
