"""`seqstride classify`: what a trained model says about recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from seqstride.files.audio_files import Recording, naming
from seqstride.files.loading import load_audio
from seqstride.models.batches import in_batches
from seqstride.models.classifier import Decision, SequenceClassifier, sample_rate_of

BATCH_SECONDS = 120.0  # of a padded batch, as long as no single recording is longer


class Result(NamedTuple):
    """What came of one recording."""

    recording: Recording
    decisions: dict[str, Decision]
    """Label → its most probable class; none where the file could not be read."""
    error: str | None


def classify_files(
    model: SequenceClassifier, recordings: Iterable[Recording], batch_seconds: float = BATCH_SECONDS
) -> Iterator[Result]:
    """Classifies recordings, in their order; those that cannot be read get an error instead.

    Args:
        model: one that reads recordings.
        recordings: in any format that `seqstride.files.decoding` reads, at any rate.
        batch_seconds: recordings are put together up to this duration, padding included; a longer one stands alone.
            Results do not depend on it, up to rounding.

    Raises:
        ValueError: the model reads features.
    """
    rate = sample_rate_of(model)
    device = next(model.parameters()).device

    def read(recording: Recording) -> Tensor:
        with naming(recording):
            return load_audio(rate, recording.path, recording.start, recording.stop)

    def decide(signal: Tensor, lengths: Tensor) -> list[dict[str, Decision]]:
        return model.decide(signal.to(device), lengths.to(device))

    for recording, decisions in in_batches(recordings, read, decide, batch_seconds * rate):
        if isinstance(decisions, ValueError):
            yield Result(recording, {}, str(decisions))
        else:
            yield Result(recording, decisions, None)


def table_columns(labels: Sequence[str]) -> list[str]:
    """The columns of the table of `--csv`: `file`, for every label `<label>` and `<label>_probability`, `error`."""
    return ["file", *(column for label in labels for column in (label, f"{label}_probability")), "error"]


def table_row(result: Result, labels: Sequence[str]) -> list[object]:
    """The row of a result."""
    cells: list[object] = [""] * (2 * len(labels))
    for index, (name, probability) in enumerate(result.decisions.values()):
        cells[2 * index : 2 * index + 2] = name, round(probability, 6)
    return [result.recording.name, *cells, result.error or ""]
