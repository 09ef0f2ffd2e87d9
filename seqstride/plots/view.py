"""What a trained model does with one recording, in the reader's units: seconds, Hz, frames.

A `View` holds all that the picture, the table and the page of `seqstride strides` show; they compute nothing
themselves.
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

DECIBEL = 10 / math.log(10)  # of the natural logarithm of a power
DEPTH = 80.0  # dB below the loudest cell that a picture shows


class Curve(NamedTuple):
    """What a downsampling block, or the whole encoder, does at every input frame."""

    name: str
    stride: np.ndarray
    """(T,): local stride in input frames per output frame; of a block, in frames of its own input."""
    position: np.ndarray
    """(T,): the coordinate among the output frames of the block, or of the encoder."""


class Scores(NamedTuple):
    """The classes of one label over time."""

    names: list[str]
    """Those with the highest mean over time first."""
    logits: np.ndarray
    """(L, classes): the head's linear layer applied to every output frame, in the order of `names`."""


class Mask(NamedTuple):
    """A learnt stride as a low-pass filter."""

    block: int
    """From 0."""
    axis: str
    """"time" or "frequency"."""
    stride: float
    cutoff: float
    """rate / (2 · stride), with the rate of the frames or bins at the layer's input; in the unit of `frequencies`."""
    frequencies: np.ndarray
    """(N,): of the bins of the layer's transform; Hz along time, cycles per band along frequency."""
    values: np.ndarray
    """(N,): the layer's factor for each bin, 0 to 1."""

    @property
    def passed(self) -> float:
        """The highest frequency that is not taken out."""
        return float(self.frequencies[np.flatnonzero(self.values)[-1]])


@dataclass(frozen=True)
class View:
    """One recording, or a part of it.

    Attributes:
        name: of the recording.
        duration: of the whole recording, s.
        start, stop: the part that is shown, s.
        frame_rate: input frames per second.
        samples: (S,) waveform, full scale ±1.
        sample_times: (S,) s.
        times: (T,) s, of the input frames.
        spectrogram: (bands, T), dB.
        bands_hz: (bands,) centres of the bands, Hz.
        level_range: dB, that of the picture of the whole recording.
        bounds: (N,) s: where another output frame begins, half-way between two input frames.
        blocks: one curve per downsampling block.
        whole: the curve of the encoder.
        stride_range: least and largest stride of any curve of the whole recording.
        output_times: (L,) s: what every output frame stands for.
        decisions: label → the class of the whole recording.
        scores: label → its classes over time. With mean pooling and without windows the mean over all output frames is
            the recording's logit.
        masks: one per layer with a learnt stride, and axis.
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
        """Those of the blocks, then that of the encoder."""
        return [*self.blocks, self.whole]

    @property
    def title(self) -> str:
        """Name and decisions, "five.wav: digit 5 (97.3 %)", and which part of the recording this is."""
        start, stop = max(self.start, 0.0), min(self.stop, self.duration)
        part = "" if stop - start == self.duration else f", {start:.2f} to {stop:.2f} of {self.duration:.2f} s"
        return f"{self.name}: {in_words(self.decisions)}{part}"

    @property
    def frames(self) -> str:
        """Input and output frames of this part, "58 → 8 frames"."""
        return f"{len(self.times)} → {len(self.output_times)} frames"

    def outline(self, points: int = 100_000) -> tuple[np.ndarray, np.ndarray]:
        """Times and values of a waveform of about so many points at most: of many samples, the extremes of stretches.

        Each stretch of equally many samples gives its smallest and its largest, at its first and its middle sample.
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
        """As few parts of equal duration as are no longer than `seconds`; a single one is the view itself.

        Raises:
            ValueError: `seconds` is not positive.
        """
        if not seconds > 0:
            raise InputError(f"`seconds` (={seconds}) must be positive")
        count = max(1, math.ceil(round(self.duration / seconds, 9)))
        edges = np.linspace(self.start, self.stop, count + 1).tolist()
        return [self] if count == 1 else [self._between(*edge) for edge in pairwise(edges)]

    def _between(self, start: float, stop: float) -> View:
        # half a frame more on both sides: a frame at an edge is seen in both parts
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
    """Runs the model over one recording and puts what it decided on the clock.

    The encoder hears the recording as a whole, also where the model was trained on windows; the decisions are those of
    `SequenceClassifier.forward`. Scores over time are the head's linear layer applied to each output frame, which
    stands at `Encoded.times()`.

    Args:
        model: one that reads waveforms.
        waveform: (S,) at the model's sample rate.
        name: of the recording.

    Raises:
        ValueError: the model reads features.
    """
    frontend, sample_rate = model.frontend, sample_rate_of(model)
    signal, lengths = waveform[None], torch.tensor([len(waveform)])
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
        decisions=model.decide(signal, lengths)[0],
        scores={label: _scores(model, label, encoded) for label in model.labels},
        masks=learnt_masks(model, encoded),
    )


def describe_masks(masks: Sequence[Mask]) -> str:
    """Where the masks of one axis cut off, in two lines."""
    blocks = ", ".join(str(mask.block + 1) for mask in masks)
    cutoffs = ", ".join(f"{mask.cutoff:.3g}" for mask in masks)
    strides = ", ".join(f"{mask.stride:.3g}" for mask in masks)
    unit = "Hz" if masks[0].axis == "time" else "cycles per band"
    return f"block {blocks}: learnt stride {strides}\ncut-off (dashed) {cutoffs} {unit}"


def learnt_masks(model: SequenceClassifier, encoded: Any) -> list[Mask]:
    """The masks of the layers with learnt strides for the first item that was encoded.

    Args:
        model: whose encoder gave `encoded`.
        encoded: its `Encoded`.
    """
    encoder = model.encoder
    masks = _axis_masks("time", encoder.downsamplers, encoded.plans, model.frame_rate)
    if encoded.frequency_plans:
        masks += _axis_masks("frequency", encoder.frequency_downsamplers, encoded.frequency_plans, 1.0)
    return masks


def _axis_masks(axis: str, layers: Sequence[Any], plans: Sequence[Plan], input_rate: float) -> list[Mask]:
    """Those of one axis; `input_rate` is that of its frames or bins at the encoder's input."""
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
