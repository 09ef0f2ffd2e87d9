"""Bits that units need if a coder knows the frequencies in the training part, and the units before.

A symbol s is coded in contexts from the vaguest to the most exact. Each level counts in the training part how often s
followed its context c, n(s, c), and mixes that with the level before:

    p_k(s) = (n_k(s, c_k) + w · p_{k-1}(s)) / (n_k(c_k) + w)

A context that was seen often decides alone; one that was never seen leaves the decision to the vaguer one. This is
additive smoothing towards the level below (MacKay and Peto, "A hierarchical Dirichlet language model", 1995). An
arithmetic coder needs -log2 p bits for every symbol, and up to two more for each recording, which are not counted.

    code        1 / K  →  its frequency  →  given the code before, of the same quantiser
    duration    the gamma code  →  its frequency  →  given the duration before  →  given that and the code

Neither the length of a recording nor the number of its units is coded, for any method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WEIGHT = 2.0
"""w: the number of symbols that the level before is worth."""


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


def unit_bits(train: Sequence[Units], scored: Sequence[Units], size: int, neighbours: bool = True) -> Bits:
    """Returns the bits of the scored units.

    Args:
        train: whose frequencies the coder knows.
        scored: have as many quantisers.
        size: codes of a quantiser.
        neighbours: False: the coder knows frequencies only, nothing of the units before.
    """
    levels = None if neighbours else 1
    codes = 0.0
    for quantizer in range(scored[0].codes.shape[1]):
        known, asked = (_codes(part, quantizer, levels) for part in (train, scored))
        codes += coded_bits(known, asked, np.full(len(asked.values), 1 / size))
    # one bound for both parts, so that contexts mean the same
    longest = 2 + max(int(units.durations.max()) for units in (*train, *scored))
    known, asked = (_durations(part, longest, levels) for part in (train, scored))
    return Bits(codes, coded_bits(known, asked, gamma(asked.values)))


def _codes(part: Sequence[Units], quantizer: int, levels: int | None) -> Symbols:
    values = np.concatenate([units.codes[:, quantizer] for units in part])
    before = np.concatenate([_before(units.codes[:, quantizer]) for units in part])
    return Symbols(values, (np.zeros_like(values), before)[:levels])


def _durations(part: Sequence[Units], longest: int, levels: int | None) -> Symbols:
    values = np.concatenate([units.durations for units in part])
    before = np.concatenate([_before(units.durations) for units in part])
    codes = np.concatenate([units.codes[:, 0] for units in part])
    return Symbols(values, (np.zeros_like(values), before, codes * longest + before)[:levels])


def _before(values: np.ndarray) -> np.ndarray:
    """Returns for every symbol of a recording (L,) the symbol before it plus 1, and 0 for the first."""
    return np.concatenate([np.zeros(1, dtype=np.int64), values[:-1] + 1])


def coded_bits(train: Symbols, scored: Symbols, start: np.ndarray, weight: float = WEIGHT) -> float:
    """Returns the bits of all scored symbols.

    Args:
        train: whose frequencies the coder knows.
        scored: has as many contexts.
        start: (N,) p_0 of the scored symbols, above 0.
        weight: w, above 0.
    """
    shares = start.astype(np.float64)
    size = 1 + max(int(train.values.max()), int(scored.values.max()))
    for known, asked in zip(train.contexts, scored.contexts, strict=True):
        together = _counts(known * size + train.values, asked * size + scored.values)
        shares = (together + weight * shares) / (_counts(known, asked) + weight)
    return float(-np.log2(shares).sum())


def _counts(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Returns how often each of the asked values is among the known ones."""
    known = np.sort(known)
    return np.searchsorted(known, asked, "right") - np.searchsorted(known, asked, "left")


def gamma(values: np.ndarray) -> np.ndarray:
    """Returns 2^-(2·floor(log2(v + 1)) + 1): Elias' gamma code as a distribution of all whole numbers v from 0 on."""
    return 2.0 ** -(2 * np.floor(np.log2(values + 1.0)) + 1)
