"""Training behind the estimators: a compact loop in torch, without SpeechBrain.

What an estimator has is a list of items, tensors (C, T) whose lengths may differ; what it gets is a trained `Network`
and the history of its training. Containers of sktime and scikit-learn are converted at the edges, `series` and
`tabular`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.encoders.mixup import mixup
from seqstride.errors import InputError
from seqstride.estimators.network import Network, outputs_of, pad, run_batches, strides
from seqstride.estimators.settings import Settings
from seqstride.experiments.screen import EpochTable
from seqstride.layers.complexity import complexity, parameter_groups

LEAST_STEPS, LEAST_ITEMS = 6, 8
"""Optimiser steps that an epoch has at least, with so many items in each at least: small sets get small batches, but of
four series the statistics of batch norm are so coarse that networks do not fit any more."""
POOL = 8
"""Batches whose items are sorted by length together in training."""
SHARES = 5
"""Different shares of a series that a window in training may have."""
LENGTHS = 8
"""Different lengths that windows have between a power of two and the next."""
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

    AdamW with the groups of `seqstride.parameter_groups`, learning rates along half a cosine to 0. The loss is

        cross entropy or squared error + gap penalties + complexity_weight · complexity ("frames")

    With a validation part training ends after `patience` epochs without a lower validation loss, and the network gets
    the weights of the best epoch; without one, those of the last.

    Args:
        network: on the CPU, where it also ends.
        items: (C, T) each, normalised.
        targets: (N, K), rows that sum to 1 for classes, numbers of variance 1 for regression.
        settings: of the estimator.
        classes: whether targets are classes.
        generator: on the CPU; all random numbers are drawn from it.
        weight: (K,), of each class in the loss, or None.
        device: where to train.
        verbose: show a progress bar.

    Returns:
        One record for each epoch.

    Raises:
        ValueError: the loss or a weight is not finite any more, or that of the validation part was in no epoch.
    """
    labels = targets.argmax(1) if classes else None
    chosen, held_out = split(labels, len(items), settings.validation_fraction, generator)
    size = min(settings.batch_size, max(LEAST_ITEMS, len(chosen) // LEAST_STEPS))
    steps = math.ceil(len(chosen) / size)
    network.to(device)
    weight = None if weight is None else weight.to(device)
    groups = parameter_groups(network, settings.lr, settings.weight_decay, settings.stride_lr)
    optimizer = torch.optim.AdamW(groups, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / (steps * settings.n_epochs)))
    )
    history: list[dict[str, Any]] = []
    best, best_epoch, best_weights = math.inf, 0, None
    table = EpochTable(settings.n_epochs, network.encoder.downsamplers)
    for epoch in _epochs(settings.n_epochs, history, verbose):
        start, start_cpu, lr = time.monotonic(), time.process_time(), optimizer.param_groups[0]["lr"]
        network.train()
        count = _Count(classes)
        for batch in training_batches([items[i].shape[1] for i in chosen], size, generator):
            indices = [chosen[i] for i in batch]
            parts = crop([items[i] for i in indices], settings.crop, generator)
            x, lengths, y = (part.to(device) for part in (*pad(parts), targets[indices]))
            if settings.mixup_alpha > 0:
                x, lengths, y = mixup(x, lengths, y, settings.mixup_alpha, generator)
            outputs, encoded = network(x, lengths, dropout(network, len(x), settings.dropout, generator))
            # every group of channels has its own loss
            loss = _loss(outputs.flatten(0, 1), y.repeat_interleave(outputs.shape[1], 0), weight, classes)
            count.add(outputs.mean(1), y, loss)
            loss = loss + encoded.penalty
            if settings.complexity_weight > 0:
                loss = loss + settings.complexity_weight * complexity(network.encoder)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), MAX_GRAD_NORM)
            if not math.isfinite(float(loss.detach())) or not math.isfinite(float(norm)):
                raise _diverged(f"in epoch {epoch}", settings)
            optimizer.step()
            schedule.step()
        record: dict[str, Any] = {"epoch": epoch, "train": count.means()}
        if held_out:
            outputs = run_batches(network, outputs_of, [items[i] for i in held_out]).to(device)
            y = targets[held_out].to(device)
            held = _Count(classes)
            held.add(outputs, y, _loss(outputs, y, weight, classes))
            record["valid"] = held.means()
        record |= {
            "strides": strides(network),
            "lr": lr,
            "seconds": time.monotonic() - start,
            "cpu_seconds": time.process_time() - start_cpu,
        }
        history.append(record)
        table.add(record, best=bool(held_out) and record["valid"]["loss"] < best)
        if held_out:
            # one that is not finite is never the best
            if record["valid"]["loss"] < best:
                best, best_epoch, best_weights = record["valid"]["loss"], epoch, copy.deepcopy(network.state_dict())
            elif epoch - best_epoch >= settings.patience:
                break
    if held_out:
        if best_weights is None:
            raise InputError(
                "the loss of the validation part was finite in no epoch: `X` must not have values so far from the "
                f"others, or `lr` (={settings.lr:g}) must be smaller"
            )
        network.load_state_dict(best_weights)
    # the last step is in no loss
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise _diverged("in the last step", settings)
    network.cpu().eval()
    return history


def split(
    labels: Tensor | None, count: int, fraction: float, generator: torch.Generator
) -> tuple[list[int], list[int]]:
    """The indices of the training and of the validation part, drawn at random.

    Args:
        labels: (N,) integers, or None. With labels every class gives the same share, rounded, and keeps at least one
            item in the training part.
        count: N.
        fraction: of the validation part.
        generator: of the draw.
    """
    whole = torch.arange(count)
    groups = [whole] if labels is None else [whole[labels == label] for label in labels.unique()]
    held_out = []
    for group in groups:
        order = torch.randperm(len(group), generator=generator)
        held_out += group[order][: min(round(fraction * len(group)), len(group) - 1)].tolist()
    return sorted(set(range(count)) - set(held_out)), sorted(held_out)


def training_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Batches of indices in random order, of `size` or almost; items of a batch are of similar lengths."""
    count = math.ceil(len(lengths) / size)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pools = [order[start : start + POOL * size] for start in range(0, len(order), POOL * size)]
    flat = torch.tensor([i for pool in pools for i in sorted(pool, key=lengths.__getitem__)])
    batches = flat.tensor_split(count)
    for index in torch.randperm(count, generator=generator).tolist():
        yield batches[index].tolist()


def crop(items: Sequence[Tensor], least: float, generator: torch.Generator) -> list[Tensor]:
    """A part of each item (C, T), anywhere in it: of all the same share, drawn between `least` and 1, or a little less.

    One share for a whole batch keeps items of equal lengths equal, which are faster than padded ones. Lengths are
    rounded down to one of `LENGTHS` between a power of two and the next: convolutions make preparations for every new
    length, and transforms are slow where it has large prime factors.
    """
    if least == 1:
        return list(items)
    share = least + (1 - least) * int(torch.randint(SHARES, (), generator=generator)) / (SHARES - 1)
    parts = []
    for item in items:
        length = max(1, round(share * item.shape[1]))
        step = max(1, 2 ** (length.bit_length() - 1) // LENGTHS)
        length = length // step * step
        start = int(torch.randint(item.shape[1] - length + 1, (), generator=generator))
        parts.append(item[:, start : start + length])
    return parts


def dropout(network: Network, batch: int, share: float, generator: torch.Generator) -> list[Tensor] | None:
    """Factors for what the network's linear layers read, (B, C) for each: 0 for that share of them, drawn at random,
    and 1 / (1 − share) for the others. None: nothing is dropped."""
    if share == 0:
        return None
    # drawn on the CPU, so that a seed drops the same on every device
    device = next(network.parameters()).device
    widths = [head.linear.in_features for head in network.heads]  # type: ignore[union-attr]
    kept = [torch.empty(batch, width).bernoulli_(1 - share, generator=generator) for width in widths]  # type: ignore[arg-type]
    return [(factors / (1 - share)).to(device) for factors in kept]


def _diverged(when: str, settings: Settings) -> InputError:
    names = ("lr", "stride_lr", "weight_decay", "complexity_weight")
    shown = ", ".join(f"`{name}` (={getattr(settings, name):g})" for name in names)
    return InputError(f"training diverged {when}: of {shown} one must be smaller for these data")


class _Count:
    """Loss and accuracy of an epoch."""

    def __init__(self, classes: bool) -> None:
        self.classes, self.items, self.loss, self.right = classes, 0, 0.0, 0.0

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        self.items += len(targets)
        self.loss += float(loss.detach()) * len(targets)
        self.right += float((outputs.argmax(1) == targets.argmax(1)).sum())

    def means(self) -> dict[str, float]:
        scores = {"loss": self.loss / self.items}
        return {**scores, "accuracy": self.right / self.items} if self.classes else scores


def _loss(outputs: Tensor, targets: Tensor, weight: Tensor | None, classes: bool) -> Tensor:
    if classes:
        return nn.functional.cross_entropy(outputs, targets, weight=weight)
    return nn.functional.mse_loss(outputs, targets)


def _epochs(count: int, history: list[dict[str, Any]], verbose: bool) -> Iterator[int]:
    """The numbers of the epochs, from 1; with a progress bar that shows the last record."""
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
