"""Sets that are made from a seed: their arrays, in a folder that all runs share, and the manifests of a run.

The arrays of a set are the same whoever makes them, so several runs may make them at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.experiments.provenance import digest
from seqstride.files.whole_files import whole_file

from .manifest import SPLITS, forget, is_prepared, write_manifests

FRAME_RATE = 100.0
"""Frames per second that the manifests state, as of features of speech; the sets have no time of their own."""


class Part(NamedTuple):
    """The items of a split."""

    signals: np.ndarray
    """(N, T, C)."""
    facts: list[dict[str, Any]]
    """N times what the manifest says of an item besides its signal, such as its label."""


def write_generated(
    save_folder: str | os.PathLike[str],
    data_folder: str | os.PathLike[str],
    make: Callable[[int, int], Part],
    *,
    items: Mapping[str, int],
    seed: int,
    fingerprint: Mapping[str, Any],
) -> None:
    """Writes `train.json`, `valid.json`, `test.json` (SpeechBrain manifests), and the arrays where they are missing.

    Each item is `{"features": path, "start": frame, "stop": frame, "length": T, "frame_rate": 100.0}` with its facts.
    An array `data_folder/<split>_<digest>.npy` holds the signals of a split one after another, (N·T, C) in half
    precision; the digest is that of the arguments. A second call with the same arguments does nothing.

    Args:
        save_folder: the folder of the manifests; made if missing.
        data_folder: the folder of the arrays; made if missing.
        make: number of items, seed → the items of a split. Each split has a seed of its own.
        items: split → number of items.
        seed: of the set.
        fingerprint: all else that the signals depend on, plain JSON values.

    Raises:
        InputError: `items` does not give a number of at least 1 for each split.
    """
    if set(items) != set(SPLITS) or not all(type(count) is int and count >= 1 for count in items.values()):
        raise InputError(f"`items` (={dict(items)}) must give {', '.join(SPLITS)} a whole number of at least 1 each")
    save_folder, data_folder = Path(save_folder), Path(data_folder).resolve()
    fingerprint = {**fingerprint, "items": dict(items), "seed": seed}
    name = digest(fingerprint)
    files = {split: data_folder / f"{split}_{name}.npy" for split in SPLITS}
    placed = {**fingerprint, "data_folder": os.fspath(data_folder)}
    if is_prepared(save_folder, placed, files.values()):
        return
    forget(save_folder)
    manifests = {}
    for index, split in enumerate(SPLITS):
        part = make(items[split], len(SPLITS) * seed + index)
        if not files[split].is_file():
            _write_signals(files[split], part.signals)
        manifests[split] = _manifest(split, files[split], part)
    write_manifests(save_folder, manifests, placed)


def _write_signals(path: Path, signals: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished, open(unfinished, "wb") as file:
        np.save(file, signals.reshape(-1, signals.shape[2]).astype(np.float16))


def _manifest(split: str, file: Path, part: Part) -> dict[str, dict[str, Any]]:
    frames = part.signals.shape[1]
    return {
        f"{split}_{index:05d}": {
            "features": os.fspath(file),
            "start": index * frames,
            "stop": (index + 1) * frames,
            "length": frames,
            "frame_rate": FRAME_RATE,
            **facts,
        }
        for index, facts in enumerate(part.facts)
    }
