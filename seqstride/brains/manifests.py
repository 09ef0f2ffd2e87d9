"""Opens manifests as SpeechBrain data sets. Features stay unchanged; recordings become mono waveforms at one rate."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np

from seqstride._compat import require_torchaudio
from seqstride.errors import InputError, brief, shown

require_torchaudio()

from speechbrain.dataio.dataset import DynamicItemDataset  # noqa: E402

from seqstride.brains.events import check_events, event_times  # noqa: E402
from seqstride.encoders.frontend import LogMel  # noqa: E402
from seqstride.files.audio_cache import AudioCache  # noqa: E402
from seqstride.files.audio_files import part_of, with_root  # noqa: E402
from seqstride.files.decoding import (  # noqa: E402
    UNKNOWN,
    open_recording,
    remark_on_rate,
)
from seqstride.files.feature_cache import FeatureCache  # noqa: E402
from seqstride.files.remarks import remarks  # noqa: E402
from seqstride.files.text_files import read_json  # noqa: E402

LONGEST = 1e9
"""Seconds, or frames, of an item: decades, whose sums are still finite."""


def open_manifests(
    manifests: Mapping[str, str | os.PathLike[str]],
    sample_rate: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    audio_cache: AudioCache | None = None,
) -> dict[str, Any]:
    """Opens data sets whose items have `signal`: a mono waveform (S,) at `sample_rate`, or features (T, C), float32.

    Files of features are kept in memory, up to a limit.

    Args:
        manifests: split → SpeechBrain JSON manifest. An item has `wav`, an audio file, or `features`, a .npy file
            (T, C). If the item is a part of the file, `start` and `stop` give its bounds in samples (or frames).
        sample_rate: of the waveforms, in Hz; recordings at other rates are resampled. None for features.
        data_root: the folder that replaces `{data_root}` in paths; None: the manifest's folder.
        audio_cache: loads the recordings, or the features of its front end; None: they are decoded each time.

    Returns:
        split → `DynamicItemDataset`.

    Raises:
        ValueError: a manifest is missing, empty or has another format; an item has no file or no duration, or its
            `start` and `stop` lie outside the file.

    A path may lead outside of the data folder, because recordings are often stored elsewhere; files are only read.
    """
    datasets = {}
    audio_cache, feature_cache = audio_cache or AudioCache(None), FeatureCache()
    for split, manifest in manifests.items():
        if not Path(manifest).is_file():
            raise InputError(f"`manifests` ({split}={os.fspath(manifest)!r}) must be a file; prepare the data first")
        root = Path(manifest).parent if data_root is None else data_root
        where = f"`manifests` ({split}={os.fspath(manifest)!r})"
        try:
            items = read_json(manifest)
            if not isinstance(items, dict) or not all(isinstance(item, dict) for item in items.values()):
                raise InputError("it must map ids to items, which are mappings, too")
        except InputError as error:
            raise InputError(f"{where} must be a SpeechBrain manifest: {error}") from error
        if not items:
            raise InputError(f"{where} must list at least one item")
        key = "wav" if "wav" in next(iter(items.values())) else "features"
        read: Callable[..., Any] = feature_cache.load
        if key == "wav":
            if sample_rate is None:
                raise InputError(
                    f"{where} must list `features`; there is no `sample_rate` (None) for recordings, `wav`"
                )
            read = partial(audio_cache.load, sample_rate)
        items = {name: _checked(f"{where}, item {name!r}", item, key, os.fspath(root)) for name, item in items.items()}
        _check_ends(where, items, key)
        datasets[split] = DynamicItemDataset(items)
        load = partial(_load, where, read)
        add_item(datasets[split], where, load, takes=["id", key, "start", "stop"], provides="signal")
    with remarks():
        for dataset in datasets.values():
            _remark_on_rates(dataset.data.values(), sample_rate)
    return datasets


def lasting_front(hparams: Mapping[str, Any]) -> LogMel | None:
    """Returns a copy of a recipe's front end if it makes the same of a recording in every epoch, else None.

    It does not where waveforms are augmented, or cut into windows; another module than `LogMel` may learn.
    """
    front = hparams["modules"].get("frontend")
    lasting = type(front) is LogMel and hparams.get("wav_augment") is None and hparams.get("window") is None
    return deepcopy(front) if lasting else None


def recipe_manifests(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Opens the data sets of a recipe; see `open_manifests`."""
    return open_manifests(
        hparams["manifests"], hparams["sample_rate"], hparams["data_root"], hparams.get("audio_cache")
    )


def add_item(dataset: Any, where: str, function: Callable[..., Any], takes: Sequence[str], provides: str) -> None:
    """Adds a computed value to every item, under a key that the manifest must not use.

    In SpeechBrain, a key of the manifest hides a computed value of the same name, and training would use the wrong one.

    Args:
        dataset: a `DynamicItemDataset`.
        where: the manifest, for the error.
        function: computes the value.
        takes: keys of its arguments.
        provides: key of its result.

    Raises:
        InputError: an item has the key `provides`.
    """
    for name, item in dataset.data.items():
        if provides in item:
            raise InputError(
                f"{where}, item {name!r} must not have the key {provides!r}, which is computed here: rename it"
            )
    dataset.add_dynamic_item(function, takes=list(takes), provides=[provides])


def _load(where: str, read: Callable[..., Any], name: str, path: str, start: int, stop: int | None) -> Any:
    """Reads the signal of an item; an error names the item, too."""
    try:
        return read(path, start, stop)
    except InputError as error:
        raise InputError(f"{where}, item {name!r}: {error}") from error


def _checked(where: str, item: Mapping[str, Any], key: str, root: str) -> dict[str, Any]:
    """Checks an item, and returns it with its path, and with `start` and `stop` as whole numbers."""
    if "id" in item:
        raise InputError(f"{where} must not have the key 'id', which SpeechBrain keeps for the item's name: rename it")
    if key == "features" and "wav" in item:
        raise InputError(f"{where} must not have `wav`, because the first item has `features`")
    if not (isinstance(item.get(key), str) and item[key]):
        raise InputError(f"{where} must have the path `{key}`, as the first item has")
    _check_times(where, item, key)
    try:
        item = with_root(item, root)
        start, stop = part_of(item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return {**item, "start": start, "stop": stop}


def _check_times(where: str, item: Mapping[str, Any], key: str) -> None:
    """Checks that the duration of an item is known, and can be one."""
    times = ["duration"] if "duration" in item else []
    needed = "its `duration` in seconds, or `length` in frames and `frame_rate`"
    if key == "features" or not times:
        times += ["length", "frame_rate"]
    if key == "features":
        needed = "its `length` in frames and its `frame_rate`"
    for time in times:
        value, kinds = item.get(time), (int,) if time == "length" else (int, float)
        if type(value) not in kinds or not 0 < value < LONGEST:  # type: ignore[operator]
            raise InputError(f"{where} must have {needed}, above 0 and below {LONGEST:g}: `{time}` is {brief(value)}")
    if not item_seconds(item) < LONGEST:
        raise InputError(f"{where} must last less than {LONGEST:g} s: `frame_rate` is {item['frame_rate']}")


def _check_ends(where: str, items: Mapping[str, Mapping[str, Any]], key: str) -> None:
    """Checks that parts of files lie inside the files. It reads headers only of files with parts.

    It skips files that cannot be opened or whose header has no length: they fail when they are loaded.
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
    """Warns of recordings at low rates. It reads `sample_rate` of the items; if none has it, the first header."""
    items = [item for item in items if "wav" in item]
    told = [(item["wav"], item["sample_rate"]) for item in items if isinstance(item.get("sample_rate"), int | float)]
    if items and not told:
        with suppress(InputError), open_recording(items[0]["wav"]) as audio:
            told = [(items[0]["wav"], audio.samplerate)]
    for path, rate in told:
        remark_on_rate(path, rate, wanted)


def _samples_in(recording: str) -> float:
    """Returns the number of samples in the header; infinity if it is unknown."""
    try:
        with open_recording(recording) as audio:
            return audio.frames if 0 < audio.frames < UNKNOWN else math.inf
    except InputError:
        return math.inf


def _frames_in(features: str) -> float:
    """Returns the number of frames in the header; infinity if it is unknown."""
    try:
        return len(np.lib.format.open_memmap(features, mode="r"))
    except (OSError, ValueError, EOFError, TypeError):
        return math.inf


def labelled_signals(
    manifests: Mapping[str, str | os.PathLike[str]],
    labels: Sequence[str],
    sample_rate: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    audio_cache: AudioCache | None = None,
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Opens data sets whose items have `signal` and, for every label, `target_<label>`, the class index.

    Where the items of a split have `events`, the times of what decides, `event_times` is their tensor; see
    `seqstride.brains.events`.

    Args:
        manifests, sample_rate, data_root, audio_cache: see `open_manifests`. The split `train` must exist, because it
            defines the classes.
        labels: the manifests' keys for the labels.

    Returns:
        split → `DynamicItemDataset`, and label → the names of its classes, sorted.

    Raises:
        ValueError: a manifest is missing or empty, lacks a label, or has a class that the training part lacks, or whose
            name a model cannot keep; or some items of a split have no `events`, or wrong ones.
    """
    datasets = open_manifests(manifests, sample_rate, data_root, audio_cache)
    classes: dict[str, list[str]] = {}
    for label in labels:
        for split, dataset in datasets.items():
            lacking = [name for name, item in dataset.data.items() if not isinstance(item.get(label), str)]
            if lacking:
                raise InputError(
                    f"`labels` (={label!r}) must be a key of every item, with a text; not so in {split}: {lacking[0]}"
                )
        classes[label] = sorted({item[label] for item in datasets["train"].data.values()})
        _check_names(label, classes[label])
        indices = {name: index for index, name in enumerate(classes[label])}
        for split, dataset in datasets.items():
            unknown = {item[label] for item in dataset.data.values()} - set(indices)
            if unknown:
                raise InputError(f"`manifests` ({split}) has labels that train lacks: {', '.join(sorted(unknown))}")
            where = f"`manifests` ({split}={os.fspath(manifests[split])!r})"
            add_item(dataset, where, indices.__getitem__, takes=[label], provides=f"target_{label}")
    for split, dataset in datasets.items():
        keys = ["id", "signal", *(f"target_{label}" for label in labels)]
        where = f"`manifests` ({split}={os.fspath(manifests[split])!r})"
        dataset.set_output_keys([*keys, *add_event_times(where, dataset)])
    return datasets, classes


def _check_names(label: str, names: Sequence[str]) -> None:
    """Refuses names of classes that the files of the trained model cannot hold, before it is trained."""
    for name in names:
        wrong = {
            "must be UTF-8": any("\udc80" <= letter <= "\udcff" for letter in name),
            "must not be empty": not name.strip(),
            "must not have line breaks or control characters": any(category(x) in ("Cc", "Zl", "Zp") for x in name),
            "must not have the arrow of SpeechBrain's list of labels": " => " in name,
        }
        for rule, broken in wrong.items():
            if broken:
                raise InputError(f"`labels` ({label}='{shown(name)}') {rule}: rename the class")


def add_event_times(where: str, dataset: Any) -> list[str]:
    """Adds `event_times` to the items, if they have `events`; see `seqstride.brains.events`.

    Args:
        where: the manifest, for the error.
        dataset: a `DynamicItemDataset`.

    Returns:
        The keys that were added.

    Raises:
        ValueError: some items have no `events`, or wrong ones.
    """
    if not any("events" in item for item in dataset.data.values()):
        return []
    check_events(where, dataset.data)
    add_item(dataset, where, event_times, takes=["events"], provides="event_times")
    return ["event_times"]


def item_seconds(item: Mapping[str, Any]) -> float:
    """Returns the duration of a manifest's item in seconds."""
    return item["duration"] if "duration" in item else item["length"] / item["frame_rate"]
