"""Files of the UCR and UEA archives (.ts), read by sktime with corrections."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from seqstride.errors import InputError, require
from seqstride.files.text_files import read_text
from seqstride.files.whole_files import whole_file

UNKNOWN = "?"
"""A missing value, or the label of a series whose class is unknown."""


def read_ts(path: str | os.PathLike[str]) -> tuple[list[Any], np.ndarray | None]:
    """Reads the series of a file and their labels, as they are written.

    sktime's reader changes labels to lower case, and fails at a byte order mark and at comments among the data, so it
    gets a copy without them. A channel that is shorter than another one of its series has missing values at its end.

    Returns:
        N data frames (T, C), with NaN for missing values; labels (N,), None if the file has none or only unknown ones.

    Raises:
        InputError: there is no such file, or it has another format; the error names it.
        FileError: the copy cannot be written to the folder for temporary files.
    """
    load_from_tsfile_to_dataframe = require("sktime.datasets", "series").load_from_tsfile_to_dataframe

    where = repr(os.fspath(path))
    header, data = _parts(read_text(path))
    tags = {words[0].lower(): words[1:] for line in header if (words := line.split())}
    if [word.lower() for word in tags.get("@timestamps", [])] == ["true"]:
        raise InputError(
            f"{where} must have values without time stamps: frames count as evenly spaced. A table (.csv, .parquet) "
            "may have a column of times, which orders the frames"
        )
    if [word.lower() for word in tags.get("@targetlabel", [])] == ["true"]:
        raise InputError(f"{where} must have classes (`@classLabel`); it has values to predict (`@targetLabel`)")
    for number, line in data:
        if line.startswith("@"):
            raise InputError(f"{where}, line {number}: there must be no tags below `@data`")
    labels = None
    if [word.lower() for word in tags.get("@classlabel", [])][:1] == ["true"]:
        data, labels = _without_labels(data, where)
        header = ["@classLabel false" if line.lower().startswith("@classlabel") else line for line in header]
    for number, line in data:
        if not line.strip(": "):
            raise InputError(f"{where}, line {number}: it must have at least one frame")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "series.ts")
        with whole_file(copy, durable=False) as part:
            part.write_text("\n".join([*header, *(line for _, line in data), ""]), encoding="utf-8")
        try:
            nested = load_from_tsfile_to_dataframe(str(copy))
            series = [_frame(row, nested.columns) for row in nested.to_numpy()]
        except Exception as error:  # the reader raises many kinds of errors
            raise InputError(f"{where} cannot be read as series: {error}") from error
    for frame, (number, _) in zip(series, data, strict=True):
        if np.isinf(frame.to_numpy()).any():
            raise InputError(f"{where}, line {number}: it must have finite or missing values")
    return series, labels


def _parts(text: str) -> tuple[list[str], list[tuple[int, str]]]:
    """The header up to `@data`, and the lines of the data with their numbers, without comments and empty lines."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith(("#", "%"))]
    begin = next((index for index, (_, line) in enumerate(lines) if line.lower() == "@data"), len(lines) - 1) + 1
    return [" ".join(line.split()) for _, line in lines[:begin]], lines[begin:]


def _without_labels(data: list[tuple[int, str]], where: str) -> tuple[list[tuple[int, str]], np.ndarray | None]:
    """The lines up to their last colon, and the labels behind it; None if all labels are unknown."""
    bare, labels = [], []
    for number, line in data:
        values, _, label = line.rpartition(":")
        if not label.strip():
            raise InputError(f"{where}, line {number}: it must have a label behind the last colon")
        bare.append((number, values))
        labels.append(label.strip())
    unknown = [number for (number, _), label in zip(data, labels, strict=True) if label == UNKNOWN]
    if unknown and len(unknown) < len(data):
        raise InputError(f"{where}, line {unknown[0]}: it must have a label, as other series have; it has {UNKNOWN!r}")
    return bare, None if unknown else np.array(labels, dtype=str)


def _frame(row: Any, names: Any) -> Any:
    """The channels of a series as the columns of a data frame."""
    pd = require("pandas", "series")

    channels = {name: pd.Series(np.asarray(values, dtype=float)) for name, values in zip(names, row, strict=True)}
    return pd.DataFrame(channels, dtype=float)
