"""Results over data sets in the format of the public archives of results, which aeon and tsml read, and its pictures.

A method has one CSV file, `classification/accuracy/<method>_accuracy.csv`: a row for every data set, a column for every
resample.

    Resamples:,0,1,2
    ACSF1,0.87,0.85,0.89

Here the columns are seeds, in rising order, all on the official split. In the public files column 0 is the official
split and the others are random splits: only column 0 compares with theirs.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from seqstride.errors import InputError, MissingExtraError
from seqstride.experiments.archive_pictures import plot_against_time, plot_critical_difference, plot_matrix
from seqstride.experiments.records import Record, label_of
from seqstride.experiments.tables import kind_of_folds
from seqstride.files.whole_files import save_figure, whole_file

NAMES = {"minirocket": "MiniROCKET", "multirocket": "MR", "multirocket_hydra": "MR-Hydra", "rocket": "ROCKET"}
"""Method → its name in the public archives of results."""
TABLES = "classification/accuracy"
"""The folder of the CSV files, where aeon's `get_estimator_results(..., path=folder)` looks for them."""
FEWEST_METHODS, FEWEST_SETS = 3, 3
"""Of ranks: with fewer, a mean rank says nothing."""

Scores = Mapping[str, Mapping[str, Mapping[int, Record]]]
"""Method → data set → seed → record."""


def write_archive(records: Iterable[Record], folder: str | os.PathLike[str]) -> list[str]:
    """Writes the CSV files of all methods and three pictures.

    `accuracy_against_time.png` has the CPU time of a fit; `critical_difference.png` and `comparison_matrix.png` are
    drawn by aeon. The pictures are over the data sets that all methods have.

    Args:
        records: of runs on data sets, scored on their test parts.
        folder: made if missing.

    Returns:
        A line for every file, and for every picture that cannot be drawn the reason.

    Raises:
        InputError: the records are not of data sets, or two are of the same method, set and seed.
    """
    scores = _scores(list(records))
    folder = Path(folder)
    tables = folder / TABLES
    tables.mkdir(parents=True, exist_ok=True)
    lines = []
    for method, sets in scores.items():
        path = tables / f"{NAMES.get(method, method)}_accuracy.csv"
        _write_csv(path, sets)
        lines.append(f"{os.fspath(path)}: {len(sets)} data sets")
    return [*lines, *_draw(scores, folder)]


def _scores(records: Sequence[Record]) -> Scores:
    if kind_of_folds(records) != "data sets" or any(record.get("scored") != "test" for record in records):
        raise InputError("the format of the archives is for runs on data sets, scored on their test parts")
    scores: dict[str, dict[str, dict[int, Record]]] = {}
    for record in records:
        runs = scores.setdefault(label_of(record), {}).setdefault(str(record["fold"]), {})
        if record["seed"] in runs:
            raise InputError(
                f"{label_of(record)} has two records of seed {record['seed']} on {record['fold']}; it must have one"
            )
        runs[record["seed"]] = record
    return scores


def _write_csv(path: Path, sets: Mapping[str, Mapping[int, Record]]) -> None:
    """A seed that a set lacks leaves an empty cell."""
    seeds = sorted({seed for runs in sets.values() for seed in runs})
    with whole_file(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["Resamples:", *range(len(seeds))])
        for name in sorted(sets):
            cells = [sets[name][seed]["test_accuracy"] if seed in sets[name] else "" for seed in seeds]
            rows.writerow([name, *cells])


def _draw(scores: Scores, folder: Path) -> list[str]:
    methods = list(scores)
    names = sorted(set.intersection(*(set(sets) for sets in scores.values())))
    if len(methods) < FEWEST_METHODS or len(names) < FEWEST_SETS:
        return [
            f"no pictures: they need at least {FEWEST_METHODS} methods and {FEWEST_SETS} data sets that all have; "
            f"there are {len(methods)} and {len(names)}"
        ]
    accuracy = np.array([[_mean(scores[method][name], "test_accuracy") for method in methods] for name in names])
    seconds = np.array([[_mean(scores[method][name], "cpu_seconds") for method in methods] for name in names])
    over = f"over {len(names)} data sets"
    path = folder / "accuracy_against_time.png"
    save_figure(plot_against_time(methods, accuracy, seconds), path)
    lines = [f"{os.fspath(path)}: {over}"]
    for file, plot in (("critical_difference.png", plot_critical_difference), ("comparison_matrix.png", plot_matrix)):
        path = folder / file
        try:
            figure = plot(methods, names, accuracy)
        except MissingExtraError as error:
            lines.append(f"no {file}: {error}")
            continue
        save_figure(figure, path)
        lines.append(f"{os.fspath(path)}: {over}")
    return lines


def _mean(runs: Mapping[int, Record], key: str) -> float:
    """Over the seeds; NaN where a record lacks the value, as old ones lack CPU time."""
    return float(np.mean([run.get(key, np.nan) for run in runs.values()]))
