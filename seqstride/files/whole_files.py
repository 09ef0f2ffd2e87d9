"""Files that are whole or not there."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from seqstride.errors import FileError, InputError, UserError

# What the operating system says of a file that is open already, without its name.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}

# Parts of what torch's writer says, a RuntimeError whatever the reason was.
_TORCH_WRITER = ("inline_container", "iostream error", "Parent directory")

# What matplotlib says of every single letter that its font does not have, and of scripts that it cannot set.
_NO_LETTERS = re.compile(r"Glyph \d+ .*missing from|Matplotlib currently does not support .* natively")

logger = logging.getLogger(__name__)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives the path to write to inside; at the end the file, safe on the disk, takes the place of `path` at once.

    Every writer has a path of its own, beside `path`: of several at a time the last one's file stays, whole. It keeps
    the mode of the file that it replaces; a new one has that of every new file. A link stays, and what it leads to is
    replaced. What is no file, such as `/dev/stdout` or a pipe, is written to as it is.

    Raises:
        FileError: it could not be written, such as on a full disk; what was at `path` before is still there.
        BaseException: any other error inside comes through as it is; what was at `path` before is still there, too.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    target = Path(os.path.realpath(path))
    # a name may have 255 bytes: the part's must not be too long where the file's is not
    part = target.with_name(f"{target.name[:50]}.{secrets.token_hex(4)}.part")
    try:
        yield part
        sync(part)
        if target.is_file():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if is_write_error(error, part):
            reason = getattr(error, "strerror", None) or error
            raise FileError(f"{os.fspath(path)!r} could not be written: {reason}") from error
        raise
    sync(target.parent)


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure in the format that the file's ending names; of letters that its font lacks it tells once.

    Raises:
        InputError: no picture has this ending.
        FileError: see `whole_file`.
    """
    known = figure.canvas.get_supported_filetypes()
    ending = Path(path).suffix[1:].lower()
    if ending not in known:
        raise InputError(f"{os.fspath(path)!r} must end as a picture does: {', '.join(f'.{name}' for name in known)}")
    with whole_file(path) as part, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(part, format=ending)
    others = [warning for warning in caught if not _NO_LETTERS.match(str(warning.message))]
    if len(others) < len(caught):
        logger.warning("%s: the font of the pictures lacks letters, and boxes stand for them", os.fspath(path))
    for warning in others:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def is_write_error(error: BaseException, path: Path) -> bool:
    """Whether an error says that `path`, or a file in this folder, cannot be written: not any error while it was."""
    if isinstance(error, UserError):
        return False
    if isinstance(error, RuntimeError):
        return any(text in str(error) for text in _TORCH_WRITER)
    if not isinstance(error, OSError):
        return False
    if error.filename is None:
        return error.errno in _NO_ROOM
    return isinstance(error.filename, (str, os.PathLike)) and Path(error.filename).is_relative_to(path)


def sync(path: Path) -> None:
    """Waits until a file, or what a folder lists where the file system can say so, is on the disk."""
    with suppress(OSError) if path.is_dir() else nullcontext():
        # Windows syncs only what is open for writing, and no folders
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
