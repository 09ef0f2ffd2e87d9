"""Converts series in containers of pandas to data frames (T, C) without the losses of sktime's own converters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from seqstride.errors import InputError


def as_frames(X: Any) -> Any:
    """Converts the containers of pandas to a list of data frames (T, C) with their frames in the order of time.

    The containers are a list of data frames, one data frame with the frames of all series below each other, and one
    with a channel in every cell. Anything else is returned unchanged. The series keep their order. Channels in cells
    are aligned by their times: the longest decides the length, and values that another channel lacks are missing.

    Raises:
        InputError: a series has no name, or its times do not order its frames.
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
    """Returns whether all cells are channels or missing; sktime explains what is wrong with other tables."""
    cells = [cell for column in range(X.shape[1]) for cell in X.iloc[:, column] if not _is_missing(cell)]
    return len(cells) > 0 and all(isinstance(cell, pd.Series | np.ndarray | list | tuple) for cell in cells)


def _is_missing(cell: Any) -> bool:
    return pd.api.types.is_scalar(cell) and bool(pd.isna(cell))


def _from_cells(row: pd.Series, index: int) -> pd.DataFrame:
    """Aligns the channels of a series by their times: returns (T, C)."""
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
    """Splits a table by the names of its series, the first level of its index: returns (T, C) of each."""
    names = X.index.get_level_values(0)
    if names.hasnans:
        row = int(np.flatnonzero(names.isna())[0])
        raise InputError(f"`X` (row {row}, whose series has no name) must say in every row which series it is of")
    series = [frame for _, frame in X.droplevel(0).groupby(names, sort=False)]
    # if neither the series nor the times are sorted, the rows may be in another order than `y`
    apart = np.count_nonzero(np.diff(names.factorize()[0])) + 1 > len(series)
    if apart and not all(frame.index.is_monotonic_increasing for frame in series):
        raise InputError(
            "`X` (with the rows of different series mixed) must have them sorted, such as by X.sort_index()"
        )
    return [_by_time(frame, index) for index, frame in enumerate(series)]


def _by_time(frame: pd.DataFrame, index: int) -> pd.DataFrame:
    """Sorts the frames by time and numbers them from 0: returns numbers (T, C)."""
    return pd.DataFrame(numbers(_ordered(frame, index), index), columns=frame.columns)


def _ordered(frames: Any, index: int) -> Any:
    """Sorts a data frame or a single channel by time."""
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
    """Returns the values of a series in double precision, (T, C), NaN where one is missing.

    Raises:
        InputError: a channel holds something other than numbers.
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
    """Describes what a column holds other than real numbers and truth values, for a message; None if nothing."""
    if pd.api.types.is_object_dtype(column.dtype):
        others = (value for value in column if not isinstance(value, Real | np.bool_) and not _is_missing(value))
        return next((f"with {value!r}" for value in others), None)
    fits = pd.api.types.is_any_real_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    return None if fits else f"of type {column.dtype}"


def nameless(names: Sequence[str]) -> bool:
    """Returns whether channel names are the defaults of pandas or sktime: 0, 1, … or var_0, var_1, …"""
    counted = [str(index) for index in range(len(names))]
    return list(names) in (counted, [f"var_{index}" for index in counted])


def warn_of_other_order(X: Any, y: Any) -> None:
    """Warns if `y` has the index of `X` in another order: items are matched by position, as in scikit-learn."""
    if not isinstance(X, pd.DataFrame) or not isinstance(y, pd.Series | pd.DataFrame):
        return
    names = X.index.get_level_values(0).unique() if X.index.nlevels == 2 else X.index
    if len(names) == len(y) and not names.equals(y.index) and names.is_unique and set(names) == set(y.index):
        warnings.warn(
            "`y` has the index of `X` in another order: its values are taken by their positions, not by its index",
            stacklevel=3,
        )
