"""Your own recordings for classification: one folder per class, or a table of paths and labels."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.audio_files import audio_extensions, files_below
from seqstride.errors import InputError

from .audio import BadFiles, check_audio
from .manifest import SPLITS, file_digest, is_prepared, read_table, write_manifests

logger = logging.getLogger(__name__)

_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes


class _Recording(NamedTuple):
    label: str
    split: str | None  # None: to be chosen


def prepare_audio_folder(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] | None = None,
    valid_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    bad_files: BadFiles = "skip",
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the label `label`.

    The other keys of an item are those of `check_audio`; `{data_root}` stands for `data_folder`, and an item's id is
    its path. Any rate, any number of channels, and any format that soundfile reads will do. A second call with the same
    arguments and unchanged files (path, size, time) does nothing.

    Three layouts are understood: `data_folder/<label>/…`, with files at any depth; `data_folder/<split>/<label>/…`
    with the splits train, valid and test; and a table. In a folder, files whose extension is not of audio are ignored,
    so are hidden ones, and links to folders are not followed. Where no split is given, it is chosen at random within
    each class; if several recordings belong together (a speaker, a place), give the split to keep them so.

    Args:
        data_folder: the folder of the recordings.
        save_folder: where the manifests go; made if missing.
        csv: a table with the columns `path` (relative to `data_folder`), `label` and perhaps `split`; None reads
            the folders.
        valid_share: the share of each class that is for validation, where no split is given; at least one file.
        test_share: the same for the test.
        seed: of the split.
        bad_files: "error" or "skip", see `check_audio`.

    Raises:
        ValueError: fewer than two classes, a class with too few files for the split, a label in validation or test that
            training lacks, a path that is named twice or leaves `data_folder`, a table that lacks a column or has an
            empty label or unknown split, folders for some of the splits only, shares that leave nothing, or bad files.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if not data_folder.is_dir():
        raise InputError(f"`data_folder` (={os.fspath(data_folder)!r}) must be a folder")
    if not (valid_share > 0 and test_share > 0 and valid_share + test_share < 1):
        raise InputError(
            f"`valid_share` (={valid_share}) and `test_share` (={test_share}) must be above 0 and their sum below 1"
        )
    recordings = _read_folders(data_folder) if csv is None else _read_table(Path(csv), data_folder)
    fingerprint = {
        "layout": _LAYOUT,
        "set": "audio folder",
        "files": file_digest(recordings, data_folder),
        "csv": None if csv is None else hashlib.sha256(Path(csv).read_bytes()).hexdigest(),
        "valid_share": valid_share,
        "test_share": test_share,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        logger.info("%s is already prepared in %s", data_folder, save_folder)
        return

    audio = check_audio(recordings, data_folder, save_folder, bad_files=bad_files)
    sound = {file: recordings[file] for file in audio}
    _check_classes(recordings, sound)
    splits = _choose(sound, valid_share, test_share, seed)
    _check_labels(sound, splits)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, item in audio.items():
        items[splits[file]][file.relative_to(data_folder).as_posix()] = {**item, "label": sound[file].label}
    write_manifests(save_folder, items, fingerprint)


def _read_folders(data_folder: Path) -> dict[Path, _Recording]:
    """The recordings in class folders, ordered by path."""
    extensions = audio_extensions()
    names = {entry.name for entry in data_folder.iterdir() if entry.is_dir()}
    has_splits = len(names & set(SPLITS)) > 1
    if has_splits and not names >= set(SPLITS):
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must have all of the folders train, valid and test, or a "
            f"folder for each class; it has {', '.join(sorted(names))}"
        )
    recordings: dict[Path, _Recording] = {}
    ignored: Counter[str] = Counter()
    for file in files_below(data_folder):
        *folders, _ = file.relative_to(data_folder).parts
        split = folders.pop(0) if has_splits and folders else None
        if file.suffix[1:].lower() not in extensions:
            ignored[file.suffix or "no extension"] += 1
        elif not folders or (has_splits and split not in SPLITS):
            ignored["outside of a class folder"] += 1
        else:
            recordings[file] = _Recording(folders[0], split)
    if ignored:
        logger.warning("%s: ignored %s", data_folder, ", ".join(f"{n} files ({why})" for why, n in ignored.items()))
    return recordings


def _read_table(table: Path, data_folder: Path) -> dict[Path, _Recording]:
    """The recordings that a CSV file names, in its order."""
    if not table.is_file():
        raise InputError(f"`csv` (={os.fspath(table)!r}) must be a file")
    recordings: dict[Path, _Recording] = {}
    for line, row in read_table(table, ("path", "label")):
        where = f"{table}, line {line}:"
        if not row["path"] or not row["label"]:
            raise InputError(f"{where} `path` and `label` must not be empty")
        path = os.path.normpath(row["path"])
        if os.path.isabs(path) or path.split(os.sep)[0] == ".." or "\0" in path:
            raise InputError(f"{where} `path` (={row['path']!r}) must be inside `data_folder` and relative to it")
        split = row.get("split")
        if split is not None and split not in SPLITS:
            raise InputError(f"{where} `split` (={split!r}) must be train, valid or test")
        if data_folder / path in recordings:
            raise InputError(f"{where} `path` (={row['path']!r}) must not be named twice")
        recordings[data_folder / path] = _Recording(row["label"], split)
    return recordings


def _check_classes(recordings: Mapping[Path, _Recording], sound: Mapping[Path, _Recording]) -> None:
    labels = {recording.label for recording in sound.values()}
    lost = {recording.label for recording in recordings.values()} - labels
    if lost:
        raise InputError(f"every class must have a sound recording, all are bad of {', '.join(sorted(lost))}")
    if len(labels) < 2:
        raise InputError(f"there must be recordings of at least 2 classes, there is {', '.join(labels) or 'none'}")


def _choose(recordings: Mapping[Path, _Recording], valid_share: float, test_share: float, seed: int) -> dict[Path, str]:
    """File → split: the one that is given, else the same shares of every class at random."""
    splits = {file: recording.split for file, recording in recordings.items() if recording.split is not None}
    by_label: dict[str, list[Path]] = {}
    for file, recording in sorted(recordings.items()):
        if recording.split is None:
            by_label.setdefault(recording.label, []).append(file)
    generator = np.random.default_rng(seed)
    for label, files in sorted(by_label.items()):
        tests, valids = (max(1, round(len(files) * share)) for share in (test_share, valid_share))
        if tests + valids >= len(files):
            raise InputError(
                f"class {label!r} (={len(files)} files) must have more than the {tests} for the test and {valids} for "
                "validation"
            )
        shuffled = [files[index] for index in generator.permutation(len(files))]
        for position, file in enumerate(shuffled):
            splits[file] = "test" if position < tests else "valid" if position < tests + valids else "train"
    return splits


def _check_labels(recordings: Mapping[Path, _Recording], splits: Mapping[Path, str]) -> None:
    known = {recordings[file].label for file, split in splits.items() if split == "train"}
    for split in ("valid", "test"):
        unknown = {recordings[file].label for file, own in splits.items() if own == split} - known
        if unknown:
            raise InputError(
                f"the {split} part must only have labels of training, it also has {', '.join(sorted(unknown))}"
            )
