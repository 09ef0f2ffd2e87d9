"""Fitted regressors of series in a folder: `series.json` and `series.safetensors`; reading them runs no code."""

from __future__ import annotations

import os
from pathlib import Path

from seqstride.errors import InputError
from seqstride.estimators.regressor import SeqStrideRegressor
from seqstride.estimators.saved import (
    DESCRIPTION,
    FORMAT,
    WEIGHTS,
    describing,
    load_parts,
    save_parts,
    unfitted,
)
from seqstride.estimators.settings import number
from seqstride.experiments.records import write_record
from seqstride.files.text_files import read_json
from seqstride.models.folder import weights_file

KEY = "regressor"
"""Of the description; that of a classifier has another."""


def save_regressor(folder: str | os.PathLike[str], regressor: SeqStrideRegressor) -> None:
    """Writes a fitted regressor: the weights, then the description.

    Raises:
        FileError: a file cannot be written.
    """
    folder = Path(folder)
    described = {**save_parts(folder, regressor), "mean": regressor._mean, "std": regressor._std}
    write_record(folder / DESCRIPTION, {"format": FORMAT, KEY: described})


def holds_regressor(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a folder's `series.json` describes a regressor.

    Raises:
        InputError: the file is no JSON.
    """
    content = read_json(Path(folder) / DESCRIPTION)
    return isinstance(content, dict) and KEY in content


def load_regressor(folder: str | os.PathLike[str]) -> SeqStrideRegressor:
    """Returns the fitted regressor in a folder of `save_regressor`.

    Raises:
        InputError: the folder has none, or files of it are damaged.
    """
    folder = Path(folder)
    for file in (folder / DESCRIPTION, weights_file(folder, WEIGHTS)):
        if not file.is_file():
            raise InputError(
                f"`folder` (={os.fspath(folder)!r}) must hold a regressor of series; {file.name} is missing"
            )
    content = read_json(folder / DESCRIPTION)
    with describing(folder, "regressor"):
        if content["format"] != FORMAT:
            raise InputError(f"its format (={content['format']!r}) must be {FORMAT}")
        description = content[KEY]
        regressor = unfitted(SeqStrideRegressor, description)
        mean = number("mean", description["mean"], "finite", lambda v: abs(v) < float("inf"))
        std = number("std", description["std"], "finite and positive", lambda v: 0 < v < float("inf"))
    load_parts(folder, regressor, description, 1, classes=False)
    regressor._mean, regressor._std = mean, std
    return regressor
