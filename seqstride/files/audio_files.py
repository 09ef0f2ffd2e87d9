"""Audio files in folders, lists and manifests."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from seqstride.errors import InputError, brief, require
from seqstride.files.text_files import read_json, read_text

logger = logging.getLogger(__name__)

CODECS = frozenset(["3gp", "aac", "ac3", "amr", "ape", "m4a", "m4b", "mka", "mp4", "wma", "wv", "webm"])
"""Extensions of audio files that soundfile does not read."""

_OTHER_NAMES = {"aif", "aifc", "oga", "opus", "snd", "sph"}  # extensions that differ from the name of their format


BARE = ("data_root", "", None)
"""`{data_root}` as Python's formatter reads it, without width or conversion."""

DEEPEST = 50
"""Levels of a manifest's values; deeper ones would overflow Python's stack, here or later."""


class Recording(NamedTuple):
    """An audio file, or a part of one."""

    name: str
    """The name in results: the path, or the key in a manifest."""
    path: str
    start: int = 0
    """First sample in the file."""
    stop: int | None = None
    """Sample behind the last; None: the end of the file."""
    problem: str | None = None
    """The error of a wrong item in a manifest; None if the item is right."""


def read_list(file: str | os.PathLike[str], data_root: str | os.PathLike[str] | None = None) -> list[Recording]:
    """Reads a list of recordings.

    Args:
        file: a SpeechBrain manifest (.json), or a text file with a path on each line. The items of a manifest have
            `wav` or `features`, and `start` and `stop` if they are a part of a file.
        data_root: replaces `{data_root}` in the paths of a manifest; None: the folder of the manifest.

    Raises:
        ValueError: there is no such file, it is empty, or it is not a manifest.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"`list` (={os.fspath(file)!r}) must be a file")
    if file.suffix.lower() == ".json":
        root = os.fspath(file.parent if data_root is None else data_root)
        items = read_json(file, errors="surrogateescape")
        if not isinstance(items, dict) or (items and not any(map(_path_key, items.values()))):
            raise InputError(f"`list` (={os.fspath(file)!r}) must be a manifest of items with `wav` or `features`")
        listed = [_recording(name, item, root) for name, item in items.items()]
    else:
        # surrogateescape, because file names need not be UTF-8
        listed = [Recording(line, line) for line in read_text(file, "surrogateescape").split("\n") if line.strip()]
    if not listed:
        raise InputError(f"`list` (={os.fspath(file)!r}) must list at least one recording")
    return listed


def _path_key(item: Any) -> str | None:
    """The key of the path of an item; None if it has none."""
    return next((key for key in ("wav", "features") if isinstance(item, dict) and key in item), None)


def _recording(name: str, item: Any, root: str) -> Recording:
    """The recording of an item; a wrong item is reported when it is read, so that the others are processed."""
    try:
        key = _path_key(item)
        if key is None or not isinstance(item[key], str):
            raise InputError("it must have the path `wav` or `features`")
        return Recording(name, with_root(item[key], root), *part_of(item))
    except InputError as error:
        return Recording(name, name, problem=str(error))


def with_root(value: Any, root: str, levels: int = DEEPEST) -> Any:
    """Replaces `{data_root}` in all texts of a value of a manifest, as SpeechBrain does.

    Raises:
        ValueError: a text has something else in braces; literal braces must be doubled. Or lists and mappings lie in
            one another more than `levels` deep.
    """
    if isinstance(value, dict | list) and levels == 0:
        raise InputError(f"its values must not be nested deeper than {DEEPEST} levels")
    if isinstance(value, dict):
        return {key: with_root(part, root, levels - 1) for key, part in value.items()}
    if isinstance(value, list):
        return [with_root(part, root, levels - 1) for part in value]
    if not isinstance(value, str):
        return value
    try:
        parts = list(Formatter().parse(value))
    except ValueError as error:
        raise InputError(f"{brief(value)} must have no names in braces but {{data_root}}: {error}") from error
    # a width such as {data_root:>2000000000} would take gigabytes, and {data_root.x} looks inside of Python's objects
    others = [name for _, name, width, change in parts if name is not None and (name, width, change) != BARE]
    if others:
        raise InputError(f"{brief(value)} must have no names in braces but {{data_root}}: it has {brief(others[0])}")
    return "".join(text if name is None else text + root for text, name, _, _ in parts)


def part_of(item: Mapping[str, Any]) -> tuple[int, int | None]:
    """Returns `start` and `stop` of an item: its first sample (or feature frame), and the one behind the last.

    Raises:
        ValueError: one is not a whole number (text with a whole number is fine), or `stop` is not above `start`.
    """
    start, stop = _samples(item, "start"), _samples(item, "stop")
    start = 0 if start is None else start
    if stop is not None and stop <= start:
        raise InputError(
            f"`stop` (={brief(item['stop'])}) must be above `start` (={start}); both count samples of the file"
        )
    return start, stop


def _samples(item: Mapping[str, Any], key: str) -> int | None:
    value = item.get(key)
    if isinstance(value, str) and re.fullmatch(r"\s*\+?[0-9]{1,18}\s*", value):
        value = int(value)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise InputError(
        f"`{key}` (={brief(value)}) must be a whole number of samples of the file (not seconds), at least 0"
    )


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Lists files as given, and for each folder all audio files below it, by extension and without hidden files.

    Raises:
        ValueError: a folder has no audio files.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [file for file in files_below(path) if is_audio(file)]
            if not inside:
                raise InputError(f"folder {os.fspath(path)!r} must hold audio files; there are none")
            found += inside
        else:
            found.append(path)
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Yields all files below a folder in order, without hidden ones; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                logger.warning("%s is a link to a folder and not followed", os.path.join(parent, name))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def is_audio(file: str | os.PathLike[str]) -> bool:
    """Whether a name is one of a recording: not hidden, with an audio extension in any case."""
    name = Path(file).name
    return not name.startswith(".") and Path(name).suffix[1:].lower() in _audio_extensions()


def audio_in(folder: Path, pattern: str = "*", extension: str | None = None) -> list[Path]:
    """Lists the recordings of a folder with a fixed layout, in order.

    Args:
        folder: to search.
        pattern: of the files, such as `*/*`.
        extension: of the files, in any case; None: any audio extension.
    """
    wanted = None if extension is None else f".{extension}"
    return sorted(
        file
        for file in folder.glob(pattern)
        if is_audio(file) and wanted in (None, file.suffix.lower()) and not file.is_dir()
    )


@cache
def _audio_extensions() -> frozenset[str]:
    """Audio extensions in lower case. RAW is left out: it has no header, so its rate is unknown."""
    soundfile = require("soundfile", "speech")

    return (CODECS | {name.lower() for name in soundfile.available_formats()} | _OTHER_NAMES) - {"raw"}
