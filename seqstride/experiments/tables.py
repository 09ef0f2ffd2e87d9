"""Markdown tables of the results of several runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from seqstride.experiments.records import (
    ENOUGH_PAIRS,
    Record,
    by_method,
    known_mean,
    label_of,
    mean_and_spread,
    metric_of,
    paired_difference,
    spread_over,
)

Column = tuple[str, Callable[[Sequence[Record]], str]]
"""A column's title, and its cell for the runs of one method."""


def results_table(records: Iterable[Record], order: Iterable[str] = ()) -> str:
    """A Markdown table, one row per method: accuracy over the seeds, size, cost, strides.

    Args:
        records: what `read_records` returns.
        order: methods in the order of the rows; others follow, sorted.

    Raises:
        ValueError: the records do not belong into one table.
    """
    records = list(records)
    columns = [METHOD, _metric_column(records), *_figure_columns(records)]
    columns += [SEEDS, STRIDES, MACS, PARAMETERS, TRAINING]
    groups = by_method(records, order)
    return "\n\n".join([_markdown(columns, groups), *_folds_table(records, groups)])


def comparison_table(records: Sequence[Record], methods: Sequence[str]) -> str:
    """A Markdown table, one row per method, with the paired differences to the first one; and a caption.

    Args:
        records: of runs that differ in method, seed and fold only.
        methods: in the order of the rows. Those without a run have no row.

    Raises:
        ValueError: the records do not belong into one table.
    """
    groups = by_method(records, methods)
    columns = [METHOD, _metric_column(records)]
    if len(methods) > 1:
        columns += _difference_columns(records, groups.get(methods[0], []), methods[0])
    columns += [*_figure_columns(records), RUNS, PARAMETERS, MACS, EPOCH, STRIDES]
    caption = _caption(records, methods, most=max(map(len, groups.values())))
    return "\n\n".join([_markdown(columns, groups), caption, *_folds_table(records, groups)])


def _folds_table(records: Sequence[Record], groups: dict[str, list[Record]]) -> list[str]:
    """Returns a title and a table with a column for each fold, if there are several and they are no random parts."""
    kind = kind_of_folds(records)
    names = sorted({str(record["fold"]) for record in records}) if kind != "folds" else []
    if len(names) < 2:
        return []

    def column(name: str) -> Column:
        def cell(runs: Sequence[Record]) -> str:
            mine = [run for run in runs if str(run["fold"]) == name]
            return _metric_column(mine)[1](mine) if mine else "–"

        return name, cell

    title = f"{sentence_case(metric_of(records).title)}, on every {kind.removesuffix('s')}:"
    return [title, _markdown([METHOD, *map(column, names)], groups)]


def sentence_case(text: str) -> str:
    """Returns a text with a capital letter at its start."""
    return f"{text[0].upper()}{text[1:]}"


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table of texts."""
    lines = [f"| {' | '.join(row)} |" for row in (titles, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(titles), *lines[1:]])


def _markdown(columns: Sequence[Column], groups: dict[str, list[Record]]) -> str:
    rows = [[cell(runs) for _, cell in columns] for runs in groups.values()]
    return markdown([title for title, _ in columns], rows)


def _metric_column(records: Sequence[Record]) -> Column:
    metric, over = metric_of(records), spread_over(records)

    def cell(runs: Sequence[Record]) -> str:
        mean, spread = mean_and_spread(runs, over)
        return metric.number(mean) + ("" if spread is None else f" ± {metric.number(spread)}")

    return metric.title, cell


def _figure_columns(records: Sequence[Record]) -> list[Column]:
    """Returns columns with the means of a record's `figures`, title → value."""

    def column(title: str) -> Column:
        return title, lambda runs: f"{statistics.mean(run['figures'][title] for run in runs):.3g}"

    titles = [title for title in records[0].get("figures", {}) if all(title in r.get("figures", {}) for r in records)]
    return [column(title) for title in titles]


def _difference_columns(records: Sequence[Record], reference: Sequence[Record], name: str) -> list[Column]:
    metric = metric_of(records)

    def difference(runs: Sequence[Record]) -> str:
        found = None if runs is reference else paired_difference(runs, reference)
        return "–" if found is None else metric.number(found.mean, sign="+")

    def p(runs: Sequence[Record]) -> str:
        found = None if runs is reference else paired_difference(runs, reference)
        if found is None or found.p is None:
            return "–"
        return "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"

    return [(f"difference to `{name}`", difference), ("p", p)]


def _caption(records: Sequence[Record], methods: Sequence[str], most: int) -> str:
    """Returns the sentences below a comparison's table; `most` is the largest number of runs of a method."""
    metric = metric_of(records)
    seeds, folds = (len({record.get(key) for record in records}) for key in ("seed", "fold"))
    kind = kind_of_folds(records)
    over = {
        "seeds": f"{seeds} seeds",
        "folds": f"{folds} {kind}",
        "seeds of the mean over folds": f"{seeds} seeds of the mean over {folds} {kind}",
    }[spread_over(records)]
    better = "lower" if metric.lower_is_better else "higher"
    mean = f"mean ± standard deviation over {over}" if most > 1 else "one run"
    text = f"{sentence_case(metric.title)}: {mean}; {better} is better."
    if metric.scored == "valid":
        text += " The test part was not touched."
    if len(methods) > 1:
        shares = {"folds": "folds share training data", "data sets": "the runs of a data set share its items"}
        shared = shares.get(kind, "all runs share their items")
        small = "" if folds == 1 else f", and small because {shared}"
        unit = "percentage points" if metric.unit == "%" else metric.unit or "the metric itself"
        text += (
            f" Difference to `{methods[0]}`: in {unit}, mean over the pairs of runs with the same "
            f"{'seed' if folds == 1 else 'seed and fold'}; p: two-sided paired t-test, not corrected for the number of "
            f"methods{small}; – with fewer than {ENOUGH_PAIRS} pairs or no spread."
        )
    return text


def kind_of_folds(records: Sequence[Record]) -> str:
    """Returns a record's `folds_are`: "folds" of one data set, or "data sets"."""
    return str(records[0].get("folds_are", "folds"))


def _mean_cell(key: str, show: Callable[[float], str]) -> Callable[[Sequence[Record]], str]:
    def cell(runs: Sequence[Record]) -> str:
        mean = known_mean([run[key] for run in runs])
        return "–" if mean is None else show(mean)

    return cell


def _seeds_cell(runs: Sequence[Record]) -> str:
    """Returns the number of seeds, and with several folds also theirs."""
    folds = {run.get("fold") for run in runs}
    if len(folds) == 1:
        return str(len(runs))
    return f"{len({run['seed'] for run in runs})} × {len(folds)} {kind_of_folds(runs)}"


def _epoch_cell(runs: Sequence[Record]) -> str:
    return f"{statistics.mean(run['seconds'] / run['epochs'] for run in runs):.3g}"


def strides_cell(runs: Sequence[Record]) -> str:
    """Returns the mean strides of every block, at the start and at the end of training."""
    if not runs[0]["strides"]:
        return "–"
    start, end = (_mean_strides([run[key] for run in runs]) for key in ("initial_strides", "strides"))
    return start if start == end else f"{start} → {end}"


def _mean_strides(strides: list[list[float]]) -> str:
    """Returns the mean over runs of each block's stride as text; whole numbers without decimals."""
    means = (statistics.mean(block) for block in zip(*strides, strict=True))
    return ", ".join(f"{mean:.2f}".rstrip("0").rstrip(".") for mean in means)


METHOD: Column = ("method", lambda runs: f"`{label_of(runs[0])}`")
SEEDS: Column = ("seeds", _seeds_cell)
RUNS: Column = ("runs", lambda runs: str(len(runs)))
STRIDES: Column = ("strides, start → end", strides_cell)
MACS: Column = ("MACs per item", _mean_cell("macs", lambda macs: f"{macs / 1e6:.2f} M"))
PARAMETERS: Column = ("parameters", _mean_cell("parameters", lambda count: f"{round(count) / 1e3:.0f} k"))
TRAINING: Column = ("training, s", _mean_cell("seconds", lambda seconds: f"{seconds:.0f}"))
EPOCH: Column = ("epoch, s", _epoch_cell)
