"""Tables of numbers with a label in every row: scikit-learn's bundled sets, or a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from seqstride.errors import InputError, require
from seqstride.files.table_files import listed, numbers_of, read_table, texts_of

BUNDLED = ("breast_cancer", "digits", "iris", "wine")


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
        name: a bundled set: breast_cancer, digits, iris or wine; ignored if there is a `data_file`.
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
    """
    train_test_split = require("sklearn.model_selection", "series").train_test_split
    rows, labels = _read_file(data_file, label) if data_file is not None else _bundled(name)
    try:
        train, test, train_labels, test_labels = train_test_split(
            rows, labels, test_size=test_share, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise InputError(f"the table cannot be cut with `test_share` (={test_share!r}): {error}") from error
    return {"train": (train, train_labels), "test": (test, test_labels)}


def _bundled(name: str) -> tuple[Any, Any]:
    if name not in BUNDLED:
        raise InputError(f"`name` (={name!r}) must be one of {', '.join(BUNDLED)}; or give a `data_file`")
    datasets = require("sklearn.datasets", "series")
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    return bunch.data, bunch.target_names[bunch.target.to_numpy()].astype(str)


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
