"""Classification of single frames, such as the beats of an electrocardiogram, from frames that were downsampled."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqstride._compat import require_torchaudio
from seqstride.brains.balance import BALANCED, balanced_accuracy, metric_record
from seqstride.brains.base import DownsamplingBrain
from seqstride.errors import InputError, made_as_asked
from seqstride.experiments.items import ItemResult
from seqstride.files.whole_files import save_figure
from seqstride.models.description import write_model
from seqstride.models.frames import describe_frames
from seqstride.plots.runs import plot_training
from seqstride.plots.strides import plot_input

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.dataio.batch import PaddedBatch  # noqa: E402

from seqstride.brains.events import EventShares  # noqa: E402
from seqstride.brains.manifests import add_event_times, add_item, open_manifests  # noqa: E402
from seqstride.lobes import absolute_lengths  # noqa: E402


class Prediction(NamedTuple):
    """The result of a forward pass, from which the loss is computed."""

    logits: Tensor
    """(N, classes), of the labelled frames of all items, one item after another."""
    targets: Tensor
    """(N,) int64."""
    owners: Tensor
    """(N,) int64, the item of each."""
    encoded: Any
    """The result of the encoder."""


class FrameClassificationBrain(DownsamplingBrain):
    """Classifies some input frames of every item, by a head behind a downsampling encoder.

    The head gives every output frame its logits, and an input frame reads them at its position: `Encoded.expand`. The
    more output frames lie around a labelled frame, the finer it can be told from its neighbours.

    An item of a manifest has labels and the input frames that they belong to, as many of each. The loss is

        Σ w_n · (cross entropy of frame n) / Σ w_n + penalty_weight · (gap penalties) + complexity weight · (complexity)

    over the labelled frames of a batch, with the `class_weights` w. Runs are compared by the balanced accuracy.

    Hyperparameters read beyond those of `DownsamplingBrain`: `frame_labels` and `labelled_frames` (keys of the
    manifest: a list of texts or one text of a letter for each, and a list of frames), `classifier` (makes a head, given
    `classes`), `balance` (see `class_weights`). `fea_augment` must leave the items and their times as they are.
    """

    running = ("confusion",)
    counted = (*DownsamplingBrain.counted, "confusion", "event_shares")

    @classmethod
    def load_data(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        """Reads the manifests of features; the classes found in the training part decide the size of the head."""
        datasets = open_manifests(hparams["manifests"], data_root=hparams["data_root"])
        labels, frames = hparams["frame_labels"], hparams["labelled_frames"]
        for split, dataset in datasets.items():
            where = f"`manifests` ({split}={os.fspath(hparams['manifests'][split])!r})"
            for name, item in dataset.data.items():
                _check_labels(f"{where}, item {name!r}", item, labels, frames)
        counts = Counter(label for item in datasets["train"].data.values() for label in item[labels])
        hparams["classes"] = classes = sorted(counts)
        if not counts:
            raise InputError(f"`frame_labels` (={labels!r}) must label some frames of the training part")
        hparams["class_weights"] = class_weights([counts[name] for name in classes], hparams["balance"])
        hparams["signal_rate"] = next(iter(datasets["train"].data.values()))["frame_rate"]
        indices = {name: index for index, name in enumerate(classes)}
        for split, dataset in datasets.items():
            unknown = {label for item in dataset.data.values() for label in item[labels]} - set(classes)
            if unknown:
                raise InputError(f"`manifests` ({split}) has labels that train lacks: {', '.join(sorted(unknown))}")
            where = f"`manifests` ({split}={os.fspath(hparams['manifests'][split])!r})"
            add_item(dataset, where, lambda names: [indices[name] for name in names], [labels], "frame_targets")
            dataset.set_output_keys(["id", "signal", "frame_targets", frames, *add_event_times(where, dataset)])
        with made_as_asked("classifier"):
            hparams["modules"]["classifier"] = hparams["classifier"](classes=len(classes))
        hparams["checkpointer"].add_recoverable("classifier", hparams["modules"]["classifier"])
        return datasets

    @classmethod
    def outputs(cls, hparams: dict[str, Any]) -> dict[str, list[str]]:
        """Returns the classes."""
        return {f"classes of `{hparams['frame_labels']}`": list(hparams["classes"])}

    # One batch

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Prediction:
        """Augments (in training), encodes a batch and classifies its labelled frames."""
        batch = batch.to(self.device)
        signal, relative = batch.signal
        x, lengths = self.features(signal, absolute_lengths(relative, signal.shape[1]), stage)
        encoded = self.net("encoder", stage)(x, lengths)
        expanded = encoded.expand(self.net("classifier", stage)(encoded.features))
        frames, targets = batch[self.hparams.labelled_frames], batch.frame_targets
        counts = torch.tensor([len(item) for item in frames])
        owners = torch.arange(len(frames)).repeat_interleave(counts).to(self.device)
        at, classes = (torch.tensor([*chain(*lists)], dtype=torch.int64).to(self.device) for lists in (frames, targets))
        return Prediction(expanded[owners, :, at], classes, owners, encoded)

    def compute_objectives(self, predictions: Prediction, batch: Any, stage: sb.Stage) -> Tensor:
        """Returns the loss of a batch; counts its confusions."""
        logits, targets, owners, encoded = predictions
        weights = torch.tensor(self.hparams.class_weights, device=self.device)
        losses = nn.functional.cross_entropy(logits.float(), targets, weight=weights, reduction="sum")
        total = weights[targets].sum()
        loss = losses / total.clamp(min=torch.finfo(total.dtype).tiny)  # 0 without labelled frames
        guesses = logits.detach().argmax(1)
        self.confusion.index_put_((targets.cpu(), guesses.cpu()), torch.ones(len(targets)), accumulate=True)
        if stage == sb.Stage.TEST:
            self._note_items(batch.id, targets, guesses, owners)
            if hasattr(batch, "event_times"):
                self.event_shares.count(batch.event_times[0], self.hparams.signal_rate, encoded)
        return self.regularised(self.share(float(total), stage) * loss, encoded, stage)

    def _note_items(self, names: list[str], targets: Tensor, guesses: Tensor, owners: Tensor) -> None:
        """Notes how many frames of a class an item has, and how many of them are right."""
        seen: Counter[tuple[int, int]] = Counter()
        right: Counter[tuple[int, int]] = Counter()
        for owner, target, guess in zip(owners.tolist(), targets.tolist(), guesses.tolist(), strict=True):
            seen[owner, target] += 1
            right[owner, target] += target == guess
        for (owner, target), total in seen.items():
            name = f"{names[owner]} {self.hparams.classes[target]}"
            self.item_results[name] = ItemResult(right[owner, target], total, target)

    # Scores

    def start_scores(self, stage: sb.Stage) -> None:
        self.confusion = torch.zeros(len(self.hparams.classes), len(self.hparams.classes))
        self.event_shares = EventShares()

    def scores(self, stage: sb.Stage) -> dict[str, float]:
        """Returns `accuracy` and `balanced_accuracy`."""
        confusion = self.total(self.confusion, stage)
        return {"accuracy": float(confusion.diag().sum() / confusion.sum()), BALANCED: balanced_accuracy(confusion)}

    def record(self, datasets: dict[str, Any]) -> dict[str, Any]:
        """Returns the scores and the loss of the scored part, the errors of each class, and the shares on events."""
        found = self.confusion.sum(1)
        error = (1 - self.confusion.diag() / found.clamp(min=1)).tolist()
        return {
            **metric_record(BALANCED, self.test),
            **{f"test_{name}": value for name, value in self.test.items()},
            "test_error_per_class": dict(zip(self.hparams.classes, error, strict=True)),
            "test_items_per_class": dict(zip(self.hparams.classes, found.long().tolist(), strict=True)),
            **self.event_shares.record(),
        }

    # Model and pictures

    def save(self, folder: Path, recipe: str, datasets: dict[str, Any]) -> None:
        """Writes the classifier, as `seqstride.models.frames` reads it."""
        description = describe_frames(
            recipe,
            label=self.hparams.frame_labels,
            classes=self.hparams.classes,
            frame_rate=self.hparams.signal_rate,
            feature_name=self.hparams.feature_name,
        )
        write_model(folder, description, nn.ModuleDict({name: self.net(name) for name in self.modules}))

    def draw(self, folder: Path, datasets: dict[str, Any], epochs: list[dict[str, Any]]) -> None:
        """Draws `training.png`, the curves of the run, and `strides.png`, the items with the most kinds of labels."""
        save_figure(plot_training(epochs, chosen=self.history.epochs[-1]["epoch"]), folder / "training.png")
        dataset, labels = datasets[self.hparams.score], self.hparams.frame_labels
        names = sorted(dataset.data_ids, key=lambda name: len(set(dataset.data[name][labels])), reverse=True)[:4]
        batch = PaddedBatch([dataset[dataset.data_ids.index(name)] for name in names]).to(self.device)
        signal, relative = batch.signal
        with torch.no_grad():
            x, lengths = self.front(signal, absolute_lengths(relative, signal.shape[1]))
            encoded = self.encoder(x, lengths)
        picture = plot_input(
            x,
            encoded,
            titles=[f"{labels} {''.join(dataset.data[name][labels])}" for name in names],
            frame_rate=self.hparams.signal_rate,
            feature_name=self.hparams.feature_name,
        )
        save_figure(picture, folder / "strides.png")


def class_weights(counts: Sequence[int], balance: float) -> list[float]:
    """Returns the weights of classes with these counts: share^−balance, times what makes the mean over all items 1.

    Args:
        counts: items of each class, at least one.
        balance: from 0, all items count alike, to 1, all classes do.

    Raises:
        InputError: `balance` is not from 0 to 1.
    """
    if not 0 <= balance <= 1:
        raise InputError(f"`balance` (={balance}) must be from 0 to 1")
    shares = [count / sum(counts) for count in counts]
    scale = sum(share ** (1 - balance) for share in shares)
    return [share**-balance / scale for share in shares]


def _check_labels(where: str, item: Mapping[str, Any], labels: str, frames: str) -> None:
    """Checks the labels of an item.

    Raises:
        InputError: they are not texts, not as many as frames, or a frame lies outside of the item.
    """
    names, places = item.get(labels), item.get(frames)
    texts = isinstance(names, str) or (isinstance(names, list) and all(isinstance(name, str) for name in names))
    if not texts or not isinstance(places, list) or len(names) != len(places):  # type: ignore[arg-type]
        raise InputError(f"{where} must have as many texts in {labels!r} as frames in {frames!r}")
    length = item["length"]
    if not all(type(place) is int and 0 <= place < length for place in places):
        raise InputError(f"{where}: {frames!r} must be frames from 0 to {length - 1}")
