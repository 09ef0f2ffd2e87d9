"""`seqstride classify`: what a trained model says about recordings."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seqstride.dataio import load_audio
from seqstride.model import Decision, SequenceClassifier, sample_rate_of

BATCH_SECONDS = 120.0  # of a padded batch, as long as no single recording is longer


class Result(NamedTuple):
    """What came of one file."""

    file: Path
    decisions: dict[str, Decision]
    """Label → its most probable class; none where the file could not be read."""
    error: str | None


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


@contextmanager
def open_table(path: str | os.PathLike[str], labels: Sequence[str]) -> Iterator[Callable[[Result], None]]:
    """A CSV file with the columns `file`, for every label `<label>` and `<label>_probability`, and `error`.

    Args:
        path: of the file; its folder is made if missing.
        labels: of the model.

    Yields:
        What writes the row of a result.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # surrogateescape: a file name that is no text comes out as the bytes it is
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", *(column for label in labels for column in (label, f"{label}_probability")), "error"])

        def write(result: Result) -> None:
            cells: list[object] = [""] * (2 * len(labels))
            for index, (name, probability) in enumerate(result.decisions.values()):
                cells[2 * index : 2 * index + 2] = name, round(probability, 6)
            rows.writerow([result.file, *cells, result.error or ""])

        yield write


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
