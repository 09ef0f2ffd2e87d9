"""Trained classifiers in results folders: saved, loaded, and applied to recordings.

The folder holds `model.json` and `model.safetensors`; `seqstride.models.description` explains why `load_model` can
safely load folders from strangers. It also holds `hyperparams.yaml`, with which SpeechBrain's
`EncoderClassifier.from_hparams` loads the same model. HyperPyYAML runs any code that a YAML file names, so use that way
only for your own folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.errors import InputError
from seqstride.files.audio_files import Recording
from seqstride.files.loading import open_audio
from seqstride.files.signal_reader import SignalReader
from seqstride.files.whole_files import whole_file
from seqstride.files.yaml_text import resolved
from seqstride.models.batches import BATCH_SECONDS, in_batches
from seqstride.models.description import (
    CLASSIFICATION,
    TrainedModel,
    build_module,
    check_finite,
    describe_model,
    module_entry,
    read_model,
    write_model,
)
from seqstride.models.windows import cut, every_window, mean_by_owner, window_starts

FRAMES = 1 << 21
"""Largest number of samples, or feature frames, in the windows that are encoded together."""


class Decision(NamedTuple):
    """The most probable class of one label."""

    name: str
    probability: float


class SequenceClassifier(TrainedModel):
    """A trained classifier from signal to class scores, in evaluation mode and without training's augmentation.

    Args:
        description: as `describe` returns it.

    Attributes:
        labels: label → the names of its classes, in the order of the scores.
        classifier: label → the head that scores its classes.

    Raises:
        ValueError: the description names a class that is not allowed, or is not one of a classifier.
    """

    task = CLASSIFICATION

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__(description)
        self.labels = checked_labels(description["labels"])
        if self.window_size is not None and self.window_size < 1:
            raise InputError(f"`window` (={description['window']}) must be at least one sample, or frame")
        head = description["head"]
        heads = {}
        for label, names in self.labels.items():
            entry = {**head, "arguments": {**head["arguments"], "classes": len(names)}}
            heads[label] = build_module("head", entry, self.task)
        self.classifier = nn.ModuleDict(heads)
        self.eval()

    @property
    def frame_rate(self) -> float:
        """Frames per second at the encoder's input."""
        return float(self.description["frame_rate"] if self.frontend is None else self.frontend.frame_rate)

    @property
    def window_size(self) -> int | None:
        """Length of the windows that the model was trained on, in samples or feature frames; None for whole items."""
        window = self.description["window"]
        rate = self.frame_rate if self.sample_rate is None else self.sample_rate
        return None if window is None else round(window * rate)

    def encode(self, signal: Tensor, lengths: Tensor) -> Any:
        """Encodes whole signals and returns the encoder's `Encoded`; arguments as in `features`."""
        return self.encoder(*self.features(signal, lengths))

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Returns label → logits (B, classes); arguments as in `features`.

        A model that was trained on windows gives the mean of the logits over all windows of an item.
        """
        return {label: self.logits(label, vector) for label, vector in self.embed(signal, lengths).items()}

    @torch.no_grad()
    def decide(self, signal: Tensor, lengths: Tensor) -> list[dict[str, Decision]]:
        """Returns for every item label → its most probable class; arguments as in `features`.

        Raises:
            NotFiniteError: the scores of an item are not finite.
        """
        return self._decisions(self(signal, lengths))

    @torch.no_grad()
    def decide_read(self, signal: SignalReader) -> dict[str, Decision]:
        """`decide` for one signal (S,) or (T, C) that is read as it is needed.

        A model that was trained on windows reads group after group of them, so memory does not grow with the duration.
        Any other model needs the features of the whole signal.
        """
        vectors = self._embed_read(signal)
        [decisions] = self._decisions({label: self.logits(label, vector) for label, vector in vectors.items()})
        return decisions

    def _tried(self, signal: Tensor, lengths: Tensor) -> Iterable[Tensor]:
        scores = self(signal, lengths)
        self._decisions(scores)
        return scores.values()

    def _decisions(self, scores: Mapping[str, Tensor]) -> list[dict[str, Decision]]:
        """Label → logits (B, classes) → for every item label → its most probable class."""
        items: list[dict[str, Decision]] = [{} for _ in range(len(next(iter(scores.values()))))]
        check_finite(*scores.values())
        for label, logits in scores.items():
            probabilities, indices = logits.softmax(1).max(1)
            for item, probability, index in zip(items, probabilities.tolist(), indices.tolist(), strict=True):
                item[label] = Decision(self.labels[label][index], probability)
        return items

    def embed(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Returns label → the input (B, C') of its linear layer; arguments as in `features`."""
        if self.window_size is None:
            return self._pooled(self.encode(signal, lengths))
        if torch.compiler.is_exporting():
            return self._embed_every_window(signal, lengths, self.window_size)
        size = min(self.window_size, signal.shape[1])
        return self._mean_over_windows(lambda owners, starts: cut(signal, owners, starts, size), lengths, size)

    def _embed_read(self, signal: SignalReader) -> dict[str, Tensor]:
        """`embed` for one signal that is read as it is needed."""
        if self.window_size is None:
            return self._pooled(self.encoder(*self.features_read(signal)))
        size, device = min(self.window_size, len(signal)), self._device()

        def windows(owners: Tensor, starts: Tensor) -> Tensor:
            first = int(starts[0])
            part = signal.read(first, int(starts[-1]) + size).to(device)
            return cut(part[None], owners, starts - first, size)

        return self._mean_over_windows(windows, torch.tensor([len(signal)], device=device), size)

    def _mean_over_windows(
        self, windows: Callable[[Tensor, Tensor], Tensor], lengths: Tensor, size: int
    ) -> dict[str, Tensor]:
        """`embed` with windows of `size` frames.

        Args:
            windows: items and first frames of windows, in order → the windows.
            lengths: of the items.
        """
        owners, starts = window_starts(lengths, size)
        # a group of windows at a time: the windows of an hour need more memory than the hour
        groups = torch.arange(len(owners), device=owners.device).split(max(1, FRAMES // size))
        parts = [
            self._pooled(self.encode(windows(owners[group], starts[group]), lengths.clamp(max=size)[owners[group]]))
            for group in groups
        ]
        # the layer is linear, so the mean of its inputs gives the mean of its outputs
        return {
            label: mean_by_owner(torch.cat([part[label] for part in parts]), owners, len(lengths)) for label in parts[0]
        }

    def _embed_every_window(self, signal: Tensor, lengths: Tensor, size: int) -> dict[str, Tensor]:
        """`embed` with windows in a graph: every item has as many as the batch is wide, and all at once."""
        batch, most = signal.shape[0], (signal.shape[1] + size - 1) // size
        owners, starts, shares = every_window(lengths, size, most)
        # a window may reach behind the batch
        windows = cut(F.pad(signal, (0, 0) * (signal.ndim - 2) + (0, size)), owners, starts, size)
        vectors = self._pooled(self.encode(windows, lengths.clamp(max=size)[owners]))
        return {
            label: v.new_zeros(batch, v.shape[1]).index_add(0, owners, v * shares[:, None].to(v.dtype))
            for label, v in vectors.items()
        }

    def _pooled(self, encoded: Any) -> dict[str, Tensor]:
        """`embed` for what the encoder returns."""
        heads: dict[str, Any] = dict(self.classifier.items())
        return {label: head.embed(encoded.features, encoded.lengths) for label, head in heads.items()}

    def logits(self, label: str, vector: Tensor) -> Tensor:
        """Returns the scores (B, classes) of a label for its vector (B, C') of `embed`."""
        head: Any = self.classifier[label]
        scores: Tensor = head.linear(vector)
        return scores


def describe(
    recipe: str,
    *,
    labels: Mapping[str, Sequence[str]],
    sample_rate: int | None,
    frame_rate: float,
    window: float | None,
    feature_name: str,
) -> dict[str, Any]:
    """Returns the description of a recipe's classifier: plain JSON values.

    Args:
        recipe: the merged HyperPyYAML text, with `classifier` and `modules` (`normalize`, `encoder`, optionally
            `frontend`).
        labels: label → names of its classes.
        sample_rate: of waveforms, Hz; None for features.
        frame_rate: frames per second at the encoder's input.
        window: seconds or None, as in `ClassificationBrain`.
        feature_name: a name for the channels of the features, such as "mel band".
    """
    tree = resolved(recipe)
    fields = {
        "labels": {label: list(names) for label, names in labels.items()},
        "sample_rate": sample_rate,
        "frame_rate": frame_rate,
        "window": window,
        "feature_name": feature_name,
    }
    return {**describe_model(CLASSIFICATION, fields, tree["modules"]), "head": module_entry(tree["classifier"])}


def save_model(folder: str | os.PathLike[str], description: Mapping[str, Any], modules: nn.ModuleDict) -> None:
    """Writes `model.json`, `model.safetensors`, and for SpeechBrain `hyperparams.yaml` and `label_encoder.ckpt`.

    Args:
        folder: a results folder.
        description: as `describe` returns it.
        modules: the trained `normalize`, `encoder`, `classifier` (label → head), and optionally `frontend`.
    """
    folder = Path(folder)
    description = write_model(folder, description, modules)
    with whole_file(folder / "hyperparams.yaml") as part:
        part.write_text(_speechbrain(description), encoding="utf-8")
    names = next(iter(description["labels"].values()))
    lines = [f"{name!r} => {index}" for index, name in enumerate(names)]
    with whole_file(folder / "label_encoder.ckpt") as part:
        part.write_text("\n".join([*lines, "=" * 16, "'starting_index' => 0", ""]), encoding="utf-8")


def classify_files(
    model: SequenceClassifier, recordings: Iterable[Recording], batch_seconds: float = BATCH_SECONDS
) -> Iterator[tuple[Recording, dict[str, Decision] | ValueError]]:
    """Classifies recordings, in their order; a file that cannot be read gets an error instead.

    Args:
        model: a model that reads recordings.
        recordings: in any format that `seqstride.files.decoding` reads, at any rate.
        batch_seconds: recordings are batched up to this duration, padding included; a longer one stands alone, and is
            read as it is needed. Results do not depend on it, up to rounding.

    Yields:
        Each recording with label → its most probable class.

    Raises:
        ValueError: the model reads features.
    """
    rate = sample_rate_of(model)
    device = next(model.parameters()).device

    def decide(signal: Tensor, lengths: Tensor) -> list[dict[str, Decision]]:
        return model.decide(signal.to(device), lengths.to(device))

    return in_batches(recordings, partial(open_audio, rate), decide, model.decide_read, batch_seconds * rate)


def sample_rate_of(model: SequenceClassifier) -> int:
    """Returns the sample rate of a model in Hz.

    Raises:
        ValueError: the model reads features.
    """
    if model.sample_rate is None:
        raise InputError(
            f"`model` must read recordings; this one reads features ({model.description['feature_name']}), which its "
            "`decide` and `encode` take in Python. The pictures of its run show some strides"
        )
    return model.sample_rate


def in_words(decisions: Mapping[str, Decision]) -> str:
    """Returns decisions as text: "digit 5 (97.3 %), speaker theo (64.0 %)"."""
    return ", ".join(f"{label} {name} ({100 * share:.1f} %)" for label, (name, share) in decisions.items())


def load_model(folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> SequenceClassifier:
    """Loads the classifier of a results folder, in evaluation mode.

    Raises:
        ValueError: the folder has no classifier, or its files are damaged or name a class that is not allowed.
    """
    return read_model(folder, SequenceClassifier, device)


def _speechbrain(description: Mapping[str, Any]) -> str:
    """The HyperPyYAML for SpeechBrain's `EncoderClassifier`; JSON is valid YAML."""
    classes = len(next(iter(description["labels"].values())))
    rate = description["sample_rate"]
    audio = f"""\
audio_normalizer: !new:speechbrain.dataio.preprocess.AudioNormalizer
    sample_rate: {rate}
"""
    return f"""\
# For speechbrain.inference.classifiers.EncoderClassifier.from_hparams(source=<this folder>).
# seqstride.models.classifier.load_model(<this folder>) loads the same model without running anything that a file names.
model: !new:seqstride.models.classifier.SequenceClassifier
    description: {json.dumps(description, ensure_ascii=False)}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
__expect: !apply:speechbrain.dataio.encoder.CategoricalEncoder.expect_len [!ref <label_encoder>, {classes}]
{audio if rate is not None else ""}\
modules:
    compute_features: !new:torch.nn.Identity
    mean_var_norm: !new:seqstride.lobes.First
    embedding_model: !new:seqstride.lobes.Embedding
        model: !ref <model>
    classifier: !new:seqstride.lobes.LogProbabilities
        model: !ref <model>
pretrainer: !new:seqstride.models.pretrained.ModelPretrainer
    loadables:
        model: !ref <model>
        label_encoder: !ref <label_encoder>
"""


def checked_labels(labels: Any) -> dict[str, list[str]]:
    """Checks and returns the entry `labels` of a description: label → the names of its classes.

    Raises:
        InputError: it is none.
    """
    if not labels or not isinstance(labels, Mapping):
        raise InputError(f"`labels` (={labels!r}) must map at least one label to the names of its classes")
    for label, names in labels.items():
        if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"`labels` ({label}={names!r}) must list the names of the classes")
        if len(set(names)) < len(names):
            raise InputError(f"`labels` ({label}={names!r}) must list classes whose names differ")
    return {label: list(names) for label, names in labels.items()}
