"""Writes manifests, completely or not at all, and the fingerprint of their inputs.

A preparation writes `train.json`, `valid.json`, `test.json`, and last of all `prepared.json`, its fingerprint: the
version of its output layout, its arguments, and a digest of its inputs. If it finds the same fingerprint, it does
nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.files.text_files import read_text
from seqstride.files.whole_files import whole_file

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")


def file_digest(files: Iterable[Path], root: Path) -> str:
    """Returns a digest of the relative path, size and modification time of every file.

    Contents are not read, so a replaced file of the same size and time is not noticed. Files may be missing.

    Raises:
        InputError: a file lies outside of `root`.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        if not file.is_relative_to(root) or ".." in file.relative_to(root).parts:
            raise InputError(f"{os.fspath(file)!r}, which the data name, must be inside {os.fspath(root)!r}")
        status = file.stat() if os.path.isfile(file) else None  # False also for a name that is too long
        state = "missing" if status is None else f"{status.st_size} {status.st_mtime_ns}"
        digest.update(os.fsencode(f"{file.relative_to(root).as_posix()}\0{state}\n"))
    return f"sha256 {digest.hexdigest()}"


def is_prepared(save_folder: Path, fingerprint: Mapping[str, Any], files: Iterable[Path] = ()) -> bool:
    """Returns whether `save_folder` holds all manifests, made with the same fingerprint, and logs it.

    Args:
        save_folder: the folder of the manifests.
        fingerprint: their expected inputs.
        files: other files that the preparation writes; they must exist, too.
    """
    prepared = has_fingerprint(save_folder, fingerprint) and all(file.is_file() for file in files)
    if prepared:
        logger.info("the data are already prepared in %s", save_folder)
    return prepared


def has_fingerprint(save_folder: Path, fingerprint: Mapping[str, Any]) -> bool:
    """Returns whether `save_folder` holds all manifests, made with the same fingerprint."""
    try:
        found = json.loads((save_folder / "prepared.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or not ours
        return False
    return found == fingerprint and all((save_folder / f"{split}.json").is_file() for split in SPLITS)


def read_table(file: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Returns the line number and the cells of every row of a CSV file in UTF-8 with a header.

    Raises:
        InputError: the file is not CSV, lacks one of `columns` or has one twice, or a row has more or fewer cells than
            the header; names file and line.
    """
    rows = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    found = []
    try:
        lacking = [column for column in columns if column not in (rows.fieldnames or ())]
        if lacking:
            raise InputError(f"{file} must have the columns {', '.join(columns)}; it lacks {', '.join(lacking)}")
        if len(set(rows.fieldnames or ())) < len(rows.fieldnames or ()):
            raise InputError(
                f"{file} must have different names for its columns; it has {', '.join(rows.fieldnames or ())}"
            )
        for row in rows:
            if None in row or None in row.values():
                raise InputError(f"{file}, line {rows.line_num}: it must have a cell for every column of the header")
            found.append((rows.line_num, row))
    except csv.Error as error:
        raise InputError(f"{file}, line {rows.line_num}: {error}") from error
    return found


def warn_if_incomplete(folder: Path, found: int, whole: int) -> None:
    """Warns if a public data set has another number of recordings than its release."""
    if found != whole:
        logger.warning("%s has %d recordings, the whole set has %d", folder, found, whole)


def check_shares(valid_share: float, test_share: float) -> None:
    """Checks the shares of a random split.

    Raises:
        InputError: a share is not above 0, or nothing is left for training.
    """
    if not (valid_share > 0 and test_share > 0 and valid_share + test_share < 1):
        raise InputError(
            f"`valid_share` (={valid_share}) and `test_share` (={test_share}) must be above 0 and their sum below 1"
        )


def forget(save_folder: Path) -> None:
    """Removes the fingerprint. Call it before you change a file that the fingerprint covers."""
    (save_folder / "prepared.json").unlink(missing_ok=True)


def write_manifests(
    save_folder: Path, items: Mapping[str, Mapping[str, Mapping[str, Any]]], fingerprint: Mapping[str, Any]
) -> None:
    """Writes the three manifests, then the fingerprint.

    SpeechBrain formats every text of a manifest, so braces are doubled, except in the `{data_root}/` before a path.

    Args:
        save_folder: the folder to write to.
        items: split → id → the item's keys and values.
        fingerprint: the inputs of the manifests.

    Raises:
        InputError: a split has no items.
    """
    for split in SPLITS:
        if not items[split]:
            raise InputError(
                f"the {split} part must have items, but none is left for it: there are too few data, or wrong ones"
            )
    forget(save_folder)
    for split in SPLITS:
        content = {
            name: {key: _escape(value) if isinstance(value, str) else value for key, value in item.items()}
            for name, item in items[split].items()
        }
        write_json(save_folder / f"{split}.json", content)
    write_json(save_folder / "prepared.json", fingerprint)  # last: it says that everything else is there
    logger.info("prepared in %s: %s", save_folder, {split: len(items[split]) for split in SPLITS})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file, completely or not at all, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _escape(text: str) -> str:
    root = "{data_root}/"
    start = root if text.startswith(root) else ""
    return start + text.removeprefix(start).replace("{", "{{").replace("}", "}}")
