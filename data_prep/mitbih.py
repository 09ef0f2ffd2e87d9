"""MIT-BIH arrhythmia database: electrocardiograms in which every beat has its type.

48 records of half an hour at 360 Hz. Four, with paced beats, are left out; of the others half (DS1) are for training
and validation and half (DS2) for the test, so that no patient of the test was trained on, but for the records 201 and
202, which are of one. Types of beats are grouped as in ANSI/AAMI EC57: N normal, S supraventricular ectopic,
V ventricular ectopic, F fusion; the 15 beats that nobody could classify (Q) are left out.

Only lead MLII is used. The signal is brought to 120 Hz; the wandering of its baseline, as two median filters of 200 and
600 ms find it, is subtracted; and it is divided by the standard deviation of the record, since bodies and electrodes
differ in gain.

Source: G. B. Moody, R. G. Mark, "The impact of the MIT-BIH Arrhythmia Database", IEEE Engineering in Medicine and
Biology 20 (3), 2001, https://physionet.org/content/mitdb/1.0.0/, licence ODC-By 1.0. The halves and the filters:
P. de Chazal, M. O'Dwyer, R. B. Reilly, "Automatic classification of heartbeats using ECG morphology and heartbeat
interval features", IEEE Transactions on Biomedical Engineering 51 (7), 2004.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError, require
from seqstride.experiments.provenance import digest

from .download import download as download_file
from .manifest import SPLITS, file_digest, is_prepared, write_manifests
from .stored_series import store

RATE = 360
"""Hz, of the records."""
DECIMATION = 3
FRAME_RATE = RATE / DECIMATION
"""Hz, of the series."""

DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)

GROUPS = {**dict.fromkeys("NLRej", "N"), **dict.fromkeys("AaJS", "S"), **dict.fromkeys("VE", "V"), "F": "F"}
"""Symbol of a beat's type → its group."""

EVENT = (0.2, 0.3)
"""Seconds before and after the R peak that count as the beat: its QRS complex, and the beginning of its T wave."""

_URL = "https://physionet.org/files/mitdb/1.0.0"
_SUMS = "SHA256SUMS.txt"
_ENDINGS = ("hea", "dat", "atr")
_LEAD = "MLII"
_BASELINE = (0.2, 0.6)  # seconds
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes


class Beats(NamedTuple):
    """The beats of a record, in order."""

    frames: np.ndarray
    """(N,) int64, frames of the series at the R peaks."""
    groups: np.ndarray
    """(N,) texts."""


def prepare_mitbih(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    series_folder: str | os.PathLike[str],
    valid_records: Sequence[int],
    window: float = 10.0,
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) of windows that do not overlap.

    Each item is `{"features": path, "start": frame, "stop": frame, "length": T, "frame_rate": 120.0}` with

    - `ventricular`, "yes" if the R peak of a beat of the group V is in the window, else "no";
    - `beats`, the groups of its beats as one text, such as "NNVN", and `beat_frames`, the frames of their R peaks;
    - `events`, for every beat of the group V its time, in seconds; `record`, the number of the record.

    A file of `series_folder` holds a record, (T, 1) float32, of variance 1. What is left at the end of a record is not
    used. A second call with the same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder with the files of the release, such as `100.hea`, `100.dat` and `100.atr`.
        save_folder: the folder for the manifests; made if missing.
        series_folder: the folder for the series, which all runs share; made if missing.
        valid_records: records of DS1 for validation; its others are for training.
        window: seconds.
        download: fetch the files that are missing (90 MB).

    Raises:
        ConnectionError: a file cannot be downloaded.
        ImportError: wfdb is not installed.
        ValueError: a file is missing or damaged, or an argument is wrong.
    """
    data_folder, save_folder, series_folder = Path(data_folder), Path(save_folder), Path(series_folder).resolve()
    part_of = _parts(valid_records)
    size = round(window * FRAME_RATE)
    if size < 2:
        raise InputError(f"`window` (={window}) must be at least 2 frames of {1 / FRAME_RATE:.4f} s")
    require("wfdb", "sensors")
    if download:
        _download(data_folder)
    content = {"layout": _LAYOUT, "set": "MIT-BIH", "files": file_digest(_files(data_folder), data_folder)}
    series_folder /= digest(content)
    fingerprint = {**content, "series_folder": os.fspath(series_folder), "parts": part_of, "window": window}
    stored = {record: series_folder / f"{record}.npy" for record in (*DS1, *DS2)}
    if is_prepared(save_folder, fingerprint, stored.values()):
        return

    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for record, file in stored.items():
        frames = store(file, partial(_read_signal, data_folder / str(record)))
        beats = _read_beats(data_folder / str(record))
        for start in range(0, frames - size + 1, size):
            place = {"features": os.fspath(file), "start": start, "stop": start + size, "length": size}
            facts = {"frame_rate": FRAME_RATE, **_beats_within(beats, start, size), "record": str(record)}
            items[part_of[str(record)]][f"{record}_{start:06d}"] = {**place, **facts}
    write_manifests(save_folder, items, fingerprint)


def _parts(valid_records: Sequence[int]) -> dict[str, str]:
    """Returns record → split."""
    if not (valid_records and set(valid_records) < set(DS1)):
        raise InputError(
            f"`valid_records` (={list(valid_records)}) must be some records of DS1, but not all: "
            f"{', '.join(map(str, DS1))}"
        )
    train = {str(record): "valid" if record in valid_records else "train" for record in DS1}
    return {**train, **dict.fromkeys(map(str, DS2), "test")}


def _download(data_folder: Path) -> None:
    """Fetches the files that are missing, and checks them by the release's list of checksums."""
    if all(file.is_file() for file in _files(data_folder, check=False)):
        return
    download_file(f"{_URL}/{_SUMS}", data_folder / _SUMS)
    lines = (data_folder / _SUMS).read_text(encoding="utf-8").splitlines()
    sums = {name.strip(): checksum for checksum, _, name in (line.partition(" ") for line in lines)}
    for file in _files(data_folder, check=False):
        if file.name not in sums:
            raise InputError(f"{os.fspath(data_folder / _SUMS)!r} must have the checksum of {file.name}; remove it")
        download_file(f"{_URL}/{file.name}", file, checksum=f"sha256:{sums[file.name]}")


def _files(data_folder: Path, *, check: bool = True) -> list[Path]:
    """Returns the files of all records; with `check` they must be there."""
    files = [data_folder / f"{record}.{ending}" for record in (*DS1, *DS2) for ending in _ENDINGS]
    missing = [file.name for file in files if not file.is_file()]
    if check and missing:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold the files of the release; {missing[0]} is missing "
            f"and {len(missing) - 1} more (`download`=True fetches them)"
        )
    return files


def _read_signal(record: Path) -> np.ndarray:
    """Returns lead MLII of a record at the rate of the series, without its baseline and of variance 1: (T, 1)."""
    wfdb = require("wfdb", "sensors")
    try:
        read = wfdb.rdrecord(os.fspath(record), channel_names=[_LEAD])
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{os.fspath(record)!r} cannot be read as a WFDB record: {error}") from error
    if read.fs != RATE or read.p_signal is None or read.p_signal.shape[1] != 1:
        raise InputError(f"{os.fspath(record)!r} must have one lead {_LEAD} at {RATE} Hz")
    signal = require("scipy.signal", "sensors").resample_poly(read.p_signal[:, 0], 1, DECIMATION)
    median = require("scipy.ndimage", "sensors").median_filter
    baseline = signal
    for seconds in _BASELINE:
        baseline = median(baseline, size=2 * round(seconds * FRAME_RATE / 2) + 1)
    beating = signal - baseline
    return np.asarray(beating / beating.std())[:, None]


def _read_beats(record: Path) -> Beats:
    """Returns the beats of a record that have a group."""
    wfdb = require("wfdb", "sensors")
    try:
        read = wfdb.rdann(os.fspath(record), "atr")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"'{os.fspath(record)}.atr' cannot be read as annotations: {error}") from error
    known = [
        (sample // DECIMATION, GROUPS[symbol])
        for sample, symbol in zip(read.sample, read.symbol, strict=True)
        if symbol in GROUPS
    ]
    return Beats(np.array([frame for frame, _ in known], dtype=np.int64), np.array([group for _, group in known]))


def _beats_within(beats: Beats, start: int, size: int) -> dict[str, Any]:
    """Returns what the manifest says of the beats of a window."""
    first, last = np.searchsorted(beats.frames, [start, start + size]).tolist()
    frames, groups = (beats.frames[first:last] - start).tolist(), beats.groups[first:last].tolist()
    before, after = EVENT
    seconds = [frame / FRAME_RATE for frame, group in zip(frames, groups, strict=True) if group == "V"]
    return {
        "ventricular": "yes" if "V" in groups else "no",
        "beats": "".join(groups),
        "beat_frames": frames,
        "events": [[max(0.0, time - before), min(size / FRAME_RATE, time + after)] for time in seconds],
    }
