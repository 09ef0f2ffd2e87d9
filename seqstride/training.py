"""A run of a recipe, from the command line to the pictures: what every `train.py` calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import seqstride as ss
from seqstride._compat import require_torchaudio
from seqstride.dataio import labelled_features
from seqstride.lobes import to_channels_first
from seqstride.plot import plot_strides, plot_training
from seqstride.recipe import merge_recipe
from seqstride.results import versions, write_record

require_torchaudio()

import speechbrain as sb  # noqa: E402
from hyperpyyaml import load_hyperpyyaml  # noqa: E402
from speechbrain.dataio.batch import PaddedBatch  # noqa: E402
from speechbrain.utils.distributed import ddp_init_group, run_on_main  # noqa: E402


def run_recipe(brain_class: type, argv: Sequence[str]) -> None:
    """Trains, scores the test set once with the epoch of lowest validation loss, and leaves results and pictures.

    A run that was interrupted goes on from its last epoch. The output folder gets `results.json`, `strides.png`,
    `training.png`, and, for inference, `hyperparams.yaml` and in `save/` the checkpoints and the list of classes.

    Args:
        brain_class: `ClassificationBrain` or a subclass of it.
        argv: the command line after the program's name: a recipe's YAML file, SpeechBrain's run options
            (`--device cpu`, …), and any key of `train.yaml` as `--key value`.

    Raises:
        ValueError: the recipe, an override or the data is wrong.
    """
    file, run_opts, overrides = sb.parse_arguments(list(argv))
    ddp_init_group(run_opts)
    text = merge_recipe(file, overrides)
    hparams = load_hyperpyyaml(text)
    output = Path(hparams["output_folder"])
    sb.create_experiment_directory(str(output))
    run_on_main((output / "hyperparams.yaml").write_text, [text], {"encoding": "utf-8"})

    if hparams["prepare"] is not None:
        run_on_main(hparams["prepare"])
    datasets, classes = labelled_features(hparams["manifests"], hparams["label"])
    if len(classes) != hparams["classes"]:
        raise ValueError(f"`classes` (={hparams['classes']}) must be {len(classes)}, the number of labels of the data")
    run_on_main(classes.save, [hparams["label_file"]])
    hparams["normalize"].fit(item["features"].T for item in datasets["train"])

    brain = brain_class(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    initial_strides = brain.strides()
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader"],
        valid_loader_kwargs=hparams["valid_dataloader"],
    )
    if brain.test_only and hparams["checkpointer"].recover_if_possible() is None:
        raise ValueError(f"`output_folder` (={str(output)!r}) must hold a checkpoint for --test_only")
    epochs = list(brain.history.epochs)  # evaluate recovers the best epoch, and the history up to it
    brain.evaluate(datasets["test"], min_key="loss", test_loader_kwargs=hparams["valid_dataloader"])

    # a debug run sees a few batches only: its figures must not replace those of a real one
    report = output / "debug" if brain.debug else output
    run_on_main(_report, [report, brain, epochs, datasets["test"], classes, initial_strides])


def _report(
    folder: Path, brain: Any, epochs: list[dict[str, Any]], test_set: Any, classes: Any, initial_strides: list[float]
) -> None:
    """Writes results and pictures."""
    hparams = vars(brain.hparams)
    best = brain.history.epochs[-1]
    lengths = [item["length"] for item in test_set.data.values()]
    mean_length = round(sum(lengths) / len(lengths))
    labels = [classes.ind2lab[index] for index in range(len(classes))]
    folder.mkdir(parents=True, exist_ok=True)
    write_record(
        folder / "results.json",
        {
            "recipe": hparams["recipe"],
            "method": hparams["downsampler"],
            "options": dict(hparams["downsampler_options"]),
            "seed": hparams["seed"],
            "test_accuracy": brain.test["accuracy"],
            "test_loss": brain.test["loss"],
            "test_error_per_class": dict(zip(labels, brain.test["error_per_class"], strict=True)),
            "test_items_per_class": dict(zip(labels, brain.test["items_per_class"], strict=True)),
            "valid_accuracy": best["valid"]["accuracy"],
            "valid_loss": best["valid"]["loss"],
            "epoch": best["epoch"],
            "epochs": len(epochs),
            "parameters": sum(parameter.numel() for parameter in brain.modules.parameters()),
            "macs": round(float(ss.macs(brain.encoder, mean_length))),
            "macs_input_frames": mean_length,
            "initial_strides": initial_strides,
            "strides": brain.strides(),
            "local_strides": best["local_strides"],
            "seconds": sum(epoch["seconds"] for epoch in epochs),
            "device": str(brain.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        },
    )
    plot_training(epochs, chosen=best["epoch"]).savefig(folder / "training.png")

    chosen = _one_item_of_several_classes(test_set, hparams["label"])
    batch = PaddedBatch([test_set[index] for index, _ in chosen])
    x, frames = to_channels_first(*batch.to(brain.device).features)
    with torch.no_grad():
        x = hparams["normalize"](x, frames)
        encoded = brain.encoder(x, frames)
    items = [item for _, item in chosen]
    figure = plot_strides(
        x,
        encoded,
        titles=[f"{hparams['label']} {item[hparams['label']]}" for item in items],
        frame_rate=items[0]["frame_rate"],
        feature_name=hparams["feature_name"],
        value_name="value, normalised",
    )
    figure.savefig(folder / "strides.png")


def _one_item_of_several_classes(dataset: Any, label: str, count: int = 4) -> list[tuple[int, dict[str, Any]]]:
    """For up to `count` classes the item of median length, with its index in the data set."""
    by_class: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for index, name in enumerate(dataset.data_ids):
        item = dataset.data[name]
        by_class.setdefault(item[label], []).append((index, item))
    names = sorted(by_class)
    names = [names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(min(count, len(names)))]
    return [sorted(by_class[name], key=lambda pair: pair[1]["length"])[len(by_class[name]) // 2] for name in names]
