"""Manifests to SpeechBrain data sets: features as they are, recordings as mono waveforms at one rate."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqstride._compat import require_torchaudio
from seqstride.errors import InputError
from seqstride.nearest import near_paths

require_torchaudio()

from speechbrain.dataio.dataset import DynamicItemDataset  # noqa: E402

from seqstride.audio_files import part_of, with_root  # noqa: E402
from seqstride.decoding import UNKNOWN, blocks, open_recording  # noqa: E402
from seqstride.remarks import remark, remarks  # noqa: E402
from seqstride.text_files import read_json  # noqa: E402

FARTHEST_RATE = 100
"""How many times faster or slower than the wanted rate a recording may be sampled."""
PIECE = 10_000_000  # samples that are resampled at once …
REACH = 8  # … with the periods around them that filters reach: 6 zero crossings of the lower rate, and some


def open_manifests(
    manifests: Mapping[str, str | os.PathLike[str]],
    sample_rate: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Data sets whose items have `signal`: a mono waveform (S,) at `sample_rate`, or features (T, C), float32.

    Args:
        manifests: split → SpeechBrain JSON manifest. An item has `wav`, an audio file, or `features`, a .npy file
            (T, C); with `start` and `stop` in samples (or frames) of the file where it is only a part of it.
        sample_rate: of the waveforms, Hz; recordings at other rates are resampled. None for features.
        data_root: what `{data_root}` in the paths stands for; None: the manifest's folder.

    Returns:
        split → `DynamicItemDataset`.

    Raises:
        ValueError: a manifest is missing, empty or not one; an item lacks its file, or what its duration follows from;
            or its `start` and `stop` are no samples of the file.

    A path may lead anywhere: manifests of recordings that lie elsewhere are usual, and what they name is only read.
    """
    datasets = {}
    for split, manifest in manifests.items():
        if not Path(manifest).is_file():
            raise InputError(f"`manifests` ({split}={os.fspath(manifest)!r}) must be a file; prepare the data first")
        root = Path(manifest).parent if data_root is None else data_root
        where = f"`manifests` ({split}={os.fspath(manifest)!r})"
        try:
            items = with_root(read_json(manifest), os.fspath(root))
            if not isinstance(items, dict) or not all(isinstance(item, dict) for item in items.values()):
                raise InputError("it must map ids to items, which are mappings, too")
        except InputError as error:
            raise InputError(f"{where} must be a SpeechBrain manifest: {error}") from error
        if not items:
            raise InputError(f"{where} must list at least one item")
        key = "wav" if "wav" in next(iter(items.values())) else "features"
        items = {name: _checked(f"{where}, item {name!r}", item, key) for name, item in items.items()}
        _check_ends(where, items, key)
        datasets[split] = DynamicItemDataset(items)
        if key == "features":
            add_item(datasets[split], where, load_features, takes=["features", "start", "stop"], provides="signal")
            continue
        if sample_rate is None:
            raise InputError("`sample_rate` (None) must be given where manifests list audio files (`wav`)")
        load = partial(load_audio, sample_rate)
        add_item(datasets[split], where, load, takes=["wav", "start", "stop"], provides="signal")
    with remarks():
        for dataset in datasets.values():
            _remark_on_rates(dataset.data.values(), sample_rate)
    return datasets


def add_item(dataset: Any, where: str, function: Callable[..., Any], takes: Sequence[str], provides: str) -> None:
    """Adds what is computed for every item, under a key that no item of the manifest has.

    In SpeechBrain a key of the manifest hides a computed item of the same name: training would see the manifest's.

    Args:
        dataset: a `DynamicItemDataset`.
        where: the manifest, for the error.
        function: of the keys `takes`.
        provides: the key of its result.

    Raises:
        InputError: an item has that key.
    """
    for name, item in dataset.data.items():
        if provides in item:
            raise InputError(
                f"{where}, item {name!r} must not have the key {provides!r}, which is computed here: rename it"
            )
    dataset.add_dynamic_item(function, takes=list(takes), provides=[provides])


def _checked(where: str, item: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An item with whole numbers for its `start` and `stop`."""
    if "id" in item:
        raise InputError(f"{where} must not have the key 'id', which SpeechBrain keeps for the item's name: rename it")
    if not isinstance(item.get(key), str):
        raise InputError(f"{where} must have the path `{key}`, as the first item has")
    times = ["duration"] if "duration" in item else ["length", "frame_rate"]
    if not all(isinstance(item.get(time), int | float) and 0 < item[time] < math.inf for time in times):
        raise InputError(f"{where} must have its `duration` in seconds, or `length` in frames and `frame_rate`")
    try:
        start, stop = part_of(item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return {**item, "start": start, "stop": stop}


def _check_ends(where: str, items: Mapping[str, Mapping[str, Any]], key: str) -> None:
    """Parts of files must lie inside of them; headers are read of those only that items take parts of.

    A file that cannot be opened, or whose header does not know its length, is left to whoever loads it.
    """
    lengths: dict[str, float] = {}
    for name, item in items.items():
        path, start, stop = item[key], item["start"], item["stop"]
        if not start and stop is None:
            continue
        if path not in lengths:
            lengths[path] = _samples_in(path) if key == "wav" else _frames_in(path)
        beyond = "start" if start >= lengths[path] else "stop" if (stop or 0) > lengths[path] else None
        if beyond:
            raise InputError(
                f"{where}, item {name!r}: `{beyond}` (={item[beyond]}) must lie within the {lengths[path]} "
                f"{'samples' if key == 'wav' else 'frames'} of {path!r}"
            )


def _remark_on_rates(items: Iterable[Mapping[str, Any]], wanted: int | None) -> None:
    """Remarks on recordings at low rates, by their `sample_rate`; where none is told, on the first by its header."""
    items = [item for item in items if "wav" in item]
    told = [(item["wav"], item["sample_rate"]) for item in items if isinstance(item.get("sample_rate"), int | float)]
    if items and not told:
        with suppress(InputError), open_recording(items[0]["wav"]) as audio:
            told = [(items[0]["wav"], audio.samplerate)]
    for path, rate in told:
        _remark_on_rate(path, rate, wanted)


def _remark_on_rate(path: str, rate: float, wanted: int | None) -> None:
    if wanted is not None and rate < wanted:
        remark(
            f"sampled at {rate} Hz, where {wanted} Hz are expected: the upper part of the spectrum stays empty "
            f"(a model that is trained with --sample_rate {rate} fits)",
            path,
        )


def _samples_in(recording: str) -> float:
    """By its header; infinite where that is not known."""
    try:
        with open_recording(recording) as audio:
            return audio.frames if 0 < audio.frames < UNKNOWN else math.inf
    except InputError:
        return math.inf


def _frames_in(features: str) -> float:
    """By its header; infinite where that is not known."""
    try:
        return len(np.lib.format.open_memmap(features, mode="r"))
    except (OSError, ValueError, EOFError, TypeError):
        return math.inf


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
            lacking = [name for name, item in dataset.data.items() if not isinstance(item.get(label), str)]
            if lacking:
                raise InputError(
                    f"`labels` (={label!r}) must be a key of every item, with a text; not so in {split}: {lacking[0]}"
                )
        classes[label] = sorted({item[label] for item in datasets["train"].data.values()})
        indices = {name: index for index, name in enumerate(classes[label])}
        for split, dataset in datasets.items():
            unknown = {item[label] for item in dataset.data.values()} - set(indices)
            if unknown:
                raise InputError(f"`manifests` ({split}) has labels that train lacks: {', '.join(sorted(unknown))}")
            where = f"`manifests` ({split}={os.fspath(manifests[split])!r})"
            add_item(dataset, where, indices.__getitem__, takes=[label], provides=f"target_{label}")
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
        path: any file that `seqstride.decoding` reads; channels are averaged.
        start, stop: first sample and the one behind the last, in samples of the file.

    Returns:
        (S,) float32, full scale ±1.

    Raises:
        ValueError: the file cannot be read, is cut short, ends before `stop`, has no samples, some that are not finite,
            or a rate that is far from `sample_rate`; its name is in the message.
    """
    path = os.fspath(path)
    mono = bytearray()
    try:
        with open_recording(path) as audio:
            rate = audio.samplerate
            if not 1 / FARTHEST_RATE <= rate / sample_rate <= FARTHEST_RATE:
                raise InputError(
                    f"its rate (={rate} Hz) must be within a factor of {FARTHEST_RATE} of {sample_rate} Hz"
                )
            _remark_on_rate(path, rate, sample_rate)
            for block in blocks(audio, start, stop):
                mono += block.mean(1).tobytes()
            _check_part(start, stop, len(mono) // 4)
    except ValueError as error:
        raise InputError(f"{path!r} cannot be read as audio: {error}") from error
    if not mono:
        raise InputError(f"{path!r} must have at least one sample")
    return _resample(torch.frombuffer(mono, dtype=torch.float32), rate, sample_rate)


def _resample(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """From one rate to another, to a millionth or so where their ratio has large terms.

    torchaudio tabulates a filter for every term: of 44101 to 16000 Hz it would take gigabytes. It takes several times
    the memory of its input, too, so that hours are done in pieces, with as much on both sides as the filters reach.
    """
    if rate == wanted:
        return waveform
    from torchaudio.functional import resample

    slow, fast = sorted((rate, wanted))
    terms = Fraction(slow, fast).limit_denominator(2000)
    # `before` samples become `behind`
    before, behind = terms.as_integer_ratio() if rate < wanted else reversed(terms.as_integer_ratio())
    size, reach = max(1, PIECE // before) * before, REACH * before
    pieces = []
    for start in range(0, len(waveform), size):
        first = max(0, start - reach)
        piece = resample(waveform[first : start + size + reach], before, behind)
        pieces.append(piece[(start - first) // before * behind :][: size // before * behind])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def load_features(path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Tensor:
    """Reads the features (T, C) of a .npy file, or a part of them, float32.

    Args:
        path: of the file.
        start, stop: first frame and the one behind the last.

    Raises:
        ValueError: the file cannot be read, is not of that form, ends before `stop`, or has values that are not finite;
            its name is in the message.
    """
    try:
        if not os.path.isfile(path):
            if os.path.exists(path):
                raise InputError("it is not a regular file")
            raise InputError(f"there is no such file{near_paths(path)}")
        # mapped, so that a header cannot ask for more memory than the file has bytes
        features: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        if features.ndim != 2 or features.dtype.kind not in "fiu":
            raise InputError("it must hold real numbers of shape (T, C)")
        _check_part(start, stop, len(features[start:stop]))
        with np.errstate(over="ignore"):
            features = features[start:stop].astype(np.float32)
        if not features.size or not np.isfinite(features).all():
            raise InputError("it must hold at least one frame, and finite values only")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{os.fspath(path)!r} cannot be read as features (.npy): {error}") from error
    return torch.from_numpy(features)


def _check_part(start: int, stop: int | None, found: int) -> None:
    """A part of a file must lie inside of it; `found` are the samples or frames that were there."""
    if start and not found:
        raise InputError(f"`start` (={start}) must be before its end")
    if stop is not None and found < stop - start:
        raise InputError(f"`stop` (={stop}) must be at most {start + found}, where it ends")
