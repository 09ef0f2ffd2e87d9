"""JapaneseVowels: nine male speakers say /ae/, and the task is to recognise the speaker.

640 utterances of 12 LPC cepstra, 7 to 29 frames long, in the official split of 270 for training and 370 for testing.
The frames are 25.6 ms long and 6.4 ms apart (speech sampled at 10 kHz), so 156.25 frames per second.

Source: M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through regions", Pattern
Recognition Letters 20 (11-13), 1999; UCI Machine Learning Repository, "Japanese Vowels" (analysis parameters).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from seqstride.errors import InputError, require
from seqstride.files.ts_files import read_ts
from seqstride.files.whole_files import whole_file

from .manifest import SPLITS, forget, has_fingerprint, is_prepared, write_manifests

logger = logging.getLogger(__name__)

FRAME_RATE = 1 / 0.0064
"""Frames per second: one frame every 6.4 ms."""

_LAYOUT = 1  # part of the fingerprint: raise it when what is written below changes


def prepare_japanese_vowels(
    save_folder: str | os.PathLike[str],
    *,
    data_folder: str | os.PathLike[str] | None = None,
    valid_per_speaker: int = 6,
    seed: int = 0,
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests) and the features they name.

    Each item is `{"features": "{data_root}/features/<id>.npy", "length": frames, "frame_rate": frames per second,
    "speaker": label}`; a feature file holds float32 (T, 12), and `{data_root}` stands for `save_folder`. The validation
    part is cut from the training part, with the same number of utterances of every speaker. A second call with the same
    data and arguments does nothing; otherwise the data are prepared again.

    Args:
        save_folder: the folder for manifests and features; made if missing.
        data_folder: a folder with `JapaneseVowels_TRAIN.ts` and `JapaneseVowels_TEST.ts`; None: the copy that
            ships inside sktime.
        valid_per_speaker: number of training utterances of each speaker for the validation part.
        seed: seed of their random choice.

    Raises:
        ValueError: `data_folder` lacks a file, or `valid_per_speaker` is not between 1 and one less than the training
            utterances of a speaker.
    """
    save_folder = Path(save_folder)
    fingerprint = {
        "layout": _LAYOUT,
        "source": _source(data_folder),
        "valid_per_speaker": valid_per_speaker,
        "seed": seed,
    }
    if has_fingerprint(save_folder, fingerprint) and is_prepared(save_folder, fingerprint, _features(save_folder)):
        return

    forget(save_folder)
    train, test = _read("train", data_folder), _read("test", data_folder)
    chosen = _choose_valid([speaker for _, speaker in train], valid_per_speaker, seed)
    items: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for index, utterance in enumerate(train):
        split = "valid" if index in chosen else "train"
        _add(items[split], f"train_{index:03d}", *utterance, save_folder)
    for index, utterance in enumerate(test):
        _add(items["test"], f"test_{index:03d}", *utterance, save_folder)
    write_manifests(save_folder, items, fingerprint)


def _source(data_folder: str | os.PathLike[str] | None) -> str:
    """Returns the origin of the data for the fingerprint: the release of sktime, or a digest of the files."""
    if data_folder is None:
        return f"sktime {version('sktime')}"
    digest = hashlib.sha256()
    for part in ("train", "test"):
        digest.update(_ts_file(data_folder, part).read_bytes())
    return f"sha256 {digest.hexdigest()}"


def _features(save_folder: Path) -> list[Path]:
    """Returns the feature files that the manifests name."""
    manifests = [save_folder / f"{split}.json" for split in SPLITS]
    identifiers = [name for manifest in manifests for name in json.loads(manifest.read_text(encoding="utf-8"))]
    return [save_folder / "features" / f"{name}.npy" for name in identifiers]


def _ts_file(data_folder: str | os.PathLike[str], part: str) -> Path:
    path = Path(data_folder) / f"JapaneseVowels_{part.upper()}.ts"
    if not path.is_file():
        raise InputError(
            f"`data_folder` (={os.fspath(data_folder)!r}) must hold JapaneseVowels_TRAIN.ts and "
            f"JapaneseVowels_TEST.ts; {path.name} is missing. Leave it empty to take the copy that ships with sktime."
        )
    return path


def _read(part: str, data_folder: str | os.PathLike[str] | None) -> list[tuple[np.ndarray, str]]:
    """Returns the utterances of an official part, in order: features (T, 12) float32 and the speaker's label."""
    if data_folder is None:
        data_folder = Path(require("sktime.datasets", "series").__file__).parent / "data" / "JapaneseVowels"
    file = _ts_file(data_folder, part)
    series, speakers = read_ts(file)
    if speakers is None:
        raise InputError(f"{os.fspath(file)!r} must have labels")
    utterances = [frame.to_numpy(dtype=np.float32) for frame in series]
    gaps = [index for index, utterance in enumerate(utterances) if np.isnan(utterance).any()]
    if gaps:
        raise InputError(f"{os.fspath(file)!r} must have a value in every frame; series {gaps[0]} lacks some")
    return list(zip(utterances, speakers.tolist(), strict=True))


def _choose_valid(speakers: list[str], per_speaker: int, seed: int) -> set[int]:
    """Draws the indices of the validation part: `per_speaker` of each speaker."""
    generator = np.random.default_rng(seed)
    chosen: set[int] = set()
    for speaker in sorted(set(speakers)):
        own = [index for index, label in enumerate(speakers) if label == speaker]
        if not 1 <= per_speaker < len(own):
            raise InputError(
                f"`valid_per_speaker` (={per_speaker}) must be between 1 and {len(own) - 1}, "
                f"one less than the training utterances of speaker {speaker}"
            )
        chosen.update(generator.choice(own, per_speaker, replace=False).tolist())
    return chosen


def _add(items: dict[str, Any], name: str, features: np.ndarray, speaker: str, save_folder: Path) -> None:
    path = save_folder / "features" / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, open(part, "wb") as file:
        np.save(file, features)
    items[name] = {
        "features": f"{{data_root}}/features/{name}.npy",
        "length": len(features),
        "frame_rate": FRAME_RATE,
        "speaker": speaker,
    }
