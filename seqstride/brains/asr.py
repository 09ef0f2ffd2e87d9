"""Speech recognition with CTC behind a downsampling encoder."""

from __future__ import annotations

import logging
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqstride._compat import require_torchaudio
from seqstride.brains.base import DownsamplingBrain
from seqstride.errors import InputError, made_as_asked, require
from seqstride.experiments.items import ItemResult
from seqstride.experiments.records import PARTS
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.lobes import absolute_lengths
from seqstride.models.tokens import BLANK, SPACE, Units, frames_needed, greedy_decode
from seqstride.plots.runs import plot_training
from seqstride.plots.strides import plot_strides

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.dataio.batch import PaddedBatch  # noqa: E402
from speechbrain.utils.checkpoints import average_checkpoints  # noqa: E402
from speechbrain.utils.metric_stats import ErrorRateStats  # noqa: E402

from seqstride.brains.batching import batch_by_length  # noqa: E402
from seqstride.brains.manifests import item_seconds, recipe_manifests  # noqa: E402
from seqstride.brains.process_group import agreed  # noqa: E402
from seqstride.brains.unit_check import check_units  # noqa: E402
from seqstride.models.recogniser import describe_transcriber, save_transcriber, transcripts  # noqa: E402

logger = logging.getLogger(__name__)

UNALIGNABLE_SHARE = 0.01
"""The largest share of the training items that may be too short for their units."""


class Prediction(NamedTuple):
    """The result of a forward pass, from which the loss is computed."""

    log_probs: Tensor
    """(B, L, units), float32."""
    encoded: Any
    """The result of the encoder: features, lengths, penalty, plans."""
    middle: Tensor | None = None
    """As `log_probs`, from the middle of the encoder, if that has a share of the loss."""


class CTCBrain(DownsamplingBrain):
    """Recognises speech: a downsampling encoder, a linear layer, CTC.

    Batches have `signal` and `text`. Module `output`: the linear layer. The loss of a batch is the sum of its items'
    CTC losses over the number of their units, plus what `DownsamplingBrain.regularised` adds. Items with fewer frames
    than CTC needs cannot be aligned: they have no part in the loss and are counted in every epoch (`unalignable`).
    In training `intermediate` is the share that the same loss has of the features in the middle of the encoder, behind
    the same linear layer (Lee & Watanabe, "Intermediate loss regularization for CTC-based speech recognition", ICASSP
    2021): it learns faster.

    Validation decodes greedily; the test with `beam_search`, where there is one. The encoder that is scored is the mean
    of the best `average` epochs; integer buffers are those of the best one.

    Hyperparameters read beyond those of `DownsamplingBrain`: `text` (the manifests' key of the transcription), `units`
    ("chars" or "words", those of the training part, or "pieces" of words, learnt from it with `pieces`, the options of
    SentencePiece's trainer), `selection` ("WER" or "CER", of the validation part, decides which epochs are best),
    `average`, `warmup_steps` (optimiser steps in which the learning rates rise from 0), `beam_search` (null, or what
    makes a SpeechBrain CTC searcher, given `blank_index` and `vocab_list`), `dynamic_batching`
    (see `batch_by_length`); where it is there, `intermediate`.
    """

    running = ("unaligned",)
    counted = (*DownsamplingBrain.counted, "unaligned", "compute_seconds", "decoded")
    commands = {"wav": "transcribe", "features": "transcribe"}
    intermediate = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.selection = self.hparams.selection
        if self.selection not in ("WER", "CER"):
            raise InputError(f"`selection` (={self.selection!r}) must be 'WER' or 'CER'")
        if self.hparams.average < 1:
            raise InputError(f"`average` (={self.hparams.average}) must be at least 1")
        self.intermediate = getattr(self.hparams, "intermediate", self.intermediate)
        if not 0 <= self.intermediate < 1:
            raise InputError(f"`intermediate` (={self.intermediate}) must be at least 0 and below 1")
        self.checkpoints_kept = self.hparams.average
        self.units: Units = self.hparams.unit_names
        self.searcher = None
        if self.hparams.beam_search is not None:
            mark = SPACE if self.units.kind == "words" else ""  # SpeechBrain takes these for the starts of words
            names = ["<blank>", *(mark + name for name in self.units.names)]
            try:
                with made_as_asked("beam_search"):
                    self.searcher = self.hparams.beam_search(blank_index=BLANK, vocab_list=names)
            except ImportError:  # SpeechBrain imports what an n-gram model needs
                require("kenlm", "lm")
                require("pygtrie", "lm")
                raise

    @classmethod
    def load_data(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        """Reads the manifests; the units found in the training part decide the size of the linear layer."""
        datasets = recipe_manifests(hparams)
        key = hparams["text"]
        for split, dataset in datasets.items():
            for name, item in dataset.data.items():
                if not (isinstance(item.get(key), str) and item[key].split()):
                    raise InputError(f"`text` (={key!r}) must be a key of every item with words; {split}: {name}")
            dataset.set_output_keys({"id": "id", "signal": "signal", "text": key})
        texts = [item[key] for item in datasets["train"].data.values()]
        if hparams["units"] == "pieces":
            model = Path(hparams["save_folder"]) / "pieces.model"
            units = agreed(partial(Units.pieces, texts, model, **hparams["pieces"]))
        else:
            units = Units.of(hparams["units"], texts)
        for split, dataset in datasets.items():
            check_units(units, split, {name: item[key] for name, item in dataset.data.items()})
        hparams["unit_names"] = units
        hparams["modules"]["output"] = nn.Linear(hparams["modules"]["encoder"].out_channels, len(units))
        hparams["checkpointer"].add_recoverable("output", hparams["modules"]["output"])
        batch_by_length(hparams, datasets["train"])
        return datasets

    @classmethod
    def outputs(cls, hparams: dict[str, Any]) -> dict[str, list[str]]:
        """Returns the names of the units."""
        return {"units": hparams["unit_names"].names}

    # What CTC can align

    def fit(self, epoch_counter: Any, train_set: Any, *args: Any, **kwargs: Any) -> None:
        """Checks that the training items are long enough for their units, and runs SpeechBrain's method.

        Raises:
            ValueError: more than 1 % of them are too short.
        """
        short = [] if self.test_only else self.unalignable(train_set)
        if short:
            logger.warning("%d of %d training items are too short for CTC", len(short), len(train_set))
        if len(short) > UNALIGNABLE_SHARE * len(train_set):
            name, frames, needed = short[0]
            raise InputError(
                f"{len(short)} of {len(train_set)} training items have fewer frames behind strides of "
                f"{', '.join(f'{stride:g}' for stride in self.strides())} than CTC needs for their "
                f"`units` (={self.units.kind!r}), such as {name}: {frames} frames, {needed} needed; "
                "`strides` must be smaller, or the units coarser (words)"
            )
        super().fit(epoch_counter, train_set, *args, **kwargs)

    def unalignable(self, dataset: Any) -> list[tuple[str, int, int]]:
        """Returns id, frames and frames needed of the items that are too short with the present strides.

        None where the content decides on the number of frames; those items are counted in every epoch.
        """
        if any(layer.content_lengths for layer in self.encoder.downsamplers):
            return []
        items = list(dataset.data.items())
        lengths = torch.tensor([self.input_length(item) for _, item in items])
        key = self.hparams.text
        frames = self.encoder.output_lengths(lengths).tolist()
        needed = [frames_needed(self.units.encode(item[key])) for _, item in items]
        return [(name, has, needs) for (name, _), has, needs in zip(items, frames, needed, strict=True) if has < needs]

    def input_length(self, item: dict[str, Any]) -> int:
        """Returns the frames at the encoder's input, for an item of a manifest."""
        if "wav" not in item:
            return int(item["length"])
        samples = round(item_seconds(item) * self.hparams.sample_rate)
        return int(self.modules["frontend"].output_lengths(torch.tensor([samples])))

    # One batch

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Prediction:
        """Augments (in training), encodes, and computes log probabilities of every frame."""
        self.batch_start = time.perf_counter()
        batch = batch.to(self.device)
        signal, relative = batch.signal
        x, lengths = self.features(signal, absolute_lengths(relative, signal.shape[1]), stage)
        encoded = self.net("encoder", stage)(x, lengths)
        features = [encoded.features]
        if stage == sb.Stage.TRAIN and self.intermediate > 0:
            if encoded.middle is None:
                raise InputError(f"`intermediate` (={self.intermediate}) must be 0 with an encoder without `middle`")
            features.append(encoded.middle)
        logits = self.net("output", stage)(torch.cat(features).transpose(1, 2))
        log_probs, *middle = logits.float().log_softmax(2).chunk(len(features))
        return Prediction(log_probs, encoded, *middle)

    def compute_objectives(self, predictions: Prediction, batch: Any, stage: sb.Stage) -> Tensor:
        """Returns the loss of a batch; decodes it in validation and test."""
        log_probs, encoded, middle = predictions
        targets = [self.units.encode(text) for text in batch.text]
        targets *= len(log_probs) // len(targets)  # an augmenter may append new items
        counts = torch.tensor([len(target) for target in targets])
        needed = torch.tensor([frames_needed(target) for target in targets])
        lengths = encoded.lengths.cpu()
        alignable = lengths >= needed
        self.unaligned += int((~alignable).sum())

        def ctc(log_probs: Tensor) -> Tensor:
            return nn.functional.ctc_loss(
                log_probs.transpose(0, 1),
                torch.tensor([unit for target in targets for unit in target], device=log_probs.device),
                lengths,
                counts,
                blank=BLANK,
                reduction="none",
                zero_infinity=True,
            )

        losses = ctc(log_probs)
        if middle is not None:
            losses = (1 - self.intermediate) * losses + self.intermediate * ctc(middle)
        units = int((counts * alignable).sum())
        loss = self.share(units, stage) * losses.sum() / max(1, units)
        if stage != sb.Stage.TRAIN:
            self._decode(log_probs, encoded, batch, stage)
        return self.regularised(loss, encoded, stage)

    def _decode(self, log_probs: Tensor, encoded: Any, batch: Any, stage: sb.Stage) -> None:
        texts = self.decode(log_probs, encoded.lengths, beam=stage == sb.Stage.TEST)
        self.compute_seconds += time.perf_counter() - self.batch_start
        hypotheses, references = [text.split() for text in texts], [text.split() for text in batch.text]
        letters = [[list(" ".join(words)) for words in texts] for texts in (hypotheses, references)]
        compared = {"WER": ErrorRateStats(), "CER": ErrorRateStats()}
        compared["WER"].append(batch.id, hypotheses, references)
        compared["CER"].append(batch.id, *letters)
        self.decoded.append({name: stats.scores for name, stats in compared.items()})
        if stage == sb.Stage.TEST:
            for item in compared["WER"].scores:
                self.item_results[item["key"]] = ItemResult(item["num_edits"], item["num_ref_tokens"])

    def error_rates(self, name: str) -> ErrorRateStats:
        """Returns the comparison of all texts of the stage with what was said: of words, "WER", or letters, "CER"."""
        stats = ErrorRateStats()
        stats.scores = [item for batch in self.decoded for item in batch[name]]
        stats.ids = [item["key"] for item in stats.scores]
        return stats

    def decode(self, log_probs: Tensor, lengths: Tensor, beam: bool = False) -> list[str]:
        """Returns the texts: (B, L, units), (B,) int64 → B texts, by beam search if `beam` and there is one."""
        if self.searcher is None or not beam:
            return [self.units.decode(units) for units, _ in greedy_decode(log_probs, lengths)]
        # item by item: the searcher's own batches cut relative lengths down to whole frames, and may lose one
        items = zip(log_probs.cpu().numpy(), lengths.tolist(), strict=True)
        return [self.searcher.decode_log_probs(item, length)[0].text for item, length in items]

    # Optimisation

    def optimizers_step(self) -> None:
        """Takes one step at the epoch's learning rates, which are lower during the warm-up."""
        warm = min(1.0, (self.optimizer_step + 1) / max(1, self.hparams.warmup_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.rate_share * warm
        super().optimizers_step()

    def on_evaluate_start(self, max_key: str | None = None, min_key: str | None = None) -> None:
        """Recovers the best epoch, and loads the mean weights of the best epochs."""
        super().on_evaluate_start(max_key=max_key, min_key=min_key)
        if self.checkpointer is None or self.hparams.average == 1:
            return
        best = self.checkpointer.find_checkpoints(min_key=self.selection, max_num_checkpoints=self.hparams.average)
        for name, module in self.checkpointer.recoverables.items():
            if best and isinstance(module, nn.Module):
                module.load_state_dict(average_checkpoints(best, name, averager=average_states))

    # Scores

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Starts a stage; in training also keeps the factor on the learning rates."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.TRAIN:
            assert epoch is not None  # SpeechBrain numbers the epochs of training from 1
            self.rate_share = self.learning_rate_share(epoch)

    def start_scores(self, stage: sb.Stage) -> None:
        self.unaligned = 0
        self.compute_seconds = 0.0
        self.decoded: list[dict[str, Any]] = []

    def scores(self, stage: sb.Stage) -> dict[str, float]:
        """Returns `unalignable`, the number of too short items, and in decoded stages `WER` and `CER` in %."""
        if stage == sb.Stage.TRAIN:
            return {"unalignable": int(self.total(torch.tensor(self.unaligned), stage))}
        rates = {name: float(self.error_rates(name).summarize("WER")) for name in ("WER", "CER")}
        return {**rates, "unalignable": self.unaligned}

    def record(self, datasets: dict[str, Any]) -> dict[str, Any]:
        """Returns error rates of the scored part, frame rates, and the cost of decoding."""
        seconds, part = self.scored_seconds(datasets), PARTS[self.hparams.score]
        return {
            "metric": {"name": "WER", "value": self.test["WER"], "unit": "%", "lower_is_better": True},
            "figures": {f"{part} CER, %": self.test["CER"], "output frames per s": self.output_frames / seconds},
            **{f"test_{name}": value for name, value in self.test.items()},
            "units": self.units.kind,
            "unit_count": len(self.units),
            "decoding": "greedy" if self.searcher is None else type(self.searcher).__name__,
            "averaged_epochs": self.hparams.average,
            "real_time_factor": self.compute_seconds / seconds,
            "peak_memory_mb": _peak_memory(self.device),
        }

    # Model and pictures

    def save(self, folder: Path, recipe: str, datasets: dict[str, Any]) -> None:
        """Writes the recogniser for `seqstride.models.recogniser`, and the alignments `wer.txt` and `cer.txt`."""
        item = next(iter(datasets["train"].data.values()))
        description = describe_transcriber(
            recipe,
            units=self.units,
            sample_rate=self.hparams.sample_rate if "wav" in item else None,
            frame_rate=self.frame_rate(item),
            feature_name=self.hparams.feature_name,
        )
        save_transcriber(folder, description, {name: self.net(name) for name in self.modules})
        for name in ("WER", "CER"):
            with whole_file(folder / f"{name.lower()}.txt") as part, open(part, "w", encoding="utf-8") as file:
                self.error_rates(name).write_stats(file)

    def draw(self, folder: Path, datasets: dict[str, Any], epochs: list[dict[str, Any]]) -> None:
        """Draws `training.png`, the curves of the run, and `strides.png`, three items with texts and outputs."""
        save_figure(plot_training(epochs, chosen=self.history.epochs[-1]["epoch"]), folder / "training.png")
        dataset = datasets[self.hparams.score]
        names = sorted(dataset.data_ids, key=lambda name: item_seconds(dataset.data[name]))
        chosen = list(dict.fromkeys(names[round(share * (len(names) - 1))] for share in (0.1, 0.4, 0.7)))
        items = [dataset.data[name] for name in chosen]
        batch = PaddedBatch([dataset[dataset.data_ids.index(name)] for name in chosen]).to(self.device)
        signal, relative = batch.signal
        rate = self.frame_rate(items[0])
        with torch.no_grad():
            x, lengths = self.front(signal, absolute_lengths(relative, signal.shape[1]))
            encoded = self.encoder(x, lengths)
            log_probs = self.net("output")(encoded.features.transpose(1, 2)).float().log_softmax(2)
            written = transcripts(self.units, log_probs, encoded, rate)
        picture = plot_strides(
            x,
            encoded,
            titles=[
                f"said: {' '.join(item[self.hparams.text].split())}\nwritten: {transcript.text}"
                for item, transcript in zip(items, written, strict=True)
            ],
            frame_rate=rate,
            feature_name=self.hparams.feature_name,
            value_name="value, normalised",
            marks=[[(token.text, token.time * rate) for token in transcript.tokens] for transcript in written],
            bands_hz=self.bands_hz(items[0]),
        )
        save_figure(picture, folder / "strides.png")


def average_states(states: Any) -> dict[str, Tensor]:
    """Returns the mean of state dicts, best first, in their own precision; the best one gives all but floats."""
    first, *others = states
    mean = {}
    for name, tensor in first.items():
        if tensor.is_floating_point():
            tensor = torch.stack([tensor, *(state[name] for state in others)]).double().mean(0).to(tensor.dtype)
        mean[name] = tensor
    return mean


def _peak_memory(device: Any) -> float:
    """Returns the peak memory in MB: of a GPU as torch counts it, else of the whole process (max RSS)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
