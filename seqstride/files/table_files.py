"""Tables of users, CSV or Parquet: labels and ids are text as written, values are numbers, and nothing is guessed."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import InputError, require
from seqstride.files.text_files import read_text

pd = require("pandas", "series")

logger = logging.getLogger(__name__)

MISSING = ("", "NA", "N/A", "NaN", "nan", "NAN", "NULL", "null", "None")
"""Texts that programs write for a missing number; in labels and ids only an empty cell is missing."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_UNNAMED = re.compile(r"(Unnamed: [0-9]+(\.[0-9]+)?)?")  # names that pandas gives to columns without one
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


class Table(NamedTuple):
    """The columns of a file. Rows are counted from 1, below the header."""

    file: str
    """The name of the file in quotes, for errors."""
    cells: Any
    """A data frame of N rows; the names of its columns are unique."""
    row_names: list[str] | None
    """The index of the data frame as text, one for each row; None without an index."""

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return self.cells.columns.tolist()


def read_table(path: str | os.PathLike[str], texts: Collection[str]) -> Table:
    """Reads a table from a `.parquet` file, or from a CSV file with a header and commas.

    A first column without a name that counts 0, 1, 2, … is left out: data frames write their index like this.

    Args:
        path: of the file.
        texts: names of columns that are text, if the table has them. Levels of a data frame's index with these names
            count as columns.

    Raises:
        InputError: the file is not a table, has no rows, has another column without a name, or a name twice.
        ImportError: a `.parquet` file, and nothing that reads it.
    """
    where = repr(os.fspath(path))
    read = _parquet if Path(path).suffix.lower() == ".parquet" else _csv
    frame, row_names = read(path, texts, where)
    if len(frame) == 0:
        raise InputError(f"{where} must have at least one row below its header")
    first = frame.columns[0] if len(frame.columns) else "x"
    if _UNNAMED.fullmatch(first) and _counts(frame[first]):
        logger.warning("%s: the first column has no name and counts 0, 1, 2, …; it is left out", where)
        frame = frame.drop(columns=first)
    for position, name in enumerate(frame.columns, start=1):
        if _UNNAMED.fullmatch(name):
            raise InputError(
                f"{where} must have a name for every column; column {position} has none and does not count 0, 1, 2, …: "
                "name it in the header, or remove it (data frames write such a column unless `index=False`)"
            )
    return Table(where, frame, row_names)


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Returns the first names as text for an error, and the number of all."""
    text = ", ".join(names[:limit])
    return text if len(names) <= limit else f"{text}, … ({len(names)} in all)"


def texts_of(table: Table, name: str, what: str) -> list[str]:
    """Returns a column as texts, without surrounding spaces.

    Args:
        table: has the column.
        name: of the column.
        what: content of the column for errors, such as "a label".

    Raises:
        InputError: a cell is empty or is not text.
    """
    found = []
    for row, value in enumerate(table.cells[name].tolist(), start=1):
        if isinstance(value, (bytes, list, tuple, dict, np.ndarray)):
            raise InputError(f"{table.file} must have {what} in column {name!r}; row {row} has {value!r}")
        text = "" if pd.isna(value) else str(value).strip()
        if not text:
            raise InputError(f"{table.file} must have {what} in every row, or no column `{name}`; row {row} has none")
        found.append(text)
    return found


def numbers_of(table: Table, names: Sequence[str]) -> np.ndarray:
    """Returns columns as numbers (N, columns), with NaN for missing values.

    Raises:
        InputError: there are no columns, or a cell is not a number; the error names row and column.
    """
    if not names:
        raise InputError(
            f"{table.file} must hold numbers beside its labels; none of its columns does: it has {listed(table.names)}"
        )
    values = np.stack([_numbers(table, name) for name in names], axis=1)
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0]
        raise InputError(
            f"{table.file} must have finite or missing values; row {row + 1} of column {names[column]!r} has "
            f"{values[row, column]}"
        )
    return values


def _numbers(table: Table, name: str) -> np.ndarray:
    column = table.cells[name]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = []
    for row, value in enumerate(column.tolist(), start=1):
        number = _number(value)
        if number is None:
            found = str(value).strip()
            hint = ", without a point in decimals" if _DECIMAL_COMMA.fullmatch(found) else ""
            raise InputError(
                f"{table.file} must hold numbers beside its labels; not so in {name}: row {row} has {found!r}{hint}"
            )
        values.append(number)
    return np.array(values, dtype=np.float64)


def _number(value: Any) -> float | None:
    """The number in a cell; None if it is not a number."""
    if isinstance(value, str):
        text = value.strip()
        return np.nan if text in MISSING else float(text) if NUMBER.fullmatch(text) else None
    if isinstance(value, (bool, int, float, Decimal)):
        return float(value)
    return np.nan if pd.api.types.is_scalar(value) and pd.isna(value) else None


def _counts(column: Any) -> bool:
    """Whether a column is 0, 1, 2, …"""
    return pd.api.types.is_integer_dtype(column) and column.tolist() == list(range(len(column)))


def _csv(path: str | os.PathLike[str], texts: Collection[str], where: str) -> tuple[Any, None]:
    text = read_text(path)
    try:
        header = next((row for row in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, row))), None)
    except csv.Error as error:
        raise InputError(f"{where} must be a table with a header: {error}") from error
    if header is None:
        raise InputError(f"{where} must be a table with a header; it is empty")
    for separator, words in _SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{where} must have commas between its columns, not {words}, and a point in decimals: "
                f"`pandas.read_csv(…, sep={separator!r}, decimal=…)` and `to_csv` make such a table of it"
            )
    names = _unique(header, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # for rows with more cells than the header
            frame = pd.read_csv(
                io.StringIO(text),
                header=0,
                names=names,
                index_col=False,
                dtype={name: str for name in names if name in texts},
                keep_default_na=False,
                na_values={name: [*MISSING] for name in names if name not in texts},
                skipinitialspace=True,
                low_memory=False,  # else a column is read in pieces of different types
                float_precision="round_trip",
            )
    except pd.errors.ParserWarning as error:
        raise InputError(f"{where} must not have more cells in a row than the {len(names)} of its header") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{where} cannot be read as a table: {error}") from error
    return frame, None


def _parquet(path: str | os.PathLike[str], texts: Collection[str], where: str) -> tuple[Any, list[str] | None]:
    require("pyarrow", "parquet")
    try:
        # integers with gaps stay integers
        frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
    except Exception as error:  # pyarrow raises many kinds of errors
        raise InputError(f"{where} cannot be read as Parquet: {error}") from error
    levels = {} if _is_default(frame.index) else dict(enumerate(frame.index.names))
    named = [level for level, name in levels.items() if name is not None and str(name).strip() in texts]
    own = [frame.index.get_level_values(level) for level in levels if level not in named]
    columns = [*(levels[level] for level in named), *frame.columns]
    parts = [*(frame.index.get_level_values(level) for level in named), *(frame[name] for name in frame)]
    names = _unique(map(str, columns), where)
    cells = pd.DataFrame({name: pd.Series(part.array) for name, part in zip(names, parts, strict=True)})
    return cells, [" ".join(map(str, row)) for row in zip(*own, strict=True)] if own else None


def _is_default(index: Any) -> bool:
    """Whether a data frame has only the default index."""
    return isinstance(index, pd.RangeIndex) and index.name is None and index.equals(pd.RangeIndex(len(index)))


def _unique(header: Iterable[str], where: str) -> list[str]:
    """The names of the columns; a column without a name gets the name that pandas would give."""
    names = [name.strip() or f"Unnamed: {position}" for position, name in enumerate(header)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where} must have unique names of columns; {listed(twice)} comes twice")
    return names
