"""Bits of units: against plain loops, as a code that can be decoded, and against the entropy of a known source."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from seqstride.brains.coding import Symbols, Units, coded_bits, gamma, unit_bits


def recordings(count: int, length: int, stay: float, seed: int, quantizers: int = 1) -> list[Units]:
    """Codes that tell the duration half of the time, and durations that stay as they were with probability `stay`."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        durations = np.zeros(length, dtype=np.int64)
        for place in range(1, length):
            same = generator.random() < stay
            durations[place] = durations[place - 1] if same else generator.integers(0, 4)
        codes = generator.integers(0, 4, size=(length, quantizers))
        told = generator.random(length) < 0.5
        codes[told, 0] = durations[told]
        found.append(Units(codes, durations))
    return found


def plain_bits(train: list[Units], scored: list[Units], size: int, neighbours: bool) -> tuple[float, float]:
    """The same in loops: counts in dictionaries, one symbol after the other."""
    counts: Counter = Counter()

    def events(units: Units) -> list[tuple]:
        found = []
        for place, duration in enumerate(units.durations.tolist()):
            before = units.durations[place - 1] if place else None
            for q, code in enumerate(units.codes[place].tolist()):
                contexts = [("code", q), ("code", q, units.codes[place - 1, q] if place else None)]
                found.append(("codes", code, 1 / size, contexts))
            contexts = [("duration",), ("duration", before), ("duration", before, units.codes[place, 0])]
            found.append(("durations", duration, 2.0 ** -(2 * int(math.log2(duration + 1)) + 1), contexts))
        return [(kind, symbol, start, each if neighbours else each[:1]) for kind, symbol, start, each in found]

    for units in train:
        for _, symbol, _, contexts in events(units):
            for context in contexts:
                counts[context] += 1
                counts[context, symbol] += 1
    bits = {"codes": 0.0, "durations": 0.0}
    for units in scored:
        for kind, symbol, share, contexts in events(units):
            for context in contexts:
                share = (counts[context, symbol] + 2 * share) / (counts[context] + 2)
            bits[kind] -= math.log2(share)
    return bits["codes"], bits["durations"]


@pytest.mark.parametrize("neighbours", [True, False])
def test_bits_are_those_of_plain_loops(neighbours: bool) -> None:
    train, scored = recordings(5, 30, 0.7, 0, 2), [*recordings(3, 20, 0.7, 1, 2), *recordings(1, 1, 0.7, 2, 2)]
    scored[0].durations[3] = 9  # longer than any of the training part
    found = unit_bits(train, scored, 4, neighbours)
    assert found == pytest.approx(plain_bits(train, scored, 4, neighbours))


def test_the_shares_of_all_symbols_sum_to_one() -> None:
    """So there is a code with these lengths."""
    everything = np.arange(2**17 - 1)
    assert gamma(everything).sum() == pytest.approx(1, abs=1e-5)
    generator = np.random.default_rng(0)
    values, context = generator.integers(0, 6, 50), generator.integers(0, 3, 50)
    train = Symbols(values, (np.zeros_like(values), context))
    one = np.ones(1, dtype=np.int64)
    bits = [coded_bits(train, Symbols(one * symbol, (0 * one, one)), gamma(one * symbol)) for symbol in range(6)]
    # nobody has seen the others: two levels pass on what the gamma code gives them
    unseen = 2 / (int((context == 1).sum()) + 2) * 2 / 52 * gamma(everything[6:]).sum()
    assert sum(2.0**-each for each in bits) + unseen == pytest.approx(1, abs=1e-5)


def test_neighbours_that_tell_something_save_what_they_tell() -> None:
    stay = 0.8
    train, scored = recordings(200, 60, stay, 0), recordings(50, 60, stay, 1)
    count = 50 * 60
    alone, together = (unit_bits(train, scored, 4, neighbours) for neighbours in (False, True))
    assert alone.durations / count == pytest.approx(2, rel=0.02)
    # the old one is among the four that may follow: the entropy of a chain that stays with 0.85
    chain = -0.85 * math.log2(0.85) - 0.15 * math.log2(0.05)
    assert together.durations / count < 0.9 * chain  # the code tells the rest
    assert together.codes < alone.codes


def test_neighbours_that_tell_nothing_cost_little() -> None:
    generator = np.random.default_rng(3)
    parts = [
        [Units(generator.integers(0, 8, (100, 1)), generator.integers(1, 9, 100)) for _ in range(count)]
        for count in (100, 20)
    ]
    alone, together = (unit_bits(*parts, 8, neighbours) for neighbours in (False, True))
    for before, after in zip(alone, together, strict=True):
        assert before / 2000 == pytest.approx(3, rel=0.01)
        assert before * 0.99 < after < before * 1.03
