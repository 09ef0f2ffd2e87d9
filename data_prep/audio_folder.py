"""Prepares your own recordings for classification: one folder per class, or a table of paths and labels."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.files.audio_files import files_below, is_audio

from .audio_check import BadFiles, check_audio
from .manifest import SPLITS, check_shares, file_digest, is_prepared, read_table, write_manifests
from .split_folders import NAMES, check_splits, split_depth, split_of

logger = logging.getLogger(__name__)

_LAYOUT = 2  # part of the fingerprint: raise it when what is written below changes


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
    its path. Recordings may have any sample rate, any number of channels and any format that
    `seqstride.files.decoding` reads. A second call with the same arguments and unchanged files (path, size, time) does
    nothing.

    There are four layouts:

    - `data_folder/<label>/…`, with files at any depth;
    - `data_folder/<split>/<label>/…`;
    - `data_folder/<label>/<split>/…`;
    - a table.

    Splits have the names in `split_folders.NAMES` (train, val, dev, Test, …). A missing split is cut from the training
    part, with a warning. Hidden files and files without an audio extension are ignored, and links to folders are not
    followed, but every class folder must have a recording. Without given splits, recordings are drawn at random within
    each class. If several recordings belong together (same speaker or place), give the splits, so that they stay
    together.

    Args:
        data_folder: the folder of the recordings.
        save_folder: the folder for the manifests; made if missing.
        csv: a table with the columns `path` (relative to `data_folder`), `label` and optionally `split`; None: read
            the folders.
        valid_share: share of each class for validation if this split is not given; at least one file.
        test_share: the same for the test.
        seed: seed of the random split.
        bad_files: "error" or "skip", see `check_audio`.

    Raises:
        ValueError: there are fewer than two classes; a class has too few files for the split, or only bad ones;
            training lacks a label of validation or test; a path is named twice or leaves `data_folder`; the table lacks
            a column or has an empty label or an unknown split; folders for splits and other folders lie side by side;
            no split is for training; the shares leave nothing for training; or there are bad files.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if not data_folder.is_dir():
        raise InputError(f"`data_folder` (={os.fspath(data_folder)!r}) must be a folder")
    check_shares(valid_share, test_share)
    recordings = _read_folders(data_folder, save_folder) if csv is None else _read_table(Path(csv), data_folder)
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
        return

    labels = {file: recording.label for file, recording in recordings.items()}
    if len(set(labels.values())) < 2:
        found = ", ".join(set(labels.values())) or "none"
        raise InputError(f"there must be recordings of at least 2 classes; found: {found}")
    audio = check_audio(recordings, data_folder, save_folder, bad_files=bad_files, labels=labels)
    sound = {file: recordings[file] for file in audio}
    given = {recording.split for recording in recordings.values()} - {None}
    shares = {split: share for split, share in (("test", test_share), ("valid", valid_share)) if split not in given}
    splits = _choose(sound, shares, seed)
    if given and shares:
        count = Counter(splits.values())
        trained = count["train"] + sum(count[split] for split in shares)
        cut = ", ".join(f"{count[split]} for {split}" for split in shares)
        logger.warning("no split is called %s: of %d recordings for training, %s", " or ".join(shares), trained, cut)
    _check_labels(sound, splits)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, item in audio.items():
        items[splits[file]][file.relative_to(data_folder).as_posix()] = {**item, "label": sound[file].label}
    write_manifests(save_folder, items, fingerprint)


def _read_folders(data_folder: Path, save_folder: Path) -> dict[Path, _Recording]:
    """Returns the recordings in class folders, ordered by path."""
    files = list(files_below(data_folder))
    depth = split_depth(filter(is_audio, files), data_folder)
    recordings: dict[Path, _Recording] = {}
    ignored: Counter[str] = Counter()
    for file in files:
        folders = list(file.relative_to(data_folder).parts[:-1])
        if not is_audio(file):
            ignored[file.suffix or "no extension"] += 1
        elif len(folders) < (1 if depth is None else 2):
            ignored["outside of a class folder"] += 1
        else:
            split = None if depth is None else split_of(folders.pop(depth))
            recordings[file] = _Recording(folders[0], split)
    if ignored:
        logger.warning("%s: ignored %s", data_folder, ", ".join(f"{n} files ({why})" for why, n in ignored.items()))
    parents = _folders(data_folder) if depth == 0 else [data_folder]
    classes = [folder for parent in parents for folder in _folders(parent)]
    _check_folders(classes, {recording.label for recording in recordings.values()}, save_folder)
    return recordings


def _folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _check_folders(classes: list[Path], labels: set[str], save_folder: Path) -> None:
    """Checks that every class folder has a recording. Without one, the model would lack the class."""
    for folder in classes:
        # results may lie among the recordings
        if folder.name in labels or save_folder.resolve().is_relative_to(folder.resolve()):
            continue
        if folder.is_symlink():
            reason = "it is a link to a folder, and links are not followed"
        else:
            endings = Counter(file.suffix or "no extension" for file in files_below(folder))
            files = ", ".join(f"{number} {ending}" for ending, number in endings.items())
            reason = (
                f"none of its files has an audio extension ({files})" if files else "it has only hidden files, or none"
            )
        raise InputError(f"class folder {os.fspath(folder)!r} must have a recording; {reason}")


def _read_table(table: Path, data_folder: Path) -> dict[Path, _Recording]:
    """Returns the recordings that a CSV file lists, in its order."""
    if not table.is_file():
        raise InputError(f"`csv` (={os.fspath(table)!r}) must be a file")
    recordings: dict[Path, _Recording] = {}
    splits: set[str] = set()
    for line, row in read_table(table, ("path", "label")):
        where = f"{table}, line {line}:"
        if not row["path"] or not row["label"]:
            raise InputError(f"{where} `path` and `label` must not be empty")
        path = os.path.normpath(row["path"])
        if os.path.isabs(path) or path.split(os.sep)[0] == ".." or "\0" in path:
            raise InputError(f"{where} `path` (={row['path']!r}) must be inside `data_folder` and relative to it")
        split = row.get("split")
        if split is not None and not split_of(split):
            known = ", ".join(name for names in NAMES.values() for name in names)
            raise InputError(f"{where} `split` (={split!r}) must be one of {known}")
        if data_folder / path in recordings:
            raise InputError(f"{where} `path` (={row['path']!r}) must be listed once")
        recordings[data_folder / path] = _Recording(row["label"], split and split_of(split))
        if split is not None:
            splits.add(split)
    if splits:
        check_splits(f"`split` in {table}", splits)
    return recordings


def _choose(recordings: Mapping[Path, _Recording], shares: Mapping[str, float], seed: int) -> dict[Path, str]:
    """Returns the split of every file: the given one, else a random share of every class; the rest is for training."""
    splits = {file: recording.split or "train" for file, recording in recordings.items()}
    by_label: dict[str, list[Path]] = {}
    for file, split in sorted(splits.items()):
        if split == "train":
            by_label.setdefault(recordings[file].label, []).append(file)
    generator = np.random.default_rng(seed)
    for label, files in sorted(by_label.items()):
        parts = [split for split, share in shares.items() for _ in range(max(1, round(len(files) * share)))]
        if len(parts) >= len(files):
            wanted = " and ".join(f"{parts.count(split)} for {split}" for split in shares)
            raise InputError(f"class {label!r} (={len(files)} files for training) must have more than {wanted}")
        shuffled = [files[index] for index in generator.permutation(len(files))]
        splits.update(zip(shuffled, parts, strict=False))
    return splits


def _check_labels(recordings: Mapping[Path, _Recording], splits: Mapping[Path, str]) -> None:
    known = {recordings[file].label for file, split in splits.items() if split == "train"}
    for split in ("valid", "test"):
        unknown = {recordings[file].label for file, own in splits.items() if own == split} - known
        if unknown:
            raise InputError(
                f"the {split} part must only have labels of the training part; it also has {', '.join(sorted(unknown))}"
            )
