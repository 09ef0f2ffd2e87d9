"""Series that a data set has in another format, kept as .npy files that all runs share; and splits by person."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from seqstride.errors import InputError
from seqstride.files.whole_files import whole_file


def store(path: Path, series: np.ndarray | Callable[[], np.ndarray]) -> int:
    """Writes a series as float32, unless the file is there, and returns its number of frames.

    Runs that start together may both write it; the file is whole at any time.

    Args:
        path: the .npy file; its folder is made.
        series: (T, C), or what reads it where it is missing.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = series() if callable(series) else series
        with whole_file(path) as part, open(part, "wb") as file:
            np.save(file, np.ascontiguousarray(frames, dtype=np.float32))
    return len(np.load(path, mmap_mode="r"))


def split_by_person(
    people: Collection[str], valid: Sequence[str | int], test: Sequence[str | int]
) -> Mapping[str, str]:
    """Returns person → "train", "valid" or "test".

    Args:
        people: everybody in the data set.
        valid, test: those for validation and test; the others are for training.

    Raises:
        InputError: a name is unknown or is given twice, or a part has nobody.
    """
    parts = {"valid": [str(person) for person in valid], "test": [str(person) for person in test]}
    named = [person for part in parts.values() for person in part]
    unknown = [person for person in named if person not in people]
    if unknown or len(set(named)) < len(named) or not all(parts.values()) or len(named) == len(people):
        raise InputError(
            f"`valid_people` (={parts['valid']}) and `test_people` (={parts['test']}) must be different people, some "
            f"in each and some left for training, of {', '.join(sorted(people))}"
        )
    return {person: next((part for part in parts if person in parts[part]), "train") for person in people}
