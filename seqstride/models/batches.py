"""Recordings of many lengths through a model, in padded batches of limited duration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from seqstride.files.audio_files import Recording
from seqstride.files.loading import load_recording

BATCH_SECONDS = 120.0
"""Duration of a padded batch, as long as no single recording is longer."""

Answer = TypeVar("Answer")


def in_batches(
    recordings: Iterable[Recording],
    load: Callable[[str, int, int | None], Tensor],
    decide: Callable[[Tensor, Tensor], Sequence[Answer]],
    limit: float,
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    """Applies a model to recordings and yields its answers in order; for a file that cannot be read, the error.

    Args:
        recordings: one batch of them is in memory at a time.
        load: path, start and stop → the signal (S,) or (T, C); raises a ValueError where the file cannot be read.
        decide: padded signals (B, S) or (B, T, C) and lengths (B,) → B answers.
        limit: largest number of frames in a batch, padding included; a longer recording makes a batch of its own.
    """
    pending: list[tuple[Recording, Tensor | ValueError]] = []
    longest = 0
    for recording in recordings:
        try:
            signal: Tensor | ValueError = load_recording(recording, load)
        except ValueError as error:
            signal = error
        length = len(signal) if isinstance(signal, Tensor) else 0
        if pending and max(longest, length) * (len(pending) + 1) > limit:
            yield from _decided(pending, decide)
            pending, longest = [], 0
        pending.append((recording, signal))
        longest = max(longest, length)
    yield from _decided(pending, decide)


def _decided(
    batch: Sequence[tuple[Recording, Tensor | ValueError]], decide: Callable[[Tensor, Tensor], Sequence[Answer]]
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    signals = [signal for _, signal in batch if isinstance(signal, Tensor)]
    answers: Iterator[Answer] = iter(())
    if signals:
        lengths = torch.tensor([len(signal) for signal in signals])
        # a single one, perhaps of hours, is not copied
        padded = signals[0][None] if len(signals) == 1 else torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
        answers = iter(decide(padded, lengths))
    for recording, signal in batch:
        yield recording, next(answers) if isinstance(signal, Tensor) else signal
