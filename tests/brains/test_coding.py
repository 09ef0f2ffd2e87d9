"""Bits of units: against plain loops, as a code that can be decoded, and against the entropy of a known source."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from seqstride.brains.coding import WEIGHTS, Symbols, Units, coded_bits, gamma, unit_bits


def recordings(count: int, length: int, stay: float, seed: int, quantizers: int = 1) -> list[Units]:
    """Codes of four that stay as they were with probability `stay`, and durations that are the code, or one of four."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        codes = generator.integers(0, 4, size=(length, quantizers))
        for place in range(1, length):
            if generator.random() < stay:
                codes[place] = codes[place - 1]
        drawn = generator.integers(0, 4, size=length)
        found.append(Units(codes, np.where(generator.random(length) < 0.5, codes[:, 0], drawn)))
    return found


def events(units: Units, size: int, contexts: bool) -> list[tuple]:
    """The symbols of a recording: their stream, value, share without any count, and contexts."""
    found: list[tuple] = []
    codes = [None, *units.codes.tolist(), None]
    for place, duration in enumerate(units.durations.tolist()):
        before, (first, *others), behind = codes[place : place + 3]
        for q, code in enumerate([first, *others]):
            found.append((f"codes {q}", code, 1 / size, ["", before and before[q]]))
        gamma_code = 2.0 ** -(2 * int(math.log2(duration + 1)) + 1)
        found.append(("durations", duration, gamma_code, ["", first, (first, behind and behind[0])]))
    return [(*start, levels if contexts else levels[:1]) for *start, levels in found]


def mixed(known: list, part: list, level: int, before: list[float], weight: float, left: int) -> list[float]:
    """The shares of a level; `left` of 1 leaves every symbol out of its own counts."""
    pairs = Counter((event[3][level], event[1]) for event in known)
    contexts = Counter(event[3][level] for event in known)
    return [
        (pairs[of[level], value] - left + weight * share) / (contexts[of[level]] - left + weight)
        for (_, value, _, of), share in zip(part, before, strict=True)
    ]


def plain_bits(train: list[Units], scored: list[Units], size: int, contexts: bool) -> dict[str, float]:
    """The same in loops: counts in dictionaries, one stream and level after the other."""
    known = [event for units in train for event in events(units, size, contexts)]
    asked = [event for units in scored for event in events(units, size, contexts)]
    bits = {"codes": 0.0, "durations": 0.0}
    for stream in dict.fromkeys(event[0] for event in known):
        mine, others = ([event for event in part if event[0] == stream] for part in (known, asked))
        own, shares = [event[2] for event in mine], [event[2] for event in others]
        for level in range(len(mine[0][3])):
            tried = {weight: mixed(mine, mine, level, own, weight, 1) for weight in WEIGHTS}
            best = max(tried, key=lambda weight: sum(map(math.log2, tried[weight])))
            own, shares = tried[best], mixed(mine, others, level, shares, best, 0)
        bits[stream.split()[0]] -= sum(map(math.log2, shares))
    return bits


@pytest.mark.parametrize("contexts", [True, False])
def test_bits_are_those_of_plain_loops(contexts: bool) -> None:
    train, scored = recordings(5, 30, 0.7, 0, 2), [*recordings(3, 20, 0.7, 1, 2), *recordings(1, 1, 0.7, 2, 2)]
    scored[0].durations[3] = 9  # longer than any of the training part
    found = unit_bits(train, scored, 4, contexts)
    assert found._asdict() == pytest.approx(plain_bits(train, scored, 4, contexts))


def test_the_shares_of_all_symbols_sum_to_one() -> None:
    """So there is a code with these lengths. The gamma code's tail behind 2^17 is below 1e-5."""
    generator = np.random.default_rng(0)
    values, context = generator.integers(0, 6, 50), generator.integers(0, 3, 50)
    train = Symbols(values, (np.zeros_like(values), context))
    one = np.ones(1, dtype=np.int64)

    def share(symbol: int) -> float:
        return 2.0 ** -coded_bits(train, Symbols(one * symbol, (0 * one, one)), gamma)

    # nobody has seen those from 6 on: the levels pass on equal parts of what the gamma code gives them
    unseen = share(6) * gamma(np.arange(6, 2**17 - 1)).sum() / gamma(6 * one)[0]
    assert sum(share(symbol) for symbol in range(6)) + unseen == pytest.approx(1, abs=1e-5)


def test_neighbours_that_tell_something_save_what_they_tell() -> None:
    """A code stays with 0.8 + 0.2 / 4, and a duration is the code with 0.5 + 0.5 / 4; else it is one of three."""

    def entropy(stays: float) -> float:
        return -stays * math.log2(stays) - (1 - stays) * math.log2((1 - stays) / 3)

    train, scored = recordings(200, 60, 0.8, 0), recordings(100, 60, 0.8, 1)
    alone, together = (unit_bits(train, scored, 4, contexts) for contexts in (False, True))
    assert [bits / 6000 for bits in alone] == pytest.approx([2, 2], rel=0.02)
    first = (2 - entropy(0.85)) / 60  # nothing stands before it
    assert together.codes / 6000 == pytest.approx(entropy(0.85) + first, rel=0.05)
    assert together.durations / 6000 == pytest.approx(entropy(0.625), rel=0.05)


def test_neighbours_that_tell_nothing_cost_little() -> None:
    """Also where most contexts are seen a few times only: then the weight of the level before is large."""
    generator = np.random.default_rng(3)
    parts = [
        [Units(generator.integers(0, 64, (100, 1)), generator.integers(1, 9, 100)) for _ in range(count)]
        for count in (50, 20)
    ]
    alone, together = (unit_bits(*parts, 64, contexts) for contexts in (False, True))
    for before, after, bits in zip(alone, together, (6, 3), strict=True):
        assert before / 2000 == pytest.approx(bits, rel=0.01)
        assert after < before * 1.01
