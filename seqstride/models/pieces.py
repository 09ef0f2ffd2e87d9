"""Recordings too long for attention, cut into pieces that overlap, and what was heard in them, put together.

Attention takes memory with the square of the duration, and has learnt on sentences; an hour is neither affordable nor
like anything the model knows. Of two pieces that overlap, the first counts up to a cut and the second behind it. The
cut stands in the widest gap between tokens of either, so that it divides no word as long as people pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from seqstride.errors import InputError


class Timed(NamedTuple):
    """A unit that was written, and the frame that wrote it."""

    unit: int
    time: float
    """s: what the frame stands for."""
    start: float
    """s: from half-way to the frame before …"""
    stop: float
    """s: … to half-way to the one behind."""


class Piece(NamedTuple):
    """What was heard between two moments of a recording, on the recording's clock."""

    start: float
    """s"""
    stop: float
    """s"""
    tokens: list[Timed]


def piece_starts(length: int, size: int, overlap: int) -> list[int]:
    """Where the pieces start: all are `size` long, the last one ends with the recording.

    Args:
        length: of the recording, more than `size`.
        size, overlap: of the pieces, and of neighbours at least.

    Raises:
        ValueError: `overlap` is not in [0, size / 2), where a piece would meet the one after the next.
    """
    if not 0 <= 2 * overlap < size:
        raise InputError(f"`overlap` (={overlap}) must be at least 0 and less than half of `size` (={size})")
    return [*range(0, length - size, size - overlap), length - size]


def joined(pieces: Sequence[Piece]) -> list[Timed]:
    """The tokens of a recording from those of its pieces, which come in order and overlap their neighbours."""
    cuts = [pieces[0].start, *(_cut(first, second) for first, second in pairwise(pieces)), float("inf")]
    return [
        token
        for piece, (start, stop) in zip(pieces, pairwise(cuts), strict=True)
        for token in piece.tokens
        if start <= token.time < stop
    ]


def _cut(first: Piece, second: Piece) -> float:
    """The middle of the widest gap in the inner half of the overlap; near their ends pieces lack context."""
    edge = (first.stop - second.start) / 4
    low, high = second.start + edge, first.stop - edge
    times = sorted(token.time for piece in (first, second) for token in piece.tokens if low < token.time < high)
    _, cut = max((right - left, (left + right) / 2) for left, right in pairwise([low, *times, high]))
    return cut
