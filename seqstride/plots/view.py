"""The behaviour of a trained model on one recording, in seconds, Hz and frames.

A `View` holds everything that the picture, the table and the page of `seqstride strides` show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqstride.core.plan import Plan, SpectralPlan
from seqstride.core.spectral_window import spectral_mask
from seqstride.errors import InputError
from seqstride.models.classifier import Decision, SequenceClassifier, in_words, sample_rate_of

DECIBEL = 10 / math.log(10)  # per unit of the natural logarithm of a power
DEPTH = 80.0  # dB below the loudest cell, the range of the colours


class Curve(NamedTuple):
    """Stride and position at every input frame, of a block or of the whole encoder."""

    name: str
    stride: np.ndarray
    """(T,): local stride, input frames per output frame; for a block, in frames of the block's input."""
    position: np.ndarray
    """(T,): position among the output frames of the block, or of the encoder."""


class Scores(NamedTuple):
    """The classes of one label over time."""

    names: list[str]
    """The classes, ordered by their mean score over time, highest first."""
    logits: np.ndarray
    """(L, classes): the head's linear layer applied to every output frame, in the order of `names`."""


class Mask(NamedTuple):
    """The low-pass filter of a learnt stride."""

    block: int
    """Index of the block, from 0."""
    axis: str
    """"time" or "frequency"."""
    stride: float
    cutoff: float
    """rate / (2 · stride), with the rate of the frames or bins at the layer's input; in the unit of `frequencies`."""
    frequencies: np.ndarray
    """(N,): frequencies of the bins; Hz along time, cycles per band along frequency."""
    values: np.ndarray
    """(N,): factor of each bin, 0 to 1."""

    @property
    def passed(self) -> float:
        """The highest frequency whose factor is above 0."""
        return float(self.frequencies[np.flatnonzero(self.values)[-1]])


@dataclass(frozen=True)
class View:
    """One recording, or a part of it.

    Attributes:
        name: of the recording.
        duration: of the whole recording, s.
        start, stop: the part to show, s.
        frame_rate: input frames per second.
        samples: (S,) waveform, full scale ±1.
        sample_times: (S,) times of the samples, s.
        times: (T,) times of the input frames, s.
        spectrogram: (bands, T) levels, dB.
        bands_hz: (bands,) centres of the bands, Hz.
        level_range: range of the colours for the whole recording, dB.
        bounds: (N,) bounds of the output frames, half-way between two input frames, s.
        blocks: one curve per downsampling block.
        whole: the curve of the encoder.
        stride_range: smallest and largest stride of all curves of the whole recording.
        output_times: (L,) times of the output frames, s.
        decisions: label → the class of the whole recording.
        scores: label → its classes over time. With mean pooling and without windows, their mean over all output
            frames is the logit of the recording.
        masks: one per axis and layer with a learnt stride.
    """

    name: str
    duration: float
    start: float
    stop: float
    frame_rate: float
    samples: np.ndarray
    sample_times: np.ndarray
    times: np.ndarray
    spectrogram: np.ndarray
    bands_hz: np.ndarray
    level_range: tuple[float, float]
    bounds: np.ndarray
    blocks: list[Curve]
    whole: Curve
    stride_range: tuple[float, float]
    output_times: np.ndarray
    decisions: dict[str, Decision]
    scores: dict[str, Scores]
    masks: list[Mask]

    @property
    def curves(self) -> list[Curve]:
        """The curves of the blocks, then the curve of the encoder."""
        return [*self.blocks, self.whole]

    @property
    def title(self) -> str:
        """Name and decisions, such as "five.wav: digit 5 (97.3 %)", and the part of the recording."""
        start, stop = max(self.start, 0.0), min(self.stop, self.duration)
        part = "" if stop - start == self.duration else f", {start:.2f} to {stop:.2f} of {self.duration:.2f} s"
        return f"{self.name}: {in_words(self.decisions)}{part}"

    @property
    def frames(self) -> str:
        """Numbers of input and output frames of this part, such as "58 → 8 frames"."""
        return f"{len(self.times)} → {len(self.output_times)} frames"

    def outline(self, points: int = 100_000) -> tuple[np.ndarray, np.ndarray]:
        """Returns times and values of the waveform, reduced to about `points` points if it has more samples.

        Each stretch of equally many samples is reduced to its minimum and its maximum.
        """
        size = -(-len(self.samples) // (points // 2))
        if size <= 2:
            return self.sample_times, self.samples
        starts = np.arange(0, len(self.samples), size)
        extremes = [extreme.reduceat(self.samples, starts) for extreme in (np.minimum, np.maximum)]
        middles = np.minimum(starts + size // 2, len(self.samples) - 1)
        times = [self.sample_times[starts], self.sample_times[middles]]
        return np.stack(times, 1).ravel(), np.stack(extremes, 1).ravel()

    def parts(self, seconds: float) -> list[View]:
        """Splits the view into the fewest parts of equal duration that are no longer than `seconds`.

        Raises:
            ValueError: `seconds` is not positive.
        """
        if not seconds > 0:
            raise InputError(f"`seconds` (={seconds}) must be positive")
        count = max(1, math.ceil(round(self.duration / seconds, 9)))
        edges = np.linspace(self.start, self.stop, count + 1).tolist()
        return [self] if count == 1 else [self._between(*edge) for edge in pairwise(edges)]

    def _between(self, start: float, stop: float) -> View:
        # half a frame more on both sides, so that a frame at an edge is in both parts
        margin = 0.5 / self.frame_rate
        samples = slice(*np.searchsorted(self.sample_times, (start, stop)))
        frames = slice(*np.searchsorted(self.times, (start - margin, stop + margin)))
        outputs = slice(*np.searchsorted(self.output_times, (start, stop)))
        curves = [Curve(name, stride[frames], position[frames]) for name, stride, position in self.curves]
        return replace(
            self,
            start=start,
            stop=stop,
            samples=self.samples[samples],
            sample_times=self.sample_times[samples],
            times=self.times[frames],
            spectrogram=self.spectrogram[:, frames],
            bounds=self.bounds[(self.bounds >= start) & (self.bounds < stop)],
            blocks=curves[:-1],
            whole=curves[-1],
            output_times=self.output_times[outputs],
            scores={label: Scores(names, logits[outputs]) for label, (names, logits) in self.scores.items()},
        )


@torch.no_grad()
def view_recording(model: SequenceClassifier, waveform: Tensor, name: str) -> View:
    """Applies a model to one recording.

    The encoder reads the whole recording, even if the model was trained on windows. The decisions are those of
    `SequenceClassifier.forward`. Scores over time are the head's linear layer, applied to each output frame at its time
    `Encoded.times()`.

    Args:
        model: a model that reads waveforms.
        waveform: (S,) at the model's sample rate.
        name: of the recording.

    Raises:
        ValueError: the model reads features, or its answer to the recording is not finite.
    """
    frontend, sample_rate = model.frontend, sample_rate_of(model)
    signal, lengths = waveform[None], torch.tensor([len(waveform)])
    decisions = model.decide(signal, lengths)[0]  # first: it says where the model overflows
    encoded = model.encode(signal, lengths)
    rate = model.frame_rate
    log_power, _ = frontend(signal, lengths)
    level = DECIBEL * _array(log_power[0])
    curves = [
        Curve(f"block {block}", _array(stride[0]), _array(position[0]))
        for block, (stride, position) in enumerate(
            zip(encoded.block_strides(), encoded.block_positions(), strict=True), 1
        )
    ]
    curves.append(Curve("whole encoder", _array(encoded.strides()[0]), _array(encoded.positions[0])))
    strides = np.concatenate([curve.stride for curve in curves])
    frames, loudest = level.shape[1], float(level.max())
    return View(
        name=name,
        duration=len(waveform) / sample_rate,
        start=-0.5 / rate,
        stop=max((frames - 0.5) / rate, len(waveform) / sample_rate),
        frame_rate=rate,
        samples=_array(waveform),
        sample_times=np.arange(len(waveform)) / sample_rate,
        times=np.arange(frames) / rate,
        spectrogram=level,
        bands_hz=_array(frontend.centres_hz()),
        level_range=(max(float(level.min()), loudest - DEPTH), loudest),
        bounds=(_array(encoded.bounds(0)) - 0.5) / rate,
        blocks=curves[:-1],
        whole=curves[-1],
        stride_range=(float(strides.min()), float(strides.max())),
        output_times=_array(encoded.times()[0]) / rate,
        decisions=decisions,
        scores={label: _scores(model, label, encoded) for label in model.labels},
        masks=learnt_masks(model, encoded),
    )


def describe_masks(masks: Sequence[Mask]) -> str:
    """Returns learnt strides and cut-off frequencies of the masks of one axis, in two lines."""
    blocks = ", ".join(str(mask.block + 1) for mask in masks)
    cutoffs = ", ".join(f"{mask.cutoff:.3g}" for mask in masks)
    strides = ", ".join(f"{mask.stride:.3g}" for mask in masks)
    unit = "Hz" if masks[0].axis == "time" else "cycles per band"
    return f"block {blocks}: learnt stride {strides}\ncut-off (dashed) {cutoffs} {unit}"


def learnt_masks(model: SequenceClassifier, encoded: Any) -> list[Mask]:
    """Returns the masks of the layers with learnt strides, for the first item of a batch.

    Args:
        model: its encoder gave `encoded`.
        encoded: the `Encoded` of the batch.
    """
    encoder = model.encoder
    masks = _axis_masks("time", encoder.downsamplers, encoded.plans, model.frame_rate)
    if encoded.frequency_plans:
        masks += _axis_masks("frequency", encoder.frequency_downsamplers, encoded.frequency_plans, 1.0)
    return masks


def _axis_masks(axis: str, layers: Sequence[Any], plans: Sequence[Plan], input_rate: float) -> list[Mask]:
    """The masks of one axis; `input_rate` is the rate of its frames or bins at the encoder's input."""
    masks = []
    for block, (layer, plan) in enumerate(zip(layers, plans, strict=True)):
        if not layer.learns_stride or not isinstance(plan, SpectralPlan):
            continue
        frames = int(plan.input_lengths[0])
        rate = input_rate * frames / int(plans[0].input_lengths[0])
        kept = spectral_mask(
            layer.stride,
            frames,
            smoothness=layer.smoothness,
            relative_smoothness=layer.relative_smoothness,
            transform=layer.transform,
        )
        bins, step = (frames // 2 + 1, rate / frames) if layer.transform == "dft" else (frames, rate / (2 * frames))
        values = np.zeros(bins)
        values[: len(kept)] = _array(kept)
        stride = float(layer.stride.detach())
        masks.append(Mask(block, axis, stride, rate / (2 * stride), np.arange(bins) * step, values))
    return masks


def _scores(model: SequenceClassifier, label: str, encoded: Any) -> Scores:
    logits = model.logits(label, encoded.features[0].T)
    order = logits.mean(0).argsort(descending=True)
    return Scores([model.labels[label][index] for index in order.tolist()], _array(logits[:, order]))


def _array(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().cpu().numpy()
    return array
