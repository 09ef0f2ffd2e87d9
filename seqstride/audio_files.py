"""Where the audio files are."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_OTHER_NAMES = {"aif", "aifc", "oga", "opus", "snd", "sph"}  # extensions that are not the name of their format


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files as they are, folders as all audio files below them (known by their extension, hidden ones left out).

    Raises:
        ValueError: a folder without any.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            extensions = audio_extensions()
            inside = [file for file in files_below(path) if file.suffix[1:].lower() in extensions]
            if not inside:
                raise ValueError(f"folder {os.fspath(path)!r} must hold audio files; there are none")
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


def audio_extensions() -> set[str]:
    """Lower-case extensions of the formats that soundfile reads; RAW has no header, so nobody knows its rate."""
    import soundfile

    return ({name.lower() for name in soundfile.available_formats()} | _OTHER_NAMES) - {"raw"}
