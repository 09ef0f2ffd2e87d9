"""What is known about an output before the work: it is no input, has a fitting name, and can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from seqstride.errors import FileError, InputError
from seqstride.files.audio_files import is_audio


def check_output(
    option: str,
    path: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]] = (),
    *,
    table: bool = False,
) -> None:
    """Refuses a file that must not, or cannot, be written.

    Args:
        option: of the command line, for errors.
        path: the file; devices and pipes are fine.
        inputs: files that the command reads.
        table: the file will be a table, and must not be named like a recording.

    Raises:
        InputError: it is one of the inputs, a folder, or named like a recording.
        FileError: there is no permission to write it, or it is a link into a folder that is missing.
    """
    path = Path(path)
    given = f"`{option}` (={os.fspath(path)!r})"
    if path.is_dir():
        raise InputError(f"{given} must be a file; it is a folder")
    if path.is_file() and any(Path(file).is_file() and path.samefile(file) for file in inputs):
        raise InputError(f"{given} must not be one of the files that are read")
    if table and is_audio(path):
        raise InputError(f"{given} is written as a table, and must not have the extension of a recording")
    # a file is replaced by one in the same folder, and a link stays
    target = Path(os.path.realpath(path))
    there = next(folder for folder in target.parents if folder.exists())
    if not path.exists() and not there.is_dir():
        raise FileError(f"{given} cannot be written: {os.fspath(there)!r} is not a folder")
    if path.is_symlink() and there != target.parent:
        raise FileError(f"{given} cannot be written: it is a link to {os.fspath(target)!r}, whose folder is missing")
    for place in [there] if not path.exists() else [path, there] if path.is_file() else [path]:
        if not os.access(place, os.W_OK):
            raise FileError(f"{given} cannot be written: {os.fspath(place)!r} allows no writing")


def check_output_folder(option: str, path: str | os.PathLike[str], extensions: Iterable[str]) -> None:
    """Refuses a folder for many files that is named like one of them.

    Raises:
        InputError: the path is a file, or is not there and has one of the extensions.
        FileError: there is no permission to write in it.
    """
    path = Path(path)
    given = f"`{option}` (={os.fspath(path)!r})"
    if path.exists() and not path.is_dir():
        raise InputError(f"{given} must be a folder, for one file per recording; it is a file")
    if not path.exists() and path.suffix.lower() in extensions:
        raise InputError(f"{given} must be a folder, for one file per recording; it is named like a file")
    check_output(option, path / "x")
