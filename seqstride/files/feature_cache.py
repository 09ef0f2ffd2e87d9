"""Files of features that are kept in memory, because many items are parts of few files."""

from __future__ import annotations

import os
from typing import NamedTuple

from torch import Tensor

from seqstride.errors import InputError
from seqstride.files.loading import load_features

LIMIT = 2**28
"""Bytes that are kept in each process; what is beyond is read from the disk every time."""


class _File(NamedTuple):
    state: tuple[int, ...]
    """Size and times; a file that changes is read again."""
    frames: Tensor


class FeatureCache:
    """Loads features as `load_features` does, each file only once."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._left = LIMIT

    def load(self, path: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Returns the part (T, C) that `load_features` returns for these arguments.

        Raises:
            ValueError: as `load_features`.
        """
        state = _state(path)
        kept = self._files.get(path)
        if kept is None or kept.state != state:
            kept = self._keep(path, state)
            if kept is None:
                return load_features(path, start, stop)
        part = kept.frames[start:stop]
        if len(part) < (1 if stop is None else max(1, stop - start)):
            return load_features(path, start, stop)  # which says what is wrong
        return part.clone()  # belongs to the caller

    def _keep(self, path: str, state: tuple[int, ...]) -> _File | None:
        """Reads a whole file; None if it does not fit, or is damaged: its part may be whole."""
        old = self._files.pop(path, None)
        self._left += old.frames.nbytes if old else 0
        if not state or state[0] > self._left:
            return None
        try:
            file = _File(state, load_features(path))
        except InputError:
            return None
        if file.frames.nbytes > self._left or _state(path) != state:
            return None
        self._left -= file.frames.nbytes
        self._files[path] = file
        return file


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
