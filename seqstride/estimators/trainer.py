"""The training loop of the estimators, in torch without SpeechBrain.

It trains a `Network` on items, tensors (C, T) whose lengths may differ, and returns the history of the training. The
containers of sktime and scikit-learn are converted in `series` and `tabular`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.encoders.mixup import mixup
from seqstride.errors import InputError
from seqstride.estimators.batches import crop, dropout, split, training_batches
from seqstride.estimators.network import Network, outputs_of, pad, run_batches, strides
from seqstride.estimators.settings import Settings
from seqstride.experiments.processes import cpu_seconds
from seqstride.experiments.screen import EpochTable
from seqstride.layers.annealing import anneal, epoch_progress
from seqstride.layers.complexity import complexity, parameter_groups

LEAST_STEPS, LEAST_ITEMS = 6, 8
"""An epoch has at least 6 optimiser steps where batches then still have 8 items. Small sets get small batches, but in
batches of four series the statistics of batch norm are too coarse for a network to fit."""
MAX_GRAD_NORM = 5.0


def train(
    network: Network,
    items: Sequence[Tensor],
    targets: Tensor,
    settings: Settings,
    *,
    classes: bool,
    generator: torch.Generator,
    weight: Tensor | None = None,
    device: torch.device,
    verbose: bool = False,
) -> list[dict[str, Any]]:
    """Trains a network in place.

    AdamW with the groups of `seqstride.parameter_groups`; the learning rates fall to 0 along half a cosine. The loss is

        cross entropy or squared error + gap penalties + complexity_weight · complexity ("frames")

    With a validation part, training ends after `patience` epochs without a lower validation loss, and the network gets
    the weights of the best epoch. Without one, it keeps those of the last epoch.

    Args:
        network: on the CPU, where it is also left.
        items: (C, T) each, normalised.
        targets: (N, K): rows that sum to 1 for classes, or numbers of variance 1 for regression.
        settings: the arguments of the estimator.
        classes: whether the targets are classes.
        generator: on the CPU; all random numbers are drawn from it.
        weight: (K,), the weight of each class in the loss, or None.
        device: where to train.
        verbose: whether to show a progress bar.

    Returns:
        One record for each epoch.

    Raises:
        InputError: the loss or a weight is no longer finite, or the validation loss was finite in no epoch.
    """
    labels = targets.argmax(1) if classes else None
    chosen, held_out = split(labels, len(items), settings.validation_fraction, generator)
    size = min(settings.batch_size, max(LEAST_ITEMS, len(chosen) // LEAST_STEPS))
    network.to(device)
    weight = None if weight is None else weight.to(device)
    training = _Training(network, items, targets, settings, classes, generator, weight, device)
    optimizer, schedule = _optimizer(network, settings, math.ceil(len(chosen) / size) * settings.n_epochs)
    history: list[dict[str, Any]] = []
    best = _Best()
    table = EpochTable(settings.n_epochs, network.encoder.downsamplers)
    for epoch in _epochs(settings.n_epochs, history, verbose):
        anneal(network, epoch_progress(epoch, settings.n_epochs))
        start, start_cpu, lr = time.monotonic(), cpu_seconds(), optimizer.param_groups[0]["lr"]
        record: dict[str, Any] = {"epoch": epoch, "train": training.epoch(epoch, chosen, size, optimizer, schedule)}
        if held_out:
            record["valid"] = training.scores(held_out)
        record |= {
            "strides": strides(network),
            "lr": lr,
            "seconds": time.monotonic() - start,
            "cpu_seconds": cpu_seconds() - start_cpu,
        }
        history.append(record)
        better = bool(held_out) and best.take(record, network)
        table.add(record, best=better)
        if held_out and not better and epoch - best.epoch >= settings.patience:
            break
    if held_out:
        best.restore(network, settings)
    # no loss shows the effect of the last step
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise _diverged("in the last step", settings)
    network.cpu().eval()
    return history


@dataclass
class _Training:
    """A network with its training data; the arguments are those of `train`."""

    network: Network
    items: Sequence[Tensor]
    targets: Tensor
    settings: Settings
    classes: bool
    generator: torch.Generator
    weight: Tensor | None
    device: torch.device

    def epoch(
        self,
        number: int,
        chosen: Sequence[int],
        size: int,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> dict[str, float]:
        """Trains on the chosen items once and returns the mean loss and accuracy of the batches.

        Args:
            number: of the epoch, from 1.
            chosen: indices of the training part.
            size: items in a batch at most.
            optimizer: steps once per batch.
            schedule: of its learning rates, per batch.
        """
        network, settings, generator = self.network, self.settings, self.generator
        network.train()
        count = _Count(self.classes)
        for batch in training_batches([self.items[i].shape[1] for i in chosen], size, generator):
            indices = [chosen[i] for i in batch]
            parts = crop([self.items[i] for i in indices], settings.crop, generator)
            x, lengths, y = (part.to(self.device) for part in (*pad(parts), self.targets[indices]))
            if settings.mixup_alpha > 0:
                x, lengths, y = mixup(x, lengths, y, settings.mixup_alpha, generator)
            outputs, encoded = network(x, lengths, dropout(network, len(x), settings.dropout, generator))
            # every group of channels has its own loss
            loss = self.loss(outputs.flatten(0, 1), y.repeat_interleave(outputs.shape[1], 0))
            count.add(outputs.mean(1), y, loss)
            loss = loss + encoded.penalty
            if settings.complexity_weight > 0:
                loss = loss + settings.complexity_weight * complexity(network.encoder)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), MAX_GRAD_NORM)
            if not math.isfinite(float(loss.detach())) or not math.isfinite(float(norm)):
                raise _diverged(f"in epoch {number}", settings)
            optimizer.step()
            schedule.step()
        return count.means()

    def scores(self, held_out: Sequence[int]) -> dict[str, float]:
        """Returns the loss and accuracy of the validation part."""
        outputs = run_batches(self.network, outputs_of, [self.items[i] for i in held_out]).to(self.device)
        y = self.targets[held_out].to(self.device)
        count = _Count(self.classes)
        count.add(outputs, y, self.loss(outputs, y))
        return count.means()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, K), (N, K) → the mean cross entropy or squared error."""
        if self.classes:
            return nn.functional.cross_entropy(outputs, targets, weight=self.weight)
        return nn.functional.mse_loss(outputs, targets)


@dataclass
class _Best:
    """The epoch with the lowest validation loss; a loss that is not finite is never the lowest."""

    loss: float = math.inf
    epoch: int = 0
    weights: dict[str, Tensor] | None = None

    def take(self, record: dict[str, Any], network: Network) -> bool:
        """Keeps the weights if the record is the best so far, and returns whether it is."""
        if not record["valid"]["loss"] < self.loss:
            return False
        self.loss, self.epoch = record["valid"]["loss"], record["epoch"]
        self.weights = copy.deepcopy(network.state_dict())
        return True

    def restore(self, network: Network, settings: Settings) -> None:
        """Gives the network the weights of the best epoch.

        Raises:
            InputError: the validation loss was finite in no epoch.
        """
        if self.weights is None:
            raise InputError(
                "the loss of the validation part was finite in no epoch: `X` must not have values so far from the "
                f"others, or `lr` (={settings.lr:g}) must be smaller"
            )
        network.load_state_dict(self.weights)


def _optimizer(
    network: Network, settings: Settings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and a schedule along which its learning rates fall to 0 in so many steps."""
    groups = parameter_groups(network, settings.lr, settings.weight_decay, settings.stride_lr)
    optimizer = torch.optim.AdamW(groups, fused=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )


def _diverged(when: str, settings: Settings) -> InputError:
    names = ("lr", "stride_lr", "weight_decay", "complexity_weight")
    shown = ", ".join(f"`{name}` (={getattr(settings, name):g})" for name in names)
    return InputError(f"training diverged {when}: of {shown} one must be smaller for these data")


class _Count:
    """Mean loss and accuracy of several batches."""

    def __init__(self, classes: bool) -> None:
        self.classes, self.items, self.loss, self.right = classes, 0, 0.0, 0.0

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        self.items += len(targets)
        self.loss += float(loss.detach()) * len(targets)
        self.right += float((outputs.argmax(1) == targets.argmax(1)).sum())

    def means(self) -> dict[str, float]:
        scores = {"loss": self.loss / self.items}
        return {**scores, "accuracy": self.right / self.items} if self.classes else scores


def _epochs(count: int, history: list[dict[str, Any]], verbose: bool) -> Iterator[int]:
    """Yields the numbers of the epochs from 1, and shows the last record on a progress bar."""
    from tqdm import tqdm

    with tqdm(total=count, unit="epoch", disable=not verbose) as bar:
        for epoch in range(1, count + 1):
            yield epoch
            last = history[-1]
            shown = {part: last[part] for part in ("train", "valid") if part in last}
            bar.set_postfix(
                {f"{part} {name}": f"{value:.3g}" for part, scores in shown.items() for name, value in scores.items()}
            )
            bar.update()
