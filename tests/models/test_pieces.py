"""Recordings that are read in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstride.models.pieces import Piece, Timed, joined, piece_starts


@given(length=st.integers(101, 2000), overlap=st.integers(0, 49))
def test_pieces_cover_the_recording_and_meet_their_neighbours(length: int, overlap: int) -> None:
    starts = piece_starts(length, 100, overlap)
    assert starts[0] == 0
    assert starts[-1] + 100 == length
    assert all(overlap <= first + 100 - second < 100 for first, second in pairwise(starts))


@pytest.mark.parametrize("overlap", [-1, 50, 100])
def test_an_overlap_that_cannot_be_is_named(overlap: int) -> None:
    with pytest.raises(ValueError, match=rf"`overlap` \(={overlap}\) must be at least 0 and less than half of `size`"):
        piece_starts(1000, 100, overlap)


def at(time: float, unit: int) -> Timed:
    return Timed(unit, time, time - 0.02, time + 0.02)


@given(
    gaps=st.lists(st.sampled_from([0.12, 0.2, 0.45]), min_size=1, max_size=400),
    shifts=st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=40),
    lost=st.floats(0, 1.4),
)
def test_what_pieces_agree_on_is_joined_without_loss_or_repetition(
    gaps: list[float], shifts: list[float], lost: float
) -> None:
    # pieces of 30 s hear every token a little too early or late, and none of those at their ends
    times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    times += [times[-1] + 0.3 * index for index in range(1, 120)]
    end = times[-1] + 1
    truth = [at(time, index) for index, time in enumerate(times)]
    pieces = []
    for number, start in enumerate(piece_starts(round(100 * end), 3000, 600)):
        low, high = start / 100, start / 100 + 30
        first, last = low + lost * (number > 0), high - lost * (high < end - 0.02)
        shift = shifts[number % len(shifts)]
        pieces.append(Piece(low, high, [at(t.time + shift, t.unit) for t in truth if first <= t.time < last]))
    assert [token.unit for token in joined(pieces)] == list(range(len(times)))


def test_a_cut_stands_in_the_widest_pause() -> None:
    # the second piece hears something else in every token: where they meet, no word is of both
    first = Piece(0.0, 30.0, [at(25.8, 1), at(26.0, 1), at(27.0, 1), at(27.2, 1), at(29.0, 1)])
    second = Piece(24.0, 54.0, [at(25.8, 2), at(26.0, 2), at(27.0, 2), at(27.2, 2), at(29.0, 2)])
    assert [(token.unit, token.time) for token in joined([first, second])] == [
        (1, 25.8),
        (1, 26.0),
        (1, 27.0),
        (1, 27.2),
        (2, 29.0),
    ]
