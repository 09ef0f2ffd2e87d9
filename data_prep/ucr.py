"""Time series classification sets of the UCR and UEA archives, by name, in their official split.

ACSF1, ArrowHead, BasicMotions, GunPoint, ItalyPowerDemand, JapaneseVowels, OSULeaf, PLAID and UnitTest (Chinatown with
only 22 test series) ship inside sktime, some more inside the packages of `ucr_packages.py`. sktime downloads others on
demand. There are no manifests: the sets are small, and the estimators read them directly.

Source: H. A. Dau et al., "The UCR time series archive", 2019; A. Bagnall et al., "The UEA multivariate time series
classification archive", 2018; timeseriesclassification.com.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from seqstride.errors import FileError, InputError, require
from seqstride.files.ts_files import read_ts

from .ucr_packages import HELD, Part, read_held


def load_ucr(name: str, data_folder: str | os.PathLike[str] | None = None) -> dict[str, tuple[Any, Any]]:
    """Loads the training and the test part of a set.

    Args:
        name: the name of the set in the archives.
        data_folder: a folder with `<name>_TRAIN.ts` and `<name>_TEST.ts`; None: the copy inside the package that holds
            it, or sktime's download.

    Returns:
        "train" and "test" → series, a data frame whose cells are series (sktime's `nested_univ`), and labels (N,),
        texts as written.

    Raises:
        InputError: `data_folder` lacks a file, or a file does not hold labelled series.
        MissingExtraError: the package that holds the set is not installed.
        FileError: the set cannot be downloaded.
    """
    convert = require("sktime.datatypes", "series").convert
    parts = read_held(name) if data_folder is None and name in HELD else _read_files(name, data_folder)
    return {part: (convert(series, "df-list", "nested_univ"), labels) for part, (series, labels) in parts.items()}


def _read_files(name: str, data_folder: str | os.PathLike[str] | None) -> dict[str, Part]:
    """Reads .ts files of a folder, or of sktime."""
    folder = _folder(name) if data_folder is None else Path(data_folder)
    parts = {}
    for part in ("train", "test"):
        file = _file(folder, name, part)
        if not file.is_file():
            raise InputError(f"`data_folder` (={os.fspath(folder)!r}) must hold the set; {file.name} is missing")
        series, labels = read_ts(file)
        if labels is None:
            raise InputError(f"{os.fspath(file)!r} must have labels")
        parts[part] = series, labels
    return parts


def _folder(name: str) -> Path:
    """Returns the folder in which sktime keeps a set; downloads the set if necessary."""
    datasets = require("sktime.datasets", "series")
    home = Path(datasets.__file__).parent
    folders = [home / where / name for where in ("data", "local_data")]
    there = [folder for folder in folders if all(_file(folder, name, part).is_file() for part in ("train", "test"))]
    if not there:
        try:
            datasets.load_UCR_UEA_dataset(name)
        except Exception as error:  # of the network, and of sktime for names that no archive has
            raise FileError(
                f"`name` (={name!r}) must be a set of the archives, or `data_folder` hold it; sktime has none, and its "
                f"download failed: {error}"
            ) from error
    return there[0] if there else folders[-1]


def _file(folder: Path, name: str, part: str) -> Path:
    return folder / f"{name}_{part.upper()}.ts"
