"""Classification of sequences, by one label or several at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqstride._compat import require_torchaudio
from seqstride.brains.balance import BALANCED, OF_LABELS, check_metric, metric_record, metric_scores
from seqstride.brains.base import DownsamplingBrain
from seqstride.encoders.heads import Heads
from seqstride.encoders.mixup import mixup
from seqstride.errors import made_as_asked
from seqstride.experiments.items import ItemResult
from seqstride.files.whole_files import save_figure
from seqstride.models.classifier import describe, save_model
from seqstride.models.windows import all_windows, mean_by_owner, random_windows
from seqstride.plots.runs import plot_training
from seqstride.plots.strides import plot_input

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.dataio.batch import PaddedBatch  # noqa: E402

from seqstride.brains.batching import batch_by_length  # noqa: E402
from seqstride.brains.events import EventShares  # noqa: E402
from seqstride.brains.manifests import item_seconds, labelled_signals, lasting_front  # noqa: E402
from seqstride.lobes import absolute_lengths  # noqa: E402


class Prediction(NamedTuple):
    """The result of a forward pass, from which the loss is computed."""

    logits: dict[str, Tensor]
    """Label → (B, classes)."""
    targets: dict[str, Tensor]
    """Label → (B, classes), rows that sum to 1; mixed in the same way as the inputs."""
    encoded: Any
    """The result of the encoder: features, lengths, penalty, plans."""


class ClassificationBrain(DownsamplingBrain):
    """Classifies sequences with a downsampling encoder; several labels share one encoder.

    Batches have `signal`, and for every label of `labels` the class indices `target_<label>` (B,). Module `classifier`:
    `Heads`, label → head. The loss is

        mean of the labels' cross entropies + penalty_weight · (gap penalties) + complexity weight · (complexity)

    Hyperparameters read beyond those of `DownsamplingBrain`: `labels` (the first is the one that is reported),
    `metric` (what runs are compared by, one of `METRICS` of `seqstride.brains.balance`; if missing the accuracy),
    `classifier` (makes a head, given `classes`), `mixup_alpha` (0 for none), `window` (seconds or null: training hears
    a random window of every recording, validation and test average the logits over windows of that length); where it is
    there, `dynamic_batching` (see `batch_by_length`).
    """

    running = ("confusion",)
    counted = (*DownsamplingBrain.counted, "confusion", "event_shares")
    commands = {"wav": "classify"}

    @classmethod
    def load_data(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        """Reads the manifests; the classes found in the training part decide the size of the heads."""
        check_metric(hparams)
        datasets, classes = labelled_signals(
            hparams["manifests"],
            hparams["labels"],
            hparams["sample_rate"],
            hparams["data_root"],
            hparams.get("audio_cache"),
        )
        hparams["classes"] = classes
        batch_by_length(hparams, datasets["train"])
        item = next(iter(datasets["train"].data.values()))
        hparams["signal_rate"] = _signal_rate(item, hparams)
        with made_as_asked("classifier"):
            heads = {label: hparams["classifier"](classes=len(names)) for label, names in classes.items()}
        hparams["modules"]["classifier"] = Heads(heads)
        hparams["checkpointer"].add_recoverable("classifier", hparams["modules"]["classifier"])
        return datasets

    @classmethod
    def outputs(cls, hparams: dict[str, Any]) -> dict[str, list[str]]:
        """Returns the classes of every label."""
        return {f"classes of `{label}`": list(names) for label, names in hparams["classes"].items()}

    # One batch

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Prediction:
        """Cuts windows, augments and mixes (in training), encodes and classifies a batch."""
        batch = batch.to(self.device)
        signal, relative = batch.signal
        lengths = absolute_lengths(relative, signal.shape[1])
        sizes = {label: len(names) for label, names in self.hparams.classes.items()}
        one_hot = [nn.functional.one_hot(batch[f"target_{label}"], size) for label, size in sizes.items()]
        targets = torch.cat(one_hot, dim=1).float()
        training, owners = stage == sb.Stage.TRAIN, None
        if self.hparams.window is not None:
            size = max(1, round(self.hparams.window * self.hparams.signal_rate))
            if training:
                signal, lengths = random_windows(signal, lengths, size)
            else:
                signal, lengths, owners = all_windows(signal, lengths, size)
        x, lengths = self.features(signal, lengths, stage)
        if training:
            targets = targets.repeat(len(x) // len(targets), 1)  # an augmenter may append new items
            if self.hparams.mixup_alpha > 0:
                x, lengths, targets = mixup(x, lengths, targets, self.hparams.mixup_alpha)
        encoded = self.net("encoder", stage)(x, lengths)
        logits: dict[str, Tensor] = self.net("classifier", stage)(encoded.features, encoded.lengths)
        if owners is not None:
            logits = {label: mean_by_owner(values, owners, len(targets)) for label, values in logits.items()}
        split = targets.split(list(sizes.values()), dim=1)
        return Prediction(logits, dict(zip(sizes, split, strict=True)), encoded)

    def compute_objectives(self, predictions: Prediction, batch: Any, stage: sb.Stage) -> Tensor:
        """Returns the loss of a batch; counts its confusions."""
        logits, targets, encoded = predictions
        losses = [nn.functional.cross_entropy(logits[label].float(), targets[label]) for label in logits]
        for label, confusion in self.confusion.items():
            truth, guess = targets[label].argmax(1).cpu(), logits[label].detach().argmax(1).cpu()
            confusion.index_put_((truth, guess), torch.ones(len(truth)), accumulate=True)
        if stage == sb.Stage.TEST:
            self._note_items(batch.id, predictions)
        if stage == sb.Stage.TEST and self.hparams.window is None and hasattr(batch, "event_times"):
            times, _ = batch.event_times
            self.event_shares.count(times, self._input_frame_rate(batch.signal.data), encoded)
        return self.regularised(self.share(len(encoded.lengths), stage) * torch.stack(losses).mean(), encoded, stage)

    def _note_items(self, names: list[str], predictions: Prediction) -> None:
        """Notes of every item what `metric` counts: whether the first label is right, or how many of all labels are."""
        truth = torch.stack([targets.argmax(1) for targets in predictions.targets.values()])
        right = truth == torch.stack([logits.argmax(1) for logits in predictions.logits.values()])
        if self.metric == OF_LABELS:
            results = [ItemResult(count, len(right)) for count in right.sum(0).tolist()]
        elif self.metric == BALANCED:
            pairs = zip(right[0].tolist(), truth[0].tolist(), strict=True)
            results = [ItemResult(one, group=group) for one, group in pairs]
        else:
            results = [ItemResult(one) for one in right[0].tolist()]
        self.item_results.update(zip(names, results, strict=True))

    def _input_frame_rate(self, signal: Tensor) -> float:
        """Frames per second of the encoder's input, for waveforms (B, S) or features (B, T, C)."""
        return float(self.net("frontend").frame_rate if signal.ndim == 2 else self.hparams.signal_rate)

    # Scores

    def start_scores(self, stage: sb.Stage) -> None:
        self.confusion = {label: torch.zeros(len(names), len(names)) for label, names in self.hparams.classes.items()}
        self.event_shares = EventShares()

    def scores(self, stage: sb.Stage) -> dict[str, float]:
        """Returns `accuracy` of the first label, the score of `metric`, and `<label>_accuracy` of the other labels."""
        counts = {label: self.total(confusion, stage) for label, confusion in self.confusion.items()}
        first, *others = [(label, float(count.diag().sum() / count.sum())) for label, count in counts.items()]
        compared = metric_scores(self.metric, list(counts.values()))
        return {"accuracy": first[1], **compared, **{f"{label}_accuracy": accuracy for label, accuracy in others}}

    @property
    def metric(self) -> str | None:
        """What runs are compared by; None: the accuracy of the first label."""
        return getattr(self.hparams, "metric", None)

    def record(self, datasets: dict[str, Any]) -> dict[str, Any]:
        """Returns accuracy and loss of the scored part, the errors of each class of the first label, and the shares of
        frames on events where the manifest has their times.
        """
        label, names = next(iter(self.hparams.classes.items()))
        confusion = self.confusion[label]
        error = (1 - confusion.diag() / confusion.sum(1).clamp(min=1)).tolist()
        others = {key: value for key, value in self.test.items() if key not in ("accuracy", "loss")}
        return {
            **metric_record(self.metric, self.test),
            "test_accuracy": self.test["accuracy"],
            "test_loss": self.test["loss"],
            **{f"test_{key}": value for key, value in others.items()},
            "test_error_per_class": dict(zip(names, error, strict=True)),
            "test_items_per_class": dict(zip(names, confusion.sum(1).long().tolist(), strict=True)),
            **self.event_shares.record(),
        }

    # Model and pictures

    def save(self, folder: Path, recipe: str, datasets: dict[str, Any]) -> None:
        """Writes the classifier, as `seqstride.models.classifier` reads it."""
        item = next(iter(datasets["train"].data.values()))
        description = describe(
            recipe,
            labels=self.hparams.classes,
            sample_rate=self.hparams.sample_rate,
            frame_rate=self.frame_rate(item),
            window=self.hparams.window,
            feature_name=self.hparams.feature_name,
        )
        save_model(folder, description, nn.ModuleDict({name: self.net(name) for name in self.modules}))

    def draw(self, folder: Path, datasets: dict[str, Any], epochs: list[dict[str, Any]]) -> None:
        """Draws `training.png`, the curves of the run, and `strides.png`, one item of each of several classes."""
        best = self.history.epochs[-1]
        save_figure(plot_training(epochs, chosen=best["epoch"]), folder / "training.png")

        dataset, label = datasets[self.hparams.score], next(iter(self.hparams.classes))
        chosen = _one_item_of_several_classes(dataset, label)
        batch = PaddedBatch([dataset[index] for index, _ in chosen]).to(self.device)
        signal, relative = batch.signal
        with torch.no_grad():
            x, lengths = self.front(signal, absolute_lengths(relative, signal.shape[1]))
            encoded = self.encoder(x, lengths)
        items = [item for _, item in chosen]
        picture = plot_input(
            x,
            encoded,
            titles=[f"{label} {item[label]}" for item in items],
            frame_rate=self.frame_rate(items[0]),
            feature_name=self.hparams.feature_name,
            bands_hz=self.bands_hz(items[0]),
        )
        save_figure(picture, folder / "strides.png")


def _signal_rate(item: dict[str, Any], hparams: dict[str, Any]) -> float:
    """Returns the samples or frames per second of what the items of a batch have as `signal`."""
    if "wav" not in item:
        return float(item["frame_rate"])
    front = lasting_front(hparams)
    return float(hparams["sample_rate"] if front is None else front.frame_rate)


def _one_item_of_several_classes(dataset: Any, label: str, count: int = 4) -> list[tuple[int, dict[str, Any]]]:
    """Returns, for up to `count` classes, the item of median length and its index in the data set."""
    by_class: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for index, name in enumerate(dataset.data_ids):
        item = dataset.data[name]
        by_class.setdefault(item[label], []).append((index, item))
    names = sorted(by_class)
    count = min(count, len(names))
    names = [names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count)]
    return [sorted(by_class[name], key=lambda pair: item_seconds(pair[1]))[len(by_class[name]) // 2] for name in names]
