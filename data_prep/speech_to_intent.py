"""Speech-to-Intent Benchmark: people order coffee; every command fills several slots. 619 recordings at 16 kHz.

    data/label/label.json               file → {"intent": "orderDrink", "slots": {slot: value}}
    data/speech/clean/<name>.wav

The set does not say who speaks: "more than 50 unique speakers", about ten commands each (its README).

Source: Picovoice, https://github.com/Picovoice/speech-to-intent-benchmark; licence Apache 2.0. The split is ours.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in
from seqstride.files.text_files import read_json

from .alike import groups_alike
from .audio_check import BadFiles, check_audio
from .download import download_github
from .groups import split_groups
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Hz, of every recording."""

SLOTS = {
    "drink": "coffeeDrink",
    "shots": "numberOfShots",
    "roast": "roast",
    "size": "size",
    "milk": "milkAmount",
    "sugar": "sugarAmount",
}
"""Label → slot of the set."""

NONE = "none"
"""The class of a slot that a command does not fill."""

REPOSITORY = "Picovoice/speech-to-intent-benchmark"
COMMIT = "47b1ca63afe4f08cb83e1f70fec16764879bd130"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_RECORDINGS = 619
_KINDS = {
    "milk": ("almond milk", "soy milk", "whole milk", "skim milk", "milk", "cream"),
    "sugar": ("brown sugar", "sugar", "sweetener"),
}
"""Values whose amount ("a little bit of") is left out; a longer name stands before one that it ends in."""


def prepare_speech_to_intent(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    groups: int = 50,
    valid_share: float = 0.15,
    test_share: float = 0.25,
    seed: int = 0,
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with a label for every slot.

    The labels are `drink` (10 classes) and `shots`, `roast`, `size`, `milk`, `sugar` (3, 3, 7, 6 and 3, and `none`).
    Amounts of milk and sugar are left out. The other keys of an item are `alike`, the group of the recording, and those
    of `check_audio`; `{data_root}` stands for `data_folder`. The set names no speakers, so the parts are drawn by
    groups of recordings that sound alike (`groups_alike`): most speakers are in one part only. The items are in order
    of length, so that batches of validation and test have little padding. A second call with the same arguments and
    unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `data/label/label.json` and `data/speech/clean/`.
        save_folder: the folder for the manifests; made if missing.
        groups: number of groups.
        valid_share, test_share: shares of the recordings.
        seed: seed of the random split.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the set if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: the labels are missing or have another form, a recording has no label or is bad, or the shares leave
            nothing for a part.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if download:
        download_github(REPOSITORY, COMMIT, data_folder)
    labels = _labels(data_folder)
    fingerprint = {
        "layout": _LAYOUT,
        "set": "speech to intent",
        "files": file_digest([_table(data_folder), *labels], data_folder),
        "groups": groups,
        "valid_share": valid_share,
        "test_share": test_share,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(labels), _RECORDINGS)
    audio = check_audio(labels, data_folder, save_folder, bad_files=bad_files, sample_rate=SAMPLE_RATE)
    alike = groups_alike(map(os.fspath, audio), groups, SAMPLE_RATE)
    parts = split_groups(alike, valid_share=valid_share, test_share=test_share, seed=seed)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for (file, facts), group in sorted(zip(audio.items(), alike, strict=True), key=lambda pair: pair[0][1]["samples"]):
        items[parts[group]][file.stem] = {**facts, **labels[file], "alike": group}
    write_manifests(save_folder, items, fingerprint)


def _table(data_folder: Path) -> Path:
    return data_folder / "data" / "label" / "label.json"


def _labels(data_folder: Path) -> dict[Path, dict[str, str]]:
    """Returns recording → label → class. Labels without a recording are left out: the set has six."""
    table = _table(data_folder)
    recordings = audio_in(data_folder / "data" / "speech" / "clean", extension="wav")
    if not table.is_file() or not recordings:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold data/label/label.json and data/speech/clean/*.wav "
            "(`download`=True fills an empty folder)"
        )
    told = read_json(table)
    found = {}
    for file in recordings:
        try:
            slots = told[file.name]["slots"]
            unknown = set(slots) - set(SLOTS.values())
        except (KeyError, TypeError) as error:
            raise InputError(f"{table} must have the `slots` of {file.name}: {error!r}") from error
        if unknown:
            raise InputError(f"{table}: {file.name} must have no slots but {', '.join(SLOTS.values())}; has {unknown}")
        found[file] = {label: _kind(label, slots.get(slot, NONE)) for label, slot in SLOTS.items()}
    return found


def _kind(label: str, value: str) -> str:
    """Returns a value without its amount."""
    value = value.strip()
    return next((kind for kind in _KINDS.get(label, ()) if value.endswith(kind)), value)
