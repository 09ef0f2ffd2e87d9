"""Philharmonia Orchestra sound samples: notes and short phrases of 15 instruments, and percussion; mp3, 44.1 kHz.

    audio/<instrument>/<instrument>_<pitch>_<length>_<dynamics>_<articulation>.mp3
    audio/percussion/<kind>/<kind>__<length>_<dynamics>_<articulation>.mp3

9750 files, of which one is empty. Every note of an instrument is there in several lengths and dynamics, which sound
almost alike, so they must not be shared out among the parts of a split.

Source: Philharmonia Orchestra, in the copy https://github.com/skratchdot/philharmonia-samples; licence CC BY-SA 3.0;
the samples must not be sold or made available as they are. The split is ours.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in

from .audio_check import BadFiles, check_audio
from .download import download_github
from .groups import split_groups
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

PERCUSSION = "percussion"
"""The instrument of everything that is struck or shaken."""

NO_PITCH = "none"
"""The pitch of percussion."""

REPOSITORY = "skratchdot/philharmonia-samples"
COMMIT = "717b7de2bcae05e44aa8a3dde143c8d093b8f6c8"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_RECORDINGS = 9749
_EMPTY = "saxophone_Fs3_15_fortissimo_normal.mp3"
_NAME = re.compile(r"(?P<kind>[A-Za-z-]+)_(?P<pitch>[A-G]s?\d)?_(?P<length>[^_]+)_(?P<dynamics>[^_]+)_(?P<how>[^_]*)")


class _Note(NamedTuple):
    instrument: str
    pitch: str
    group: tuple[str, str]
    """Instrument and pitch, or percussion and its kind."""


def prepare_philharmonia(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    seconds: float = 2.0,
    valid_share: float = 0.15,
    test_share: float = 0.25,
    seed: int = 0,
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the labels `instrument` and `pitch`.

    The other keys of an item are those of `check_audio`, and `start` and `stop`, the samples of its first `seconds`;
    `{data_root}` stands for `data_folder`. All recordings of one pitch of one instrument are in one part: the task is
    to name an instrument at a pitch, and a pitch on an instrument, that were not heard together. A pitch that only one
    instrument has is in the training part. The items are in order of length, so that batches of validation and test
    have little padding. A second call with the same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `audio/`.
        save_folder: the folder for the manifests; made if missing.
        seconds: what is used of a recording, from its start: a fifth are longer, up to 44 s.
        valid_share, test_share: shares of the recordings.
        seed: seed of the random split.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the set (0.2 GB) if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: there are no recordings, one is bad, `seconds` is not above 0, or the shares leave nothing for a
            part.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if not seconds > 0:
        raise InputError(f"`seconds` (={seconds}) must be above 0")
    if download:
        download_github(REPOSITORY, COMMIT, data_folder)
    notes = _notes(data_folder)
    fingerprint = {
        "layout": _LAYOUT,
        "set": "Philharmonia",
        "files": file_digest(notes, data_folder),
        "seconds": seconds,
        "valid_share": valid_share,
        "test_share": test_share,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(notes), _RECORDINGS)
    audio = check_audio(notes, data_folder, save_folder, bad_files=bad_files)
    heard = {file: notes[file] for file in audio}
    parts = _parts(heard, valid_share, test_share, seed)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, facts in audio.items():
        note, rate = notes[file], facts["sample_rate"]
        samples = min(facts["samples"], max(1, round(seconds * rate)))
        cut = {"start": 0, "stop": samples, "samples": samples, "duration": samples / rate}
        items[parts[note.group]][file.stem] = {**facts, **cut, "instrument": note.instrument, "pitch": note.pitch}
    ordered = {split: dict(sorted(part.items(), key=lambda item: item[1]["duration"])) for split, part in items.items()}
    write_manifests(save_folder, ordered, fingerprint)


def _notes(data_folder: Path) -> dict[Path, _Note]:
    """Finds the recordings, ordered by path."""
    folder = data_folder / "audio"
    found, other = {}, []
    for file in audio_in(folder, "*/*", "mp3") + audio_in(folder, f"{PERCUSSION}/*/*", "mp3"):
        match = _NAME.fullmatch(file.stem)
        struck = file.parts[len(folder.parts)] == PERCUSSION
        if match is None or struck == bool(match["pitch"]):
            other.append(file.name)
        elif file.name != _EMPTY or file.stat().st_size:
            instrument, pitch = (PERCUSSION, NO_PITCH) if struck else (match["kind"], match["pitch"])
            found[file] = _Note(instrument, pitch, (instrument, match["kind"] if struck else pitch))
    if not found:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold audio/<instrument>/*.mp3; there are none "
            "(`download`=True fills an empty folder)"
        )
    if other:
        logger.warning("ignored %d files in %s with other names, such as %s", len(other), folder, other[0])
    return found


def _parts(notes: Mapping[Path, _Note], valid_share: float, test_share: float, seed: int) -> dict[tuple[str, str], str]:
    """Draws the part of every group; the first one of a class that training would lack is for training."""
    parts = split_groups(
        [note.group for note in notes.values()], valid_share=valid_share, test_share=test_share, seed=seed
    )
    for label in (0, 1):  # instrument, pitch
        known = {note[label] for note in notes.values() if parts[note.group] == "train"}
        for note in notes.values():
            if note[label] not in known:
                parts[note.group] = "train"
                known.add(note[label])
    return parts
