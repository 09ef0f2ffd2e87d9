"""How well the mean of some runs is known, and the difference of two methods.

A run's score varies with its seed and with the items that happen to be in the test part. Both are drawn anew, with
replacement, `DRAWS` times (Efron & Tibshirani, "An introduction to the bootstrap", 1993): as many items as there are,
the same for all runs that score them, and n − 1 of n seeds. A mean over n draws of n seeds would vary too little by the
factor (n − 1)/n, which is a third with three seeds; over n − 1 draws it varies as it should (Rao & Wu, "Resampling
inference with complex survey data", JASA 83, 1988). With several folds, items and seeds are drawn within every fold; if
every fold has one run, the folds are drawn as seeds are. Items are drawn one by one, also where several are of one
person: what is said of a difference is said of other items of these people.

With variance v of these draws, the interval of the mean is

    mean ± t · √v,        degrees of freedom = v² / Σ (v_k² / (n_k − 1))       (Welch & Satterthwaite),

where v_k is the part of the seeds of fold k: their variance over n_k, over the squared number of folds. Three seeds
tell little about a spread, and a normal quantile would not say so. Without results of items, v is the sum of the v_k:
for one fold, Student's interval. A difference is that of the runs of the same seed, fold and ratio, with the same
draws; its p-value is that of the same t. This errs on the careful side, since what a seed makes of an item is drawn
with both: of 500 pairs of equal methods on 300 items, 0 to 4 % had p below 5 % (three and five seeds, which differed by
0 to 5 points).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from seqstride.errors import InputError, require
from seqstride.experiments.items import Items, part_of, unpack_items
from seqstride.experiments.records import Record, metric_of, pair_of, value_of

DRAWS = 2000
"""So many that a standard error is known to 1.6 %."""
_ROUNDING = 1e-9
"""Spreads that are smaller, relative to the scores, are of the rounding of equal values."""
_AT_A_TIME = 250
"""Draws of items that are in memory together."""


class Sampled(NamedTuple):
    """A run with its score, and its scores on drawn items."""

    record: Record
    value: float
    drawn: np.ndarray | None
    """(DRAWS,); None without results of items."""


class Estimate(NamedTuple):
    """A mean, and how well it is known."""

    mean: float
    half: float | None
    """Half of its 95 % interval; None for a single run without results of items, or whose items all have the same."""
    p: float | None
    """Of the hypothesis that it is 0; None without an interval."""


def sample(records: Iterable[Record]) -> list[Sampled]:
    """Scores every run on drawn items: the same draws for all that scored the same part of the data."""
    records = list(records)
    drawn: list[np.ndarray | None] = [None] * len(records)
    for part in dict.fromkeys(map(part_of, records)):
        chosen = [index for index, record in enumerate(records) if part_of(record) == part]
        if part is not None:
            for index, scores in zip(chosen, _drawn_scores([records[index] for index in chosen]), strict=True):
                drawn[index] = scores
    return [Sampled(record, value_of(record), scores) for record, scores in zip(records, drawn, strict=True)]


def _drawn_scores(records: Sequence[Record]) -> np.ndarray:
    """Returns the scores of runs on the same drawn items: (runs, DRAWS)."""
    items = [unpack_items(record["items"]) for record in records]
    counts = np.stack([each.counts for each in items])
    generator = np.random.default_rng(int(str(part_of(records[0])), 16))  # other draws for the items of other folds
    size = counts.shape[1]
    scores = []
    for start in range(0, DRAWS, _AT_A_TIME):
        rows = min(_AT_A_TIME, DRAWS - start)
        places = generator.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        times = np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
        scores.append(_score(times, counts, items[0]))
    scale = 100 if metric_of(records).unit == "%" else 1
    return scale * np.concatenate(scores, axis=1)


def _score(times: np.ndarray, counts: np.ndarray, part: Items) -> np.ndarray:
    """Returns the mean over the classes of Σ counts / Σ totals: (runs, draws).

    Args:
        times: (draws, N), how often every item was drawn.
        counts: (runs, N).
        part: its totals and groups. A class of which no item was drawn is left out.
    """
    shares, known = [], []
    for group in np.unique(part.groups):
        inside = part.groups == group
        totals = times[:, inside] @ part.totals[inside]
        shares.append(counts[:, inside] @ times[:, inside].T / np.where(totals > 0, totals, 1))
        known.append(totals > 0)
    return np.sum(shares, axis=0) / np.maximum(1, np.sum(known, axis=0))


def estimate(runs: Sequence[Sampled]) -> Estimate:
    """Returns the mean score of runs of one method at one ratio."""
    return _estimate([(run.record.get("fold"), run.value, run.drawn) for run in runs], _largest(runs))


def difference(runs: Sequence[Sampled], reference: Sequence[Sampled]) -> Estimate | None:
    """Returns the mean difference of the runs of the same seed, fold and ratio, `runs` minus `reference`.

    Returns:
        None without a pair. Differences that are all equal, but not 0, have no interval.

    Raises:
        InputError: two runs of a pair scored other items.
    """
    theirs = {pair_of(run.record): run for run in reference}
    pairs = [(run, theirs[pair_of(run.record)]) for run in runs if pair_of(run.record) in theirs]
    differences = []
    for mine, other in pairs:
        drawn = None
        if mine.drawn is not None and other.drawn is not None:
            if part_of(mine.record) != part_of(other.record):
                raise InputError("`records` of the same seed, fold and ratio must have scored the same items")
            drawn = mine.drawn - other.drawn
        differences.append((mine.record.get("fold"), mine.value - other.value, drawn))
    if not pairs:
        return None
    found = _estimate(differences, _largest([run for pair in pairs for run in pair]))
    return found._replace(half=None) if found.p is None else found  # equal differences of a few runs prove nothing


def _largest(runs: Sequence[Sampled]) -> float:
    return max(abs(run.value) for run in runs)


def _estimate(runs: Sequence[tuple[str | None, float, np.ndarray | None]], scale: float) -> Estimate:
    """Returns the estimate from fold, value and drawn values of every run; the scores are as large as `scale`."""
    ordered = sorted(runs, key=lambda run: str(run[0]))
    folds = [list(inside) for _, inside in groupby(ordered, key=lambda run: str(run[0]))]
    if max(map(len, folds)) == 1:
        folds = [ordered]
    values = [np.array([value for _, value, _ in fold]) for fold in folds]
    mean = float(np.mean([value.mean() for value in values]))
    of_seeds = [float(v.var(ddof=1)) / len(v) / len(folds) ** 2 if len(v) > 1 else 0.0 for v in values]
    variance = sum(of_seeds)
    generator = np.random.default_rng(1)
    drawn = [[scores for _, _, scores in fold if scores is not None] for fold in folds]
    if all(len(scores) == len(fold) for scores, fold in zip(drawn, folds, strict=True)):
        variance = max(
            variance, float(np.mean([_drawn_mean(np.stack(scores), generator) for scores in drawn], axis=0).var())
        )
    elif len(runs) == 1:
        return Estimate(mean, None, None)
    if math.sqrt(variance) <= _ROUNDING * scale:
        return Estimate(mean, 0.0 if len(runs) > 1 else None, 1.0 if abs(mean) <= _ROUNDING * scale else None)
    freedom = sum(v**2 / (len(fold) - 1) for v, fold in zip(of_seeds, folds, strict=True) if len(fold) > 1)
    t = require("scipy.stats", "speech").t(variance**2 / freedom if freedom else math.inf)
    error = math.sqrt(variance)
    return Estimate(mean, float(t.ppf(0.975)) * error, 2 * float(t.sf(abs(mean) / error)))


def _drawn_mean(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns the means over drawn runs: (runs, DRAWS) → (DRAWS,); n − 1 of n runs are drawn."""
    count = len(scores)
    drawn = max(1, count - 1)
    times = generator.multinomial(drawn, [1 / count] * count, size=DRAWS)
    mean: np.ndarray = (times.T * scores).sum(0) / drawn
    return mean


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Returns p-values corrected for their number, those that are not None, in the order given.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    The smallest of m p-values is multiplied by m, the next by m − 1, …; none becomes smaller than the one before.
    """
    known = sorted((p, index) for index, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected
