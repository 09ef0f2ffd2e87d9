"""Time series classification sets of the UCR and UEA archives, by name, in their official split.

ACSF1, ArrowHead, BasicMotions, GunPoint, ItalyPowerDemand, JapaneseVowels, OSULeaf and PLAID ship inside sktime; it
downloads the others when they are asked for. Nothing is written: the sets are small, and the estimators read them as
they are.

Source: H. A. Dau et al., "The UCR time series archive", 2019; A. Bagnall et al., "The UEA multivariate time series
classification archive", 2018; timeseriesclassification.com.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from seqstride.errors import InputError


def load_ucr(name: str, data_folder: str | os.PathLike[str] | None = None) -> dict[str, tuple[Any, Any]]:
    """The training and the test part of a set.

    Args:
        name: of the set, as in the archives.
        data_folder: a folder with `<name>_TRAIN.ts` and `<name>_TEST.ts`; None: sktime's copy, or its download.

    Returns:
        "train" and "test" → series, a data frame whose cells are series (sktime's `nested_univ`), and labels (N,).

    Raises:
        ValueError: `data_folder` lacks a file.
        OSError: the set cannot be downloaded.
    """
    from sktime.datasets import load_from_tsfile, load_UCR_UEA_dataset

    parts = {}
    for part in ("train", "test"):
        if data_folder is None:
            parts[part] = load_UCR_UEA_dataset(name, split=part, return_X_y=True, return_type="nested_univ")
            continue
        file = Path(data_folder) / f"{name}_{part.upper()}.ts"
        if not file.is_file():
            raise InputError(f"`data_folder` (={os.fspath(data_folder)!r}) must hold the set; {file.name} is missing")
        parts[part] = load_from_tsfile(str(file), return_data_type="nested_univ")
    return parts
