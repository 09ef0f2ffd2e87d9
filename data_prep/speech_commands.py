"""Speech Commands, version 0.02: one-second recordings of 35 words at 16 kHz, in the official split.

There are two tasks. With 35 classes, the label of a recording is its word. With 12 classes, there are ten commands,
`_unknown_` for all other words, and `_silence_` for background noise. `_unknown_` and `_silence_` have a tenth as many
items as the commands, each, as in the TensorFlow example.

Source: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv:1804.03209, 2018; the
shares are those of `tensorflow/examples/speech_commands` (train.py); the SHA-256 of both archives are those that
TensorFlow Datasets records (url_checksums/speech_commands.txt). Licence CC BY 4.0.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqstride.errors import InputError
from seqstride.files.audio_files import audio_in
from seqstride.files.text_files import read_text

from .audio_check import BadFiles, check_audio
from .download import download_archive
from .manifest import SPLITS, file_digest, is_prepared, warn_if_incomplete, write_manifests

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Sample rate of every recording, in Hz."""

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The words of the task with 12 classes; `_unknown_` and `_silence_` are the other two."""

WORDS = tuple(
    sorted(
        COMMANDS
        + ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
        + ("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow")
        + ("backward", "forward", "follow", "learn", "visual")
    )
)
"""The words of the task with 35 classes."""

_UNKNOWN, _SILENCE, _NOISE = "_unknown_", "_silence_", "_background_noise_"
_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
_TEST_SET = "speech_commands_test_set_v0.02"
_URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
_SHA256 = "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
_TEST_URL = f"http://download.tensorflow.org/data/{_TEST_SET}.tar.gz"
_TEST_SHA256 = "sha256:cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df"
_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes
_RECORDINGS = 105829  # of words
_SHARE = 0.1  # of `_unknown_` and `_silence_` each, relative to the number of commands
_NOISE_PARTS = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}


def prepare_speech_commands(
    data_folder: str | os.PathLike[str],
    save_folder: str | os.PathLike[str],
    *,
    task: Literal[12, 35] = 35,
    seed: int = 0,
    bad_files: BadFiles = "error",
    download: bool = False,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) with the label `word`.

    The other keys of an item are those of `check_audio`; `{data_root}` stands for `data_folder`. The files of
    `validation_list.txt` and `testing_list.txt` are the validation and the test part, all others are for training.

    With 12 classes, `_unknown_` is a random choice of the other words within each part, and an item of `_silence_` is
    one second of a noise file at a random place: `start` and `stop` are its samples within the file, `samples` and
    `duration` are those of the second. Training takes it from the first 80 % of each noise file, validation from the
    next 10 %, test from the rest. If `data_folder` has the folder `speech_commands_test_set_v0.02` (the official test
    archive with a folder for each of the 12 classes), this folder is the test part. Then results are comparable to
    published ones.

    A second call with the same arguments and unchanged files (path, size, time) does nothing.

    Args:
        data_folder: the unpacked archive.
        save_folder: the folder for the manifests; made if missing.
        task: the number of classes.
        seed: seed of the random choice of `_unknown_` and `_silence_`.
        bad_files: "error" or "skip", see `check_audio`.
        download: fetch the set (2.4 GB), and for 12 classes its test archive (0.1 GB), if the folder is missing or
            empty.

    Raises:
        ConnectionError: the set cannot be downloaded.
        ValueError: a folder of a word, a list or the noise is missing, a file is bad, or `task` is not 12 or 35.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    if task not in (12, 35):
        raise InputError(f"`task` (={task!r}) must be 12 or 35, the number of classes")
    if download:
        download_archive(_URL, data_folder, checksum=_SHA256)
        if task == 12:
            download_archive(_TEST_URL, data_folder / _TEST_SET, checksum=_TEST_SHA256)
    parts = _parts(data_folder)
    noise = _noise(data_folder) if task == 12 else []
    test_set = audio_in(data_folder / _TEST_SET, "*/*", "wav") if task == 12 else []
    files = [*parts, *noise, *test_set]
    fingerprint = {
        "layout": _LAYOUT,
        "set": "speech commands",
        "files": file_digest([*files, *(data_folder / name for name in _LISTS.values())], data_folder),
        "task": task,
        "seed": seed,
        "bad_files": bad_files,
    }
    if is_prepared(save_folder, fingerprint):
        return

    warn_if_incomplete(data_folder, len(parts), _RECORDINGS)
    words = {file: file.parent.name for file in parts}
    audio = check_audio(files, data_folder, save_folder, bad_files=bad_files, sample_rate=SAMPLE_RATE, labels=words)
    items = {
        split: {_name(file): _labelled(file, audio) for file, part in parts.items() if part == split and file in audio}
        for split in SPLITS
    }
    if task == 12:
        noises = [audio[file] for file in noise if file in audio]
        generator = np.random.default_rng(seed)
        items = {split: _twelve(items[split], noises, _NOISE_PARTS[split], generator) for split in SPLITS}
    if test_set:
        items["test"] = {f"test-{_name(file)}": _labelled(file, audio) for file in test_set if file in audio}
    write_manifests(save_folder, items, fingerprint)


def _parts(data_folder: Path) -> dict[Path, str]:
    """Returns recording → split for all words, including missing files that a list names."""
    found = {word: audio_in(data_folder / word, "*", "wav") for word in WORDS}
    missing = [word for word in WORDS if not found[word]]
    if missing:
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must be the unpacked archive, with a folder of recordings "
            f"for each of 35 words; it lacks {', '.join(missing)} (`download`=True fills an empty folder)"
        )
    parts = {file: "train" for files in found.values() for file in files}
    for split, name in _LISTS.items():
        if not (data_folder / name).is_file():
            raise InputError(f"`data_folder` (={os.fspath(data_folder)!r}) must hold {name}, the official split")
        lines = read_text(data_folder / name).split()
        parts.update((data_folder / line, split) for line in lines)
    return parts


def _noise(data_folder: Path) -> list[Path]:
    files = audio_in(data_folder / _NOISE, "*", "wav")
    if not files:
        raise InputError(f"`data_folder` (={os.fspath(data_folder)!r}) must hold {_NOISE}/*.wav for 12 classes")
    return files


def _name(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


def _labelled(file: Path, audio: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    return {**audio[file], "word": file.parent.name}


def _twelve(
    items: dict[str, dict[str, Any]],
    noises: list[dict[str, Any]],
    noise_part: tuple[float, float],
    generator: np.random.Generator,
) -> dict[str, dict[str, Any]]:
    """Returns the commands of a split, with a tenth of their number of other words, and of silence."""
    chosen = {name: item for name, item in items.items() if item["word"] in COMMANDS}
    others = [name for name, item in items.items() if item["word"] not in COMMANDS]
    count = math.ceil(len(chosen) * _SHARE)
    for index in sorted(generator.permutation(len(others))[:count]):
        chosen[others[index]] = {**items[others[index]], "word": _UNKNOWN}
    return chosen | _silence(noises, noise_part, count, generator)


def _silence(
    noises: Iterable[dict[str, Any]], noise_part: tuple[float, float], count: int, generator: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Draws `count` seconds of noise from this part of every file. All start positions are equally likely."""
    places = []  # noise file, first start, number of starts
    for noise in noises:
        first, last = math.ceil(noise_part[0] * noise["samples"]), int(noise_part[1] * noise["samples"]) - SAMPLE_RATE
        if last >= first:
            places.append((noise, first, last - first + 1))
    if not places:
        raise InputError(f"{_NOISE} must hold a recording of at least 10 s, because a tenth of it must last 1 s")
    room = np.array([number for _, _, number in places])
    seconds = {}
    for index in range(count):
        noise, first, number = places[generator.choice(len(places), p=room / room.sum())]
        start = first + int(generator.integers(number))
        seconds[f"{_SILENCE}-{index}"] = {
            **noise,
            "duration": 1.0,
            "samples": SAMPLE_RATE,
            "start": start,
            "stop": start + SAMPLE_RATE,
            "word": _SILENCE,
        }
    return seconds
