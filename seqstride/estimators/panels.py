"""Series in pandas containers, as data frames (T, C): what sktime's converters lose is kept here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from seqstride.errors import InputError


def as_frames(X: Any) -> Any:
    """A list of data frames, one with the frames of all series below each other, or one with a channel in every cell →
    a list of data frames (T, C), whose frames stand in the order of their times; anything else as it is.

    Series stay in the order in which they come. Channels in cells are brought together by their times: the longest
    decides the length, and where another has no value it is missing.

    Raises:
        ValueError: a series has no name, or its times do not say which frame comes when.
    """
    if isinstance(X, list | tuple) and len(X) > 0 and all(isinstance(frame, pd.DataFrame) for frame in X):
        return [_by_time(frame, index) for index, frame in enumerate(X)]
    if not isinstance(X, pd.DataFrame) or X.size == 0:
        return X
    if _has_cells(X):
        return [_from_cells(X.iloc[index], index) for index in range(len(X))]
    if X.index.nlevels == 2:
        return _from_rows(X)
    return X


def _has_cells(X: pd.DataFrame) -> bool:
    """Whether all cells are channels, or missing; of a table in which some are numbers sktime says what is wrong."""
    cells = [cell for column in range(X.shape[1]) for cell in X.iloc[:, column] if not _is_missing(cell)]
    return len(cells) > 0 and all(isinstance(cell, pd.Series | np.ndarray | list | tuple) for cell in cells)


def _is_missing(cell: Any) -> bool:
    return pd.api.types.is_scalar(cell) and bool(pd.isna(cell))


def _from_cells(row: pd.Series, index: int) -> pd.DataFrame:
    """The channels of a series → (T, C)."""
    channels = []
    for name, cell in row.items():
        channel = cell if isinstance(cell, pd.Series) else pd.Series([] if _is_missing(cell) else list(cell))
        other = other_than_numbers(channel)
        if other is not None:
            raise _no_numbers(index, name, other)
        values = channel.to_numpy(dtype=np.float64, na_value=np.nan)
        channels.append(_ordered(pd.Series(values, channel.index), index))
    times = channels[0].index
    if all(channel.index.equals(times) for channel in channels):
        return pd.DataFrame(np.stack([channel.to_numpy() for channel in channels], 1), columns=row.index)
    try:
        frame = pd.concat(channels, axis=1, sort=True)
    except TypeError as error:
        raise InputError(f"`X` (series {index}) must have times of one kind in all channels: {error}") from error
    return _ordered(frame, index).set_axis(row.index, axis=1).reset_index(drop=True)


def _from_rows(X: pd.DataFrame) -> list[pd.DataFrame]:
    """The frames of all series, whose names and times are the index → (T, C) of each."""
    names = X.index.get_level_values(0)
    if names.hasnans:
        row = int(np.flatnonzero(names.isna())[0])
        raise InputError(f"`X` (row {row}, whose series has no name) must say in every row which series it is of")
    series = [frame for _, frame in X.droplevel(0).groupby(names, sort=False)]
    # rows of which neither the series nor the times are in order may come in another order than `y`
    apart = np.count_nonzero(np.diff(names.factorize()[0])) + 1 > len(series)
    if apart and not all(frame.index.is_monotonic_increasing for frame in series):
        raise InputError(
            "`X` (with the rows of different series mixed) must have them sorted, such as by X.sort_index()"
        )
    return [_by_time(frame, index) for index, frame in enumerate(series)]


def _by_time(frame: pd.DataFrame, index: int) -> pd.DataFrame:
    """Numbers (T, C), whose frames are in the order of their times and numbered anew."""
    return pd.DataFrame(numbers(_ordered(frame, index), index), columns=frame.columns)


def _ordered(frames: Any, index: int) -> Any:
    """A data frame, or one channel, in the order of its times."""
    times = frames.index
    if len(times) == 0 or (isinstance(times, pd.RangeIndex) and times.step > 0):
        return frames
    if times.nlevels > 1:
        raise InputError(f"`X` (series {index}, with an index of {times.nlevels} levels) must have an index of times")
    times = times.infer_objects()
    if times.hasnans:
        which = int(np.flatnonzero(times.isna())[0])
        raise InputError(f"`X` (series {index}, frame {which}, without a time) must have a time in every frame")
    if not (
        pd.api.types.is_any_real_numeric_dtype(times)
        or isinstance(times, pd.DatetimeIndex | pd.PeriodIndex | pd.TimedeltaIndex)
    ):
        raise InputError(
            f"`X` (series {index}, with the time {times[0]!r}) must have times that are all numbers or all dates"
        )
    if not times.is_unique:
        twice = times[times.duplicated()][0]
        raise InputError(f"`X` (series {index}, with two frames at {twice}) must have one frame at each time")
    return frames if times.is_monotonic_increasing else frames.iloc[times.argsort()]


def numbers(frame: pd.DataFrame, index: int) -> np.ndarray:
    """The values of a series in double precision, (T, C), NaN where one is missing.

    Raises:
        ValueError: a channel holds something else than numbers.
    """
    if frame.shape[1] == 0 or (frame.dtypes == np.float64).all():
        return frame.to_numpy(dtype=np.float64)
    columns = [frame.iloc[:, column] for column in range(frame.shape[1])]
    for name, column in zip(frame.columns, columns, strict=True):
        other = other_than_numbers(column)
        if other is not None:
            raise _no_numbers(index, name, other)
    return np.stack([column.to_numpy(dtype=np.float64, na_value=np.nan) for column in columns], 1)


def _no_numbers(index: int, channel: Any, what: str) -> InputError:
    return InputError(f"`X` (series {index}, channel {channel}, {what}) must hold numbers")


def other_than_numbers(column: pd.Series) -> str | None:
    """What a column holds instead of real numbers and truth values, for a message; None where it holds no others."""
    if pd.api.types.is_object_dtype(column.dtype):
        others = (value for value in column if not isinstance(value, Real | np.bool_) and not _is_missing(value))
        return next((f"with {value!r}" for value in others), None)
    fits = pd.api.types.is_any_real_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    return None if fits else f"of type {column.dtype}"


def nameless(names: Sequence[str]) -> bool:
    """Whether names of channels are those that pandas and sktime give to what has none: 0, 1, … or var_0, var_1, …"""
    counted = [str(index) for index in range(len(names))]
    return list(names) in (counted, [f"var_{index}" for index in counted])


def warn_of_other_order(X: Any, y: Any) -> None:
    """Warns if `y` names the items of `X`, in another order: they are taken by their positions, as everywhere in sktime
    and scikit-learn."""
    if not isinstance(X, pd.DataFrame) or not isinstance(y, pd.Series | pd.DataFrame):
        return
    names = X.index.get_level_values(0).unique() if X.index.nlevels == 2 else X.index
    if len(names) == len(y) and not names.equals(y.index) and names.is_unique and set(names) == set(y.index):
        warnings.warn(
            "`y` has the index of `X` in another order: its values are taken by their positions, not by its index",
            stacklevel=3,
        )
