"""Recordings of sentences in the format of LJSpeech: a table of texts, and a folder of audio files.

    metadata.csv        id|text, or id|text|normalised text; a line each, no quotes
    wavs/<id>.<ext>     in any format that `seqstride.files.decoding` reads, at any rate

Source: K. Ito, L. Johnson, "The LJ Speech Dataset", 2017, https://keithito.com/LJ-Speech-Dataset (the format).
"""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in
from seqstride.files.text_files import read_text

from .audio_check import BadFiles, check_audio
from .manifest import SPLITS, check_shares, file_digest, is_prepared, write_manifests

logger = logging.getLogger(__name__)

ZERO_WIDTH_SPACE = "\u200b"  # stands between words in scripts that write no spaces, such as Khmer

_LAYOUT = 2  # part of the fingerprint: raise it when what is written below changes


def prepare_ljspeech_format(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    valid_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 0,
    bad_files: BadFiles = "error",
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with `words`, the result of `plain_words`.

    The other keys of an item are `text`, the unchanged text in the last column of the table, and those of
    `check_audio`; `{data_root}` stands for `data_folder`. The parts are drawn at random, but recordings of the same
    sentence stay in one part. A second call with the same arguments and unchanged files (path, size, time) does
    nothing.

    Args:
        data_folder: the folder that has `metadata.csv` and `wavs/`.
        save_folder: the folder for the manifests; made if missing.
        valid_share, test_share: shares of the sentences for validation and test; at least one sentence each.
        seed: seed of the random split.
        bad_files: "error" or "skip", see `check_audio`.

    Raises:
        ValueError: the table is missing, a line has another form, an id occurs twice or has no recording, the shares
            leave nothing for training, or there are bad files.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    check_shares(valid_share, test_share)
    table = data_folder / "metadata.csv"
    sentences = _sentences(table)
    fingerprint = {
        "layout": _LAYOUT,
        "set": "LJSpeech format",
        "files": file_digest([table, *sentences], data_folder),
        "valid_share": valid_share,
        "test_share": test_share,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    audio = check_audio(sentences, data_folder, save_folder, bad_files=bad_files)
    spoken = {file: (sentences[file], plain_words(sentences[file])) for file in audio}
    splits = _choose(sorted({words for _, words in spoken.values()}), valid_share, test_share, seed)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for file, (text, words) in spoken.items():
        items[splits[words]][file.stem] = {**audio[file], "words": words, "text": text}
    write_manifests(save_folder, items, fingerprint)


def plain_words(text: str) -> str:
    """Returns a text in capitals with single spaces. It keeps letters, combining marks, digits and the apostrophe.

    All other characters separate words, including U+200B, the zero-width space. Invisible format characters are
    removed without separating words, because they are not heard: the joiners U+200C and U+200D, the soft hyphen, and
    others. Letters whose capital has two letters stay as they are, such as ß. The result is in Unicode's form NFC.
    """
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    return " ".join(word.strip("'") for word in "".join(map(_plain, text)).split() if word.strip("'"))


def _plain(character: str) -> str:
    """Returns the capital of a character, nothing, or a space that ends the word."""
    category = unicodedata.category(character)
    if category == "Cf" and character != ZERO_WIDTH_SPACE:
        return ""
    if character == "'" or character.isalnum() or category in ("Mn", "Mc"):
        capital = character.upper()
        return capital if len(capital) == 1 else character
    return " "


def _sentences(table: Path) -> dict[Path, str]:
    """Returns recording → text from the table, in order."""
    if not table.is_file():
        raise InputError(f"`data_folder` (={os.fspath(table.parent)!r}) must hold metadata.csv")
    recordings: dict[str, list[Path]] = {}
    for file in audio_in(table.parent / "wavs"):
        recordings.setdefault(file.stem, []).append(file)
    found: dict[Path, str] = {}
    for number, line in enumerate(read_text(table).split("\n"), start=1):
        if not line.strip():
            continue
        name, *texts = line.split("|")
        if len(texts) not in (1, 2) or not plain_words(texts[-1]):
            raise InputError(
                f"{table}, line {number} (={line!r}) must be id|text or id|text|normalised text, with words"
            )
        if _has_letters(texts[0]) and not _has_letters(texts[-1]):
            raise InputError(
                f"{table}, line {number} (={line!r}): the third column must be the normalised text, and "
                f"{texts[-1]!r} has no letters where the text has some"
            )
        if name not in recordings:
            raise InputError(f"{table}, line {number}: wavs/ must have a recording named {name}")
        if len(recordings[name]) > 1:
            files = ", ".join(file.name for file in recordings[name])
            raise InputError(f"{table}, line {number}: wavs/ must have one recording named {name}; it has {files}")
        [file] = recordings[name]
        if file in found:
            raise InputError(f"{table}, line {number}: {name} must occur once")
        found[file] = texts[-1].strip()
    if not found:
        raise InputError(f"{table} must have at least one line")
    return found


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _choose(sentences: list[str], valid_share: float, test_share: float, seed: int) -> dict[str, str]:
    """Draws the split of every sentence."""
    tests, valids = (max(1, round(len(sentences) * share)) for share in (test_share, valid_share))
    if tests + valids >= len(sentences):
        raise InputError(
            f"there must be more sentences (={len(sentences)}) than {tests} for the test and {valids} for validation"
        )
    order = np.random.default_rng(seed).permutation(len(sentences)).tolist()
    parts = ["test"] * tests + ["valid"] * valids + ["train"] * (len(sentences) - tests - valids)
    return {sentences[index]: part for index, part in zip(order, parts, strict=True)}
