"""Bits that units need if a coder knows the frequencies in the training part, and the symbols around.

A symbol s is coded in contexts from the vaguest to the most exact. Each level counts in the training part how often s
stood in its context c, n(s, c), and mixes that with the level before:

    p_k(s) = (n_k(s, c_k) + w_k · p_{k-1}(s)) / (n_k(c_k) + w_k)

A context that was seen often decides alone; one that was never seen leaves the decision to the vaguer one. This is
additive smoothing towards the level below (MacKay and Peto, "A hierarchical Dirichlet language model", 1995). The
weight w_k of a level is the one with which the training part itself needs the fewest bits if every symbol is left out
of its own counts. A level that tells nothing gets a large one, and so does no harm.

    code        1 / K  →  its frequency  →  given the code before, of the same quantiser
    duration    the gamma code  →  its frequency  →  given its code  →  given its code and the next one

All codes of a recording come before its durations. An arithmetic coder needs -log2 p bits for every symbol, and up to
two more for each recording. These, the length of a recording and the number of its units are not counted, for any
method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

WEIGHTS = tuple(4.0**power for power in range(-1, 8))
"""w is one of these: the number of symbols that the level before is worth."""


class Units(NamedTuple):
    """The units of one recording."""

    codes: np.ndarray
    """(L, Q) int64: the code of every quantiser."""
    durations: np.ndarray
    """(L,) int64: input frames."""


class Bits(NamedTuple):
    """What the units of all recordings need together."""

    codes: float
    durations: float


class Symbols(NamedTuple):
    """The symbols of all recordings, behind each other."""

    values: np.ndarray
    """(N,) int64, at least 0."""
    contexts: tuple[np.ndarray, ...]
    """(N,) int64 for each level, at least 0."""


def unit_bits(train: Sequence[Units], scored: Sequence[Units], size: int, contexts: bool = True) -> Bits:
    """Returns the bits of the scored units.

    Args:
        train: whose frequencies the coder knows.
        scored: have as many quantisers.
        size: codes of a quantiser.
        contexts: False: the coder knows frequencies only, nothing of other symbols.
    """
    levels = None if contexts else 1
    codes = 0.0
    for quantizer in range(scored[0].codes.shape[1]):
        known, asked = (_codes(part, quantizer, levels) for part in (train, scored))
        codes += coded_bits(known, asked, lambda values: np.full(len(values), 1 / size))
    known, asked = (_durations(part, size, levels) for part in (train, scored))
    return Bits(codes, coded_bits(known, asked, gamma))


def _codes(part: Sequence[Units], quantizer: int, levels: int | None) -> Symbols:
    rows = [units.codes[:, quantizer] for units in part]
    values = np.concatenate(rows)
    before = np.concatenate([np.concatenate([[0], row[:-1] + 1]) for row in rows])
    return Symbols(values, (np.zeros_like(values), before)[:levels])


def _durations(part: Sequence[Units], size: int, levels: int | None) -> Symbols:
    rows = [units.codes[:, 0] for units in part]
    codes = np.concatenate(rows)
    behind = np.concatenate([np.concatenate([row[1:] + 1, [0]]) for row in rows])
    values = np.concatenate([units.durations for units in part])
    return Symbols(values, (np.zeros_like(codes), codes, codes * (size + 1) + behind)[:levels])


def coded_bits(train: Symbols, scored: Symbols, start: Callable[[np.ndarray], np.ndarray]) -> float:
    """Returns the bits of all scored symbols.

    Args:
        train: whose frequencies the coder knows.
        scored: has as many contexts.
        start: symbols (N,) → their p_0, above 0.
    """
    size = 1 + max(int(train.values.max()), int(scored.values.max()))
    own, shares = start(train.values), start(scored.values)
    for known, asked in zip(train.contexts, scored.contexts, strict=True):
        pairs = known * size + train.values
        left = _counts(pairs, pairs) - 1, _counts(known, known) - 1
        own, weight = min(
            ((_mixed(*left, own, weight), weight) for weight in WEIGHTS), key=lambda found: _bits(found[0])
        )
        shares = _mixed(_counts(pairs, asked * size + scored.values), _counts(known, asked), shares, weight)
    return _bits(shares)


def _mixed(together: np.ndarray, context: np.ndarray, shares: np.ndarray, weight: float) -> np.ndarray:
    """Returns p_k from n_k(s, c_k), n_k(c_k) and p_{k-1}."""
    return (together + weight * shares) / (context + weight)


def _bits(shares: np.ndarray) -> float:
    return float(-np.log2(shares).sum())


def _counts(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Returns how often each of the asked values is among the known ones."""
    known = np.sort(known)
    return np.searchsorted(known, asked, "right") - np.searchsorted(known, asked, "left")


def gamma(values: np.ndarray) -> np.ndarray:
    """Returns 2^-(2·floor(log2(v + 1)) + 1): Elias' gamma code as a distribution of all whole numbers v from 0 on."""
    return 2.0 ** -(2 * np.floor(np.log2(values + 1.0)) + 1)
