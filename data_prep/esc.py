"""ESC-50 and ESC-10: five-second environmental sounds of 50 or 10 classes at 44.1 kHz, in five official folds.

2000 recordings, 40 of each class, 8 in each fold; pieces of one original recording are in one fold. ESC-10 is a subset
of 400. Results are the mean over the five folds as test part.

Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015,
https://github.com/karolpiczak/ESC-50; licence CC BY-NC 3.0 (ESC-10: CC BY).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal

from seqstride.errors import InputError

from .audio_check import BadFiles, check_audio
from .download import download_archive
from .manifest import SPLITS, file_digest, is_prepared, read_table, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 44100
"""Hz, of every recording."""

FOLDS = (1, 2, 3, 4, 5)

_URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"  # a branch: has no fixed checksum
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_COLUMNS = ("filename", "fold", "category", "esc10")


def prepare_esc(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    fold: int,
    subset: Literal[10, 50] = 50,
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the label `category`.

    The other keys of an item are those of `check_audio`; `{data_root}` stands for `data_folder`. The validation part is
    the fold that follows the test fold (1 follows 5), so no original recording is in two parts. Training has the other
    three folds, one fewer than published results without a validation part. A second call with the same arguments
    and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the unpacked archive, with `meta/esc50.csv` and `audio/`.
        save_folder: the folder for the manifests; made if missing.
        fold: the test fold, 1 to 5.
        subset: the number of classes.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the set (0.6 GB) if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: the table is missing or lacks a column, a file is bad, or `fold` or `subset` is wrong.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if fold not in FOLDS:
        raise InputError(f"`fold` (={fold!r}) must be 1, 2, 3, 4 or 5")
    if subset not in (10, 50):
        raise InputError(f"`subset` (={subset!r}) must be 10 or 50, the number of classes")
    if download:
        download_archive(_URL, data_folder, inner="ESC-50-master")
    rows = [row for row in _table(data_folder) if subset == 50 or row["esc10"] == "True"]
    files = {data_folder / "audio" / row["filename"]: row for row in rows}
    fingerprint = {
        "layout": _LAYOUT,
        "set": "ESC",
        "files": file_digest([*files, data_folder / "meta" / "esc50.csv"], data_folder),
        "fold": fold,
        "subset": subset,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(files), 40 * subset)
    categories = {file: row["category"] for file, row in files.items()}
    audio = check_audio(
        files, data_folder, save_folder, bad_files=bad_files, sample_rate=SAMPLE_RATE, labels=categories
    )
    split_of = {fold: "test", fold % len(FOLDS) + 1: "valid"}
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, item in audio.items():
        split = split_of.get(int(files[file]["fold"]), "train")
        items[split][file.stem] = {**item, "category": files[file]["category"]}
    write_manifests(save_folder, items, fingerprint)


def _table(data_folder: Path) -> list[dict[str, str]]:
    """Returns the rows of the official table."""
    table = data_folder / "meta" / "esc50.csv"
    if not table.is_file():
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must be the unpacked archive with meta/esc50.csv and audio/; "
            "the table is missing (`download`=True fills an empty folder)"
        )
    return [row for _, row in read_table(table, _COLUMNS)]
