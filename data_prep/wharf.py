"""WHARF: what people do, from an accelerometer at the right wrist.

892 recordings at 32 Hz of 17 people and 14 activities, 82 to 9318 frames long, named
`Accelerometer-{start}-{activity}-{person}.txt`; every line has the acceleration along x, y and z, coded from 0 (−1.5 g)
to 63 (+1.5 g). Four activities have too few people to be tested on others: `eat_meat` and `eat_soup` are of one person,
`brush_teeth` and `use_telephone` of three, with one or two recordings of all but one. They are left out; 859 recordings
of ten activities stay. So is the folder `MODELS`, whose recordings the authors have synchronised and cut.

Source: B. Bruno, F. Mastrogiovanni, A. Sgorbissa, "A Public Domain Dataset for ADL Recognition Using Wrist-placed
Accelerometers", RO-MAN 2014, version 1.2, https://github.com/fulviomas/WHARF. Licence: use and modification for one's
own research; redistribution has to be arranged with the authors.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seqstride.errors import InputError
from seqstride.experiments.provenance import digest

from .download import download_archive
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests
from .stored_series import split_by_person, store

logger = logging.getLogger(__name__)

FRAME_RATE = 32.0
"""Hz."""

ACTIVITIES = (
    *("climb_stairs", "comb_hair", "descend_stairs", "drink_glass", "getup_bed"),
    *("liedown_bed", "pour_water", "sitdown_chair", "standup_chair", "walk"),
)
"""Activities of at least four people."""

_COMMIT = "e960af90514615a208f6f69c511d438e6a39a44e"
_URL = f"https://github.com/fulviomas/WHARF/archive/{_COMMIT}.zip"  # has no fixed checksum
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_NAME = re.compile(r"Accelerometer-[\d-]+-(?P<activity>\w+)-(?P<person>[fm]\d+)\.txt")
_RECORDINGS = 892
_LARGEST, _RANGE = 63, 1.5  # the largest code, and what it stands for, in g


def prepare_wharf(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    series_folder: str | os.PathLike[str],
    valid_people: Sequence[str],
    test_people: Sequence[str],
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the labels `activity` and `person`.

    Each item is `{"features": path, "length": T, "frame_rate": 32.0}` with its labels; its file in `series_folder`
    holds (T, 3) float32, in g. A second call with the same arguments and unchanged files (path, size, time) does
    nothing.

    Args:
        data_folder: a checkout or archive of the repository, with `WHARF Data Set/Data/<Activity>/`.
        save_folder: the folder for the manifests; made if missing.
        series_folder: the folder for the series, which all runs share; made if missing.
        valid_people, test_people: such as `m1`; everybody else is for training.
        download: fetch the repository if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the repository cannot be downloaded.
        ValueError: there are no recordings, one has another content, or the people are wrong.
    """
    data_folder, save_folder, series_folder = Path(data_folder), Path(save_folder), Path(series_folder).resolve()
    if download:
        download_archive(_URL, data_folder, inner=f"WHARF-{_COMMIT}")
    recordings = _recordings(data_folder)
    part_of = split_by_person({person for _, person in recordings.values()}, valid_people, test_people)
    content = {"layout": _LAYOUT, "set": "WHARF", "files": file_digest(recordings, data_folder)}
    series_folder /= digest(content)
    fingerprint = {**content, "series_folder": os.fspath(series_folder), "parts": part_of}
    chosen = [file for file, (activity, _) in recordings.items() if activity in ACTIVITIES]
    stored = {file: series_folder / f"{file.stem}.npy" for file in chosen}
    if is_prepared(save_folder, fingerprint, stored.values()):
        return

    warn_if_incomplete(data_folder, len(recordings), _RECORDINGS)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file in chosen:
        activity, person = recordings[file]
        items[part_of[person]][file.stem] = {
            "features": os.fspath(stored[file]),
            "length": store(stored[file], partial(_read, file)),
            "frame_rate": FRAME_RATE,
            "activity": activity,
            "person": person,
        }
    write_manifests(save_folder, items, fingerprint)


def _recordings(data_folder: Path) -> dict[Path, tuple[str, str]]:
    """Finds the recordings, ordered by name; returns file → activity and person."""
    found = {
        file: (match["activity"], match["person"])
        for file in sorted(data_folder.glob("WHARF Data Set/Data/*/*.txt"), key=lambda file: file.name)
        if (match := _NAME.fullmatch(file.name))
    }
    if not found:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must be a checkout of the repository, with recordings in "
            "'WHARF Data Set/Data/<Activity>/'; there are none (`download`=True fills an empty folder)"
        )
    return found


def _read(file: Path) -> np.ndarray:
    """Returns a recording in g, (T, 3)."""
    try:
        codes = np.loadtxt(file, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{os.fspath(file)!r} must be a table of numbers: {error}") from error
    if not (codes.size and codes.shape[1] == 3 and codes.min() >= 0 and codes.max() <= _LARGEST):
        raise InputError(f"{os.fspath(file)!r} must have three numbers from 0 to {_LARGEST} in every line")
    return codes * (2 * _RANGE / _LARGEST) - _RANGE
