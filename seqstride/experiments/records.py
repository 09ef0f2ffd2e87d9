"""Reads and writes the JSON record of a run, and computes statistics of several records."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.errors import InputError, require
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import whole_file

REQUIRED = (
    *("recipe", "method", "seed", "parameters", "macs", "initial_strides", "strides"),
    *("seconds", "epochs", "device", "versions"),
)
PARTS = {"test": "test", "valid": "validation"}
ENOUGH_PAIRS = 3
"""Fewest pairs for a p-value. Two pairs would leave one degree of freedom for the spread of the differences."""

Record = dict[str, Any]


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a result depends on; torch's version includes its build."""
    import torch

    packages = {package: _version(package) for package in ("seqstride", "torchaudio", "speechbrain")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout of seqstride that is not installed
        return "checkout"


# Files


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Writes a record, completely or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(path: str | os.PathLike[str]) -> Record:
    """Reads the record in a file.

    Raises:
        ValueError: the file is not a record.
    """
    try:
        record = read_json(path)
        if not isinstance(record, dict):
            raise InputError("it must be an object")
        record = with_ratio(record)
        value = "metric" if "metric" in record else "test_accuracy"
        missing = [key for key in (*REQUIRED, value) if key not in record]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"{os.fspath(path)!r} is not a record: {error}") from error
    if missing:
        raise InputError(f"{os.fspath(path)!r} is not a record: it lacks {', '.join(missing)}")
    return record


def with_ratio(record: Record) -> Record:
    """Returns a record in the present form: in an older one the overall stride, its ratio, stands as a fold."""
    if record.get("folds_are") != "overall strides":
        return record
    fold = float(record["fold"])
    now = {key: value for key, value in record.items() if key != "folds_are"}
    return {**now, "fold": None, "ratio": int(fold) if fold.is_integer() else fold}


def read_records(folder: str | os.PathLike[str]) -> list[Record]:
    """Reads the records of a recipe (`results/*.json`), or else of all runs below a folder (`**/results.json`).

    Records of `--test_only` and debug runs are left out.

    Raises:
        ValueError: there are none, or a file is not a record.
    """
    folder = Path(folder)
    paths = sorted((folder / "results").glob("*.json")) or [
        path
        for path in sorted(folder.glob("**/results.json"))
        if path == folder / "results.json" or path.parent.name not in ("test_only", "debug")
    ]
    if not paths:
        raise InputError(f"`folder` (={os.fspath(folder)!r}) must hold results of runs (JSON); there are none")
    return [read_record(path) for path in paths]


# Statistics of several records


class Metric(NamedTuple):
    """The score that runs are compared by."""

    name: str
    """For example `accuracy` or `WER`."""
    unit: str
    """For example `%`; may be empty."""
    lower_is_better: bool
    scored: str
    """The part of the data that was scored: `test` or `valid`."""

    @property
    def title(self) -> str:
        """The title of a column or axis, such as `test accuracy, %`."""
        return f"{PARTS[self.scored]} {self.name}" + (f", {self.unit}" if self.unit else "")

    def number(self, value: float, sign: str = "") -> str:
        """Returns a value as a table shows it: percentages to a tenth, other values to three digits."""
        return f"{value:{sign}.1f}" if self.unit == "%" else f"{value:{sign}.3g}"


class Summary(NamedTuple):
    """The runs of one method."""

    method: str
    values: list[float]
    """The metric of every run."""
    mean: float
    spread: float | None
    """Standard deviation over seeds or folds, as `spread_over` says; None for a single value."""
    macs: float | None
    """Mean number of multiply-accumulate operations per item; None if it is unknown for a run."""


class Difference(NamedTuple):
    """The difference between the runs of two methods, pair by pair."""

    mean: float
    p: float | None
    pairs: int


def metric_of(records: Iterable[Record]) -> Metric:
    """Returns the metric that all records share.

    A record has `"metric": {"name", "value", "unit", "lower_is_better"}` with the value in this unit, or else
    `"test_accuracy"`. `"scored": "valid"` means that the validation part was scored.

    Raises:
        ValueError: the records have different metrics, or scored different parts of the data.
    """
    metrics = {_metric(record) for record in records}
    if len(metrics) != 1:
        titles = sorted(metric.title for metric in metrics)
        raise InputError(
            f"`records` (of {'; '.join(titles) or 'nothing'}) must all have the same metric and scored part"
        )
    return metrics.pop()


def by_method(records: Iterable[Record], order: Iterable[str] = ()) -> dict[str, list[Record]]:
    """Returns method → its records: methods in the order of `order`, then others, sorted.

    `label_of` names the method of a record.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(label_of(record), []).append(record)
    known = [method for method in order if method in groups]
    return {method: groups[method] for method in known + sorted(set(groups) - set(known))}


def spread_over(records: Sequence[Record]) -> str:
    """Returns the values that ± describes: `seeds`, `folds`, or `seeds of the mean over folds`.

    Some folds are harder than others, whatever the method. With several seeds, the folds of each seed are therefore
    averaged first, and ± is the standard deviation over seeds.
    """
    seeds, folds = ({record.get(key) for record in records} for key in ("seed", "fold"))
    if len(folds) == 1:
        return "seeds"
    return "folds" if len(seeds) == 1 else "seeds of the mean over folds"


def summarise(records: Sequence[Record], order: Iterable[str] = ()) -> list[Summary]:
    """Returns the summary of every method."""
    over = spread_over(records)
    summaries = []
    for method, runs in by_method(records, order).items():
        macs = known_mean([run["macs"] for run in runs])
        summaries.append(Summary(method, [value_of(run) for run in runs], *mean_and_spread(runs, over), macs))
    return summaries


def mean_and_spread(runs: Sequence[Record], over: str) -> tuple[float, float | None]:
    """Returns mean and standard deviation of the metric over `over`; a single value has no deviation (None)."""
    values = _samples(runs, over)
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _samples(runs: Sequence[Record], over: str) -> list[float]:
    """Returns one value per run; one per seed if folds are averaged."""
    if over != "seeds of the mean over folds":
        return [value_of(run) for run in runs]
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        by_seed.setdefault(run["seed"], []).append(value_of(run))
    return [statistics.mean(folds) for folds in by_seed.values()]


def known_mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean; None if a value is unknown (None)."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def paired_difference(runs: Sequence[Record], reference: Sequence[Record]) -> Difference | None:
    """Returns the mean difference of the runs of the same seed, fold and ratio, `runs` minus `reference`, with its p.

    The p-value is that of the two-sided paired t-test (`scipy.stats.ttest_rel`). Runs are expensive, so there are few
    pairs. With n pairs, the p-value of Wilcoxon's signed-rank test cannot be below 2 / 2^n, so fewer than six seeds
    would never be significant at 5 %. The t-test assumes normal differences; this holds approximately, because metrics
    are means over many items. With folds, p-values are somewhat too small: folds share training data, and seeds of one
    fold share test items.

    Returns:
        None without a pair. p is None with fewer than `ENOUGH_PAIRS` pairs, or if all differences are equal, so without
        a spread.
    """
    theirs, mine = ({pair_of(run): value_of(run) for run in each} for each in (reference, runs))
    pairs = [(mine[key], theirs[key]) for key in mine if key in theirs]
    if not pairs:
        return None
    differences = [a - b for a, b in pairs]
    scale = max(abs(value) for pair in pairs for value in pair)
    p = None
    if len(pairs) >= ENOUGH_PAIRS and max(differences) - min(differences) > 1e-9 * scale:
        ttest_rel = require("scipy.stats", "speech").ttest_rel

        p = float(ttest_rel(*zip(*pairs, strict=True)).pvalue)
    return Difference(statistics.mean(differences), p, len(pairs))


def pair_of(record: Record) -> tuple[Any, ...]:
    """Returns seed, fold and ratio: what runs that are compared with each other have in common."""
    return record["seed"], record.get("fold"), record.get("ratio")


def label_of(record: Record) -> str:
    """Returns the method of a record: its label in a comparison, else the key of the layer."""
    return str(record["label"] if "label" in record else record["method"])


def _metric(record: Record) -> Metric:
    scored = record.get("scored", "test")
    if "metric" not in record:
        return Metric("accuracy", "%", False, scored)
    metric = record["metric"]
    return Metric(metric["name"], metric["unit"], metric["lower_is_better"], scored)


def value_of(record: Record) -> float:
    """Returns the value of a run's metric, in its unit."""
    return float(record["metric"]["value"]) if "metric" in record else 100 * float(record["test_accuracy"])
