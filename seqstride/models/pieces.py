"""Long recordings for recognisers: cut into overlapping pieces, and the results of the pieces joined.

The memory of attention grows with the square of the duration, and the models are trained on sentences, so an hour
cannot be transcribed at once. Where two pieces overlap, the tokens of the first count up to a cut, and those of the
second behind it. The cut stands in the widest gap between tokens of either piece, so it divides no word as long as
speakers pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from seqstride.errors import InputError


class Timed(NamedTuple):
    """A unit, and the output frame that wrote it."""

    unit: int
    time: float
    """s: centre of the frame."""
    start: float
    """s: half-way to the frame before."""
    stop: float
    """s: half-way to the frame behind."""


class Piece(NamedTuple):
    """The tokens between two times of a recording; all times count from the start of the recording."""

    start: float
    """s"""
    stop: float
    """s"""
    tokens: list[Timed]


def piece_starts(length: int, size: int, overlap: int) -> list[int]:
    """Returns the starts of the pieces. All pieces are `size` long, and the last one ends with the recording.

    Args:
        length: of the recording; more than `size`.
        size: of a piece.
        overlap: least overlap of neighbours.

    Raises:
        ValueError: `overlap` is not in [0, size / 2), where a piece would meet the one after the next.
    """
    if not 0 <= 2 * overlap < size:
        raise InputError(f"`overlap` (={overlap}) must be at least 0 and less than half of `size` (={size})")
    return [*range(0, length - size, size - overlap), length - size]


def joined(pieces: Sequence[Piece]) -> list[Timed]:
    """Returns the tokens of a recording from those of its pieces, which are in order and overlap."""
    cuts = [pieces[0].start, *(_cut(first, second) for first, second in pairwise(pieces)), float("inf")]
    return [
        token
        for piece, (start, stop) in zip(pieces, pairwise(cuts), strict=True)
        for token in piece.tokens
        if start <= token.time < stop
    ]


def _cut(first: Piece, second: Piece) -> float:
    """The middle of the widest gap in the inner half of the overlap: near their ends, pieces lack context."""
    edge = (first.stop - second.start) / 4
    low, high = second.start + edge, first.stop - edge
    times = sorted(token.time for piece in (first, second) for token in piece.tokens if low < token.time < high)
    _, cut = max((right - left, (left + right) / 2) for left, right in pairwise([low, *times, high]))
    return cut
