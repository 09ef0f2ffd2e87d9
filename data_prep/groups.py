"""Splits whose parts share no group, such as a speaker or a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from seqstride.errors import InputError

from .manifest import check_shares

Group = TypeVar("Group", bound=Hashable)


def split_groups(groups: Sequence[Group], *, valid_share: float, test_share: float, seed: int) -> dict[Group, str]:
    """Draws the part of every group: "train", "valid" or "test".

    The groups come in random order. They go to the test until it has its share of the items, then to validation until
    that has its share; the others are for training.

    Args:
        groups: the group of every item. The result depends on their order of first occurrence.
        valid_share, test_share: shares of the items.
        seed: seed of the order.

    Raises:
        InputError: the shares leave nothing for training, or there are too few groups for three parts.
    """
    check_shares(valid_share, test_share)
    sizes = Counter(groups)
    names = list(sizes)
    wanted = {"test": test_share * len(groups), "valid": valid_share * len(groups)}
    held = Counter[str]()
    parts = {}
    for index in np.random.default_rng(seed).permutation(len(names)).tolist():
        part = next((part for part, items in wanted.items() if held[part] < items), "train")
        parts[names[index]] = part
        held[part] += sizes[names[index]]
    if not held["train"] or not held["valid"]:
        raise InputError(f"there must be more groups (={len(names)}): the three parts share none")
    return parts


def hold_out(groups: Sequence[Group], share: float, seed: int) -> set[Group]:
    """Draws groups until they have a share of the items, for a part beside an official one.

    Args:
        groups: the group of every item. The result depends on their order of first occurrence.
        share: of the items.
        seed: seed of the order.

    Raises:
        InputError: the share is not between 0 and 1, or nothing would be left.
    """
    if not 0 < share < 1:
        raise InputError(f"`valid_share` (={share}) must be above 0 and below 1")
    sizes = Counter(groups)
    names = list(sizes)
    drawn: set[Group] = set()
    held = 0
    for index in np.random.default_rng(seed).permutation(len(names)).tolist():
        if held >= share * len(groups):
            return drawn
        drawn.add(names[index])
        held += sizes[names[index]]
    raise InputError(f"there must be more groups (={len(names)}) than those that are held out")
