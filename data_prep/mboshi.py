"""Mboshi-French parallel corpus: a Bantu language (C25) of Congo, three speakers. 5130 utterances, 4.5 h, 16 kHz.

    full_corpus_newsplit/train/<id>.wav         4616 utterances
    full_corpus_newsplit/dev/<id>.wav           514; no sentence of these is in train
    full_corpus_newsplit/<part>/<id>.mb.cleaned what is said, in small letters without punctuation: 31 letters

The official parts are train and dev. Here dev is the test, and sentences of train are held out for validation.

Source: P. Godard and others, "A Very Low Resource Language Speech Corpus for Computational Language Documentation
Experiments", LREC 2018, https://arxiv.org/abs/1710.03501;
https://github.com/besacier/mboshi-french-parallel-corpus, made available for experiments; the repository names no
licence.
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
from .groups import hold_out
from .ljspeech_format import plain_words
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Hz, of every recording."""

REPOSITORY = "besacier/mboshi-french-parallel-corpus"
COMMIT = "83c5b428a8251881711fa45e4ea5bb5ea6bcdc9b"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_UTTERANCES = 5130
_PARTS = {"train": "train", "dev": "test"}
"""Official part → split."""


def prepare_mboshi(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    valid_share: float = 0.08,
    seed: int = 0,
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with `words`, the result of `plain_words`.

    The other keys of an item are `speaker` and those of `check_audio`; `{data_root}` stands for `data_folder`. The test
    is the official dev part. Sentences of the official train part are drawn for validation, with all their recordings.
    A second call with the same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `full_corpus_newsplit/`.
        save_folder: the folder for the manifests; made if missing.
        valid_share: share of the official train part for validation.
        seed: seed of this random choice.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the repository (several GB: it holds older versions of the corpus) if `data_folder` is missing
            or empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: an official part has no recordings, one has no text or is bad, or `valid_share` is wrong.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if download:
        download_github(REPOSITORY, COMMIT, data_folder)
    recordings = {file: split for part, split in _PARTS.items() for file in _recordings(data_folder, part)}
    fingerprint = {
        "layout": _LAYOUT,
        "set": "Mboshi",
        "files": file_digest([*recordings, *map(_text_file, recordings)], data_folder),
        "valid_share": valid_share,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(recordings), _UTTERANCES)
    words = {file: _words(file) for file in recordings}
    audio = check_audio(recordings, data_folder, save_folder, bad_files=bad_files, sample_rate=SAMPLE_RATE)
    valid = hold_out([words[file] for file in audio if recordings[file] == "train"], valid_share, seed)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, facts in audio.items():
        split = "valid" if recordings[file] == "train" and words[file] in valid else recordings[file]
        items[split][file.stem] = {**facts, "words": words[file], "speaker": file.stem.split("_")[0]}
    write_manifests(save_folder, items, fingerprint)


def _recordings(data_folder: Path, part: str) -> list[Path]:
    found = audio_in(data_folder / "full_corpus_newsplit" / part, extension="wav")
    if not found:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold full_corpus_newsplit/{part}/*.wav; there are none "
            "(`download`=True fills an empty folder)"
        )
    return found


def _text_file(recording: Path) -> Path:
    return recording.with_suffix(".mb.cleaned")


def _words(recording: Path) -> str:
    path = _text_file(recording)
    words = plain_words(read_text(path)) if path.is_file() else ""
    if not words:
        raise InputError(f"{path} must have the words of {recording.name}")
    return words
