"""Room on a disk: held before long work, so that its result can be written, and told in errors."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from seqstride.errors import FileError

ROOM = 16_000_000
"""Bytes, more than a small network with its tables and pictures takes."""

_BLOCK = 2**20
_NOT_KNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems that cannot reserve room


@contextmanager
def room_kept(folder: str | os.PathLike[str], size: int = ROOM) -> Iterator[None]:
    """A context that holds room on the disk of a folder, in a file without a name, which ends with the process.

    What is written when the context has ended finds this room, unless another writer comes first.

    Args:
        folder: it must be there.
        size: bytes.

    Raises:
        FileError: the disk, or what this user may write on it, has less.
    """
    with _filled(folder, size):
        yield


def check_room(folder: str | os.PathLike[str], size: int = ROOM) -> None:
    """Checks that so many bytes can be written to a folder; arguments and errors as those of `room_kept`."""
    with room_kept(folder, size):
        pass


def write_reason(error: BaseException, folder: str | os.PathLike[str]) -> str:
    """Returns why something could not be written to a folder; where a disk is full, with the room that it has."""
    text = str(getattr(error, "strerror", None) or error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"{text} ({free_megabytes(folder)} MB are free in {os.fspath(folder)!r})"
    return text


def free_megabytes(folder: str | os.PathLike[str]) -> str:
    """Returns the free room, 10⁶ bytes, on the disk of a folder, which need not exist."""
    path = Path(folder).absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    return f"{shutil.disk_usage(there).free / 1e6:.1f}"


def _filled(folder: str | os.PathLike[str], size: int) -> IO[bytes]:
    """Returns an open file of this size."""
    try:
        with ExitStack() as stack:
            # without a buffer: closing a file whose last bytes found no room would fail again
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
            _fill(file, size)
            stack.pop_all()
            return file
    except OSError as error:
        raise FileError(
            f"{os.fspath(folder)!r} must have room for {size / 1e6:.0f} MB: {write_reason(error, folder)}"
        ) from error


def _fill(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                raise
    while size > 0:
        size -= file.write(bytes(min(size, _BLOCK)))
