"""Discrete units of recordings: a VQ-VAE whose encoder downsamples by any method."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqstride._compat import require_torchaudio
from seqstride.brains.base import DownsamplingBrain
from seqstride.brains.coding import Bits, Units, unit_bits
from seqstride.brains.probe import code_shares, probe_accuracy
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.vqvae import Quantized, TransposedDecoder, decode_vectors, duration_plan
from seqstride.errors import InputError
from seqstride.experiments.items import ItemResult
from seqstride.files.whole_files import save_figure
from seqstride.models.reconstruction import undo_norm
from seqstride.models.vqvae import describe_coder, save_coder, unit_edges
from seqstride.models.windows import random_windows
from seqstride.plots.codes import Reconstruction, plot_codes
from seqstride.plots.runs import plot_training
from seqstride.plots.view import DECIBEL

require_torchaudio()

import speechbrain as sb  # noqa: E402
from speechbrain.dataio.batch import PaddedBatch  # noqa: E402

from seqstride.brains.manifests import item_seconds, recipe_manifests  # noqa: E402
from seqstride.lobes import absolute_lengths  # noqa: E402

logger = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """The result of a forward pass, from which the loss is computed."""

    target: Tensor
    """(B, C, T): the normalised input."""
    output: Tensor
    """(B, C, T): its reconstruction."""
    lengths: Tensor
    """(B,) int64: real frames of both."""
    encoded: Encoded
    quantized: Quantized


class VQVAEBrain(DownsamplingBrain):
    """Learns codes for recordings, from which a decoder reconstructs them.

    Batches have `signal`. Modules besides those of `DownsamplingBrain`: `quantizer` and `decoder`, see
    `seqstride.encoders.vqvae`. The loss is

        reconstruction + commitment_weight · commitment + penalty_weight · (gap penalties) + complexity weight · (…)

    Every stage scores `L1`, the mean absolute difference between the log-mel spectrograms of recording and
    reconstruction in dB, and of the codes `perplexity`, 2 to the power of their entropy, and `usage`, the share of the
    codebook that occurs; the last two are means over the quantisers.

    Hyperparameters read beyond those of `DownsamplingBrain`: `reconstruction` (a module: reconstruction, target,
    lengths → loss), `log_mel` (a `LogMel` where the front end is none), `commitment_weight`, `window` (seconds or null:
    training hears a random window of every recording), `probes` (label → the split on which a linear probe for it is
    scored. The probe (`seqstride.brains.probe`) is fitted to the training part; it is left out, with a warning, where
    that part cannot know the labels, such as those of speakers who are held out).
    """

    selection = "L1"
    running = ("tally",)
    counted = (*DownsamplingBrain.counted, "tally")
    commands = {"wav": "units"}

    @classmethod
    def load_data(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        """Reads the manifests, which must list recordings; labels with a probe must be keys of every item."""
        layers = hparams["modules"]["encoder"].downsamplers
        if isinstance(hparams["modules"]["decoder"], TransposedDecoder) and any(x.content_lengths for x in layers):
            raise InputError(
                "`decoder` (a TransposedDecoder) must be an ExpandDecoder: fixed strides do not lead back from output "
                "lengths that follow from the content"
            )
        datasets = recipe_manifests(hparams)
        for split, dataset in datasets.items():
            for key in ("wav", *hparams["probes"]):
                lacking = [name for name, item in dataset.data.items() if not isinstance(item.get(key), str)]
                if lacking:
                    raise InputError(
                        f"`manifests` ({split}) must have the text `{key}` in every item; {lacking[0]} lacks it"
                    )
            dataset.set_output_keys(["id", "signal"])
        for label, split in hparams["probes"].items():
            if split not in datasets:
                raise InputError(f"`probes` ({label}: {split!r}) must name one of the splits {', '.join(datasets)}")
        hparams["probes"] = {
            label: split for label, split in hparams["probes"].items() if _can_be_probed(datasets, label, split)
        }
        return datasets

    # One batch

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Prediction:
        """Cuts windows and augments (in training), encodes, quantises and decodes a batch."""
        batch = batch.to(self.device)
        signal, relative = batch.signal
        lengths = absolute_lengths(relative, signal.shape[1])
        if stage == sb.Stage.TRAIN and self.hparams.window is not None:
            signal, lengths = random_windows(signal, lengths, round(self.hparams.window * self.hparams.sample_rate))
        return self.reconstruct(*self.features(signal, lengths, stage), stage)

    def reconstruct(self, x: Tensor, lengths: Tensor, stage: sb.Stage | None = None) -> Prediction:
        """Encodes, quantises and decodes normalised features (B, C, T), lengths (B,)."""
        encoded = self.net("encoder", stage)(x, lengths)
        quantized = self.net("quantizer", stage)(encoded.features, encoded.lengths)
        decoder = self.net("decoder", stage)
        y = decode_vectors(decoder, quantized.features, duration_plan(encoded), lengths, x.shape[2])
        return Prediction(x, y, lengths, encoded, quantized)

    def compute_objectives(self, predictions: Prediction, batch: Any, stage: sb.Stage) -> Tensor:
        """Returns the loss of a batch; counts codes, their durations, and the error in dB."""
        x, y, lengths, encoded, quantized = predictions
        # means over the frames, and over the codes
        loss = self.share(int(lengths.sum()), stage) * self.hparams.reconstruction(y, x, lengths)
        commitment = self.share(int(encoded.lengths.sum()), stage) * quantized.commitment
        loss = loss + self.hparams.commitment_weight * commitment
        with torch.no_grad():
            errors, cells = self._count(predictions)
        if stage == sb.Stage.TEST:
            self.item_results.update(zip(batch.id, map(ItemResult, errors, cells), strict=True))
        return self.regularised(loss, encoded, stage)

    def _count(self, predictions: Prediction) -> tuple[list[float], list[int]]:
        """Counts codes and errors; returns the sum of the errors in dB and the number of cells of every item."""
        x, y, lengths, _, quantized = predictions
        recording, frames = self.log_mel(x, lengths)
        errors = DECIBEL * (recording - self.log_mel(y, lengths)[0]).abs().double().sum((1, 2)).cpu()
        cells = frames.cpu() * recording.shape[1]
        self.tally["error"] += errors.sum()
        self.tally["cells"] += int(cells.sum())
        real = quantized.codes[..., 0] >= 0
        for counts, codes in zip(self.tally["codes"], quantized.codes[real].T, strict=True):
            counts += torch.bincount(codes.cpu(), minlength=len(counts))
        return errors.tolist(), cells.tolist()

    def log_mel(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the log-mel spectrogram (B, bands, T) of normalised features or waveforms, and its lengths (B,)."""
        x = undo_norm(self.modules["normalize"], x, lengths)
        if self.hparams.log_mel is None:
            return x, lengths
        spectrogram, frames = self.hparams.log_mel.to(x.device)(x[:, 0], lengths)
        return spectrogram, frames

    # Scores

    def start_scores(self, stage: sb.Stage) -> None:
        quantizer = self.net("quantizer")
        self.tally: dict[str, Any] = {
            "error": torch.zeros((), dtype=torch.float64),
            "cells": 0,
            "codes": torch.zeros(quantizer.quantizers, quantizer.size, dtype=torch.int64),
        }

    def scores(self, stage: sb.Stage) -> dict[str, float]:
        """Returns `L1` in dB, and `perplexity` and `usage` of the codes."""
        codes = self.total(self.tally["codes"], stage)
        cells = self.total(torch.tensor(self.tally["cells"]), stage)
        return {
            "L1": float(self.total(self.tally["error"], stage) / cells),
            "perplexity": float((2 ** entropy(codes)).mean()),
            "usage": float((codes > 0).double().mean()),
        }

    def record(self, datasets: dict[str, Any]) -> dict[str, Any]:
        """Returns error, rates and probes of the scored part.

        Bits are those of `seqstride.brains.coding`. Durations need none where they are fixed: the length of a recording
        tells them all.
        """
        splits = {"train", self.hparams.score, *self.hparams.probes.values()}
        units = {split: self._units(datasets[split]) for split in splits}
        scored = [each for name, each in units[self.hparams.score].items() if name in self.evaluated]
        count = sum(len(each.codes) for each in scored)
        seconds = self.scored_seconds(datasets)
        (codes, durations), alone = (
            self._bits(units["train"], scored, seconds, contexts) for contexts in (True, False)
        )
        probes = self.probe(datasets, units)
        return {
            "metric": {"name": "log-mel L1", "value": self.test["L1"], "unit": "dB", "lower_is_better": True},
            **{f"test_{name}": value for name, value in self.test.items()},
            "train_usage": self.history.epochs[-1]["train"]["usage"],
            "codebook": list(self.tally["codes"].shape),
            "codes_per_second": count / seconds,
            "bits_per_second": codes + durations,
            "code_bits_per_second": codes,
            "duration_bits_per_second": durations,
            "bits_per_second_without_contexts": alone._asdict(),
            "probes": probes,
            "figures": {
                "bits/s": codes + durations,
                "of them durations": durations,
                "without contexts, bits/s": sum(alone),
                "codes/s": count / seconds,
                "perplexity": self.test["perplexity"],
                "usage, %": 100 * self.test["usage"],
                **{f"{label} probe, %": 100 * accuracy for label, accuracy in probes.items()},
            },
        }

    def _bits(self, train: dict[str, Units], scored: list[Units], seconds: float, contexts: bool) -> Bits:
        """Returns the bits per second of the scored units."""
        codes, durations = unit_bits([*train.values()], scored, self.net("quantizer").size, contexts)
        adaptive = any(layer.adaptive for layer in self.encoder.downsamplers)
        return Bits(codes / seconds, durations / seconds if adaptive else 0.0)

    def probe(self, datasets: dict[str, Any], units: dict[str, dict[str, Units]]) -> dict[str, float]:
        """Returns label → accuracy of its probe; `units` are those of the training part and of the probes' splits."""
        wanted, size = self.hparams.probes, self.net("quantizer").size
        shares = {
            split: np.stack([code_shares(units[split][name].codes, size) for name in datasets[split].data_ids])
            for split in {"train", *wanted.values()}
        }
        labels = {
            (split, label): [datasets[split].data[name][label] for name in datasets[split].data_ids]
            for label, scored in wanted.items()
            for split in ("train", scored)
        }
        return {
            label: probe_accuracy(shares["train"], labels["train", label], shares[split], labels[split, label])
            for label, split in wanted.items()
        }

    @torch.no_grad()
    def _units(self, dataset: Any) -> dict[str, Units]:
        """Returns the units of every item of a data set, in its order."""
        self.modules.eval()
        quantizer, found = self.net("quantizer"), {}
        # the first rank alone reads all batches; `evaluate` has added a checkpoint's name to these arguments
        options = {key: value for key, value in self.hparams.valid_dataloader.items() if key != "ckpt_prefix"}
        for batch in sb.dataio.dataloader.make_dataloader(dataset, **options):
            x, lengths = self._front(batch)
            encoded = self.encoder(x, lengths)
            codes = quantizer(encoded.features, encoded.lengths).codes.cpu().numpy()
            durations = encoded.durations().cpu().numpy()
            for name, item, lasting, count in zip(batch.id, codes, durations, encoded.lengths.tolist(), strict=True):
                found[name] = Units(item[:count], lasting[:count])
        return {name: found[name] for name in dataset.data_ids}

    def _front(self, batch: Any) -> tuple[Tensor, Tensor]:
        signal, relative = batch.to(self.device).signal
        return self.front(signal, absolute_lengths(relative, signal.shape[1]))

    # Model and pictures

    def save(self, folder: Path, recipe: str, datasets: dict[str, Any]) -> None:
        """Writes the trained model, as `seqstride.models.vqvae` reads it."""
        description = describe_coder(recipe, sample_rate=self.hparams.sample_rate)
        save_coder(folder, description, {name: self.net(name) for name in self.modules})

    def draw(self, folder: Path, datasets: dict[str, Any], epochs: list[dict[str, Any]]) -> None:
        """Draws `training.png`, the run's curves, and `units.png`, three recordings with codes and reconstructions."""
        save_figure(plot_training(epochs, chosen=self.history.epochs[-1]["epoch"]), folder / "training.png")
        dataset = datasets[self.hparams.score]
        names = sorted(dataset.data_ids, key=lambda name: item_seconds(dataset.data[name]))
        chosen = list(dict.fromkeys(names[round(share * (len(names) - 1))] for share in (0.1, 0.5, 0.8)))
        with torch.no_grad():
            x, lengths = self._front(PaddedBatch([dataset[dataset.data_ids.index(name)] for name in chosen]))
            prediction = self.reconstruct(x, lengths)
            recordings, frames = self.log_mel(x, lengths)
            outputs, _ = self.log_mel(prediction.output, lengths)
            durations = prediction.encoded.durations()
        items = [
            Reconstruction(
                name,
                DECIBEL * recordings[item, :, : frames[item]].cpu().numpy(),
                DECIBEL * outputs[item, :, : frames[item]].cpu().numpy(),
                prediction.quantized.codes[item, :count].cpu().numpy(),
                unit_edges(durations[item, :count].cpu(), self.net("frontend"), item_seconds(dataset.data[name])),
            )
            for item, (name, count) in enumerate(zip(chosen, prediction.encoded.lengths.tolist(), strict=True))
        ]
        spectrogram = self.net("frontend") if self.hparams.log_mel is None else self.hparams.log_mel
        bands_hz = spectrogram.centres_hz().cpu().numpy()
        picture = plot_codes(items, frame_rate=spectrogram.frame_rate, bands_hz=bands_hz)
        save_figure(picture, folder / "units.png")


def _can_be_probed(datasets: dict[str, Any], label: str, split: str) -> bool:
    train, scored = ({item[label] for item in datasets[part].data.values()} for part in ("train", split))
    if len(train) > 1 and scored <= train:
        return True
    logger.warning("No probe of `%s`: the training part does not have the labels of %s", label, split)
    return False


def entropy(counts: Tensor) -> Tensor:
    """Returns the bits per symbol of an ideal code for symbols with counts (…, K): (…), 0 where all counts are 0."""
    shares = counts.double() / counts.sum(-1, keepdim=True).clamp(min=1)
    return torch.special.entr(shares).sum(-1) / torch.log(torch.tensor(2.0, dtype=torch.float64))
