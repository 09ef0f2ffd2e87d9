"""LibriSpeech: read English, 1000 hours at 16 kHz from audio books, in parts by speaker.

    <part>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac
    <part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt      <speaker>-<chapter>-<utterance> WORDS, a line each

Source: V. Panayotov, G. Chen, D. Povey, S. Khudanpur, "Librispeech: an ASR corpus based on public domain audio books",
ICASSP 2015; https://www.openslr.org/12 (archives), the SHA-256 of the archives are those in torchaudio's
`datasets/librispeech.py`. Licence CC BY 4.0.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in
from seqstride.files.text_files import read_text

from .audio_check import BadFiles, check_audio
from .download import download_archive
from .manifest import file_digest, is_prepared, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Hz, of every recording."""

PARTS = {
    "train-clean-100": (28539, "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
    "train-clean-360": (104014, "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
    "train-other-500": (148688, "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
    "dev-clean": (2703, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": (2864, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": (2620, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    "test-other": (2939, "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
}
"""Part → number of utterances, and SHA-256 of its archive."""

_URL = "https://www.openslr.org/resources/12"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes


def prepare_librispeech(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    train: Sequence[str] = ("train-clean-100",),
    valid: str = "dev-clean",
    test: str = "test-clean",
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the transcription `words`.

    The other keys of an item are `speaker` and those of `check_audio`; `{data_root}` stands for `data_folder`. A second
    call with the same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the folder that has `train-clean-100/` and so on (`LibriSpeech` of the archives).
        save_folder: the folder for the manifests; made if missing.
        train: the parts to train on.
        valid, test: the parts for validation and test.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the parts that are missing.

    Raises:
        ConnectionError: a part cannot be downloaded.
        ValueError: a part is unknown, missing or used twice; a recording has no words; or there are bad files.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    parts = {"train": list(train), "valid": [valid], "test": [test]}
    wanted = [name for names in parts.values() for name in names]
    unknown = [name for name in wanted if name not in PARTS]
    if unknown or len(set(wanted)) < len(wanted) or not parts["train"]:
        raise InputError(
            f"`train` (={parts['train']}), `valid` (={valid!r}) and `test` (={test!r}) must be different ones of "
            f"{', '.join(PARTS)}"
        )
    for name in wanted:
        if download:
            url = f"{_URL}/{name}.tar.gz"
            download_archive(url, data_folder / name, inner=f"LibriSpeech/{name}", checksum=f"sha256:{PARTS[name][1]}")
    found = {split: _utterances(data_folder, names) for split, names in parts.items()}
    files = [file for utterances in found.values() for file in utterances]
    fingerprint = {
        "layout": _LAYOUT,
        "set": "LibriSpeech",
        "files": file_digest([*files, *{_transcripts(file) for file in files}], data_folder),
        "parts": parts,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    audio = check_audio(files, data_folder, save_folder, bad_files=bad_files, sample_rate=SAMPLE_RATE)
    items: dict[str, dict[str, Any]] = {
        split: {
            file.stem: {**audio[file], "words": words, "speaker": file.stem.split("-")[0]}
            for file, words in utterances.items()
            if file in audio
        }
        for split, utterances in found.items()
    }
    write_manifests(save_folder, items, fingerprint)


def _utterances(data_folder: Path, parts: Sequence[str]) -> dict[Path, str]:
    """Returns file → words for the recordings of the parts, in order."""
    found = {}
    for part in parts:
        folder = data_folder / part
        files = audio_in(folder, "*/*/*", "flac")
        if not files:
            raise InputError(
                f"`data_folder` (={os.fspath(data_folder)!r}) must hold {part}/<speaker>/<chapter>/*.flac; there are "
                "none (`download`=True fetches them)"
            )
        if len(files) != PARTS[part][0]:
            logger.warning("%s has %d recordings, the whole part has %d", folder, len(files), PARTS[part][0])
        words: dict[str, str] = {}
        for file in files:
            if file.stem not in words:
                words |= _words(file)
            if not words.get(file.stem):
                raise InputError(f"{_transcripts(file)} must have words for {file.name}")
            found[file] = words[file.stem]
    return found


def _transcripts(file: Path) -> Path:
    return file.with_name(f"{file.stem.rsplit('-', 1)[0]}.trans.txt")


def _words(file: Path) -> dict[str, str]:
    """Returns id → words from the transcript of a recording's chapter."""
    path = _transcripts(file)
    if not path.is_file():
        raise InputError(f"{path} must exist and have the words of {file.name}")
    lines = read_text(path).split("\n")
    return {name: " ".join(words.split()) for name, _, words in (line.partition(" ") for line in lines)}
