"""A run of a recipe whose model is an estimator, from the command line to the record: what its `train.py` calls.

The estimators train in a loop of their own; SpeechBrain only reads the command line, so that these recipes take the
same options as the others.
"""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqstride._compat import require_torchaudio
from seqstride.distributed import world_size
from seqstride.errors import InputError
from seqstride.estimators.base import NetworkEstimator
from seqstride.estimators.classifier import SeqStrideClassifier
from seqstride.estimators.labelling import one_of_every, save_fitted
from seqstride.estimators.network import resolve_device
from seqstride.estimators.saved_tabular import save_tabular
from seqstride.estimators.series_files import TS, Columns, Layout
from seqstride.estimators.tabular import SeqStrideTabularClassifier
from seqstride.experiments.building import build_recipe, check_parts
from seqstride.experiments.items import ItemResult, pack_items
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.options import read_command_line
from seqstride.experiments.processes import cpu_seconds
from seqstride.experiments.provenance import FREE, MadeFrom, check_comparison, data_origin, data_record
from seqstride.experiments.records import versions, write_record
from seqstride.experiments.run_folder import (
    OVERWRITE,
    RECORD,
    RunFolder,
    begin,
    begun_from,
    check_data,
    check_settings,
    finished,
    take_flag,
)
from seqstride.experiments.screen import LOG_CONFIG, closing, command_line, opening, say, without_noise
from seqstride.experiments.settings import flat_settings
from seqstride.failures import log_errors_in
from seqstride.files.folder_lock import locked
from seqstride.files.room import room_kept
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.layers.complexity import macs

require_torchaudio()

from speechbrain.utils.logger import setup_logging  # noqa: E402

RUN_OPTIONS = ("device", "noprogressbar")
"""SpeechBrain's run options that these recipes take."""

Part = tuple[Any, Any]
"""The rows of a part of the data, and their labels."""


@without_noise()
def run_estimator(argv: Sequence[str]) -> None:
    """Fits the recipe's `model` to the training part, scores it once, and leaves record, predictions and pictures.

    The output folder gets `results.json`, `predictions.csv`, `log.txt`, `train.yaml` with the merged hyperparameters,
    and `made_from.json`. A classifier of this package also leaves its model: `series.json`, `series.safetensors` and
    `strides.png`, or `rows.json` and `rows.safetensors`. The same command again says that the run is finished. A run
    with other settings or data is refused without `--overwrite`; see `seqstride.brains.run.run_recipe`.

    Args:
        argv: the command line after the program's name: a recipe's YAML file, `--device`, `--noprogressbar`,
            `--overwrite`, and any key of `train.yaml` as `--key value`.

    Raises:
        ValueError: the recipe, an override or the data is wrong, or the output folder holds another run, or another
            process works in it.
    """
    if world_size() > 1:
        raise InputError(f"`torchrun` (with {world_size()} processes) is not for this recipe: it trains in one")
    overwrite, argv = take_flag(argv, OVERWRITE)
    file, run_opts, overrides = read_command_line(argv)
    foreign = sorted(run_opts.overridden_args - set(RUN_OPTIONS))
    if foreign:
        # `--debug_batches 2` sets `debug` as well
        typed = next((word for word in argv if word.startswith(f"--{foreign[0]}")), f"--{foreign[0]}").partition("=")[0]
        raise InputError(f"{typed} is not for this recipe; of SpeechBrain's options it takes --device")
    device = resolve_device(run_opts.device or "auto")
    text = merge_recipe(file, overrides)
    folder = RunFolder.of(text, file)
    with locked(folder.output):
        _run(folder, text, file, overwrite, device, not run_opts.noprogressbar)


def _run(folder: RunFolder, text: str, file: str, overwrite: bool, device: Any, progress: bool) -> None:
    """Checks, fits, scores and reports."""
    settings, output = flat_settings(text, file), folder.output
    _log_to(os.devnull)
    before = None if overwrite else begun_from(folder)
    if before is not None:
        check_settings(folder, before, settings, FREE)
    hparams = build_recipe(text, file)
    check_parts(hparams, ("recipe", "seed", "fold", "downsampler", "output_folder", "data", "score", "model"))
    torch.set_num_threads(hparams.get("threads", 1))
    if not folder.has_run:
        _log_to(output / "log.txt")
    log_errors_in(output)

    fitted, scored = _parts(hparams)
    items = {"train": _items(*fitted), hparams["score"]: _items(*scored)}
    made = MadeFrom(settings, {"classes": np.unique(fitted[1]).astype(str).tolist()}, items)
    data = data_record(data_origin(text, file), items)
    if before is not None:
        check_data(folder, before, made)
    check_comparison(data, items)
    message = finished(folder, settings) if before is not None else ""
    if message:
        print(message, flush=True)
        return
    model = hparams["model"]
    counts = {split: len(names) for split, names in items.items()}
    with room_kept(output):  # before an earlier run is deleted, and until the fit can be saved
        begin(folder, before, made, text, overwrite)
        _log_to(output / "log.txt")
        say(opening(hparams, file, counts, type(model).__name__))
        if _is_ours(model):
            model.verbose = progress and sys.stderr.isatty()
            model.device = str(device)
        times = _fit(model, fitted)
    record = {
        "recipe": hparams["recipe"],
        "method": hparams["downsampler"],
        "options": dict(hparams["downsampler_options"]),
        "seed": hparams["seed"],
        "fold": hparams["fold"],
        "folds_are": "data sets",
        "scored": hparams["score"],
        "train_items": len(fitted[1]),
        "data": data,
        **_score(model, scored, output, [*items[hparams["score"]].values()]),
        **times,
        "device": str(resolve_device(getattr(model, "device", "cpu"))),
        "threads": torch.get_num_threads(),
        "versions": {**versions(), **{name: version(name) for name in _packages()}},
    }
    write_record(output / RECORD, record)
    say(closing(record, output, command_line("table", output)))


def _fit(model: Any, fitted: Part) -> dict[str, float]:
    """Fits a model, and returns for the record how long that took."""
    start, start_cpu = time.monotonic(), cpu_seconds()
    model.fit(*fitted)
    return {"seconds": time.monotonic() - start, "cpu_seconds": cpu_seconds() - start_cpu}


def _score(model: Any, scored: Part, output: Path, digests: list[str]) -> dict[str, Any]:
    """Leaves a fitted model and its predictions in the output folder, and returns the results for the record.

    The names of the results have the `digests` of the scored items: rows of other data sets have the same numbers.
    """
    rows, labels = scored
    if _is_ours(model):
        _save(model, output)  # first, so that it is there whatever comes after
    predictions = model.predict(rows)
    names = [f"{row:09d} {digest}" for row, digest in enumerate(digests)]
    _write_predictions(output / "predictions.csv", labels, predictions)
    if isinstance(model, SeqStrideClassifier):
        _draw(model, output, rows, labels)
    return {
        "test_accuracy": float((predictions == labels).mean()),
        "items": pack_items(
            {name: ItemResult(right) for name, right in zip(names, predictions == labels, strict=True)}
        ),
        **_errors(labels, predictions),
        **_costs(model, rows),
    }


def _log_to(file: str | os.PathLike[str]) -> None:
    """Messages go to the screen and to a file, which is not that of a run that may have to be left alone."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    setup_logging(str(LOG_CONFIG), {"handlers": {"file_handler": {"filename": os.fspath(file)}}}, "INFO")


def _parts(hparams: dict[str, Any]) -> tuple[Part, Part]:
    """What is fitted, and what is scored: the official parts, or two parts of the training part.

    With `score: valid` the test part is not read.
    """
    if hparams["score"] not in ("test", "valid"):
        raise InputError(f"`score` (={hparams['score']!r}) must be test or valid")
    parts = hparams["data"]()
    if hparams["score"] == "test":
        return parts["train"], parts["test"]
    from sklearn.model_selection import train_test_split

    rows, labels = parts["train"]
    share = hparams["valid_share"]
    try:
        fitted, scored = train_test_split(
            np.arange(len(labels)), test_size=share, stratify=labels, random_state=hparams["split_seed"]
        )
    except ValueError as error:
        raise InputError(f"the training part cannot be cut with `valid_share` (={share!r}): {error}") from error
    return (rows.iloc[fitted], labels[fitted]), (rows.iloc[scored], labels[scored])


def _items(rows: Any, labels: Any) -> dict[str, str]:
    """Row → digest of its values and its label."""
    names = rows.index if rows.index.is_unique else range(len(rows))
    items = {}
    for name, label, (_, row) in zip(names, labels, rows.iterrows(), strict=True):
        found = hashlib.blake2b(str(label).encode(), digest_size=6)
        for cell in row:
            values = np.asarray(cell)
            found.update(repr(values.shape).encode())
            found.update(str(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes())
        items[str(name)] = found.hexdigest()
    return items


def _packages() -> list[str]:
    """The packages whose versions a record names: aeon where it is the model's."""
    return ["sktime", "scikit-learn", *(["aeon"] if "aeon" in sys.modules else [])]


def _is_ours(model: Any) -> bool:
    return isinstance(model, NetworkEstimator)


def _write_predictions(path: Path, labels: Sequence[Any], predictions: Sequence[Any]) -> None:
    with whole_file(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item", "label", "predicted"])
        rows.writerows([index, *pair] for index, pair in enumerate(zip(labels, predictions, strict=True)))


def _errors(labels: Any, predictions: Any) -> dict[str, Any]:
    """The share of wrong predictions in every class, and the size of the classes."""
    classes = np.unique(labels)
    wrong = {str(name): float((predictions[labels == name] != name).mean()) for name in classes}
    return {
        "test_error_per_class": wrong,
        "test_items_per_class": {str(name): int((labels == name).sum()) for name in classes},
    }


def _costs(model: Any, rows: Any) -> dict[str, Any]:
    """Size, cost per item of mean length, strides and epochs; of another model than ours nothing is known."""
    if not _is_ours(model):
        return {"epochs": 1, "parameters": None, "macs": None, "initial_strides": [], "strides": []}
    network = model.model_.network
    # the longest channel of a series, or the columns of a table
    frames = [max(len(cell) if hasattr(cell, "__len__") else len(row) for cell in row) for row in rows.to_numpy()]
    mean_length = max(1, round(sum(frames) / len(frames)))
    return {
        "epochs": max(record["epoch"] for record in model.history_),
        "parameters": sum(parameter.numel() for member in model.model_.members for parameter in member.parameters()),
        "macs": round(macs(network.encoder, mean_length)),
        "macs_input_frames": mean_length,
        "initial_strides": model.initial_strides_,
        "strides": model.strides_,
    }


def _save(model: Any, folder: Path) -> None:
    if isinstance(model, SeqStrideTabularClassifier):
        save_tabular(folder, model)
    else:
        save_fitted(folder, model, Columns(), Layout(TS, model.channel_names_, []))


def _draw(model: SeqStrideClassifier, folder: Path, rows: Any, labels: Any) -> None:
    """Draws one series of every class."""
    chosen = one_of_every(labels)
    titles = [f"class {labels[index]}, series {index}" for index in chosen]
    picture = model.plot_strides(rows.iloc[chosen], titles=titles)
    save_figure(picture, folder / "strides.png")
