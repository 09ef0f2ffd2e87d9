"""Trained VQ-VAEs as files, the units that they write down for a recording, and the way back to sound.

The files of a model are those of `seqstride.models.classifier`: `model.json`, data only, and `model.ckpt`. A coded
recording is JSON: its units in order. Each unit has its codes (one per quantiser), the number of encoder input frames
that it covers, and its start and end in seconds for human readers. The decoder reads only codes and frame counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqstride.core.plan import DurationPlan
from seqstride.encoders.vqvae import decode_vectors, duration_plan
from seqstride.encoders.waveform import Samples
from seqstride.errors import InputError
from seqstride.files.audio_files import Recording
from seqstride.files.loading import load_audio, load_recording
from seqstride.files.yaml_text import resolved
from seqstride.models.description import CODING, FORMAT, describe_model, read_model, write_model
from seqstride.models.reconstruction import undo_norm
from seqstride.models.trained import TrainedModel

NAMES = ("frontend", "normalize", "encoder", "quantizer", "decoder")


class Unit(NamedTuple):
    """A stretch of a recording that became one output frame of the encoder."""

    start: float
    """s"""
    end: float
    """s: where the next one starts."""
    codes: list[int]
    """One of each quantiser."""
    frames: int
    """Input frames of the encoder; may be 0."""


class Coded(NamedTuple):
    """A recording as codes."""

    samples: int
    """At the model's rate."""
    codes: Tensor
    """(L, Q) int64."""
    durations: Tensor
    """(L,) int64: input frames of each; their sum is the recording's."""


class Coder(TrainedModel):
    """A trained VQ-VAE from waveforms to codes and back, in evaluation mode.

    Args:
        description: what `describe_coder` gives.

    Attributes:
        sample_rate: of the waveforms, Hz.
        frame_rate: frames per second, those that the units' frames are counted in.
        quantizer, decoder: further modules of the description.
        wave: whether it reconstructs waveforms, not spectrograms.

    Raises:
        ValueError: the description names a class that is not allowed, or is not one of a VQ-VAE.
    """

    task = CODING
    sample_rate: int

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__(description)
        self.sample_rate = int(description["sample_rate"])
        self.quantizer: Any = self._built("quantizer")
        self.decoder: Any = self._built("decoder")
        self.frame_rate = float(self.frontend.frame_rate)
        self.wave = isinstance(self.frontend, Samples)
        self.eval()

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Coded:
        """The codes of a recording (S,) at `sample_rate`."""
        x, lengths = self.features(waveform[None], torch.tensor([len(waveform)], device=waveform.device))
        encoded = self.encoder(x, lengths)
        codes = self.quantizer(encoded.features, encoded.lengths).codes
        return Coded(len(waveform), codes[0], encoded.durations()[0])

    @torch.no_grad()
    def decode(self, coded: Coded) -> Tensor:
        """The reconstruction: a log-mel spectrogram (bands, T), or from a model without one a waveform (1, S).

        Raises:
            ValueError: the codes are none of this model's, or do not last as long as the recording.
        """
        self._check(coded)
        plan = DurationPlan(coded.durations[None], torch.tensor([len(coded.codes)]))
        lengths = torch.tensor([coded.samples]) if self.wave else plan.input_lengths
        y = decode_vectors(self.decoder, self.quantizer.decode(coded.codes[None]), plan, lengths, int(lengths))
        return undo_norm(self.normalize, y, lengths)[0]

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor) -> Tensor:
        """What the model itself makes of a recording (S,), from its features on, in the form of `decode`."""
        x, lengths = self.features(waveform[None], torch.tensor([len(waveform)], device=waveform.device))
        encoded = self.encoder(x, lengths)
        vectors = self.quantizer(encoded.features, encoded.lengths).features
        y = decode_vectors(self.decoder, vectors, duration_plan(encoded), lengths, x.shape[2])
        return undo_norm(self.normalize, y, lengths)[0]

    def synthesise(self, coded: Coded) -> Tensor:
        """A waveform (S,) at `sample_rate`: that of the decoder, or one that has its spectrogram."""
        y = self.decode(coded)
        if self.wave:
            return y[0]
        from seqstride.models.griffin_lim import waveform_of

        return waveform_of(self.frontend, y, coded.samples)

    def units(self, coded: Coded) -> list[Unit]:
        """The units on the clock; they tile the recording."""
        edges = unit_edges(coded.durations, self.frontend, coded.samples / self.sample_rate)
        pairs = zip(pairwise(edges), coded.codes.tolist(), coded.durations.tolist(), strict=True)
        return [Unit(start, end, codes, frames) for (start, end), codes, frames in pairs]

    def _check(self, coded: Coded) -> None:
        quantizer = self.quantizer
        if coded.codes.ndim != 2 or coded.codes.shape[1] != quantizer.quantizers:
            raise InputError(
                f"`codes` (shape {tuple(coded.codes.shape)}) must be {quantizer.quantizers} for each unit, "
                "one of each quantiser of this model"
            )
        low, high = int(coded.codes.min()), int(coded.codes.max())
        if low < 0 or high >= quantizer.size:
            raise InputError(f"`codes` ({low} … {high}) must be in 0 … {quantizer.size - 1}, this model's codebook")
        wanted = -(-coded.samples // self.frontend.hop) if self.wave else coded.samples // self.frontend.hop + 1
        if len(coded.durations) != len(coded.codes) or int(coded.durations.sum()) != wanted:
            raise InputError(
                f"`frames` (sum {int(coded.durations.sum())}) must be those of the recording: {coded.samples} samples "
                f"at {self.sample_rate} Hz are {wanted}"
            )


def unit_edges(durations: Tensor, frontend: Any, seconds: float) -> list[float]:
    """Where units start and end, in s: (L,) int64 → L + 1 times from 0 to `seconds`; half-way between two frames.

    Args:
        durations: in frames.
        frontend: what made the frames.
        seconds: of the recording.
    """
    bounds = (durations.cumsum(0)[:-1].double() - 0.5 + frontend.first_centre) / frontend.frame_rate
    return [0.0, *bounds.clamp(0.0, seconds).tolist(), seconds]


# Models as files


def describe_coder(recipe: str, *, sample_rate: int) -> dict[str, Any]:
    """The description of a recipe's VQ-VAE: plain JSON values.

    Args:
        recipe: the merged HyperPyYAML text, with `modules` (`frontend`, `normalize`, `encoder`, `quantizer`,
            `decoder`).
        sample_rate: of waveforms, Hz.
    """
    return describe_model(CODING, {"sample_rate": sample_rate}, resolved(recipe)["modules"], NAMES)


def save_coder(folder: Path, description: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> None:
    """Writes `model.json` and `model.ckpt` into a results folder."""
    write_model(folder, description, nn.ModuleDict({name: modules[name] for name in NAMES}))


def load_coder(folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Coder:
    """The trained VQ-VAE of a results folder, in evaluation mode.

    Raises:
        ValueError: the folder has no model, its description is wrong, or names what it must not.
    """
    return read_model(folder, Coder, device)


# Recordings


def code_files(model: Coder, recordings: Iterable[Recording]) -> Iterator[tuple[Recording, Coded | ValueError]]:
    """The codes of each recording, in order; of those that cannot be read the error.

    Args:
        recordings: in any format and at any rate that `seqstride.files.decoding` reads. One is in memory at a time.
    """
    device = next(model.parameters()).device
    for recording in recordings:
        try:
            waveform = load_recording(recording, partial(load_audio, model.sample_rate))
        except ValueError as error:
            yield recording, error
        else:
            yield recording, model.encode(waveform.to(device))


# Coded recordings as files


def to_json(model: Coder, coded: Coded) -> str:
    """A coded recording as JSON, for readers and for `from_json`."""
    units = [unit._asdict() for unit in model.units(coded)]
    header = {"format": FORMAT, "sample_rate": model.sample_rate, "samples": coded.samples}
    return json.dumps({**header, "units": units}) + "\n"


def from_json(model: Coder, text: str) -> Coded:
    """What `to_json` wrote.

    Raises:
        ValueError: it is not of that form, or of recordings at another rate.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise InputError(f"`format` (={content['format']!r}) must be {FORMAT}")
        rate, samples = content["sample_rate"], content["samples"]
        codes = [unit["codes"] for unit in content["units"]]
        durations = [unit["frames"] for unit in content["units"]]
        numbers = [rate, samples, *durations, *(code for each in codes for code in each)]
        if not codes or not all(type(number) is int and 0 <= number < 2**40 for number in numbers) or samples < 1:
            raise InputError("it must have units, and whole numbers that are not negative")
        coded = Coded(samples, torch.tensor(codes), torch.tensor(durations))
    except (KeyError, TypeError, ValueError) as error:  # JSONDecodeError is a ValueError
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise InputError(f"not a coded recording: {reason}") from error
    if rate != model.sample_rate:
        raise InputError(f"`sample_rate` (={rate}) must be the model's, {model.sample_rate} Hz")
    return coded
