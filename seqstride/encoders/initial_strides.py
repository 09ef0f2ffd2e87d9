"""The initial strides of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LARGEST = 3
"""The largest stride that `random` draws."""


def initial_strides(strides: Any, count: int, seed: int | None = None) -> list[tuple[float, float]]:
    """One pair of strides, for time and frequency, for each of `count` blocks.

    Args:
        strides: one entry per block, a number for both axes or a pair; or "random", which draws each from 1, 2, 3. The
            draw depends on the seed only, not on the random numbers used before, so that with one seed all methods
            start alike.
        count: number of blocks, at least 1.
        seed: of the draw; None: torch's.

    Raises:
        ValueError: another number of entries, an entry that is neither, or an unknown word.

    Source: random initial strides: Riad et al. 2022, §4; the range is ours.
    """
    if isinstance(strides, str):
        if strides != "random":
            raise ValueError(f"`strides` (={strides!r}) must be one entry for each block, or 'random'")
        generator = torch.Generator().manual_seed(torch.initial_seed() if seed is None else seed)
        drawn = torch.randint(1, LARGEST + 1, (count, 2), generator=generator)
        return [(int(time), int(frequency)) for time, frequency in drawn]
    if count == 0 or not isinstance(strides, Sequence) or len(strides) != count:
        shown = tuple(strides) if isinstance(strides, Sequence) else strides
        raise ValueError(f"`strides` (={shown}) must have one entry for each of the {count} `channels`, at least one")
    pairs = [tuple(entry) if isinstance(entry, Sequence) else (entry, entry) for entry in strides]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"`strides` (={tuple(strides)}) must hold numbers, or pairs for time and frequency")
    return pairs
