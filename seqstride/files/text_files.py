"""Text files of users: UTF-8, with or without a byte order mark, with any line ends."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seqstride.errors import FileError, InputError
from seqstride.nearest import near_paths

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, because it begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(file: str | os.PathLike[str], errors: str = "strict") -> str:
    """Reads a file in UTF-8; returns its text without byte order mark and with `\\n` at the end of every line.

    Args:
        file: path.
        errors: as in `bytes.decode`; use "surrogateescape" for lists of file names, which may have any bytes.

    Raises:
        FileError: the file cannot be read.
        InputError: the file is not UTF-8; the error names it.
    """
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        near = near_paths(file) if isinstance(error, FileNotFoundError) else ""
        raise FileError(f"{os.fspath(file)!r} cannot be read: {error.strerror or error}{near}") from error
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise InputError(f"{os.fspath(file)!r} must be a text in UTF-8; it is in {name}: save it as UTF-8")
    if b"\0" in content:
        raise InputError(f"{os.fspath(file)!r} must be a text in UTF-8; it has zero bytes")
    try:
        text = content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{os.fspath(file)!r} must be a text in UTF-8; line {line} is not (byte 0x{content[error.start]:02x}): "
            "save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(file: str | os.PathLike[str], errors: str = "strict") -> Any:
    """Reads a JSON file; arguments as in `read_text`.

    Raises:
        FileError: the file cannot be read.
        InputError: the file is not JSON in UTF-8, or an object in it has the same key twice; the error names the file.
    """
    text = read_text(file, errors)
    try:
        return parse_json(text)
    except InputError as error:
        raise InputError(f"{os.fspath(file)!r} must be JSON: {error}") from error


def parse_json(text: str) -> Any:
    """Reads JSON.

    Raises:
        InputError: the text is not JSON, is nested too deeply, or an object in it has the same key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise InputError("it is nested too deeply") from error
    except (InputError, json.JSONDecodeError) as error:
        raise InputError(str(error)) from error
    except ValueError as error:  # Python's limit, against texts that take hours
        raise InputError("it has a whole number with too many digits") from error


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise InputError(f"it has the key {key!r} twice")
        mapping[key] = value
    return mapping
