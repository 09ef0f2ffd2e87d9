"""Reads the column of times of a table: numbers, or dates of ISO 8601."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from seqstride.errors import InputError
from seqstride.files.table_files import NUMBER, Table, texts_of

_DATE = re.compile(
    r"\d{4}-?\d{2}(-?\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}([.,]\d+)?)?)?(?P<zone>\s?(Z|[+-]\d{2}(:?\d{2})?))?)?)?"
)
_EXAMPLES = "2024-09-30 or 2024-09-30T14:05:00+02:00"


def times_of(table: Table, name: str) -> np.ndarray:
    """Returns the ranks of the times, integers (N,); equal times have equal ranks.

    Raises:
        InputError: a time is missing or is neither a number nor a date, or the times are of several kinds.
    """
    column = table.cells[name]
    typed = pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column)
    if typed and not column.isna().any():
        return _ranks(column.astype("int64").to_numpy())
    texts = texts_of(table, name, "a time")
    kinds = [_kind(text) for text in texts]
    if None in kinds:
        _refuse(table, name, kinds.index(None), texts)
    if len(set(kinds)) > 1:
        rows = [kinds.index(kind) for kind in dict.fromkeys(kinds)][:2]
        raise InputError(
            f"{table.file} must have times of one kind in column {name!r}; "
            + " and ".join(f"row {row + 1} has {kinds[row]} ({texts[row]!r})" for row in rows)
        )
    if kinds[0] == "a number":
        # exact: nanoseconds since 1970 have more digits than a double
        return _ranks(np.array([Decimal(text) for text in texts], dtype=object))
    dates = pd.to_datetime([text.replace(",", ".") for text in texts], format="ISO8601", utc=True, errors="coerce")
    if dates.isna().any():  # the 31st of February
        _refuse(table, name, int(np.flatnonzero(dates.isna())[0]), texts)
    return _ranks(dates.asi8)


def _kind(text: str) -> str | None:
    if NUMBER.fullmatch(text):
        return "a number"
    date = _DATE.fullmatch(text)
    return None if date is None else "a date with a zone" if date["zone"] else "a date without a zone"


def _refuse(table: Table, name: str, row: int, texts: list[str]) -> None:
    raise InputError(
        f"{table.file} must have times in column {name!r} that are numbers, or dates of ISO 8601 such as {_EXAMPLES}; "
        f"row {row + 1} has {texts[row]!r}"
    )


def _ranks(values: Any) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]
