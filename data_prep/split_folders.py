"""Recognises the splits of a data set by their usual names, as folders or in tables."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from seqstride.errors import InputError

NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split → its accepted names, in any case. "development" is not accepted: some data sets train on it, others do not."""

_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}


def split_of(name: str) -> str | None:
    """Returns "train", "valid" or "test" if the name is a usual name of this split, else None."""
    return _SPLIT_OF.get(name.casefold())


def split_depth(files: Iterable[Path], data_folder: Path) -> int | None:
    """Finds the level of the folders that are named as splits.

    Args:
        files: the recordings below `data_folder`; files directly in it are ignored.
        data_folder: the folder of the data set.

    Returns:
        0 for `<split>/<label>/…`, 1 for `<label>/<split>/…`, None without folders of splits.

    Raises:
        InputError: folders for splits and other folders lie side by side, no folder is for training, or two folders
            are for the same split.
    """
    places = [file.relative_to(data_folder).parts[:-1] for file in files]
    for depth in (0, 1):
        # "": a recording beside the folders
        names = sorted({parts[depth] if len(parts) > depth else "" for parts in places if parts})
        splits = [name for name in names if split_of(name)]
        if not splits:
            continue
        where = f"{'the class folders of ' if depth else ''}`data_folder` (={os.fspath(data_folder)!r})"
        if len(splits) < len(names):
            others = [name or "recordings" for name in names if name not in splits]
            raise InputError(
                f"{where} must have folders for splits only, or for classes only; {', '.join(splits)} is named as a "
                f"split, beside {', '.join(others[:5])}{', …' if others[5:] else ''}: rename it if it is a class, or "
                "list the recordings in a table (`csv`)"
            )
        check_splits(where, splits)
        return depth
    return None


def check_splits(where: str, names: Iterable[str]) -> None:
    """Checks the names of the splits of a data set.

    Args:
        where: where the names come from, for the error.
        names: usual names of splits.

    Raises:
        InputError: no name is for training, or two names are for the same split.
    """
    by_split: dict[str | None, list[str]] = {}
    for name in sorted(set(names)):
        by_split.setdefault(split_of(name), []).append(name)
    if "train" not in by_split:
        found = ", ".join(name for same in by_split.values() for name in same)
        raise InputError(f"{where} must have recordings for training ({' or '.join(NAMES['train'])}) beside {found}")
    for split, same in by_split.items():
        if len(same) > 1:
            raise InputError(
                f"{where} must have one name for each split: {' and '.join(same)} both stand for {split}; put them "
                "together, or rename one"
            )
