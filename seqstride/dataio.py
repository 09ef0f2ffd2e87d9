"""Manifests to SpeechBrain data sets: features as they are, recordings as mono waveforms at one rate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqstride._compat import require_torchaudio

require_torchaudio()

from speechbrain.dataio.dataio import load_data_json  # noqa: E402
from speechbrain.dataio.dataset import DynamicItemDataset  # noqa: E402


def open_manifests(
    manifests: Mapping[str, str | os.PathLike[str]],
    sample_rate: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Data sets whose items have `signal`: a mono waveform (S,) at `sample_rate`, or features (T, C), float32.

    Args:
        manifests: split → SpeechBrain JSON manifest. An item has `wav`, an audio file, with `start` and `stop` in
            samples of the file where it is only a part of it; or `features`, a .npy file (T, C).
        sample_rate: of the waveforms, Hz; recordings at other rates are resampled. None for features.
        data_root: what `{data_root}` in the paths stands for; None: the manifest's folder.

    Returns:
        split → `DynamicItemDataset`.

    Raises:
        ValueError: a manifest is missing or empty.
    """
    datasets = {}
    for split, manifest in manifests.items():
        if not Path(manifest).is_file():
            raise ValueError(f"`manifests` ({split}={os.fspath(manifest)!r}) must be a file; prepare the data first")
        root = Path(manifest).parent if data_root is None else data_root
        items = load_data_json(str(manifest), replacements={"data_root": os.fspath(root)})
        if not items:
            raise ValueError(f"`manifests` ({split}={os.fspath(manifest)!r}) must list at least one item")
        if "wav" not in next(iter(items.values())):
            datasets[split] = DynamicItemDataset(items)
            datasets[split].add_dynamic_item(_load_features, takes=["features"], provides=["signal"])
            continue
        if sample_rate is None:
            raise ValueError("`sample_rate` (None) must be given where manifests list audio files (`wav`)")
        whole = {"start": 0, "stop": None}
        datasets[split] = DynamicItemDataset({name: {**whole, **item} for name, item in items.items()})
        load = partial(load_audio, sample_rate)
        datasets[split].add_dynamic_item(load, takes=["wav", "start", "stop"], provides=["signal"])
    return datasets


def labelled_signals(
    manifests: Mapping[str, str | os.PathLike[str]],
    labels: Sequence[str],
    sample_rate: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Data sets whose items are `signal` and, for every label, `target_<label>`, the class index.

    Args:
        manifests, sample_rate, data_root: as in `open_manifests`. The split `train` must be there: it defines the
            classes.
        labels: the manifests' keys that hold the labels.

    Returns:
        split → `DynamicItemDataset`, and label → the names of its classes, sorted.

    Raises:
        ValueError: a manifest is missing or empty, lacks a label, or has a class that the training part does not.
    """
    datasets = open_manifests(manifests, sample_rate, data_root)
    classes: dict[str, list[str]] = {}
    for label in labels:
        for split, dataset in datasets.items():
            lacking = [name for name, item in dataset.data.items() if label not in item]
            if lacking:
                raise ValueError(f"`labels` (={label!r}) must be a key of every item; {split} lacks it in {lacking[0]}")
        classes[label] = sorted({item[label] for item in datasets["train"].data.values()})
        indices = {name: index for index, name in enumerate(classes[label])}
        for split, dataset in datasets.items():
            unknown = {item[label] for item in dataset.data.values()} - set(indices)
            if unknown:
                raise ValueError(f"`manifests` ({split}) has labels that train lacks: {', '.join(sorted(unknown))}")
            dataset.add_dynamic_item(indices.__getitem__, takes=[label], provides=[f"target_{label}"])
    for dataset in datasets.values():
        dataset.set_output_keys(["id", "signal", *(f"target_{label}" for label in labels)])
    return datasets, classes


def item_seconds(item: Mapping[str, Any]) -> float:
    """Duration of a manifest's item."""
    return item["duration"] if "duration" in item else item["length"] / item["frame_rate"]


def load_audio(sample_rate: int, path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Tensor:
    """Reads a recording, or a part of it, as a mono waveform.

    Args:
        sample_rate: Hz, of the result; the file is resampled where it has another.
        path: any file that soundfile reads; channels are averaged.
        start, stop: first sample and the one behind the last, in samples of the file.

    Returns:
        (S,) float32, full scale ±1.

    Raises:
        ValueError: the file cannot be read, has no samples, or some that are not finite; its name is in the message.
    """
    import soundfile
    from torchaudio.functional import resample

    try:
        samples, rate = soundfile.read(os.fspath(path), start=start, stop=stop, dtype="float32", always_2d=True)
    # libsndfile's own errors; TypeError: a file without a header, whose rate nobody told
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = getattr(error, "error_string", error) if os.path.exists(path) else "there is no such file"
        raise ValueError(f"{os.fspath(path)!r} cannot be read as audio: {reason}") from error
    if len(samples) == 0:
        raise ValueError(f"{os.fspath(path)!r} must have at least one sample")
    if not np.isfinite(samples).all():
        raise ValueError(f"{os.fspath(path)!r} must have finite samples only")
    mono = torch.from_numpy(samples.mean(1))
    return mono if rate == sample_rate else resample(mono, rate, sample_rate)


def _load_features(path: str) -> Tensor:
    return torch.from_numpy(np.load(path))
