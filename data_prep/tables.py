"""Tables of numbers with a label in every row: scikit-learn's bundled sets, or a CSV file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from seqstride.errors import InputError

BUNDLED = ("breast_cancer", "digits", "iris", "wine")


def load_table(
    name: str,
    *,
    data_file: str | os.PathLike[str] | None = None,
    label: str = "label",
    test_share: float = 0.3,
    seed: int = 0,
) -> dict[str, tuple[Any, Any]]:
    """A table in two parts, with the same share of every class.

    Args:
        name: of a bundled set: breast_cancer, digits, iris or wine; not read where there is a `data_file`.
        data_file: a CSV file with a header; empty cells are missing values.
        label: its column with the labels; all others must hold numbers.
        test_share: of the rows in the test part.
        seed: which rows these are.

    Returns:
        "train" and "test" → rows, a data frame of numbers, and labels (N,).

    Raises:
        ValueError: an unknown set, a missing column, a column without numbers, or a class that is too small to be cut.
    """
    from sklearn.model_selection import train_test_split

    rows, labels = _read_csv(data_file, label) if data_file is not None else _bundled(name)
    train, test, train_labels, test_labels = train_test_split(
        rows, labels, test_size=test_share, stratify=labels, random_state=seed
    )
    return {"train": (train, train_labels), "test": (test, test_labels)}


def _bundled(name: str) -> tuple[Any, Any]:
    from sklearn import datasets

    if name not in BUNDLED:
        raise InputError(f"`name` (={name!r}) must be one of {', '.join(BUNDLED)}; or give a `data_file`")
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    return bunch.data, bunch.target_names[bunch.target.to_numpy()].astype(str)


def _read_csv(data_file: str | os.PathLike[str], label: str) -> tuple[Any, Any]:
    import pandas as pd

    table = pd.read_csv(data_file)
    if label not in table.columns:
        raise InputError(f"`label` (={label!r}) must be a column of {os.fspath(data_file)!r}")
    rows = table.drop(columns=label)
    words = [str(name) for name in rows.columns if not pd.api.types.is_numeric_dtype(rows[name])]
    if words:
        raise InputError(f"`data_file` (={os.fspath(data_file)!r}) must hold numbers; not so in {', '.join(words)}")
    return rows, np.array([str(value) for value in table[label]])
