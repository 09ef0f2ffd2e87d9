"""Free Spoken Digit Dataset: six speakers say each digit from zero to nine fifty times.

3000 recordings at 8 kHz, named `{digit}_{speaker}_{index}.wav`. Official test part: the recordings 0 to 4 of every
speaker and digit. For results on unseen voices, leave one speaker out.

Source: Z. Jackson and others, "Free Spoken Digit Dataset", release 1.0.10,
https://github.com/Jakobovski/free-spoken-digit-dataset (split: its README); licence CC BY-SA 4.0.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any, Literal

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in

from .audio_check import BadFiles, check_audio
from .download import download_archive
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 8000
"""Hz, of every recording."""

_URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.10.tar.gz"  # has no fixed checksum
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.(?i:wav)")
_RECORDINGS = 3000


def prepare_spoken_digits(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    split: str = "official",
    valid: Literal["recordings", "speaker"] = "recordings",
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the labels `digit` and `speaker`.

    The other keys of an item are those of `check_audio`; `{data_root}` stands for `data_folder`. A second call with the
    same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `recordings/`, or `recordings` itself.
        save_folder: the folder for the manifests; made if missing.
        split: "official" tests on the recordings 0 to 4 of every speaker and digit; the name of a speaker tests on all
            recordings of this speaker.
        valid: the part of the rest that is for validation. "recordings": the recordings 5 to 9 of every speaker and
            digit in the official split, else 0 to 4. "speaker": all recordings of the speaker who follows the test
            speaker in alphabetical order (after the last comes the first).
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the set if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: there are no recordings, or bad ones; `split` is not a speaker; or `valid` is "speaker" in the
            official split.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if download:
        download_archive(_URL, data_folder, inner="free-spoken-digit-dataset-1.0.10")
    recordings = _recordings(data_folder)
    speakers = _speakers(recordings)
    _check_split(split, valid, speakers)
    fingerprint = {
        "layout": _LAYOUT,
        "set": "spoken digits",
        "files": file_digest(recordings, data_folder),
        "split": split,
        "valid": valid,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(recordings), _RECORDINGS)
    digits = {file: digit for file, (digit, _, _) in recordings.items()}
    audio = check_audio(
        recordings, data_folder, save_folder, bad_files=bad_files, sample_rate=SAMPLE_RATE, labels=digits
    )
    valid_speaker = speakers[(speakers.index(split) + 1) % len(speakers)] if valid == "speaker" else None
    items: dict[str, dict[str, Any]] = {name: {} for name in SPLITS}
    for file, (digit, speaker, index) in recordings.items():
        if file in audio:
            part = _part(speaker, index, split, valid_speaker)
            items[part][file.stem] = {**audio[file], "digit": digit, "speaker": speaker}
    write_manifests(save_folder, items, fingerprint)


def spoken_digit_folds(data_folder: str | os.PathLike[str]) -> list[str]:
    """Returns the speakers in alphabetical order; each is a `split` that tests on this speaker."""
    return _speakers(_recordings(Path(data_folder)))


def _recordings(data_folder: Path) -> dict[Path, tuple[str, str, int]]:
    """Finds the recordings, ordered by name; returns file → digit, speaker and index."""
    inside = data_folder / "recordings"
    folder = inside if inside.is_dir() else data_folder
    found, other = {}, []
    for file in audio_in(folder, "*", "wav"):
        match = _NAME.fullmatch(file.name)
        if match:
            found[file] = (match["digit"], match["speaker"], int(match["index"]))
        else:
            other.append(file.name)
    if not found:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold recordings/ with files named "
            "{digit}_{speaker}_{index}.wav, or be that folder; there are none (`download`=True fills an empty folder)"
        )
    if other:
        logger.warning("ignored %d files in %s with other names, such as %s", len(other), folder, other[0])
    return found


def _speakers(recordings: dict[Path, tuple[str, str, int]]) -> list[str]:
    return sorted({speaker for _, speaker, _ in recordings.values()})


def _check_split(split: str, valid: str, speakers: list[str]) -> None:
    if split != "official" and split not in speakers:
        raise InputError(f"`split` (={split!r}) must be 'official' or one of the speakers {', '.join(speakers)}")
    if valid not in ("recordings", "speaker"):
        raise InputError(f"`valid` (={valid!r}) must be 'recordings' or 'speaker'")
    if valid == "speaker" and split == "official":
        raise InputError(
            "`valid` (='speaker') must go with a `split` that names a test speaker: every speaker is in the official "
            "test part, so none can be held out for validation alone"
        )


def _part(speaker: str, index: int, split: str, valid_speaker: str | None) -> str:
    """Returns the part that a recording belongs to."""
    if split == "official":
        return "test" if index < 5 else "valid" if index < 10 else "train"
    if speaker == split:
        return "test"
    held_out = index < 5 if valid_speaker is None else speaker == valid_speaker
    return "valid" if held_out else "train"
