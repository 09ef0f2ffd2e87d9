"""Reads series from files: `.ts`, or tables with one row per series or one row per frame."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.estimators.table_times import times_of
from seqstride.files.table_files import Table, listed, numbers_of, read_table, texts_of
from seqstride.files.ts_files import read_ts
from seqstride.nearest import near_paths

logger = logging.getLogger(__name__)

ENDINGS = (".ts", ".csv", ".parquet")
ROWS, FRAMES, TS = "row for every series", "row for every frame", ".ts"
VALUE = "value"
"""Name of the channel if a table has one row per series."""


class Columns(NamedTuple):
    """Names of the special columns of a table."""

    label: str = "label"
    series: str = "series"
    time: str = "time"


class Layout(NamedTuple):
    """The layout of a file with series. A file to predict must have the layout of the fitted file."""

    kind: str
    """`ROWS`, `FRAMES` or `TS`."""
    channels: list[str]
    frames: list[str]
    """The value columns in order if a table has one row per series, else empty."""


class SeriesFile(NamedTuple):
    """The content of a file."""

    names: list[str]
    series: list[Any]
    """Data frames (T, C)."""
    labels: np.ndarray | None
    """(N,) texts; None if the file has no labels."""
    layout: Layout


def read_series(
    path: str | os.PathLike[str],
    columns: Columns,
    *,
    like: Layout | None = None,
    labelled: bool = False,
) -> SeriesFile:
    """Reads the series of a `.ts` file or of a table (`.csv` with a header, `.parquet`).

    A table with a column `series` has one row per frame. A row has the id of its series, the channels, the label of the
    series, and optionally the `time`, by which frames are sorted. A table without that column has one row per series: a
    row has the values in order, and the label. Empty cells at the end of a row are not frames. A table also has one row
    per series if all ids in `series` differ and it has several value columns and no `time`. Other empty cells are
    missing values. Labels and ids are read as text, without surrounding spaces. Messages count rows from 1 below the
    header.

    Args:
        path: the file.
        columns: names of the special columns. A column with a name other than the default must exist; labels may lack.
        like: the layout of the fitted file. Columns are matched by name, in any order, and must be the same.
        labelled: whether the file must have labels.

    Raises:
        InputError: the file does not exist, is of another kind or does not match `like`; a row lacks an id, a label or
            a time; a time is neither a number nor an ISO 8601 date, or occurs twice in a series.
        MissingExtraError: the file is `.parquet` and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{os.fspath(path)!r} must be a file of series: {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"there is no file {os.fspath(path)!r}{near_paths(path)}")
    if len(set(columns)) < len(columns):
        raise InputError(f"`columns` (={tuple(columns)}) must be different names")
    if path.suffix.lower() == ".ts":
        series, labels = read_ts(path)
        names = [str(index) for index in range(len(series))]
        found = SeriesFile(names, series, labels, Layout(TS, series[0].columns.tolist(), []))
        if labelled and labels is None:
            raise InputError(f"{os.fspath(path)!r} must have labels")
    else:
        table = read_table(path, columns)
        _check_columns(table, columns, like)
        if labelled and columns.label not in table.names:
            raise InputError(f"{table.file} must have labels (`--label`): {_nearest(table, columns.label)}")
        found = _from_table(table, columns, like)
    return found if like is None else _matched(found, like, os.fspath(path))


def _check_columns(table: Table, columns: Columns, like: Layout | None) -> None:
    usual = Columns()
    for field in ("series", "time"):
        name = getattr(columns, field)
        if name != getattr(usual, field) and name not in table.names:
            raise InputError(f"{table.file} must have the column `{name}` of `--{field}`: {_nearest(table, name)}")
    if like is not None and like.kind == FRAMES and columns.series not in table.names:
        raise InputError(
            f"{table.file} must have a row for every frame, like the fitted file: {_nearest(table, columns.series)}"
        )
    if columns.time in table.names and columns.series not in table.names:
        raise InputError(
            f"{table.file} must have a column of ids beside `{columns.time}`, the series that each frame belongs to: "
            f"{_nearest(table, columns.series)} (`--series` gives its name)"
        )


def _nearest(table: Table, name: str) -> str:
    """Returns a message: the table lacks this column; it names a similar column and those that exist."""
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in table.names], 1, cutoff=0.7)
    hint = [other for other in table.names if near and other.lower() == near[0]]
    return f"there is no column `{name}`{f', but `{hint[0]}`' if hint else ''}; it has {listed(table.names)}"


def _from_table(table: Table, columns: Columns, like: Layout | None) -> SeriesFile:
    labels = texts_of(table, columns.label, "a label") if columns.label in table.names else None
    ids = texts_of(table, columns.series, "an id") if columns.series in table.names else None
    values = [name for name in table.names if name not in columns]
    if ids is None or _stand_once(ids, values, columns.time in table.names, like):
        values = values if like is None or like.kind != ROWS else _in_order(table, values, like.frames)
        return _from_rows(table, values, ids or table.row_names, labels)
    values = values if like is None or like.kind != FRAMES else _in_order(table, values, like.channels)
    if table.row_names is not None:
        logger.warning("%s: the index of its data frame is ignored; `%s` has the ids", table.file, columns.series)
    return _from_frames(table, values, ids, labels, columns.time)


def _stand_once(ids: Sequence[str], values: Sequence[str], timed: bool, like: Layout | None) -> bool:
    """Returns whether every row of a table with ids is a series of its own."""
    if timed or len(values) < 2 or len(set(ids)) < len(ids):
        return False
    return like is None or like.kind == ROWS or (like.kind == TS and len(like.channels) == 1)


def _in_order(table: Table, names: Sequence[str], wanted: list[str]) -> list[str]:
    """Returns the columns in the order of the fitted file."""
    lacking = [name for name in wanted if name not in names]
    more = [name for name in names if name not in wanted]
    if lacking or more:
        reasons = [f"it lacks {listed(lacking)}"] * bool(lacking) + [f"it also has {listed(more)}"] * bool(more)
        raise InputError(f"{table.file} must have the columns of the fitted file: {'; '.join(reasons)}")
    return wanted


def _from_frames(
    table: Table, channels: list[str], ids: Sequence[str], labels: Sequence[str] | None, time: str
) -> SeriesFile:
    """Reads a table with one row per frame."""
    import pandas as pd

    values = numbers_of(table, channels)
    times = times_of(table, time) if time in table.names else None
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows_of.setdefault(name, []).append(row)
    series, own = [], []
    for name, rows in rows_of.items():
        if times is not None:
            rows = [rows[place] for place in np.argsort(times[rows], kind="stable")]
            for before, row in pairwise(rows):
                if times[before] == times[row]:
                    raise InputError(
                        f"{table.file} must have one frame for each time of a series; rows {before + 1} and {row + 1} "
                        f"of series {name!r} have the same in column {time!r}"
                    )
        if np.isnan(values[rows]).all():
            raise InputError(f"{table.file} must have a value in every series; {name!r} has none")
        series.append(pd.DataFrame(values[rows], columns=channels))
        if labels is not None:
            found = {labels[row]: row for row in sorted(rows, reverse=True)}
            if len(found) > 1:
                first, other = sorted(found.values())[:2]
                raise InputError(
                    f"{table.file} must have one label for each series; {name} has {len(found)}: {labels[first]!r} in "
                    f"row {first + 1}, {labels[other]!r} in row {other + 1}"
                )
            own.append(labels[rows[0]])
    return SeriesFile([*rows_of], series, None if labels is None else np.array(own), Layout(FRAMES, channels, []))


def _from_rows(
    table: Table, frames: list[str], names: Sequence[str] | None, labels: Sequence[str] | None
) -> SeriesFile:
    """Reads a table with one row per series."""
    import pandas as pd

    series = []
    for row, values in enumerate(numbers_of(table, frames), start=1):
        observed = np.flatnonzero(~np.isnan(values))
        if len(observed) == 0:
            raise InputError(f"{table.file} must have a value in every series; row {row} has none")
        series.append(pd.DataFrame({VALUE: values[: observed[-1] + 1]}))
    names = [str(index) for index in range(len(series))] if names is None else list(names)
    return SeriesFile(names, series, None if labels is None else np.array(labels), Layout(ROWS, [VALUE], frames))


def _matched(found: SeriesFile, like: Layout, path: str) -> SeriesFile:
    """Orders the channels as in the fitted file. A single channel gets its name from there."""
    own, wanted = found.layout.channels, like.channels
    if len(own) == len(wanted) == 1:
        series = [frame.set_axis(wanted, axis=1) for frame in found.series]
    elif set(own) == set(wanted):
        series = [frame[wanted] for frame in found.series]
    else:
        raise InputError(f"{path!r} must have the channels of the fitted file, {listed(wanted)}; it has {listed(own)}")
    return found._replace(series=series)
