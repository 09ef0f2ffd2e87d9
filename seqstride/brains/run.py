"""Runs a recipe, from the command line to the pictures. The recipe's `train.py` calls it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seqstride._compat import require_torchaudio
from seqstride.distributed import leave_group, of_all_ranks, rank, ranks
from seqstride.errors import FileError, InputError, require
from seqstride.experiments.building import build_recipe, check_parts, prepare_data
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.options import read_command_line
from seqstride.experiments.provenance import (
    EPOCHS,
    FREE,
    SCORING,
    MadeFrom,
    check_comparison,
    data_origin,
    data_record,
    data_settings,
    manifest_items,
)
from seqstride.experiments.records import versions, write_record
from seqstride.experiments.run_folder import (
    LEARNT_UNITS,
    OVERWRITE,
    RECORD,
    SCORED,
    TRIED,
    Kept,
    RunFolder,
    begin,
    begun_from,
    check_data,
    check_settings,
    finished,
    kept_files,
    take_flag,
    write_recipe,
)
from seqstride.experiments.screen import LOG_CONFIG, closing, opening, say, without_noise
from seqstride.experiments.settings import flat_settings, with_values
from seqstride.failures import log_errors_in, resumable
from seqstride.files.audio_cache import AudioCache
from seqstride.files.folder_lock import FolderLock
from seqstride.files.room import check_room, write_reason
from seqstride.files.whole_files import forget_parts
from seqstride.layers.complexity import macs

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.utils.distributed import run_on_main  # noqa: E402
from speechbrain.utils.logger import setup_logging  # noqa: E402

from seqstride.brains.base import DownsamplingBrain  # noqa: E402
from seqstride.brains.manifests import item_seconds, lasting_front  # noqa: E402
from seqstride.brains.process_group import agreed, join_group  # noqa: E402

NEEDED = (
    *("recipe", "seed", "downsampler", "output_folder", "manifests", "score", "number_of_epochs", "lr", "complexity"),
    *("modules", "opt_class", "epoch_counter", "checkpointer", "train_dataloader", "valid_dataloader", "train_logger"),
)
"""Keys that every recipe must have."""

LEARNING_OPTIONS = ("max_grad_norm", "grad_accumulation_factor")
"""SpeechBrain's run options that change the trained weights, as hyperparameters do."""


@without_noise()
def run_recipe(brain_class: type[DownsamplingBrain], argv: Sequence[str]) -> None:
    """Trains, scores the test set once with the best validation epoch, and writes results and pictures.

    The same command resumes a run that was interrupted, and says so if the run is finished; a larger
    `number_of_epochs` trains a finished run further. Other settings, classes, units or data are refused, and every file
    in the folder stays unchanged. `--overwrite` deletes the results of the run in the folder once everything about the
    new run has been checked. Under `torchrun` all ranks train together.

    The output folder gets `results.json`, the trained model, the pictures of the task, `train.yaml` with the merged
    hyperparameters, `made_from.json`, and in `save/` the checkpoints. `--test_only` writes all its files into
    `test_only/`, and a debug run into `debug/`.

    Args:
        brain_class: a subclass of `DownsamplingBrain`.
        argv: the command line after the program's name: a recipe's YAML file, SpeechBrain's run options
            (`--device cpu`, …), `--overwrite`, and any key of `train.yaml` as `--key value`.

    Raises:
        ValueError: the recipe, an override or the data are wrong, or the output folder holds another run, or another
            process works in it.
    """
    require("matplotlib", "plots")  # the pictures come last
    asked = _read(argv)
    lock = FolderLock(asked.folder.output)
    agreed(lock.take)
    try:
        agreed(partial(forget_parts, asked.folder.save, below=True))
        had_run = asked.folder.has_run
        with resumable(), kept_files(asked.folder.save, had_run) if rank() == 0 else nullcontext(Kept()) as kept:
            _run(brain_class, asked, had_run, kept)
    finally:
        lock.release()
    leave_group()


class _Asked(NamedTuple):
    """The command line of a run, after it was merged with the recipe."""

    file: str
    text: str
    """The merged recipe."""
    settings: dict[str, Any]
    run_opts: Any
    folder: RunFolder
    visit: str | None
    """The folder inside `folder` for the results of --test_only or a debug run; None for a run that trains."""
    overwrite: bool


def _read(argv: Sequence[str]) -> _Asked:
    overwrite, argv = take_flag(argv, OVERWRITE)
    file, run_opts, overrides = read_command_line(argv)
    run_opts = join_group(run_opts)
    text = with_values(merge_recipe(file, overrides), {key: run_opts[key] for key in run_opts.overridden_args})
    folder = RunFolder.of(text, file)
    visit = SCORED if run_opts.test_only else TRIED if run_opts.debug else None
    if visit == TRIED and run_opts.debug_persistently:  # this is a separate run with its own checkpoints
        own = folder.output / TRIED
        folder, visit = RunFolder(own, own / "save"), None
        text = with_values(text, {"output_folder": str(folder.output), "save_folder": str(folder.save)})
    elif visit is not None:
        if overwrite:
            raise InputError(
                f"`{OVERWRITE}` deletes the run: it must not be given together with --test_only or a debug run"
            )
        text = with_values(text, {"output_folder": str(folder.output / visit), "save_folder": str(folder.save)})
    options = {key: run_opts[key] for key in LEARNING_OPTIONS if key in run_opts.overridden_args}
    return _Asked(file, text, flat_settings(text, file) | options, run_opts, folder, visit, overwrite)


def _run(brain_class: type[DownsamplingBrain], asked: _Asked, had_run: bool, kept: Kept) -> None:
    """Checks, trains, scores and reports. When training starts, the backup `kept` is deleted."""
    folder, visit = asked.folder, asked.visit
    run_on_main(_log_to_screen)
    before = _earlier_run(asked)
    hparams = build_recipe(asked.text, asked.file)
    check_parts(hparams, NEEDED)
    torch.set_num_threads(hparams.get("threads", 1))
    output = Path(hparams["output_folder"])
    log_errors_in(output)
    if not had_run:
        _log_into(output)
    audio = hparams["audio_cache"] = AudioCache.of_run(folder.save)
    audio.front = lasting_front(hparams)
    before, datasets = _load_data(brain_class, hparams, asked, before)
    made = MadeFrom(asked.settings, brain_class.outputs(hparams), manifest_items(hparams["manifests"]))
    data = data_record(data_origin(asked.text, asked.file), made.items)
    message = agreed(partial(_check_same_run, asked, before, made, data))
    if message:
        run_on_main(print, [message], {"flush": True})
        return
    if had_run and visit is not None:
        _log_into(output)
    brain = brain_class(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=asked.run_opts,
        checkpointer=hparams["checkpointer"],
    )
    _say_opening(brain, hparams, asked.file, datasets, audio.begin(_samples(hparams, datasets)))

    def start() -> None:
        nonlocal made
        if had_run:
            _log_into(output)

        def prepare() -> MadeFrom:
            if not had_run:  # another one finds its checkpoints and goes on when there is room
                check_room(folder.output)
            kept.let_go()
            return begin(folder, before, made, asked.text, asked.overwrite)

        made = agreed(prepare)

    if visit is None:
        brain.before_training = start
    brain.fit_normalisation(datasets["train"])
    initial_strides = brain.strides(), brain.frequency_strides()
    epochs = _train_and_score(brain, hparams, datasets)
    origin = {EPOCHS: hparams[EPOCHS], **({"extensions": made.extensions} if made.extensions else {}), "data": data}
    agreed(partial(_report, output, brain, asked.text, epochs, datasets, initial_strides, origin))
    agreed(audio.clear)


def _earlier_run(asked: _Asked) -> MadeFrom | None:
    """Returns the origin of the run in the folder; None if there is no run, or if it is not compared.

    Raises:
        InputError: the settings differ from those of the run, or there is no checkpoint to score.
    """
    folder, visit = asked.folder, asked.visit
    before = None if asked.overwrite or visit == TRIED else begun_from(folder)
    if visit == SCORED and not folder.has_checkpoints:
        raise InputError(f"`output_folder` (={str(folder.output)!r}) must hold a checkpoint for --test_only")
    if before is not None:
        free = FREE if visit is None else FREE | SCORING | data_settings(asked.settings)
        check_settings(folder, before, asked.settings, free)
    return before


def _load_data(
    brain_class: type[DownsamplingBrain], hparams: dict[str, Any], asked: _Asked, before: MadeFrom | None
) -> tuple[MadeFrom | None, dict[str, Any]]:
    """Prepares the manifests and loads the data sets of the splits.

    Returns:
        `before`, with the items of the old manifests if it has none, and split → data set.

    Raises:
        InputError: the data are wrong, or belong to another run.
    """
    folder, manifests = asked.folder, hparams["manifests"]
    if before is None:
        agreed(partial((folder.save / LEARNT_UNITS).unlink, missing_ok=True))
    elif not before.items and all(Path(path).is_file() for path in manifests.values()):
        before = before._replace(items=manifest_items(manifests))  # before the preparation replaces them
    if hparams["prepare"] is not None:
        agreed(partial(prepare_data, hparams))
    try:
        datasets = brain_class.load_data(hparams)
    except InputError:
        if before is not None and asked.visit is None:
            agreed(partial(_refuse_other_items, folder, before, manifests))
        raise
    if hparams["score"] not in datasets:
        raise InputError(f"`score` (={hparams['score']!r}) must be one of the splits {', '.join(datasets)}")
    return before, datasets


def _check_same_run(asked: _Asked, before: MadeFrom | None, made: MadeFrom, data: dict[str, str]) -> str:
    """Checks that the data are those of the run in the folder, and of the comparison.

    Returns:
        A message if the run is finished, else an empty text.

    Raises:
        InputError: the data differ.
    """
    folder, visit = asked.folder, asked.visit
    if before is not None:
        check_data(folder, before, made, None if visit is None else ("train", "valid"))
    if visit is None:
        check_comparison(data, made.items)
    return finished(folder, made.settings) if before is not None and visit is None else ""


def _samples(hparams: dict[str, Any], datasets: dict[str, Any]) -> int:
    """Returns the number of samples in all recordings."""
    items = [item for dataset in datasets.values() for item in dataset.data.values() if "wav" in item]
    return round(sum(map(item_seconds, items)) * hparams["sample_rate"]) if items else 0


def _say_opening(
    brain: DownsamplingBrain, hparams: dict[str, Any], file: str, datasets: dict[str, Any], audio: str
) -> None:
    strides, parameters = ", ".join(f"{stride:g}" for stride in brain.strides()), _parameters(brain)
    model = f"{parameters / 1000:.0f} k parameters, strides {strides}, on {brain.device}"
    say(opening(hparams, file, {split: len(dataset) for split, dataset in datasets.items()}, model, audio))


def _train_and_score(
    brain: DownsamplingBrain, hparams: dict[str, Any], datasets: dict[str, Any]
) -> list[dict[str, Any]]:
    """Trains and scores the best epoch; returns the records of all epochs."""
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader"],
        valid_loader_kwargs=hparams["valid_dataloader"],
    )
    if brain.test_only:
        hparams["checkpointer"].recover_if_possible()
    epochs = list(brain.history.epochs)  # evaluate recovers the best epoch, and the history up to it
    scored = datasets[hparams["score"]]
    brain.evaluate(scored, min_key=brain.selection, test_loader_kwargs=hparams["valid_dataloader"])
    return epochs


def _refuse_other_items(folder: RunFolder, before: MadeFrom, manifests: dict[str, str]) -> str:
    """Refuses manifests of another run. This error explains more than the one that their content caused."""
    try:
        items = manifest_items(manifests)
    except (OSError, ValueError, AttributeError):
        return ""  # the files are not manifests
    check_data(folder, before, before._replace(items=items))
    return ""


def _log_into(output: Path) -> None:
    """Makes an output folder, and writes all messages from now on into its `log.txt`.

    Raises:
        FileError: the folder cannot be written, such as on a full disk.
    """
    failed = None
    try:
        sb.create_experiment_directory(str(output), log_config=str(LOG_CONFIG))
    except OSError as error:  # of a copy it names the source, of an open file nothing
        with suppress(OSError):
            (output / "env.log").unlink(missing_ok=True)
        failed = FileError(f"{os.fspath(output)!r} cannot be written: {write_reason(error, output)}")
        failed.__cause__ = error
    for other in of_all_ranks(failed):  # the first rank alone writes
        if other is not None:
            raise failed or other


def _log_to_screen() -> None:
    """Shows messages on the screen only, because the log in the folder may belong to a run that must not change."""
    setup_logging(str(LOG_CONFIG), {"handlers": {"file_handler": {"filename": os.devnull}}})


def _report(
    folder: Path,
    brain: Any,
    recipe: str,
    epochs: list[dict[str, Any]],
    datasets: dict[str, Any],
    initial_strides: tuple[list[float], list[float]],
    origin: dict[str, Any],
) -> None:
    """Writes the model, results and pictures."""
    hparams = vars(brain.hparams)
    best = brain.history.epochs[-1]
    items = list(datasets[hparams["score"]].data.values())
    across = brain.frequency_strides()
    frames = sum(item_seconds(item) * brain.frame_rate(item) for item in items) / len(items)
    mean_length = max(1, round(frames))
    (folder / RECORD).unlink(missing_ok=True)  # a record means that the run is finished
    write_recipe(folder, recipe)
    brain.save(folder, recipe, datasets)
    record = {
        "recipe": hparams["recipe"],
        "method": hparams["downsampler"],
        "options": dict(hparams["downsampler_options"]),
        "seed": hparams["seed"],
        **{key: hparams[key] for key in ("fold", "folds_are", "ratio") if hparams.get(key) is not None},
        "scored": hparams["score"],
        **brain.record(datasets),
        **brain.measured(datasets),
        **{f"valid_{key}": value for key, value in best["valid"].items()},
        "epoch": best["epoch"],
        "epochs": len(epochs),
        **origin,
        "parameters": _parameters(brain),
        "macs": round(float(macs(brain.encoder, mean_length))),
        "macs_input_frames": mean_length,
        "initial_strides": initial_strides[0],
        "strides": brain.strides(),
        **({"initial_frequency_strides": initial_strides[1], "frequency_strides": across} if across else {}),
        "local_strides": best["local_strides"],
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        "cpu_seconds": sum(epoch["cpu_seconds"] for epoch in epochs),
        "device": str(brain.device),
        "threads": torch.get_num_threads(),
        "processes": ranks(),
        **({"debug": True} if brain.debug else {}),
        "versions": versions(),
    }
    brain.draw(folder, datasets, epochs)
    write_record(folder / RECORD, record)  # last: a record means that the run is finished
    say(closing(record, folder, brain.next_command(folder, items[0]), of_debug_run=brain.debug))


def _parameters(brain: Any) -> int:
    return sum(parameter.numel() for parameter in brain.modules.parameters())
