"""Where the audio files are, and how they are named in lists and folders."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.errors import InputError, require
from seqstride.files.text_files import read_json, read_text

logger = logging.getLogger(__name__)

CODECS = frozenset(["3gp", "aac", "ac3", "amr", "ape", "m4a", "m4b", "mka", "mp4", "wma", "wv", "webm"])
"""Extensions of audio that soundfile does not read."""

_OTHER_NAMES = {"aif", "aifc", "oga", "opus", "snd", "sph"}  # extensions that are not the name of their format


class Recording(NamedTuple):
    """A file, or a part of one."""

    name: str
    """Under which its results are listed: the path, or the key in a manifest."""
    path: str
    start: int = 0
    """The first sample, of the file."""
    stop: int | None = None
    """The sample behind the last; None: to the end."""
    problem: str | None = None
    """What is wrong with its item in a manifest, so that it cannot be read."""


def read_list(file: str | os.PathLike[str], data_root: str | os.PathLike[str] | None = None) -> list[Recording]:
    """The recordings of a list.

    Args:
        file: a SpeechBrain manifest (.json), whose items have `wav`, with `start` and `stop` where it is a part of it,
            or `features`; or a text with a path on each line.
        data_root: what `{data_root}` in a manifest's paths stands for; None: the manifest's folder.

    Raises:
        ValueError: there is no such file, it lists nothing, or is no manifest.
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
        # surrogateescape: names of files need not be text
        listed = [Recording(line, line) for line in read_text(file, "surrogateescape").split("\n") if line.strip()]
    if not listed:
        raise InputError(f"`list` (={os.fspath(file)!r}) must list at least one recording")
    return listed


def _path_key(item: Any) -> str | None:
    """The key of an item's path, if it has one."""
    return next((key for key in ("wav", "features") if isinstance(item, dict) and key in item), None)


def _recording(name: str, item: Any, root: str) -> Recording:
    """What an item of a manifest stands for; a wrong one is named when its turn comes, so that the others are read."""
    try:
        key = _path_key(item)
        if key is None or not isinstance(item[key], str):
            raise InputError("it must have the path `wav` or `features`")
        return Recording(name, with_root(item[key], root), *part_of(item))
    except InputError as error:
        return Recording(name, name, problem=str(error))


def with_root(value: Any, root: str) -> Any:
    """What stands in a manifest, with `{data_root}` replaced in all its texts, as SpeechBrain does.

    Raises:
        ValueError: another name in braces; braces that are meant are doubled.
    """
    if isinstance(value, dict):
        return {key: with_root(part, root) for key, part in value.items()}
    if isinstance(value, list):
        return [with_root(part, root) for part in value]
    if not isinstance(value, str):
        return value
    try:
        return value.format_map({"data_root": root})
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{value!r} must have no names in braces but {{data_root}}: {error!r}") from error


def part_of(item: Mapping[str, Any]) -> tuple[int, int | None]:
    """`start` and `stop` of a manifest's item: its first sample (or frame of features), and the one behind the last.

    Raises:
        ValueError: they are no whole numbers (whole numbers as text are fine), or `stop` is not above `start`.
    """
    start, stop = _samples(item, "start"), _samples(item, "stop")
    start = 0 if start is None else start
    if stop is not None and stop <= start:
        raise InputError(f"`stop` (={item['stop']!r}) must be above `start` (={start}); both count samples of the file")
    return start, stop


def _samples(item: Mapping[str, Any], key: str) -> int | None:
    value = item.get(key)
    if isinstance(value, str) and re.fullmatch(r"\s*\+?[0-9]+\s*", value):
        value = int(value)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise InputError(f"`{key}` (={value!r}) must be a whole number of samples of the file (not seconds), at least 0")


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files as they are, folders as all audio files below them (known by their extension, hidden ones left out).

    Raises:
        ValueError: a folder without any.
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
    """All files below a folder that are not hidden, ordered; links to folders are left alone."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                logger.warning("%s is a link to a folder and not followed", os.path.join(parent, name))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def is_audio(file: str | os.PathLike[str]) -> bool:
    """Whether a file is a recording by its name: not hidden, and with an extension of audio, in any case."""
    name = Path(file).name
    return not name.startswith(".") and Path(name).suffix[1:].lower() in _audio_extensions()


def audio_in(folder: Path, pattern: str = "*", extension: str | None = None) -> list[Path]:
    """The recordings in a folder that has a fixed layout, ordered.

    Args:
        folder: where.
        pattern: which files, such as `*/*`.
        extension: the one that they have, in any case; None: any of audio.
    """
    wanted = None if extension is None else f".{extension}"
    return sorted(
        file
        for file in folder.glob(pattern)
        if is_audio(file) and wanted in (None, file.suffix.lower()) and not file.is_dir()
    )


@cache
def _audio_extensions() -> frozenset[str]:
    """Lower-case extensions of audio; RAW is none, for it has no header, so that nobody knows its rate."""
    soundfile = require("soundfile", "speech")

    return (CODECS | {name.lower() for name in soundfile.available_formats()} | _OTHER_NAMES) - {"raw"}


def shown(path: str | os.PathLike[str]) -> str:
    """A file's name on one line of a terminal: line breaks, escapes and bytes that are no text are written as `\\n`."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in os.fspath(path)
    )
