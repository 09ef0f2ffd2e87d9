"""Trained VQ-VAEs in results folders: saved, loaded, and used to turn recordings into units and units into sound.

A coded recording is JSON with its units in order. Each unit has its codes (one per quantiser), the number of encoder
input frames that it covers, and its start and end in seconds for human readers. The decoder reads only codes and frame
counts.
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
from seqstride.files.loading import open_audio
from seqstride.files.signal_reader import SignalReader
from seqstride.files.text_files import parse_json
from seqstride.files.yaml_text import resolved
from seqstride.models.batches import one_by_one
from seqstride.models.description import (
    CODING,
    FORMAT,
    TrainedModel,
    check_finite,
    describe_model,
    read_model,
    write_model,
)
from seqstride.models.reconstruction import undo_norm

LONGEST_UNIT = 100_000
"""Frames that a unit of a coded recording may have: 1000 s at the usual 100 per second."""
NAMES = ("frontend", "normalize", "encoder", "quantizer", "decoder")


class Unit(NamedTuple):
    """The part of a recording that one output frame of the encoder stands for."""

    start: float
    """s"""
    end: float
    """s: the start of the next unit."""
    codes: list[int]
    """One code per quantiser."""
    frames: int
    """Number of encoder input frames; may be 0."""


class Coded(NamedTuple):
    """A recording as codes."""

    samples: int
    """Number of samples at the model's rate."""
    codes: Tensor
    """(L, Q) int64: one code per unit and quantiser."""
    durations: Tensor
    """(L,) int64: encoder input frames of each unit; their sum is the number of frames of the recording."""


class Coder(TrainedModel):
    """A trained VQ-VAE from waveforms to codes and back, in evaluation mode.

    Args:
        description: as `describe_coder` returns it.

    Attributes:
        sample_rate: of the waveforms, Hz.
        frame_rate: encoder input frames per second.
        quantizer, decoder: further modules of the description.
        wave: whether the decoder gives waveforms instead of spectrograms.

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

    def encode(self, waveform: Tensor) -> Coded:
        """Encodes a recording (S,) at `sample_rate`."""
        return self.encode_read(SignalReader([waveform], len(waveform)))

    @torch.no_grad()
    def encode_read(self, waveform: SignalReader) -> Coded:
        """`encode` of a recording that is read as it is needed. The encoder needs the features of all of it."""
        encoded = self.encoder(*self.features_read(waveform))
        check_finite(encoded.features)
        codes = self.quantizer(encoded.features, encoded.lengths).codes
        return Coded(len(waveform), codes[0], encoded.durations()[0])

    @torch.no_grad()
    def decode(self, coded: Coded) -> Tensor:
        """Reconstructs a recording from its codes.

        Returns:
            A log-mel spectrogram (bands, T), or a waveform (1, S) if the model has no spectrogram.

        Raises:
            ValueError: the codes are not of this model, or their durations do not add up to the recording.
        """
        self._check(coded)
        plan = DurationPlan(coded.durations[None], torch.tensor([len(coded.codes)]))
        lengths = torch.tensor([coded.samples]) if self.wave else plan.input_lengths
        y = decode_vectors(self.decoder, self.quantizer.decode(coded.codes[None]), plan, lengths, int(lengths))
        return undo_norm(self.normalize, y, lengths)[0]

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor) -> Tensor:
        """Encodes and decodes a recording (S,) at once; returns the same form as `decode`."""
        x, lengths = self.features(waveform[None], torch.tensor([len(waveform)], device=waveform.device))
        encoded = self.encoder(x, lengths)
        vectors = self.quantizer(encoded.features, encoded.lengths).features
        y = decode_vectors(self.decoder, vectors, duration_plan(encoded), lengths, x.shape[2])
        return undo_norm(self.normalize, y, lengths)[0]

    def _tried(self, signal: Tensor, lengths: Tensor) -> Iterable[Tensor]:
        return [self.reconstruct(signal[0])]

    def synthesise(self, coded: Coded) -> Tensor:
        """Returns a waveform (S,) at `sample_rate`, computed by Griffin-Lim if the decoder gives a spectrogram."""
        y = self.decode(coded)
        if self.wave:
            return y[0]
        from seqstride.models.griffin_lim import waveform_of

        return waveform_of(self.frontend, y, coded.samples)

    def units(self, coded: Coded) -> list[Unit]:
        """Returns the units with their times; together they cover the recording without gaps."""
        edges = unit_edges(coded.durations, self.frontend, coded.samples / self.sample_rate)
        pairs = zip(pairwise(edges), coded.codes.tolist(), coded.durations.tolist(), strict=True)
        return [Unit(start, end, codes, frames) for (start, end), codes, frames in pairs]

    def _check(self, coded: Coded) -> None:
        quantizer = self.quantizer
        if coded.codes.ndim != 2 or coded.codes.shape[1] != quantizer.quantizers:
            raise InputError(
                f"`codes` (shape {tuple(coded.codes.shape)}) must have {quantizer.quantizers} per unit, one for each "
                "quantiser of this model"
            )
        low, high = int(coded.codes.min()), int(coded.codes.max())
        if low < 0 or high >= quantizer.size:
            raise InputError(f"`codes` ({low} … {high}) must be in 0 … {quantizer.size - 1}, this model's codebook")
        wanted = -(-coded.samples // self.frontend.hop) if self.wave else coded.samples // self.frontend.hop + 1
        if len(coded.durations) != len(coded.codes) or int(coded.durations.sum()) != wanted:
            raise InputError(
                f"`frames` (sum {int(coded.durations.sum())}) must add up to {wanted}, the frames of {coded.samples} "
                f"samples at {self.sample_rate} Hz"
            )


def unit_edges(durations: Tensor, frontend: Any, seconds: float) -> list[float]:
    """Returns the L + 1 times, in s, between which the units lie: from 0 to `seconds`, half-way between two frames.

    Args:
        durations: (L,) int64, encoder input frames of each unit.
        frontend: made the frames.
        seconds: duration of the recording.
    """
    bounds = (durations.cumsum(0)[:-1].double() - 0.5 + frontend.first_centre) / frontend.frame_rate
    return [0.0, *bounds.clamp(0.0, seconds).tolist(), seconds]


# Models as files


def describe_coder(recipe: str, *, sample_rate: int) -> dict[str, Any]:
    """Returns the description of a recipe's VQ-VAE: plain JSON values.

    Args:
        recipe: the merged HyperPyYAML text, with `modules` (`frontend`, `normalize`, `encoder`, `quantizer`,
            `decoder`).
        sample_rate: of waveforms, Hz.
    """
    return describe_model(CODING, {"sample_rate": sample_rate}, resolved(recipe)["modules"], NAMES)


def save_coder(folder: Path, description: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> None:
    """Writes `model.json` and `model.safetensors` into a results folder."""
    write_model(folder, description, nn.ModuleDict({name: modules[name] for name in NAMES}))


def load_coder(folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Coder:
    """Loads the VQ-VAE of a results folder, in evaluation mode.

    Raises:
        ValueError: the folder has no VQ-VAE, or its files are damaged or name a class that is not allowed.
    """
    return read_model(folder, Coder, device)


# Recordings


def code_files(model: Coder, recordings: Iterable[Recording]) -> Iterator[tuple[Recording, Coded | ValueError]]:
    """Yields the codes of each recording, in order; for a file that cannot be read, the error.

    Args:
        recordings: in any format and at any rate that `seqstride.files.decoding` reads. One is in memory at a time.
    """
    return one_by_one(recordings, partial(open_audio, model.sample_rate), model.encode_read)


# Coded recordings as files


def to_json(model: Coder, coded: Coded) -> str:
    """Returns a coded recording as JSON text, which `from_json` reads."""
    units = [unit._asdict() for unit in model.units(coded)]
    header = {"format": FORMAT, "sample_rate": model.sample_rate, "samples": coded.samples}
    return json.dumps({**header, "units": units}) + "\n"


def from_json(model: Coder, text: str) -> Coded:
    """Reads a coded recording that `to_json` wrote.

    Raises:
        ValueError: the text has another form, or the recording has another sample rate than the model.
    """
    try:
        content = parse_json(text)
        if content["format"] != FORMAT:
            raise InputError(f"`format` (={content['format']!r}) must be {FORMAT}")
        rate, samples = content["sample_rate"], content["samples"]
        codes = [unit["codes"] for unit in content["units"]]
        durations = [unit["frames"] for unit in content["units"]]
        numbers = [rate, samples, *durations, *(code for each in codes for code in each)]
        if not all(isinstance(each, list) for each in codes):
            raise InputError("`codes` must be lists")
        if not codes or not all(type(number) is int and 0 <= number < 2**40 for number in numbers) or samples < 1:
            raise InputError("it must have at least one unit, and its numbers must be whole and not negative")
        if max(durations) > LONGEST_UNIT:  # a few letters must not ask for gigabytes
            raise InputError(f"`frames` (={max(durations)}) must be at most {LONGEST_UNIT} in a unit")
        coded = Coded(samples, torch.tensor(codes), torch.tensor(durations))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise InputError(f"not a coded recording: {reason}") from error
    if rate != model.sample_rate:
        raise InputError(f"`sample_rate` (={rate}) must be the model's, {model.sample_rate} Hz")
    return coded
