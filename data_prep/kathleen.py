"""Kathleen: a woman reads the prompts of CMU Arctic in US English. 1620 recordings, 1.4 h, 48 kHz, stereo.

    data/<prompt>_<time>.wav    such as arctic_a0001_1592748574.wav; silence is trimmed
    data/<prompt>_<time>.txt    what is said

1132 prompts, of which many were recorded more than once.

Source: Rhasspy, https://github.com/rhasspy/dataset-voice-kathleen; licence CC0 1.0. The split is ours.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in
from seqstride.files.text_files import read_text

from .audio_check import BadFiles, check_audio
from .download import download_github
from .groups import split_groups
from .ljspeech_format import plain_words
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

REPOSITORY = "rhasspy/dataset-voice-kathleen"
COMMIT = "c51cb971036a127359b43c621f26ca5081eab13e"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_RECORDINGS = 1620


def prepare_kathleen(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    valid_share: float = 0.1,
    test_share: float = 0.15,
    seed: int = 0,
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with `words`, the result of `plain_words`.

    The other keys of an item are `text`, the unchanged text, `prompt`, and those of `check_audio`; `{data_root}` stands
    for `data_folder`. The parts are drawn at random, but all recordings of a prompt, and of the same words, are in one
    part. A second call with the same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `data/`.
        save_folder: the folder for the manifests; made if missing.
        valid_share, test_share: shares of the recordings.
        seed: seed of the random split.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the set (0.9 GB) if `data_folder` is missing or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: there are no recordings, one has no text or is bad, or the shares leave nothing for a part.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if download:
        download_github(REPOSITORY, COMMIT, data_folder)
    recordings = audio_in(data_folder / "data", extension="wav")
    if not recordings:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold data/*.wav with a text for each; there are none "
            "(`download`=True fills an empty folder)"
        )
    fingerprint = {
        "layout": _LAYOUT,
        "set": "Kathleen",
        "files": file_digest([*recordings, *(file.with_suffix(".txt") for file in recordings)], data_folder),
        "valid_share": valid_share,
        "test_share": test_share,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(recordings), _RECORDINGS)
    texts = {file: _text(file) for file in recordings}
    audio = check_audio(recordings, data_folder, save_folder, bad_files=bad_files)
    groups = _groups({file: texts[file] for file in audio})
    parts = split_groups(list(groups.values()), valid_share=valid_share, test_share=test_share, seed=seed)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, facts in audio.items():
        words = {"words": plain_words(texts[file]), "text": texts[file], "prompt": _prompt(file)}
        items[parts[groups[file]]][file.stem] = {**facts, **words}
    write_manifests(save_folder, items, fingerprint)


def _text(file: Path) -> str:
    path = file.with_suffix(".txt")
    text = read_text(path).strip() if path.is_file() else ""
    if not plain_words(text):
        raise InputError(f"{path} must have the words of {file.name}")
    return text


def _prompt(file: Path) -> str:
    return file.stem.rpartition("_")[0]


def _groups(texts: dict[Path, str]) -> dict[Path, str]:
    """Returns the group of every recording: its prompt, or the prompt with which the same words came first."""
    first: dict[str, str] = {}
    return {file: first.setdefault(plain_words(text), _prompt(file)) for file, text in texts.items()}
