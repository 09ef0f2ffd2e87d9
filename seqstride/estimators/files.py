"""Series in files, for users who do not write Python: `seqstride fit-series TRAIN TEST`."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError, MissingExtraError
from seqstride.estimators.classifier import SeqStrideClassifier
from seqstride.whole_files import save_figure, whole_file

ENDINGS = (".ts", ".csv", ".parquet")


class Columns(NamedTuple):
    """What the columns of a table are called."""

    label: str = "label"
    series: str = "series"
    time: str = "time"


class SeriesFile(NamedTuple):
    """The series of a file."""

    names: list[str]
    series: list[Any]
    """Data frames (T, C)."""
    labels: np.ndarray | None
    """(N,) texts; None where the file has none."""


def fit_series(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    output: str | os.PathLike[str],
    classifier: SeqStrideClassifier,
    columns: Columns | None = None,
) -> str:
    """Fits a classifier to the series of one file and labels those of another.

    The output folder gets `predictions.csv` with the label of every series and the probabilities of all labels,
    `report.md`, `strides.png` with a few series of the second file, and `model.zip`, the fitted estimator, which
    `sktime.base.load` reads.

    Args:
        train: a file with labels.
        test: a file with or without.
        output: folder, made if missing.
        classifier: not fitted yet.
        columns: of tables; None: the usual names.

    Returns:
        The report, in Markdown.

    Raises:
        ValueError: a file is missing or cannot be read as series, or the second does not fit the first.
    """
    columns = columns or Columns()
    fitted, scored = read_series(train, columns), read_series(test, columns)
    if fitted.labels is None:
        raise InputError(f"`train` (={os.fspath(train)!r}) must have labels")
    if len(set(fitted.labels)) < 2:
        raise InputError(f"`train` (={os.fspath(train)!r}) must have two different labels at least")
    classifier.fit(fitted.series, fitted.labels)
    probabilities = classifier.predict_proba(scored.series)
    predictions = classifier.classes_[probabilities.argmax(1)]

    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with whole_file(output / "predictions.csv") as part, open(part, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        known = [] if scored.labels is None else ["label"]
        rows.writerow(["series", *known, "predicted", *(f"probability_{name}" for name in classifier.classes_)])
        for index, (name, predicted) in enumerate(zip(scored.names, predictions, strict=True)):
            label = [] if scored.labels is None else [scored.labels[index]]
            rows.writerow([name, *label, predicted, *probabilities[index].round(6)])
    titles = [f"{name}: {label}" for name, label in zip(scored.names[:4], predictions[:4], strict=True)]
    save_figure(classifier.plot_strides(scored.series[:4], titles=titles), output / "strides.png")
    classifier.save(str(output / "model"))
    text = _report(Path(train), Path(test), fitted, scored, classifier, predictions)
    with whole_file(output / "report.md") as part:
        part.write_text(text + "\n", encoding="utf-8")
    return text


def read_series(path: str | os.PathLike[str], columns: Columns) -> SeriesFile:
    """The series of a `.ts` file, or of a table (`.csv` with a header, `.parquet`).

    A table with a column `series` has a row for every frame: the series it belongs to, perhaps the `time` that orders
    its frames, the channels, and the label of the series. A table without has a row for every series: its values in
    their order, and its label; empty cells at the end of a row are no frames. Empty cells elsewhere are missing values.

    Raises:
        ValueError: there is no such file, or it is none of these.
        ImportError: a `.parquet` file, and nothing that reads it.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise InputError(f"{os.fspath(path)!r} must be a file of series: {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"there is no file {os.fspath(path)!r}")
    with _reasons(path):
        if path.suffix == ".ts":
            return _read_ts(path)
        table = _read_table(path)
    if len(table) == 0:
        raise InputError(f"{os.fspath(path)!r} must have at least one row")
    if columns.label in table.columns and table[columns.label].isna().any():
        raise InputError(f"{os.fspath(path)!r} must have a label in every row, or no column `{columns.label}`")
    read = _from_frames if columns.series in table.columns else _from_rows
    return read(table, columns, os.fspath(path))


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Readers of files fail in many ways; each becomes a ValueError with the file's name."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise InputError(f"{os.fspath(path)!r} cannot be read as series: {error}") from error


def _read_ts(path: Path) -> SeriesFile:
    from sktime.datasets import load_from_tsfile_to_dataframe
    from sktime.datatypes import convert

    loaded = load_from_tsfile_to_dataframe(str(path), return_separate_X_and_y=True)
    nested, labels = loaded if isinstance(loaded, tuple) else (loaded, None)
    series = convert(nested, "nested_univ", "df-list", "Panel")
    if any(np.isinf(frame.to_numpy()).any() for frame in series):
        raise InputError("it has infinite values")
    return SeriesFile(
        [str(index) for index in range(len(series))], series, None if labels is None else np.array(labels, dtype=str)
    )


def _read_table(path: Path) -> Any:
    import pandas as pd

    if path.suffix == ".csv":
        with open(path, "rb") as file:
            if any(b"\0" in line for line in file):
                raise InputError("it is no text: it has zero bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows with more cells than the header
            return pd.read_csv(path, index_col=False)
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise MissingExtraError("`.parquet` files need pyarrow: pip install 'seqstride[parquet]'") from error


def _from_frames(table: Any, columns: Columns, path: str) -> SeriesFile:
    """A row for every frame."""
    names, series, labels = [], [], []
    labelled = columns.label in table.columns
    channels = [name for name in table.columns if name not in columns]
    _check_numbers(table[channels], path)
    for name, rows in table.groupby(columns.series, sort=False):
        if columns.time in table.columns:
            rows = rows.sort_values(columns.time)
        names.append(str(name))
        series.append(rows[channels].astype(float).reset_index(drop=True))
        if labelled:
            found = rows[columns.label].unique()
            if len(found) != 1:
                raise InputError(f"{path!r} must have one label for each series; {name} has {len(found)}")
            labels.append(str(found[0]))
    return SeriesFile(names, series, np.array(labels) if labelled else None)


def _from_rows(table: Any, columns: Columns, path: str) -> SeriesFile:
    """A row for every series."""
    import pandas as pd

    labelled = columns.label in table.columns
    values = table.drop(columns=columns.label) if labelled else table
    _check_numbers(values, path)
    series = []
    for index, row in enumerate(values.to_numpy(dtype=float)):
        observed = np.flatnonzero(~np.isnan(row))
        if len(observed) == 0:
            raise InputError(f"{path!r} must have a value in every series; row {index + 1} has none")
        series.append(pd.DataFrame({"value": row[: observed[-1] + 1]}))
    labels = np.array([str(label) for label in table[columns.label]]) if labelled else None
    return SeriesFile([str(index) for index in range(len(series))], series, labels)


def _check_numbers(values: Any, path: str) -> None:
    import pandas as pd

    words = [str(name) for name in values.columns if not pd.api.types.is_numeric_dtype(values[name])]
    if words or not len(values.columns):
        raise InputError(f"{path!r} must hold numbers beside its labels; not so in {', '.join(words) or 'any column'}")
    endless = [str(name) for name in values.columns if np.isinf(values[name].to_numpy(dtype=float)).any()]
    if endless:
        raise InputError(f"{path!r} must have finite or missing values; not so in {', '.join(endless)}")


def _report(
    train: Path, test: Path, fitted: SeriesFile, scored: SeriesFile, classifier: SeqStrideClassifier, predictions: Any
) -> str:
    lines = [f"# {test.name}, labelled by a network that was fitted to {train.name}", ""]
    if scored.labels is not None:
        right = int((predictions == scored.labels).sum())
        lines += [f"**{100 * right / len(predictions):.1f} % of {len(predictions)} series are labelled right.**", ""]
        names = sorted({*scored.labels, *classifier.classes_})
        lines += [f"| label | series | {' | '.join(f'as {name}' for name in names)} |", "|---" * (2 + len(names)) + "|"]
        for name in names:
            mine = predictions[scored.labels == name]
            lines.append(f"| {name} | {len(mine)} | {' | '.join(str(int((mine == other).sum())) for other in names)} |")
    else:
        lines += ["| label | series |", "|---|---|"]
        lines += [f"| {name} | {int((predictions == name).sum())} |" for name in classifier.classes_]
    lengths = [len(frame) for frame in fitted.series]
    last = classifier.history_[-1]
    lines += [
        "",
        f"Fitted to {len(lengths)} series of {len(classifier.channel_names_)} channels and {min(lengths)} to "
        f"{max(lengths)} frames, in {sum(epoch['seconds'] for epoch in classifier.history_):.0f} s and "
        f"{last['epoch']} epochs; accuracy in the last one {100 * last['train']['accuracy']:.1f} % (of mixtures of "
        "series, unless mixup is off).",
        "",
        f"Method `{classifier.downsampler}`, strides {', '.join(f'{stride:.3g}' for stride in classifier.strides_)} "
        f"input frames per output frame, seed {classifier.random_state}.",
    ]
    return "\n".join(lines)
