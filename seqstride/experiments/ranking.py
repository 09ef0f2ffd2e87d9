"""The methods of a comparison at every ratio, the best first, and their differences to the best fixed method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seqstride.experiments.records import Record, by_method, metric_of
from seqstride.experiments.uncertainty import Estimate, Sampled, difference, estimate, holm, sample
from seqstride.layers import DOWNSAMPLERS

FIXED, LEARNT, ADAPTIVE, OTHER = KINDS = ("fixed", "learnt", "adaptive", "other")
"""The stride of a method is fixed, learnt as one number, or differs from place to place; others have none."""


class Ranked(NamedTuple):
    """A method at one ratio."""

    method: str
    kind: str
    runs: list[Sampled]
    score: Estimate
    difference: Estimate | None
    """To the best fixed method; None for that method, and without runs to compare."""
    p: float | None
    """Of the difference, corrected for the number of methods at this ratio."""


class Ranking(NamedTuple):
    """All methods at one ratio."""

    ratio: float | None
    """None where the recipe has no ratio."""
    reference: str | None
    """The fixed method with the best mean; None without a fixed one."""
    methods: list[Ranked]
    """The best mean first."""


def rankings(records: Sequence[Record], order: Iterable[str] = ()) -> list[Ranking]:
    """Ranks the methods at every ratio, in the order of the ratios.

    Args:
        records: of runs that differ in method, seed, fold and ratio only.
        order: methods in the order in which equal ones stand.

    Raises:
        ValueError: the records do not belong into one table.
    """
    sign = -1 if metric_of(records).lower_is_better else 1
    sampled, order = sample(records), list(order)
    ratios = dict.fromkeys(run.record.get("ratio") for run in sampled)
    return [
        _ranking(ratio, [run for run in sampled if run.record.get("ratio") == ratio], order, sign)
        for ratio in sorted(ratios, key=lambda ratio: ratio or 0)
    ]


def _ranking(ratio: float | None, sampled: Sequence[Sampled], order: Sequence[str], sign: int) -> Ranking:
    of_record = {id(run.record): run for run in sampled}
    groups = by_method([run.record for run in sampled], order)
    runs = {method: [of_record[id(record)] for record in mine] for method, mine in groups.items()}
    scores = {method: estimate(mine) for method, mine in runs.items()}
    kinds = {method: kind_of(mine[0]) for method, mine in groups.items()}
    names = sorted(runs, key=lambda method: -sign * scores[method].mean)
    reference = next((name for name in names if kinds[name] == FIXED), None)
    differences = [
        None if reference in (None, name) else difference(runs[name], runs[str(reference)]) for name in names
    ]
    ps = holm([None if found is None else found.p for found in differences])
    ranked = [
        Ranked(name, kinds[name], runs[name], scores[name], found, p)
        for name, found, p in zip(names, differences, ps, strict=True)
    ]
    return Ranking(ratio, reference, ranked)


def kind_of(record: Record) -> str:
    """Returns the kind of a run's method, one of `KINDS`."""
    if record["method"] not in DOWNSAMPLERS:
        return OTHER
    layer = DOWNSAMPLERS[record["method"]].layer
    return ADAPTIVE if layer.adaptive else LEARNT if layer.learns_stride else FIXED
