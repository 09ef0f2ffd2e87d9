"""One page of all results: the best fixed, learnt and adaptive method of every set at every ratio; who leads how often.

It is made from the records in the `results/` of recipes: comparisons (`<name>/runs.json`) and single runs (`*.json`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seqstride.errors import InputError
from seqstride.experiments.comparison_report import read_comparison
from seqstride.experiments.ranking import ADAPTIVE, FIXED, LEARNT, Ranked, Ranking, rankings
from seqstride.experiments.records import Metric, Record, metric_of, read_records
from seqstride.experiments.score_tables import interval_cell, p_cell
from seqstride.experiments.tables import kind_of_folds, markdown
from seqstride.experiments.uncertainty import difference

INTRODUCTION = """\
# All results

The best fixed, learnt and adaptive method of every set, made from the records of the recipes by

    seqstride table --all recipes

Scores are those of the test part, mean ± half of their 95 % interval. The ratio is that of input frames to output
frames, at the start where strides are learnt. The last column is the difference of the best adaptive to the best fixed
method, with its interval and p, corrected for the number of methods (Holm). The best of many looks better than it is. A
score without an interval is of a single run."""

COUNTS = """\
How often a method is the first, and how often within noise of the first: the interval of its difference to the first
method includes 0, over the runs of both. Counted are comparisons of at least three methods at one ratio, if all scores
have intervals; also those that have no row above. With few runs much is within noise."""


class Setting(NamedTuple):
    """A set at one ratio."""

    name: str
    metric: Metric
    ranking: Ranking


def results_page(root: Path) -> str:
    """Returns the page of the recipes `root/<set>/<task>`, in Markdown; its links start from `root`.

    Raises:
        ValueError: no recipe has records, or one has records that do not belong into one table.
    """
    found = list(_settings(root))
    if not found:
        raise InputError(f"`folder` (={str(root)!r}) must have recipes with results; there are none")
    parts = [INTRODUCTION, _table_of_settings(found), COUNTS, _table_of_methods(found)]
    return "\n\n".join(parts)


def _settings(root: Path) -> Iterator[Setting]:
    for results in sorted(root.glob("*/*/results")):
        recipe = results.parent.relative_to(root).as_posix()
        link = f"[{recipe}]({recipe}/README.md)"
        for folder in sorted(results.glob("*/")):
            comparison = read_comparison(folder)
            if comparison is not None and comparison["runs"]:
                yield from _of_records(f"{link} {folder.name}", comparison["runs"], comparison["arguments"]["methods"])
        if any(results.glob("*.json")):
            yield from _of_records(link, read_records(results.parent), [])


def _of_records(name: str, records: Sequence[Record], order: Sequence[str]) -> Iterator[Setting]:
    """Yields the settings of records; folds that are data sets are apart."""
    parts = {name: list(records)}
    if kind_of_folds(records) == "data sets":
        sets = sorted({str(record["fold"]) for record in records})
        parts = {f"{name}: {each}": [record for record in records if record["fold"] == each] for each in sets}
    for part, mine in parts.items():
        for ranking in rankings(mine, order):
            yield Setting(part, metric_of(mine), ranking)


def _table_of_settings(found: Sequence[Setting]) -> str:
    rows = []
    for name, metric, ranking in found:
        best = {kind: next((m for m in ranking.methods if m.kind == kind), None) for kind in (FIXED, LEARNT, ADAPTIVE)}
        if not any(best.values()):
            continue
        adaptive = best[ADAPTIVE]
        gain = "–"
        if adaptive is not None and adaptive.difference is not None:
            gain = interval_cell(adaptive.difference, metric, "+")
            if adaptive.p is not None:
                gain += f" (p {'' if adaptive.p < 0.001 else '= '}{p_cell(adaptive)})"
        cells = [_best_cell(each, metric) for each in best.values()]
        rows.append([name, _ratio_cell(ranking), metric.title.replace("test ", ""), *cells, gain])
    return markdown(["set", "ratio", "score", *(f"best {kind}" for kind in best), "adaptive − fixed"], rows)


def _best_cell(each: Ranked | None, metric: Metric) -> str:
    return "–" if each is None else f"`{each.method}` {interval_cell(each.score, metric)}"


def _ratio_cell(ranking: Ranking) -> str:
    """Returns the ratio; of older records the strides of a fixed method."""
    ratio = ranking.ratio
    if ratio is None:
        fixed = next((each for each in ranking.methods if each.kind == FIXED), ranking.methods[0])
        ratio = math.prod(fixed.runs[0].record["initial_strides"])
    return f"{ratio:g}"


def _table_of_methods(found: Sequence[Setting]) -> str:
    counts: dict[tuple[str, str], list[int]] = {}
    for _, _, ranking in found:
        first = ranking.methods[0]
        if len(ranking.methods) < 3 or any(each.score.half is None for each in ranking.methods):
            continue
        for each in ranking.methods:
            tally = counts.setdefault((each.method, each.kind), [0, 0, 0])
            tally[0] += 1
            tally[1] += each is first
            tally[2] += each is first or _within_noise(each, first)
    order = sorted(counts, key=lambda key: (-counts[key][2] / counts[key][0], -counts[key][1], key))
    rows = [[f"`{method}`", kind, *map(str, counts[method, kind])] for method, kind in order]
    return markdown(["method", "kind", "comparisons", "first", "within noise of the first"], rows)


def _within_noise(each: Ranked, first: Ranked) -> bool:
    found = difference(each.runs, first.runs)
    return found is None or found.half is None or abs(found.mean) <= found.half
