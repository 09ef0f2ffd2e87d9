"""Trained recognisers in results folders: saved, loaded, and applied to recordings; words have times in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqstride.files.audio_files import Recording
from seqstride.files.loading import open_audio, open_features
from seqstride.files.signal_reader import SignalReader
from seqstride.files.yaml_text import resolved
from seqstride.models.batches import BATCH_SECONDS, in_batches
from seqstride.models.description import (
    TRANSCRIPTION,
    TrainedModel,
    check_finite,
    describe_model,
    read_model,
    write_model,
)
from seqstride.models.pieces import Piece, Timed, joined, piece_starts
from seqstride.models.tokens import SPACE, Units, greedy_decode

PIECE_SECONDS = 30.0  # longer recordings are read in pieces of this duration …
OVERLAP_SECONDS = 6.0  # … that overlap by at least this much


class Token(NamedTuple):
    """A unit and its time."""

    text: str
    time: float
    """s: centre of the output frame in which the unit has its highest probability."""


class Word(NamedTuple):
    """A word, from the start of the first output frame that wrote one of its units to the end of the last."""

    text: str
    start: float
    """s"""
    stop: float
    """s"""


class Transcript(NamedTuple):
    """The text of a recording."""

    text: str
    words: list[Word]
    tokens: list[Token]


class Transcriber(TrainedModel):
    """A trained CTC model from signal to text, in evaluation mode; it decodes greedily.

    Args:
        description: as `describe_transcriber` returns it.

    Attributes:
        units: the units that it writes.
        frame_rate: frames per second at the encoder's input.
        output: the linear layer from output frames to scores of the units.

    Raises:
        ValueError: the description names a class that is not allowed, or is not one of a recogniser.
    """

    task = TRANSCRIPTION

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__(description)
        self.units = Units(description["units"]["kind"], description["units"]["names"])
        self.frame_rate = float(description["frame_rate"])
        self.output = nn.Linear(self.encoder.out_channels, len(self.units))
        self.eval()

    @property
    def signal_rate(self) -> float:
        """Rate of its input: samples per second, or frames per second for features."""
        return self.frame_rate if self.sample_rate is None else float(self.sample_rate)

    def forward(self, signal: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
        """Returns log probabilities (B, L, units) and the encoder's `Encoded`; arguments as in `features`."""
        encoded = self.encoder(*self.features(signal, lengths))
        logits = self.output(encoded.features.transpose(1, 2))
        return logits.float().log_softmax(2), encoded

    @torch.no_grad()
    def transcribe(self, signal: Tensor, lengths: Tensor) -> list[Transcript]:
        """Transcribes a batch; arguments as in `features`. Memory grows with the square of the longest item."""
        log_probs, encoded = self(signal, lengths)
        check_finite(*(item[:length] for item, length in zip(log_probs, encoded.lengths.tolist(), strict=True)))
        return transcripts(self.units, log_probs, encoded, self.frame_rate)

    def _tried(self, signal: Tensor, lengths: Tensor) -> Iterable[Tensor]:
        self.transcribe(signal, lengths)
        return [self(signal, lengths)[0]]

    @torch.no_grad()
    def transcribe_long(self, signal: Tensor | SignalReader) -> Transcript:
        """Transcribes one recording of any duration: (S,) at `sample_rate`, or features (T, C).

        A recording longer than 30 s is read in pieces of 30 s that overlap by at least 6 s, so memory stays limited.
        """
        rate, device = self.signal_rate, self._device()
        size, overlap = round(PIECE_SECONDS * rate), round(OVERLAP_SECONDS * rate)
        reader = signal if isinstance(signal, SignalReader) else SignalReader([signal], len(signal))
        if len(reader) <= size:
            (transcript,) = self.transcribe(reader.whole()[None].to(device), torch.tensor([len(reader)], device=device))
            return transcript
        pieces = []
        for start in piece_starts(len(reader), size, overlap):
            piece = reader.read(start, start + size)[None].to(device)
            log_probs, encoded = self(piece, torch.tensor([size], device=device))
            check_finite(log_probs)
            (tokens,) = timed_tokens(log_probs, encoded, self.frame_rate, start / rate)
            pieces.append(Piece(start / rate, (start + size) / rate, tokens))
        return _transcript(self.units, joined(pieces))

    @contextmanager
    def opened(self, file: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Iterator[SignalReader]:
        """Opens a recording (S,) at the model's rate, or for a model that reads features a .npy file (T, C).

        Args:
            file: its path.
            start, stop: first sample or frame to read, and the one behind the last; None: the end of the file.

        Raises:
            ValueError: the file cannot be read or has another shape.
        """
        if self.sample_rate is not None:
            with open_audio(self.sample_rate, file, start, stop) as waveform:
                yield waveform
            return
        with open_features(file, start, stop, self.encoder.in_channels) as features:
            yield features


def transcribe_files(
    model: Transcriber, recordings: Iterable[Recording], batch_seconds: float = BATCH_SECONDS
) -> Iterator[tuple[Recording, Transcript | ValueError]]:
    """Transcribes recordings, in their order; a file that cannot be read gets an error instead.

    Args:
        model: reads audio files, or .npy files if it was trained on features.
        recordings: one batch of them is in memory at a time; a recording longer than 30 s is read in pieces.
        batch_seconds: recordings are batched up to this duration, padding included; of a longer one, one piece is in
            memory at a time.
    """
    device = next(model.parameters()).device

    def decide(signal: Tensor, lengths: Tensor) -> list[Transcript]:
        if int(lengths.max()) <= PIECE_SECONDS * model.signal_rate:
            return model.transcribe(signal.to(device), lengths.to(device))
        return [model.transcribe_long(item[:length].to(device)) for item, length in zip(signal, lengths, strict=True)]

    return in_batches(recordings, model.opened, decide, model.transcribe_long, batch_seconds * model.signal_rate)


def transcripts(units: Units, log_probs: Tensor, encoded: Any, frame_rate: float) -> list[Transcript]:
    """Decodes a batch greedily into transcripts with times.

    Args:
        units: the units of the model.
        log_probs: (B, L, units).
        encoded: the encoder's output for the batch.
        frame_rate: frames per second at the encoder's input.
    """
    return [_transcript(units, tokens) for tokens in timed_tokens(log_probs, encoded, frame_rate)]


def timed_tokens(log_probs: Tensor, encoded: Any, frame_rate: float, offset: float = 0.0) -> list[list[Timed]]:
    """Returns the units of each item of a batch with their times; arguments as in `transcripts`.

    Args:
        offset: time of the first frame of the batch, s.
    """
    times = encoded.times().cpu().numpy() / frame_rate + offset
    ends = encoded.input_lengths.cpu().numpy() / frame_rate + offset
    tokens = []
    for item, (indices, frames) in enumerate(greedy_decode(log_probs, encoded.lengths)):
        middles = times[item, : int(encoded.lengths[item])].tolist()
        # an output frame reaches half-way to its neighbours
        edges = [offset, *((first + second) / 2 for first, second in pairwise(middles)), float(ends[item])]
        tokens.append(
            [
                Timed(unit, middles[frame], edges[frame], edges[frame + 1])
                for unit, frame in zip(indices, frames, strict=True)
            ]
        )
    return tokens


def _transcript(units: Units, timed: Sequence[Timed]) -> Transcript:
    words: list[Word] = []
    between = True  # whether the next unit starts a word
    for unit, _, start, stop in timed:
        name = units.names[unit - 1]
        between |= units.kind == "words" or name[0] in (" ", SPACE)
        text = name.strip(" " + SPACE)
        if text and between:
            words.append(Word(text, start, stop))
            between = False
        elif text:
            words[-1] = Word(words[-1].text + text, words[-1].start, stop)
    tokens = [Token(units.names[unit - 1], time) for unit, time, _, _ in timed]
    return Transcript(units.decode([unit for unit, *_ in timed]), words, tokens)


def describe_transcriber(
    recipe: str, *, units: Units, sample_rate: int | None, frame_rate: float, feature_name: str
) -> dict[str, Any]:
    """Returns the description of a recipe's recogniser: plain JSON values.

    Args:
        recipe: the merged HyperPyYAML text, with `modules` (`normalize`, `encoder`, `frontend`).
        units: the units of the training part.
        sample_rate: of waveforms, Hz; None for features, which have no front end.
        frame_rate: frames per second at the encoder's input.
        feature_name: a name for the channels of the features, such as "mel band".
    """
    nodes = resolved(recipe)["modules"]
    fields = {
        "units": {"kind": units.kind, "names": units.names},
        "sample_rate": sample_rate,
        "frame_rate": frame_rate,
        "feature_name": feature_name,
    }
    return describe_model(
        TRANSCRIPTION, fields, nodes, [name for name in nodes if name != "frontend" or sample_rate is not None]
    )


def save_transcriber(folder: Path, description: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> None:
    """Writes `model.json` and `model.safetensors`.

    Args:
        folder: a results folder.
        description: as `describe_transcriber` returns it.
        modules: the trained `normalize`, `encoder`, `output`, and optionally `frontend`.
    """
    kept = {name: module for name, module in modules.items() if name in description["modules"] or name == "output"}
    write_model(folder, description, nn.ModuleDict(kept))


def load_transcriber(folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Transcriber:
    """Loads the recogniser of a results folder, in evaluation mode.

    Raises:
        ValueError: the folder has no recogniser, or its files are damaged or name a class that is not allowed.
    """
    return read_model(folder, Transcriber, device)
