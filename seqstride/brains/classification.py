"""Classification of sequences: cross entropy, the layers' penalties and the price of long sequences."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import seqstride as ss
from seqstride._compat import require_torchaudio
from seqstride.brains.mixup import mixup
from seqstride.lengths import length_mask
from seqstride.lobes import to_channels_first

require_torchaudio()

import speechbrain as sb  # noqa: E402

from seqstride.brains.history import History  # noqa: E402


class Prediction(NamedTuple):
    """What a forward pass gives the objective."""

    logits: Tensor
    """(B, classes)."""
    targets: Tensor
    """(B, classes), rows that sum to 1; mixed where the inputs are."""
    encoded: Any
    """What the encoder returned: features, lengths, penalty, plans."""


class ClassificationBrain(sb.Brain):
    """A SpeechBrain `Brain` that classifies sequences with a downsampling encoder.

    Batches have `features`, padded (B, T, C) with relative lengths, and `target`, (B,) class indices. Modules:
    `normalize`, `encoder`, `classifier`. The loss is

        cross entropy + penalty_weight · (gap penalties) + complexity weight · (complexity of the encoder)

    Hyperparameters read: `seed`, `number_of_epochs`, `lr`, `stride_lr`, `weight_decay`, `penalty_weight`, `mixup_alpha`
    (0 for none), `complexity` (a mapping: `kind` and `length` as in `seqstride.complexity`, and `weight`),
    `train_logger`. Strides are excluded from weight decay and have a learning rate of their own; all learning rates
    follow half a cosine to 0. An epoch's random numbers depend on the seed and the epoch only, so that a resumed run
    goes on as if it had never stopped.

    Attributes:
        history: one record per epoch: losses, accuracies, strides, seconds.
        test: after `evaluate`: loss, accuracy and the error of each class.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.history = History()
        self.test: dict[str, Any] = {}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("history", self.history)

    @property
    def encoder(self) -> Any:
        """The encoder itself, whatever SpeechBrain has wrapped it in for distributed training."""
        encoder = self.modules["encoder"]
        return getattr(encoder, "module", encoder)

    # One batch

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Prediction:
        """Normalises, mixes (in training), encodes and classifies a batch."""
        batch = batch.to(self.device)
        x, lengths = to_channels_first(*batch.features)
        x = self.modules["normalize"](x, lengths)
        classes = self.hparams.classes
        targets = nn.functional.one_hot(batch.target, classes).to(x)
        if stage == sb.Stage.TRAIN and self.hparams.mixup_alpha > 0:
            x, lengths, targets = mixup(x, lengths, targets, self.hparams.mixup_alpha)
        encoded = self.modules["encoder"](x, lengths)
        logits = self.modules["classifier"](encoded.features, encoded.lengths)
        return Prediction(logits, targets, encoded)

    def compute_objectives(self, predictions: Prediction, batch: Any, stage: sb.Stage) -> Tensor:
        """The loss of a batch; counts its confusions and, in validation, its strides."""
        logits, targets, encoded = predictions
        loss = nn.functional.cross_entropy(logits.float(), targets)
        loss = loss + self.hparams.penalty_weight * encoded.penalty
        price = self.hparams.complexity
        if price["weight"] > 0:
            loss = loss + price["weight"] * ss.complexity(self.encoder, kind=price["kind"], length=price["length"])

        truth, guess = targets.argmax(1).cpu(), logits.detach().argmax(1).cpu()
        self.confusion.index_put_((truth, guess), torch.ones(len(truth)), accumulate=True)
        if stage == sb.Stage.VALID:
            for block, plan in zip(self.local_strides, encoded.plans, strict=True):
                strides = plan.strides()
                block.append(strides[length_mask(plan.input_lengths, strides.shape[1])].cpu())
        return loss

    # Optimisation

    def init_optimizers(self) -> None:
        """One optimiser whose groups `seqstride.parameter_groups` makes."""
        groups = ss.parameter_groups(
            self.modules, self.hparams.lr, self.hparams.weight_decay, stride_lr=self.hparams.stride_lr
        )
        for group in groups:
            group["initial_lr"] = group["lr"]
        self.optimizer = self.opt_class(groups)
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def optimizers_step(self) -> None:
        """One step, with the gradients of all groups clipped together (SpeechBrain clips the first group only)."""
        self.scaler.unscale_(self.optimizer)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if self.max_grad_norm > 0:
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        if self.skip_nonfinite_grads and not self.scaler.is_enabled():
            self.check_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    # One epoch

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Resets the counts; in training also seeds the epoch and sets its learning rate."""
        classes = self.hparams.classes
        self.confusion = torch.zeros(classes, classes)
        self.local_strides: list[list[Tensor]] = [[] for _ in self.encoder.downsamplers]
        if stage == sb.Stage.TRAIN:
            assert epoch is not None  # SpeechBrain numbers the epochs of training from 1
            self.epoch_start = time.monotonic()
            torch.manual_seed(self.hparams.seed * 100_003 + epoch)
            progress = (epoch - 1) / self.hparams.number_of_epochs
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * 0.5 * (1 + math.cos(math.pi * progress))

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Logs an epoch and saves it; keeps the newest checkpoint and the one with the lowest validation loss."""
        stats = {"loss": float(stage_loss), "accuracy": self._accuracy()}
        if stage == sb.Stage.TRAIN:
            self.train_stats = stats
        elif stage == sb.Stage.VALID:
            self._end_epoch(epoch, stats)
        else:
            correct, total = self.confusion.diag(), self.confusion.sum(1)
            error = (1 - correct / total.clamp(min=1)).tolist()
            self.test = {**stats, "error_per_class": error, "items_per_class": total.long().tolist()}
            self.hparams.train_logger.log_stats({"epoch": "best"}, test_stats=stats)

    def strides(self) -> list[float]:
        """The current stride of every block."""
        return [torch.as_tensor(layer.stride).detach().item() for layer in self.encoder.downsamplers]

    def _accuracy(self) -> float:
        return float(self.confusion.diag().sum() / self.confusion.sum())

    def _end_epoch(self, epoch: int | None, stats: dict[str, float]) -> None:
        strides = self.strides()
        quantiles = torch.tensor([0.1, 0.9])
        spread = [torch.quantile(torch.cat(block).float(), quantiles).tolist() for block in self.local_strides]
        record = {
            "epoch": epoch,
            "train": self.train_stats,
            "valid": stats,
            "strides": strides,
            "local_strides": spread,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": time.monotonic() - self.epoch_start,
        }
        self.history.epochs.append(record)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": record["lr"], "strides": " ".join(f"{stride:.3f}" for stride in strides)},
            train_stats=self.train_stats,
            valid_stats=stats,
        )
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(
                meta={"loss": stats["loss"], "epoch": epoch},
                min_keys=["loss"],
                num_to_keep=1,
                importance_keys=[],  # SpeechBrain appends to this list: its default would grow from epoch to epoch
            )
