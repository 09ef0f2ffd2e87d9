"""Recordings of many lengths through a model: short ones in padded batches, long ones alone and piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from seqstride.errors import InputError, shown
from seqstride.files.audio_files import Recording
from seqstride.files.signal_reader import SignalReader
from seqstride.models.description import NotFiniteError

BATCH_SECONDS = 120.0
"""Duration of a padded batch; a longer recording is alone."""

Answer = TypeVar("Answer")
Found = TypeVar("Found")
Open = Callable[[str, int, int | None], AbstractContextManager[SignalReader]]
"""Path, start and stop → the opened signal, such as `open_audio` with its rate."""


def in_batches(
    recordings: Iterable[Recording],
    open_signal: Open,
    decide: Callable[[Tensor, Tensor], Sequence[Answer]],
    decide_long: Callable[[SignalReader], Answer],
    limit: float,
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    """Applies a model to recordings and yields its answers in order; for a file that cannot be read, the error.

    Args:
        recordings: one batch of them is in memory at a time.
        open_signal: opens one; raises an InputError where the file cannot be read.
        decide: padded signals (B, S) or (B, T, C) and lengths (B,) → B answers.
        decide_long: a signal longer than `limit` → its answer.
        limit: largest number of frames in a batch, padding included.
    """
    pending: list[tuple[Recording, Tensor | ValueError]] = []
    longest = 0
    for recording in recordings:
        with ExitStack() as files:
            signal = _tried(recording, partial(_entered, files, recording, open_signal))
            length = len(signal) if isinstance(signal, SignalReader) else 0
            if pending and max(longest, length) * (len(pending) + 1) > limit:
                yield from _decided(pending, decide)
                pending, longest = [], 0
            if not isinstance(signal, SignalReader):
                pending.append((recording, signal))
            elif length > limit:
                yield recording, _tried(recording, partial(decide_long, signal))
            else:
                pending.append((recording, _tried(recording, signal.whole)))
                longest = max(longest, length)
    yield from _decided(pending, decide)


def one_by_one(
    recordings: Iterable[Recording], open_signal: Open, decide: Callable[[SignalReader], Answer]
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    """`in_batches` for a model that reads one recording at a time."""
    for recording in recordings:
        with ExitStack() as files:
            signal = _tried(recording, partial(_entered, files, recording, open_signal))
            if isinstance(signal, SignalReader):
                yield recording, _tried(recording, partial(decide, signal))
            else:
                yield recording, signal


def _entered(files: ExitStack, recording: Recording, open_signal: Open) -> SignalReader:
    if recording.problem is not None:
        raise InputError(recording.problem)
    return files.enter_context(open_signal(recording.path, recording.start, recording.stop))


def _tried(recording: Recording, act: Callable[[], Found]) -> Found | ValueError:
    """What `act` returns, or the error that it raises, which names the item if its name is not its path."""
    try:
        return act()
    except NotFiniteError as error:
        return InputError(f"{recording.name!r}: {error}")
    except InputError as error:
        if recording.name == recording.path and recording.problem is None:
            return error
        return InputError(f"item {shown(recording.name)!r}: {error}")


def _decided(
    batch: Sequence[tuple[Recording, Tensor | ValueError]], decide: Callable[[Tensor, Tensor], Sequence[Answer]]
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    signals = [signal for _, signal in batch if isinstance(signal, Tensor)]
    answers: Iterator[Answer] = iter(())
    if signals:
        lengths = torch.tensor([len(signal) for signal in signals])
        padded = torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
        try:
            answers = iter(decide(padded, lengths))
        except NotFiniteError:  # it does not say for which
            yield from _decided_alone(batch, decide)
            return
    for recording, signal in batch:
        yield recording, next(answers) if isinstance(signal, Tensor) else signal


def _decided_alone(
    batch: Sequence[tuple[Recording, Tensor | ValueError]], decide: Callable[[Tensor, Tensor], Sequence[Answer]]
) -> Iterator[tuple[Recording, Answer | ValueError]]:
    for recording, signal in batch:
        if isinstance(signal, Tensor):
            alone = partial(decide, signal[None], torch.tensor([len(signal)]))
            answers = _tried(recording, alone)
            yield recording, answers if isinstance(answers, ValueError) else answers[0]
        else:
            yield recording, signal
