"""Markdown tables of comparisons at several ratios, or whose records have the results of their items."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from seqstride.experiments.ranking import ADAPTIVE, LEARNT, Ranked, Ranking, rankings
from seqstride.experiments.records import Metric, Record, known_mean, metric_of
from seqstride.experiments.tables import kind_of_folds, markdown, sentence_case, strides_cell
from seqstride.experiments.uncertainty import DRAWS, Estimate

FRAMES = "output frames per s"
"""The figure of recognisers that has a column of its own here."""
EVENTS, EVENTS_UNIFORM = "test_event_share", "test_event_share_of_time"
"""Keys of the share of output frames on events, and of that of uniform frames."""


def has_score_table(records: Sequence[Record]) -> bool:
    """Returns whether a comparison has these tables: at several ratios, or where every run has results of items."""
    return len({record.get("ratio") for record in records}) > 1 or all("items" in record for record in records)


def score_tables(records: Sequence[Record], methods: Sequence[str]) -> str:
    """A table for every ratio, a row for each method, the best first; of several ratios or data sets also one of all.

    Args:
        records: of runs that differ in method, seed, fold and ratio only.
        methods: in the order in which equal ones stand.

    Raises:
        ValueError: the records do not belong into one table.
    """
    metric, found = metric_of(records), rankings(records, methods)
    several, title = len(found) > 1, sentence_case(metric.title)
    by_ratio = {_ratio(ranking): ranking for ranking in found}
    parts = [f"{title}, by the ratio of input frames to output frames:", _overview(by_ratio, metric)] if several else []
    for ratio, ranking in by_ratio.items():
        parts += [f"At a ratio of {ratio}:"] if several else []
        parts.append(_table(ranking, records, metric))
    parts.append(_caption(records, metric, found))
    sets = sorted({str(record["fold"]) for record in records}) if kind_of_folds(records) == "data sets" else []
    if len(sets) > 1 and not several:
        ranked = {each: rankings([record for record in records if record["fold"] == each], methods) for each in sets}
        by_set = {each: ranking for each, (ranking,) in ranked.items()}
        parts += [f"{title}, on every data set:", _overview(by_set, metric)]
    return "\n\n".join(parts)


def _ratio(ranking: Ranking) -> str:
    return "–" if ranking.ratio is None else f"{ranking.ratio:g}"


def _overview(found: Mapping[str, Ranking], metric: Metric) -> str:
    """Returns a table with a row for each method and a column for each ranking; the best mean over all first."""
    cells = [{each.method: interval_cell(each.score, metric) for each in ranking.methods} for ranking in found.values()]
    means: dict[str, list[float]] = {}
    for ranking in found.values():
        for each in ranking.methods:
            means.setdefault(each.method, []).append(each.score.mean)
    sign = 1 if metric.lower_is_better else -1
    order = sorted(means, key=lambda method: sign * statistics.mean(means[method]))
    rows = [[f"`{method}`", *(row.get(method, "–") for row in cells)] for method in order]
    return markdown(["method", *found], rows)


def interval_cell(score: Estimate, metric: Metric, sign: str = "") -> str:
    """Returns a mean ± half of its interval; with `sign` "+" a difference."""
    return metric.number(score.mean, sign) + ("" if score.half is None else f" ± {metric.number(score.half)}")


def _table(ranking: Ranking, records: Sequence[Record], metric: Metric) -> str:
    columns: list[tuple[str, Callable[[Ranked], str]]] = [
        ("method", lambda each: f"`{each.method}`"),
        ("kind", lambda each: each.kind),
        (metric.title, lambda each: interval_cell(each.score, metric)),
    ]
    if ranking.reference is not None and len(ranking.methods) > 1:
        columns += [(f"difference to `{ranking.reference}`", lambda each: _difference(each, metric)), ("p", p_cell)]
    columns += [_figure_column(title) for title in _figures(records)]
    if any("output_frames_per_second" in record for record in records):
        columns.append(_mean_column("frames/s", lambda run: run.get("output_frames_per_second")))
    if any(EVENTS in record for record in records):
        uniform = known_mean([record.get(EVENTS_UNIFORM) for record in records])
        title = "frames on events, %" + ("" if uniform is None else f" (uniform: {100 * uniform:.1f})")
        columns.append(_mean_column(title, lambda run: 100 * run[EVENTS] if EVENTS in run else None, ".1f"))
    columns += [
        _mean_column("M MACs per item", lambda run: None if run["macs"] is None else run["macs"] / 1e6),
        _mean_column("training, s", lambda run: run["seconds"]),
        _mean_column("CPU, s", lambda run: run.get("cpu_seconds")),
        ("runs", lambda each: str(len(each.runs))),
        ("strides, start → end", lambda each: strides_cell([run.record for run in each.runs])),
    ]
    rows = [[cell(each) for _, cell in columns] for each in ranking.methods]
    return markdown([title for title, _ in columns], rows)


def _figures(records: Sequence[Record]) -> list[str]:
    titles = [title for title in records[0].get("figures", {}) if title != FRAMES]
    return [title for title in titles if all(title in record.get("figures", {}) for record in records)]


def _mean_column(
    title: str, value: Callable[[Record], float | None], form: str = ".3g"
) -> tuple[str, Callable[[Ranked], str]]:
    def cell(each: Ranked) -> str:
        mean = known_mean([value(run.record) for run in each.runs])
        return "–" if mean is None else f"{mean:{form}}" if mean < 1000 else f"{mean:.0f}"

    return title, cell


def _figure_column(title: str) -> tuple[str, Callable[[Ranked], str]]:
    return _mean_column(title, lambda run: run["figures"][title])


def _difference(each: Ranked, metric: Metric) -> str:
    return "–" if each.difference is None else interval_cell(each.difference, metric, "+")


def p_cell(each: Ranked) -> str:
    """Returns the corrected p-value of a method."""
    return "–" if each.p is None else "< 0.001" if each.p < 0.001 else f"{each.p:.3f}"


def _intervals(records: Sequence[Record], runs: int) -> str:
    if not all("items" in record for record in records):
        return "Student's, over the runs"
    if runs == 1:
        return f"of {DRAWS} draws of items; of other seeds they say nothing"
    return f"of {DRAWS} draws of items and of runs, with Student's t for the few runs"


def _gaps(records: Sequence[Record]) -> str:
    """Returns which methods lack folds that others have, so that their means are of something else; "" for none."""
    folds: dict[str, set[str]] = {}
    for record in records:
        folds.setdefault(record["method"], set()).add(str(record["fold"]))
    total = len(set().union(*folds.values()))
    short = [f"`{method}` {len(found)} of {total}" for method, found in folds.items() if len(found) < total]
    return f" Means over fewer {kind_of_folds(records)} cannot be compared: {', '.join(short)}." if short else ""


def _caption(records: Sequence[Record], metric: Metric, found: Sequence[Ranking]) -> str:
    """Returns the sentences below the tables."""
    better = "lower" if metric.lower_is_better else "higher"
    seeds, folds = (len({record.get(key) for record in records}) for key in ("seed", "fold"))
    runs = "one seed" if seeds == 1 else f"{seeds} seeds"
    runs += f" on {folds} {kind_of_folds(records)}" if folds > 1 else ""
    text = f"{sentence_case(metric.title)}: mean ± half of its 95 % interval, {runs}; {better} is better."
    text += f" Intervals are {_intervals(records, seeds * folds)}."
    if metric.scored == "valid":
        text += " The test part was not touched."
    if any(ranking.reference is not None and len(ranking.methods) > 1 for ranking in found):
        unit = "percentage points" if metric.unit == "%" else metric.unit or "the metric itself"
        text += (
            f" Differences are in {unit}, to the fixed method with the best mean here, over the pairs of runs with the "
            "same seed and items; p: two-sided, of the same t, corrected for the number of methods at a ratio (Holm)."
        )
    kinds = {each.kind for ranking in found for each in ranking.methods}
    meanings = {LEARNT: "one learnt number", ADAPTIVE: "different from place to place"}
    named = "; ".join(f"{kind}: {meaning}" for kind, meaning in meanings.items() if kind in kinds)
    text += f" Strides are, where the kind is {named}." if named else ""
    text += _gaps(records) if folds > 1 else ""
    known = [record["cpu_seconds"] for record in records if "cpu_seconds" in record]
    if len(known) == len(records):
        text += f" Training took {sum(known) / 3600:.2g} core hours in all; seconds are those of one run."
    return text
