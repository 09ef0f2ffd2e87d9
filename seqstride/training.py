"""A run of a recipe, from the command line to the pictures: what every `train.py` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import seqstride as ss
from seqstride._compat import require_torchaudio
from seqstride.distributed import device_of_rank, leave_group, local_rank, ranks, world_size
from seqstride.errors import InputError
from seqstride.failures import log_errors_in
from seqstride.options import read_command_line
from seqstride.recipe import build_recipe, check_parts, merge_recipe
from seqstride.results import versions, write_record
from seqstride.screen import LOG_CONFIG, closing, opening, say, without_noise
from seqstride.whole_files import whole_file

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.utils.distributed import ddp_init_group, run_on_main  # noqa: E402

from seqstride.brains.base import DownsamplingBrain  # noqa: E402
from seqstride.dataio import item_seconds  # noqa: E402

NEEDED = (
    *("recipe", "seed", "downsampler", "output_folder", "manifests", "score", "number_of_epochs", "lr", "complexity"),
    *("modules", "opt_class", "epoch_counter", "checkpointer", "train_dataloader", "valid_dataloader", "train_logger"),
)
"""Keys that every recipe has."""


@without_noise()
def run_recipe(brain_class: type[DownsamplingBrain], argv: Sequence[str]) -> None:
    """Trains, scores the test set once with the best epoch of the validation part, and leaves results and pictures.

    A run that was interrupted goes on from its last epoch. Under `torchrun` all ranks train together.
    The output folder gets `results.json`, the trained model, the pictures of the task, `train.yaml` with the merged
    hyperparameters, and in `save/` the checkpoints.

    Args:
        brain_class: a subclass of `DownsamplingBrain`.
        argv: the command line after the program's name: a recipe's YAML file, SpeechBrain's run options
            (`--device cpu`, …), and any key of `train.yaml` as `--key value`.

    Raises:
        ValueError: the recipe, an override or the data is wrong.
    """
    file, run_opts, overrides = read_command_line(argv)
    run_opts = _join_group(run_opts)
    text = merge_recipe(file, overrides)
    hparams = build_recipe(text, file)
    check_parts(hparams, NEEDED)
    torch.set_num_threads(hparams.get("threads", 1))
    output = Path(hparams["output_folder"])
    log_errors_in(output)
    sb.create_experiment_directory(str(output), log_config=str(LOG_CONFIG))
    run_on_main(_write_settings, [output / "train.yaml", text])

    if hparams["prepare"] is not None:
        run_on_main(hparams["prepare"])
    datasets = brain_class.load_data(hparams)
    if hparams["score"] not in datasets:
        raise InputError(f"`score` (={hparams['score']!r}) must be one of the splits {', '.join(datasets)}")

    brain = brain_class(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    strides, parameters = ", ".join(f"{stride:g}" for stride in brain.strides()), _parameters(brain)
    model = f"{parameters / 1000:.0f} k parameters, strides {strides}, on {brain.device}"
    say(opening(hparams, file, {split: len(dataset) for split, dataset in datasets.items()}, model))
    brain.fit_normalisation(datasets["train"])
    initial_strides = brain.strides(), brain.frequency_strides()
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader"],
        valid_loader_kwargs=hparams["valid_dataloader"],
    )
    if brain.test_only and hparams["checkpointer"].recover_if_possible() is None:
        raise InputError(f"`output_folder` (={str(output)!r}) must hold a checkpoint for --test_only")
    epochs = list(brain.history.epochs)  # evaluate recovers the best epoch, and the history up to it
    scored = datasets[hparams["score"]]
    brain.evaluate(scored, min_key=brain.selection, test_loader_kwargs=hparams["valid_dataloader"])

    # a debug run sees a few batches only: its figures must not replace those of a real one
    report = output / "debug" if brain.debug else output
    run_on_main(_report, [report, brain, text, epochs, datasets, initial_strides])
    leave_group()


def _join_group(run_opts: Any) -> Any:
    """Joins the other ranks, where `torchrun` has started several; over gloo unless the run is on GPUs.

    Returns:
        The options with what was decided here; SpeechBrain's own cannot be changed.

    Raises:
        InputError: the machine lacks what the options need.
    """
    changes: dict[str, Any] = {}
    if run_opts.device is not None:
        changes["device"] = device_of_rank(run_opts.device)
    gpu = torch.cuda.is_available() and (run_opts.device is None or run_opts.device.startswith("cuda"))
    if not gpu and "distributed_backend" not in run_opts.overridden_args:
        changes["distributed_backend"] = "gloo"
    run_opts = replace(run_opts, **changes, overridden_args={*run_opts.overridden_args, *changes})
    _check_machine(run_opts, gpu)
    ddp_init_group(run_opts)
    return run_opts


def _check_machine(run_opts: Any, gpu: bool) -> None:
    """What SpeechBrain finds out later.

    Raises:
        InputError: the machine lacks what the options need.
    """
    for name in ("precision", "eval_precision"):
        if run_opts[name] == "fp16" and not gpu:
            raise InputError(f"`--{name}` (='fp16') must be fp32 or bf16 on a CPU")
    if run_opts.data_parallel_backend and (not gpu or world_size() > 1):
        raise InputError("`--data_parallel_backend` must be for one process on a machine with GPUs; use torchrun")
    if world_size() == 1:
        return
    backend, gpus = run_opts.distributed_backend, torch.cuda.device_count()
    if backend == "nccl" and local_rank() >= gpus:
        raise InputError(
            f"`--distributed_backend` (='nccl') must have a GPU for every process, and torch finds {gpus}; "
            "on CPUs it is gloo, with --device cpu"
        )
    if backend == "mpi" and not torch.distributed.is_mpi_available():
        raise InputError("`--distributed_backend` (='mpi') must be nccl or gloo; this torch was built without MPI")


def _write_settings(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _report(
    folder: Path,
    brain: Any,
    recipe: str,
    epochs: list[dict[str, Any]],
    datasets: dict[str, Any],
    initial_strides: tuple[list[float], list[float]],
) -> None:
    """Writes the model, results and pictures."""
    hparams = vars(brain.hparams)
    best = brain.history.epochs[-1]
    items = list(datasets[hparams["score"]].data.values())
    across = brain.frequency_strides()
    frames = sum(item_seconds(item) * brain.frame_rate(item) for item in items) / len(items)
    mean_length = max(1, round(frames))
    folder.mkdir(parents=True, exist_ok=True)
    brain.save(folder, recipe, datasets)
    record = {
        "recipe": hparams["recipe"],
        "method": hparams["downsampler"],
        "options": dict(hparams["downsampler_options"]),
        "seed": hparams["seed"],
        **({"fold": hparams["fold"]} if hparams.get("fold") is not None else {}),
        "scored": hparams["score"],
        **brain.record(datasets),
        **{f"valid_{key}": value for key, value in best["valid"].items()},
        "epoch": best["epoch"],
        "epochs": len(epochs),
        "parameters": _parameters(brain),
        "macs": round(float(ss.macs(brain.encoder, mean_length))),
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
        "versions": versions(),
    }
    brain.draw(folder, datasets, epochs)
    write_record(folder / "results.json", record)  # last: it stands for a run that is finished
    say(closing(record, folder, brain.next_command(folder, items[0])))


def _parameters(brain: Any) -> int:
    return sum(parameter.numel() for parameter in brain.modules.parameters())
