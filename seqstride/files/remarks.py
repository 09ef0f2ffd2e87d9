"""Remarks on recordings that are usable but unusual: they are collected and logged once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from seqstride.errors import shown

logger = logging.getLogger(__name__)

_listening: list[list[str]] = []
_collected: dict[str, tuple[int, str, str]] | None = None  # remark → number of recordings, the first and the last


def remark(text: str, path: str | os.PathLike[str]) -> None:
    """Notes a remark on a recording.

    It is logged only inside `remarks`, which commands and data preparation use. Training, which reads every file many
    times in several processes, does not.
    """
    for heard in _listening:
        heard.append(text)
    if _collected is not None:
        path = os.fspath(path)
        number, first, last = _collected.get(text, (0, path, None))
        _collected[text] = number + (path != last), first, path


@contextmanager
def heard_remarks() -> Iterator[list[str]]:
    """Yields a list that gets the text of every remark made inside; the remarks are noted as well."""
    heard: list[str] = []
    _listening.append(heard)
    try:
        yield heard
    finally:
        _listening.remove(heard)


@contextmanager
def remarks() -> Iterator[None]:
    """Logs each remark made inside once, at the end, with an example; of nested contexts, only the outermost logs."""
    global _collected
    if _collected is not None:
        yield
        return
    _collected = {}
    try:
        yield
    finally:
        found, _collected = _collected, None
        for text, (number, path, _) in found.items():
            which = f"{number} recordings, such as {shown(path)}" if number > 1 else shown(path)
            logger.warning("%s: %s", which, text)
