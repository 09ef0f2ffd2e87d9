"""Exercises of the shoulder, from a smartwatch: the data that come with the package seglearn.

Ten people do seven exercises with either arm, twenty repetitions each: 140 series of acceleration and angular velocity
(6 channels) at 50 Hz, 947 to 2618 frames long. The items are windows of four seconds, as in the paper.

Source: D. M. Burns and others, "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from
a smartwatch", Physiological Measurement 39 (7), 2018, https://arxiv.org/abs/1802.01489; package seglearn, licence BSD.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seqstride.errors import InputError, require
from seqstride.experiments.provenance import digest

from .manifest import SPLITS, is_prepared, write_manifests
from .stored_series import split_by_person, store

FRAME_RATE = 50.0
"""Hz."""

FOLDS = (1, 2, 3, 4, 5)

_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes


def prepare_watch(
    save_folder: str | os.PathLike[str],
    *,
    series_folder: str | os.PathLike[str],
    fold: int,
    window: float = 4.0,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the label `exercise`.

    Each item is a window, `{"features": path, "start": frame, "stop": frame, "length": T, "frame_rate": 50.0}` with
    `exercise`, `person` and `side`; its file in `series_folder` holds a series, (T, 6) float32. Windows for training
    begin every half of a window, the others do not overlap. What is left at the end of a series is not used. A second
    call with the same arguments does nothing.

    Args:
        save_folder: the folder for the manifests; made if missing.
        series_folder: the folder for the series, which all runs share; made if missing.
        fold: 1 to 5. Fold 1 has the people 1 and 2 for the test, and 3 and 4 for validation; fold 5 has 9 and 10, and
            1 and 2. Everybody else is for training.
        window: seconds.

    Raises:
        ImportError: seglearn is not installed.
        ValueError: `fold` is not a fold, or a series is shorter than `window`.
    """
    if fold not in FOLDS:
        raise InputError(f"`fold` (={fold!r}) must be 1, 2, 3, 4 or 5")
    save_folder, series_folder = Path(save_folder), Path(series_folder).resolve()
    data = require("seglearn.datasets", "sensors").load_watch()
    people = [str(person) for person in data["subject"].tolist()]
    part_of = split_by_person(set(people), _people(fold % len(FOLDS) + 1), _people(fold))
    content = {"layout": _LAYOUT, "set": f"seglearn {version('seglearn')}"}
    series_folder /= digest(content)
    fingerprint = {**content, "series_folder": os.fspath(series_folder), "parts": part_of, "window": window}
    files = [series_folder / f"{index:03d}.npy" for index in range(len(people))]
    if is_prepared(save_folder, fingerprint, files):
        return

    size = round(window * FRAME_RATE)
    shortest = min(len(series) for series in data["X"])
    if not 2 <= size <= shortest:
        raise InputError(f"`window` (={window}) must be at least 2 frames, and at most {shortest / FRAME_RATE} s")
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for index, (series, person) in enumerate(zip(data["X"], people, strict=True)):
        frames = store(files[index], series)
        part = part_of[person]
        for start in range(0, frames - size + 1, size // 2 if part == "train" else size):
            items[part][f"{index:03d}_{start:05d}"] = {
                "features": os.fspath(files[index]),
                "start": start,
                "stop": start + size,
                "length": size,
                "frame_rate": FRAME_RATE,
                "exercise": str(data["y_labels"][int(data["y"][index])]),
                "person": person,
                "side": "right" if data["side"][index] else "left",
            }
    write_manifests(save_folder, items, fingerprint)


def _people(fold: int) -> list[int]:
    return [2 * fold - 1, 2 * fold]
