"""`seqstride classify`: what a trained model says about recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seqstride.dataio import load_audio
from seqstride.model import Decision, SequenceClassifier

BATCH_SECONDS = 120.0  # of a padded batch, as long as no single recording is longer


class Result(NamedTuple):
    """What came of one file."""

    file: Path
    decisions: dict[str, Decision]
    """Label → its most probable class; none where the file could not be read."""
    error: str | None


def sample_rate_of(model: SequenceClassifier) -> int:
    """The rate, in Hz, of the waveforms that a model reads.

    Raises:
        ValueError: it reads features.
    """
    if model.sample_rate is None:
        raise ValueError(f"`model` must read recordings; this one reads features ({model.description['feature_name']})")
    return model.sample_rate


def classify_files(
    model: SequenceClassifier, files: Iterable[Path], batch_seconds: float = BATCH_SECONDS
) -> Iterator[Result]:
    """Classifies recordings, in their order; those that cannot be read get an error instead.

    Args:
        model: one that reads recordings.
        files: in any format that soundfile reads, at any rate.
        batch_seconds: recordings are put together up to this duration, padding included; a longer one stands alone.
            Results do not depend on it, up to rounding.

    Raises:
        ValueError: the model reads features.
    """
    rate = sample_rate_of(model)
    pending: list[tuple[Path, Tensor | ValueError]] = []
    longest = 0
    for file in files:
        try:
            loaded: Tensor | ValueError = load_audio(rate, file)
        except ValueError as error:
            loaded = error
        length = len(loaded) if isinstance(loaded, Tensor) else 0
        if pending and max(longest, length) * (len(pending) + 1) > batch_seconds * rate:
            yield from _classify(model, pending)
            pending, longest = [], 0
        pending.append((file, loaded))
        longest = max(longest, length)
    yield from _classify(model, pending)


def _classify(model: SequenceClassifier, batch: Sequence[tuple[Path, Tensor | ValueError]]) -> Iterator[Result]:
    waveforms = [loaded for _, loaded in batch if isinstance(loaded, Tensor)]
    decisions: Iterator[dict[str, Decision]] = iter(())
    if waveforms:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        decisions = iter(model.decide(torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths))
    for file, loaded in batch:
        if isinstance(loaded, Tensor):
            yield Result(file, next(decisions), None)
        else:
            yield Result(file, {}, str(loaded))
