"""The small JSON record that every run leaves, what several of them say together, and the tables that show it."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.whole_files import whole_file

REQUIRED = (
    *("recipe", "method", "seed", "parameters", "macs", "initial_strides", "strides"),
    *("seconds", "epochs", "device", "versions"),
)
PARTS = {"test": "test", "valid": "validation"}
ENOUGH_PAIRS = 3
"""With two pairs the whole estimate of the differences' spread would rest on one degree of freedom."""

Record = dict[str, Any]
Column = tuple[str, Callable[[Sequence[Record]], str]]
"""A column's title, and its cell for the runs of one method."""


def versions() -> dict[str, str]:
    """The versions that a result depends on; of torch with its build."""
    import torch

    packages = {package: _version(package) for package in ("seqstride", "torchaudio", "speechbrain")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a bare checkout of seqstride is not installed
        return "checkout"


# Files


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Writes a record, all of it or nothing."""
    with whole_file(path) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(path: str | os.PathLike[str]) -> Record:
    """The record in a file.

    Raises:
        ValueError: the file is not a record.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        value = "metric" if "metric" in record else "test_accuracy"
        missing = [key for key in (*REQUIRED, value) if key not in record]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a record: {error}") from error
    if missing:
        raise ValueError(f"{os.fspath(path)!r} is not a record: it lacks {', '.join(missing)}")
    return record


def read_records(folder: str | os.PathLike[str]) -> list[Record]:
    """The records of a recipe (`results/*.json`), or else of all runs below a folder (`**/results.json`).

    Raises:
        ValueError: there are none, or a file is not a record.
    """
    folder = Path(folder)
    paths = sorted((folder / "results").glob("*.json")) or sorted(folder.glob("**/results.json"))
    if not paths:
        raise ValueError(f"`folder` (={os.fspath(folder)!r}) must hold results of runs (JSON); there are none")
    return [read_record(path) for path in paths]


# What runs say together


class Metric(NamedTuple):
    """What runs are compared by."""

    name: str
    """Such as `accuracy` or `WER`."""
    unit: str
    """Such as `%`; may be empty."""
    lower_is_better: bool
    scored: str
    """The part of the data that was scored: `test` or `valid`."""

    @property
    def title(self) -> str:
        """Such as `test accuracy, %`."""
        return f"{PARTS[self.scored]} {self.name}" + (f", {self.unit}" if self.unit else "")

    def number(self, value: float, sign: str = "") -> str:
        """A value as a table shows it: percentages to a tenth, all else to three digits."""
        return f"{value:{sign}.1f}" if self.unit == "%" else f"{value:{sign}.3g}"


class Summary(NamedTuple):
    """The runs of one method."""

    method: str
    values: list[float]
    """The metric of every run."""
    mean: float
    spread: float | None
    """The standard deviation over what `spread_over` says; None if there is one value only."""
    macs: float | None
    """None where a run does not know them."""


class Difference(NamedTuple):
    """How far the runs of one method are from those of another, run by run."""

    mean: float
    p: float | None
    pairs: int


def metric_of(records: Iterable[Record]) -> Metric:
    """What all the records are about.

    A record has `"metric": {"name", "value", "unit", "lower_is_better"}`, the value in the unit, or else it is about
    its `"test_accuracy"`. `"scored": "valid"` says that either was measured on the validation part.

    Raises:
        ValueError: the records are about different things, or not of the same part of the data.
    """
    metrics = {_metric(record) for record in records}
    if len(metrics) != 1:
        titles = sorted(metric.title for metric in metrics)
        raise ValueError(
            f"`records` (of {'; '.join(titles) or 'nothing'}) must all have the same metric and scored part"
        )
    return metrics.pop()


def by_method(records: Iterable[Record], order: Iterable[str] = ()) -> dict[str, list[Record]]:
    """The records of each method; methods as in `order`, others after them, sorted.

    A method is the record's `label` (the hyperparameters that were run) or else its `method` (the layer).
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_label(record), []).append(record)
    known = [method for method in order if method in groups]
    return {method: groups[method] for method in known + sorted(set(groups) - set(known))}


def spread_over(records: Sequence[Record]) -> str:
    """What a ± is over: `seeds`, `folds`, or `seeds of the mean over folds`.

    Folds differ in how hard they are, which says nothing about a method: where there are seeds as well, each seed's
    folds are averaged first, and the ± is what another seed would change.
    """
    seeds, folds = ({record.get(key) for record in records} for key in ("seed", "fold"))
    if len(folds) == 1:
        return "seeds"
    return "folds" if len(seeds) == 1 else "seeds of the mean over folds"


def summarise(records: Sequence[Record], order: Iterable[str] = ()) -> list[Summary]:
    """Mean and spread of every method."""
    over = spread_over(records)
    summaries = []
    for method, runs in by_method(records, order).items():
        samples = _samples(runs, over)
        macs = _mean([run["macs"] for run in runs])
        summaries.append(Summary(method, [_value(run) for run in runs], statistics.mean(samples), _sd(samples), macs))
    return summaries


def _samples(runs: Sequence[Record], over: str) -> list[float]:
    """The values that mean and spread are of: one a run, or one a seed."""
    if over != "seeds of the mean over folds":
        return [_value(run) for run in runs]
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        by_seed.setdefault(run["seed"], []).append(_value(run))
    return [statistics.mean(folds) for folds in by_seed.values()]


def _sd(samples: Sequence[float]) -> float | None:
    return statistics.stdev(samples) if len(samples) > 1 else None


def paired_difference(runs: Sequence[Record], reference: Sequence[Record]) -> Difference | None:
    """The mean difference between runs of the same seed and fold, `runs` minus `reference`, and its p.

    p is that of the two-sided paired t-test (`scipy.stats.ttest_rel`). Runs are dear, so pairs are few, and with n of
    them Wilcoxon's signed-rank test cannot give a p below 2 / 2^n: nothing would be significant at 5 % with fewer than
    six seeds, however clear it is. What the t-test assumes instead, normal differences, is near for figures that are
    means over many items. Runs of the same fold are paired runs, but different folds share training data, and seeds of
    one fold its test items; with folds p is therefore on the small side.

    Returns:
        None without a pair. p is None with fewer than `ENOUGH_PAIRS` of them, and where all differences are the same,
        so that there is no spread to compare the mean with.
    """
    theirs = {(run["seed"], run.get("fold")): _value(run) for run in reference}
    mine = {(run["seed"], run.get("fold")): _value(run) for run in runs}
    pairs = [(mine[key], theirs[key]) for key in mine if key in theirs]
    if not pairs:
        return None
    differences = [a - b for a, b in pairs]
    scale = max(abs(value) for pair in pairs for value in pair)
    p = None
    if len(pairs) >= ENOUGH_PAIRS and max(differences) - min(differences) > 1e-9 * scale:
        from scipy.stats import ttest_rel

        p = float(ttest_rel(*zip(*pairs, strict=True)).pvalue)
    return Difference(statistics.mean(differences), p, len(pairs))


def _label(record: Record) -> str:
    return str(record["label"] if "label" in record else record["method"])


def _metric(record: Record) -> Metric:
    scored = record.get("scored", "test")
    if "metric" not in record:
        return Metric("accuracy", "%", False, scored)
    metric = record["metric"]
    return Metric(metric["name"], metric["unit"], metric["lower_is_better"], scored)


def _value(record: Record) -> float:
    """The metric of a run, in its unit."""
    return float(record["metric"]["value"]) if "metric" in record else 100 * float(record["test_accuracy"])


# Tables


def results_table(records: Iterable[Record], order: Iterable[str] = ()) -> str:
    """A Markdown table, one row per method: accuracy over the seeds, size, cost, strides.

    Args:
        records: what `read_records` gives.
        order: methods in the order of the rows; others follow, sorted.

    Raises:
        ValueError: the records do not belong into one table.
    """
    records = list(records)
    columns = [METHOD, _metric_column(records), *_figure_columns(records)]
    columns += [SEEDS, STRIDES, MACS, PARAMETERS, TRAINING]
    groups = by_method(records, order)
    return "\n\n".join([_markdown(columns, groups), *_data_sets_table(records, groups)])


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
    return "\n\n".join([_markdown(columns, groups), caption, *_data_sets_table(records, groups)])


def _data_sets_table(records: Sequence[Record], groups: dict[str, list[Record]]) -> list[str]:
    """Where folds are data sets, and several: a title, and a table of the methods on each of them."""
    names = sorted({record["fold"] for record in records}) if _kind_of_folds(records) == "data sets" else []
    if len(names) < 2:
        return []

    def column(name: str) -> Column:
        def cell(runs: Sequence[Record]) -> str:
            mine = [run for run in runs if run["fold"] == name]
            return _metric_column(mine)[1](mine) if mine else "–"

        return name, cell

    title = f"{metric_of(records).title[0].upper()}{metric_of(records).title[1:]}, on every data set:"
    return [title, _markdown([METHOD, *map(column, names)], groups)]


def _markdown(columns: Sequence[Column], groups: dict[str, list[Record]]) -> str:
    rows = [[title for title, _ in columns]] + [[cell(runs) for _, cell in columns] for runs in groups.values()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def _metric_column(records: Sequence[Record]) -> Column:
    metric, over = metric_of(records), spread_over(records)

    def cell(runs: Sequence[Record]) -> str:
        samples = _samples(runs, over)
        spread = _sd(samples)
        mean = metric.number(statistics.mean(samples))
        return mean if spread is None else f"{mean} ± {metric.number(spread)}"

    return metric.title, cell


def _figure_columns(records: Sequence[Record]) -> list[Column]:
    """What a task also wants to be seen: a record's `figures`, title → value; the means over the runs."""

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
    """What the figures of a comparison are; `most` is the largest number of runs that a method has."""
    metric = metric_of(records)
    seeds, folds = (len({record.get(key) for record in records}) for key in ("seed", "fold"))
    kind = _kind_of_folds(records)
    over = {
        "seeds": f"{seeds} seeds",
        "folds": f"{folds} {kind}",
        "seeds of the mean over folds": f"{seeds} seeds of the mean over {folds} {kind}",
    }[spread_over(records)]
    better = "lower" if metric.lower_is_better else "higher"
    mean = f"mean ± standard deviation over {over}" if most > 1 else "one run"
    text = f"{metric.title[0].upper()}{metric.title[1:]}: {mean}; {better} is better."
    if metric.scored == "valid":
        text += " The test part was not touched."
    if len(methods) > 1:
        shared = "folds share training data" if kind == "folds" else "the runs of a data set share its items"
        small = "" if folds == 1 else f", and small because {shared}"
        unit = "percentage points" if metric.unit == "%" else metric.unit or "the metric itself"
        text += (
            f" Difference to `{methods[0]}`: in {unit}, mean over the pairs of runs with the same "
            f"{'seed' if folds == 1 else 'seed and fold'}; p: two-sided paired t-test, not corrected for the number of "
            f"methods{small}; – with fewer than {ENOUGH_PAIRS} pairs or no spread."
        )
    return text


def _kind_of_folds(records: Sequence[Record]) -> str:
    """What the folds are: "folds" of one data set, or "data sets", which a record says as its `folds_are`."""
    return str(records[0].get("folds_are", "folds"))


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def _mean_cell(key: str, show: Callable[[float], str]) -> Callable[[Sequence[Record]], str]:
    def cell(runs: Sequence[Record]) -> str:
        mean = _mean([run[key] for run in runs])
        return "–" if mean is None else show(mean)

    return cell


def _seeds_cell(runs: Sequence[Record]) -> str:
    """The number of seeds; with folds also theirs."""
    folds = {run.get("fold") for run in runs}
    if len(folds) == 1:
        return str(len(runs))
    return f"{len({run['seed'] for run in runs})} × {len(folds)} {_kind_of_folds(runs)}"


def _epoch_cell(runs: Sequence[Record]) -> str:
    return f"{statistics.mean(run['seconds'] / run['epochs'] for run in runs):.3g}"


def _strides_cell(runs: Sequence[Record]) -> str:
    if not runs[0]["strides"]:
        return "–"
    start, end = (_mean_strides([run[key] for run in runs]) for key in ("initial_strides", "strides"))
    return start if start == end else f"{start} → {end}"


def _mean_strides(strides: list[list[float]]) -> str:
    """The mean over runs of each block's stride; a whole number without decimals."""
    means = (statistics.mean(block) for block in zip(*strides, strict=True))
    return ", ".join(f"{mean:.2f}".rstrip("0").rstrip(".") for mean in means)


METHOD: Column = ("method", lambda runs: f"`{_label(runs[0])}`")
SEEDS: Column = ("seeds", _seeds_cell)
RUNS: Column = ("runs", lambda runs: str(len(runs)))
STRIDES: Column = ("strides, start → end", _strides_cell)
MACS: Column = ("MACs per item", _mean_cell("macs", lambda macs: f"{macs / 1e6:.2f} M"))
PARAMETERS: Column = ("parameters", _mean_cell("parameters", lambda count: f"{round(count) / 1e3:.0f} k"))
TRAINING: Column = ("training, s", _mean_cell("seconds", lambda seconds: f"{seconds:.0f}"))
EPOCH: Column = ("epoch, s", _epoch_cell)
