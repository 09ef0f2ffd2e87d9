"""Recordings of many lengths through a model, in padded batches of limited duration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from seqstride.files.audio_files import Recording

Answer = TypeVar("Answer")


def in_batches(
    recordings: Iterable[Recording],
    read: Callable[[Recording], Tensor],
    decide: Callable[[Tensor, Tensor], Sequence[Answer]],
    limit: float,
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    """What a model says about each recording, in order; about those that cannot be read, the error.

    Args:
        recordings: one batch of them is in memory at a time.
        read: gives the signal (S,) or (T, C) of a recording, or raises a ValueError.
        decide: padded signals and lengths (B,) → B answers.
        limit: frames of a batch at most, padding included; a longer recording stands alone.
    """
    pending: list[tuple[Recording, Tensor | ValueError]] = []
    longest = 0
    for recording in recordings:
        try:
            signal: Tensor | ValueError = read(recording)
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
        # one alone, which may be hours, is not copied
        padded = signals[0][None] if len(signals) == 1 else torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
        answers = iter(decide(padded, lengths))
    for recording, signal in batch:
        yield recording, next(answers) if isinstance(signal, Tensor) else signal
