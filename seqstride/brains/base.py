"""The part of training that all tasks share: features of a batch, regularisation, records of epochs, checkpoints."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqstride._compat import require_torchaudio
from seqstride.core.lengths import length_mask, zero_padding
from seqstride.distributed import of_all_ranks, rank, ranks, share_of_rank, sum_over_ranks
from seqstride.errors import FileError, InputError, made_as_asked
from seqstride.experiments.items import pack_items
from seqstride.experiments.processes import cpu_seconds
from seqstride.experiments.screen import in_percent
from seqstride.files.room import write_reason
from seqstride.layers.annealing import anneal, epoch_progress
from seqstride.layers.complexity import complexity

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.dataio.sampler import ReproducibleRandomSampler  # noqa: E402
from torch.utils.data import SequentialSampler  # noqa: E402

from seqstride.brains.dealing import DealingBrain  # noqa: E402
from seqstride.brains.epoch_state import EpochState, random_states, restore_random_states, seed_generators  # noqa: E402
from seqstride.brains.history import History, forget_later  # noqa: E402
from seqstride.brains.manifests import item_seconds  # noqa: E402
from seqstride.brains.process_group import agreed, check_processes, note_processes  # noqa: E402
from seqstride.lobes import absolute_lengths  # noqa: E402

logger = logging.getLogger(__name__)


class DownsamplingBrain(DealingBrain):
    """A SpeechBrain `Brain` around an encoder whose layers downsample. Each task is a subclass.

    Batches have `id`, and `signal` with relative lengths: waveforms (B, S), which the module `frontend` turns into
    features, or features (B, T, C). Further modules are `normalize`, `encoder`, and those of the task.

    Hyperparameters read, besides those of `OptimisingBrain`: `seed`, `penalty_weight`, `complexity` (a mapping: `kind`
    and `length` as in `seqstride.complexity`, and `weight`), `wav_augment` and `fea_augment` (SpeechBrain augmenters of
    (B, S) and (B, T, C), or null), `train_logger`. All learning rates follow half a cosine to 0.

    A resumed run gives the same result as one that was never interrupted: the random numbers of an epoch depend only on
    seed, epoch and rank, and a checkpoint inside an epoch keeps the states of the generators. With gradient
    accumulation such a checkpoint waits for the next step. A validation loss that is not finite counts as infinite.

    Under `torchrun` W ranks with batches of B items take the steps that one process takes with batches of W·B items.
    The loss is the mean over the items of all ranks, also if their batches differ in size. The ranks share
    the batches of validation and test, and every score is that of a single process. Rank 0 writes.

    Attributes:
        history: one record per epoch: losses, scores, strides, seconds.
        test: the scores of `evaluate`.
        before_training: called by `fit` after all checks, before anything is recovered or trained.
        selection: the validation score that decides which epoch is kept; the lowest is best.
        checkpoints_kept: the number of best epochs that are kept, besides the newest.
        running: names of attributes that `start_scores` sets and a training epoch counts in; a checkpoint inside an
            epoch keeps them. Their values are tensors, plain values, and dicts and lists of these.
    """

    selection = "loss"
    checkpoints_kept = 1
    running: tuple[str, ...] = ()
    counted = (*DealingBrain.counted, "input_frames", "output_frames", "frames_seen", "local_strides")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.train_sampler = getattr(self.hparams, "train_batches", None)  # of `batch_by_length`
        self.history = History()
        self.test: dict[str, Any] = {}
        self.epoch_state = EpochState()
        self.generators: dict[str, Any] = {}  # their states in the middle of the epoch that is resumed
        self.before_training: Callable[[], None] = lambda: None
        self.input_frames = self.output_frames = 0  # of the encoder, outside of training
        self.frames_seen = torch.zeros(
            len(self.encoder.downsamplers), 2, dtype=torch.int64
        )  # before, behind each layer
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("history", self.history)
            self.checkpointer.add_recoverable("progress", self.epoch_state)

    # Methods that a task defines

    @classmethod
    def load_data(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        """Returns the data sets of the splits, from the prepared manifests; may add to `hparams` what depends on them.

        `hparams["audio_cache"]`, which `run_recipe` sets, loads the recordings.

        Raises:
            ValueError: a manifest is missing or wrong.
        """
        raise NotImplementedError

    @classmethod
    def outputs(cls, hparams: dict[str, Any]) -> dict[str, list[str]]:
        """Returns the meaning of the outputs in their order, such as the classes of every label; after `load_data`."""
        return {}

    def start_scores(self, stage: sb.Stage) -> None:
        """Resets the counts of a stage."""

    def scores(self, stage: sb.Stage) -> dict[str, float]:
        """Returns the scores of a stage besides its loss, in the units of the log."""
        return {}

    def record(self, datasets: dict[str, Any]) -> dict[str, Any]:
        """Returns the task's entries of a run's record: plain JSON values."""
        return {}

    def scored_seconds(self, datasets: dict[str, Any]) -> float:
        """Returns the duration of the items of the scored part that were scored; a debug run scores only some."""
        items = datasets[self.hparams.score].data.items()
        return sum(item_seconds(item) for name, item in items if name in self.evaluated)

    def measured(self, datasets: dict[str, Any]) -> dict[str, Any]:
        """Returns the entries of a record that all tasks have: frames per second of the scored part, and its items."""
        seconds = self.scored_seconds(datasets)
        return {
            "input_frames_per_second": self.input_frames / seconds,
            "output_frames_per_second": self.output_frames / seconds,
            **({"items": pack_items(self.item_results)} if self.item_results else {}),
        }

    def draw(self, folder: Path, datasets: dict[str, Any], epochs: list[dict[str, Any]]) -> None:
        """Draws the task's pictures into `folder`."""

    def save(self, folder: Path, recipe: str, datasets: dict[str, Any]) -> None:
        """Writes the trained model into `folder`; `recipe` is the merged HyperPyYAML text."""

    # One batch

    @property
    def encoder(self) -> Any:
        """The encoder without the wrapper that SpeechBrain puts around it in distributed training."""
        return self.net("encoder")

    def net(self, name: str, stage: sb.Stage | None = None) -> Any:
        """Returns a module: in training with the wrapper that averages gradients over the ranks, else without it."""
        module = self.modules[name]
        return module if stage == sb.Stage.TRAIN else getattr(module, "module", module)

    def features(self, signal: Tensor, lengths: Tensor, stage: sb.Stage) -> tuple[Tensor, Tensor]:
        """Normalised features, augmented in training: (B, C, T) with 0 in the padding, lengths (B,).

        Args:
            signal: waveforms (B, S) or features (B, T, C).
            lengths: (B,) int64.
            stage: of the run.
        """
        training = stage == sb.Stage.TRAIN
        if signal.ndim == 2 and training and self.hparams.wav_augment is not None:
            signal, relative = self.hparams.wav_augment(signal, lengths / signal.shape[1])
            lengths = absolute_lengths(relative, signal.shape[1])
        x, lengths = self.front(signal, lengths)
        if training and self.hparams.fea_augment is not None:
            augmented, relative = self.hparams.fea_augment(x.transpose(1, 2), lengths / x.shape[2])
            lengths = absolute_lengths(relative, augmented.shape[1])
            x = zero_padding(augmented.transpose(1, 2), lengths)
        return x, lengths

    def front(self, signal: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, S) or features (B, T, C), lengths (B,) → normalised features (B, C, T), lengths (B,)."""
        if signal.ndim == 2:
            x, lengths = self.modules["frontend"](signal, lengths)
        else:
            x = signal.transpose(1, 2)
        return self.modules["normalize"](x, lengths), lengths

    def frame_rate(self, item: dict[str, Any]) -> float:
        """Frames per second at the encoder's input, for an item of a manifest."""
        return float(self.modules["frontend"].frame_rate if "wav" in item else item["frame_rate"])

    def bands_hz(self, item: dict[str, Any]) -> np.ndarray | None:
        """Centres of the bands that the front end makes of an item of a manifest, Hz; None where it is features."""
        return self.net("frontend").centres_hz().cpu().numpy() if "wav" in item else None

    def fit_normalisation(self, dataset: Any) -> None:
        """Fits `normalize` to the features of every item of the training part; every rank reads its share of them."""
        shared = range(rank(), len(dataset), ranks())
        bar = self.new_bar("statistics of the features", shared)
        with dataset.output_keys_as(["signal"]), made_as_asked("normalize"):
            self.modules["normalize"].fit(self._item_features(dataset[index]["signal"]) for index in bar)

    def _item_features(self, signal: Tensor) -> Tensor:
        """Features before normalisation of a waveform (S,) or of features (T, C): (C, T)."""
        if signal.ndim == 2:
            return signal.T
        waveform = signal[None].to(self.device)
        return self.modules["frontend"](waveform, torch.tensor([len(signal)], device=self.device))[0][0]

    def regularised(self, loss: Tensor, encoded: Any, stage: sb.Stage) -> Tensor:
        """Adds the layers' penalties and the weighted complexity to a loss; outside of training also keeps strides."""
        share = self.share(len(encoded.lengths), stage)
        loss = loss + share * self.hparams.penalty_weight * encoded.penalty
        price = self.hparams.complexity
        if price["weight"] > 0:
            loss = loss + price["weight"] * complexity(self.encoder, kind=price["kind"], length=price["length"])
        if stage != sb.Stage.TRAIN:
            self.input_frames += int(encoded.input_lengths.sum())
            self.output_frames += int(encoded.lengths.sum())
            for seen, layer, plan in zip(self.frames_seen, self.encoder.downsamplers, encoded.plans, strict=True):
                if layer.content_lengths:
                    seen += torch.tensor([int(plan.input_lengths.sum()), int(plan.lengths.sum())])
        if stage == sb.Stage.VALID:
            every = [plan.strides() for plan in encoded.plans]
            pairs = zip(every, encoded.plans, strict=True)
            own = [strides[length_mask(plan.input_lengths, strides.shape[1])].cpu() for strides, plan in pairs]
            self.local_strides.append(own)
        return loss

    def share(self, count: float, stage: sb.Stage) -> Tensor | float:
        """Returns the weight of this rank's mean over `count` items in the loss of all ranks; 1 outside of training."""
        return share_of_rank(count, self.device) if stage == sb.Stage.TRAIN else 1.0

    def total(self, counts: Tensor, stage: sb.Stage) -> Tensor:
        """Returns the sum of the counts of all ranks; outside of training a rank knows those of all."""
        whole = ranks() == 1 or stage != sb.Stage.TRAIN
        return counts if whole else sum_over_ranks(counts.to(self.device)).cpu()

    def make_dataloader(
        self, dataset: Any, stage: sb.Stage, ckpt_prefix: str | None = "dataloader-", **loader_kwargs: Any
    ) -> Any:
        """Makes SpeechBrain's loader. In training the ranks share the items of every step, in one process's order."""
        if self.distributed_launch and stage == sb.Stage.TRAIN:
            if not {"sampler", "batch_sampler"} & set(loader_kwargs):
                seed = os.environ.get("SB_GLOBAL_SEED", 563375142)  # as in SpeechBrain's loader of a single process
                shuffled = loader_kwargs.pop("shuffle", False)
                loader_kwargs["sampler"] = (
                    ReproducibleRandomSampler(dataset, seed=seed) if shuffled else SequentialSampler(dataset)
                )
            count = len(loader_kwargs.get("sampler") or loader_kwargs["batch_sampler"])
            if count <= ranks():
                raise InputError(f"the training part must give more than {ranks()} processes something; it has {count}")
        with made_as_asked("train_dataloader" if stage == sb.Stage.TRAIN else "valid_dataloader"):
            return super().make_dataloader(dataset, stage, ckpt_prefix, **loader_kwargs)

    # Optimisation

    def on_fit_start(self) -> None:
        """Calls `before_training`, runs SpeechBrain's method, and starts the table of the epochs."""
        self.before_training()
        super().on_fit_start()
        if self.history.epochs:
            note_processes(self.history.epochs[-1].get("processes", ranks()))
        log, limit = getattr(self.hparams.train_logger, "save_file", None), self.hparams.number_of_epochs
        agreed(partial(forget_later, log, len(self.history.epochs), limit))
        self.show_start(self.encoder.downsamplers, self.hparams.number_of_epochs, self.history.epochs)

    # One epoch

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Restores the random numbers of an epoch that is resumed, before its first batch."""
        if self.generators:
            restore_random_states(self.generators, self.device)
            self.generators = {}
        super().on_fit_batch_start(batch, should_step)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Resets the counts; in training also seeds the generators and sets the learning rate."""
        super().on_stage_start(stage, epoch)
        self.start_scores(stage)
        self.input_frames = self.output_frames = 0
        self.local_strides: list[list[Tensor]] = []  # batch by batch, of every block
        self.frames_seen = torch.zeros_like(self.frames_seen)
        if stage == sb.Stage.TRAIN:
            assert epoch is not None  # SpeechBrain numbers the epochs of training from 1
            self.epoch_start, self.epoch_start_cpu = time.monotonic(), cpu_seconds()
            self.step_items = []
            # the ranks share weights and the order of the items, but neither dropout nor augmentation
            seed_generators(self.hparams.seed * 100_003 + epoch + rank() * 10**12)
            self._resume_epoch()
            anneal(self.encoder, epoch_progress(epoch, self.hparams.number_of_epochs))
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.learning_rate_share(epoch)

    def _resume_epoch(self) -> None:
        """Continues from the state that a checkpoint inside this epoch kept."""
        states, self.epoch_state.state = self.epoch_state.state.get("ranks", [{}] * ranks()), {}
        check_processes(len(states))
        state = states[rank()]
        self.generators = state.get("generators", {})  # for the first batch: the loader draws a number before it
        if state:
            self.epoch_start -= state["seconds"]
            self.epoch_start_cpu -= state["cpu_seconds"]
            self.__dict__.update(state["counts"])

    def _should_save_intra_epoch_ckpt(self, *args: Any) -> bool:
        """Never saves between the batches of one step, because checkpoints keep no gradients; else asks SpeechBrain."""
        whole = self.step % self.grad_accumulation_factor == 0
        return whole and super()._should_save_intra_epoch_ckpt(*args)

    def _save_intra_epoch_ckpt(self) -> None:
        state = {
            "generators": random_states(self.device),
            "seconds": time.monotonic() - self.epoch_start,
            "cpu_seconds": cpu_seconds() - self.epoch_start_cpu,
            "counts": {name: getattr(self, name) for name in self.running},
        }
        self.epoch_state.state = {"ranks": of_all_ranks(state)}
        super()._save_intra_epoch_ckpt()
        self.epoch_state.state = {}

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Logs the stage. After validation saves a checkpoint, and keeps the newest and the best ones."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage != sb.Stage.TRAIN:
            stage_loss = self.put_together(stage_loss)
            stage_loss = math.inf if self.loss_not_finite else stage_loss
        if stage == sb.Stage.TRAIN:  # the mean over the steps of this rank, so far
            stage_loss = float(self.total(torch.tensor(float(stage_loss), dtype=torch.float64), stage)) / ranks()
        stats = {"loss": float(stage_loss), **self.scores(stage)}
        if stage == sb.Stage.TRAIN:
            self.train_stats = stats
        elif stage == sb.Stage.VALID:
            self._end_epoch(epoch, stats)
        else:
            self.test = stats
            best = {"best_epoch": self.history.epochs[-1]["epoch"]} if self.history.epochs else {}
            self._log(best, test_stats=in_percent(stats))

    def strides(self) -> list[float]:
        """Returns the current stride of every block.

        Where the content decides on the output lengths, that is the mean ratio of the items of the last validation or
        test, and before that the one aimed at.
        """
        strides = [torch.as_tensor(layer.stride).detach().item() for layer in self.encoder.downsamplers]
        seen = self.frames_seen.tolist()
        return [before / behind if behind else own for own, (before, behind) in zip(strides, seen, strict=True)]

    def frequency_strides(self) -> list[float]:
        """Returns the current stride of every block along frequency; empty for encoders that downsample time only."""
        layers = getattr(self.encoder, "frequency_downsamplers", [])
        return [torch.as_tensor(layer.stride).detach().item() for layer in layers]

    def _log(self, *args: Any, **kwargs: Any) -> None:
        """Gives the logger a line, on the first rank.

        Raises:
            FileError: on all ranks, where the log cannot be written.
        """

        def write() -> None:
            try:
                self.hparams.train_logger.log_stats(*args, **kwargs)
            except OSError as error:
                log = os.fspath(getattr(self.hparams.train_logger, "save_file", error.filename or "of the training"))
                reason = write_reason(error, Path(log).parent)
                raise FileError(f"the log {log!r} cannot be written: {reason}") from error

        agreed(write)

    def _end_epoch(self, epoch: int | None, stats: dict[str, float]) -> None:
        strides, wide = self.strides(), self.frequency_strides()
        quantiles = torch.tensor([0.1, 0.9])
        blocks = zip(*self.local_strides, strict=True)
        spread = [torch.quantile(_few(torch.cat(block)).float(), quantiles).tolist() for block in blocks]
        record = {
            "epoch": epoch,
            "train": self.train_stats,
            "valid": stats,
            "strides": strides,
            "local_strides": spread,
            "processes": ranks(),
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": time.monotonic() - self.epoch_start,
            "cpu_seconds": cpu_seconds() - self.epoch_start_cpu,
        }
        self.history.epochs.append(record)
        self._log(
            {"epoch": epoch, "lr": record["lr"], **_numbered("stride", strides), **_numbered("frequency_stride", wide)},
            train_stats=in_percent(self.train_stats),
            valid_stats=in_percent(stats),
        )
        self.show_epoch(self.history.epochs, self.selection)
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(
                meta={self.selection: stats[self.selection], "epoch": epoch},
                min_keys=[self.selection],
                num_to_keep=self.checkpoints_kept,
            )


def _numbered(name: str, strides: list[float]) -> dict[str, float]:
    """Returns one entry per block, because loggers such as TensorBoard's take single numbers only."""
    return {
        f"{name}_{block}": int(stride) if float(stride).is_integer() else round(stride, 3)
        for block, stride in enumerate(strides, 1)
    }


def _few(values: Tensor, limit: int = 1_000_000) -> Tensor:
    """Returns about `limit` evenly spread values at most: `torch.quantile` takes 16 million at most."""
    return values[:: max(1, len(values) // limit)]
