"""Output files that are complete or absent, also after a crash."""

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
from seqstride.files.room import write_reason

# Errors of a file that is already open; the operating system gives no file name with them.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}

# Parts of the errors of torch's writer, which is a RuntimeError for any reason.
_TORCH_WRITER = ("inline_container", "iostream error", "Parent directory")

# Warnings of matplotlib for every letter that its font lacks, and for scripts that it cannot set.
_NO_LETTERS = re.compile(r"Glyph \d+ .*missing from|Matplotlib currently does not support .* natively")

logger = logging.getLogger(__name__)


_KEPT = 50  # letters of a name in its temporary name: a name may have 255 bytes, and this must not exceed them either
_PART = re.compile(r"(.*)\.[0-9a-f]{8}\.part", re.DOTALL)


def forget_parts(folder: Path, file: str = "", below: bool = False) -> None:
    """Removes the temporary files of `whole_file` that a process left which was killed. No other may write them now.

    Args:
        folder: to search; it need not exist.
        file: the name whose temporary files are removed; empty: all names.
        below: the folders in it are searched, too.
    """
    for path in folder.glob("**/*.part" if below else "*.part"):
        match = _PART.fullmatch(path.name)
        if match and (not file or match[1] == file[:_KEPT]):
            with suppress(OSError):
                path.unlink()


@contextmanager
def whole_file(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path to write to; at the end that file replaces `path` in one step, safe on the disk.

    The temporary file is in the same folder, and every writer has its own; if several write at once, the last complete
    file stays. The file keeps the mode of the file that it replaces. A link stays, and its target is replaced. A path
    that is not a file, such as `/dev/stdout` or a pipe, is written to directly.

    Args:
        path: of the file.
        durable: False: does not wait for the disk. If the machine crashes, the file may be damaged; this is for files
            whose readers notice that and make them again.

    Raises:
        FileError: the file cannot be written, such as on a full disk; the old content of `path` stays.
        BaseException: any other error inside passes through unchanged; the old content of `path` stays, too.
    """
    path = Path(path)
    try:
        direct = path.exists() and not path.is_file() and not path.is_dir()
    except OSError as error:  # such as a name that is too long
        raise FileError(f"{os.fspath(path)!r} could not be written: {error.strerror}") from error
    if direct:
        yield path
        return
    target = Path(os.path.realpath(path))
    part = target.with_name(f"{target.name[:_KEPT]}.{secrets.token_hex(4)}.part")
    try:
        yield part
        if durable:
            sync(part)
        if target.is_file():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if is_write_error(error, part):
            raise FileError(
                f"{os.fspath(path)!r} could not be written: {write_reason(error, target.parent)}"
            ) from error
        raise
    if durable:
        sync(target.parent)


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure in the format that the extension names; letters that its font lacks give one warning.

    Raises:
        InputError: the extension is not one of a picture.
        FileError: see `whole_file`.
    """
    known = figure.canvas.get_supported_filetypes()
    ending = Path(path).suffix[1:].lower()
    if ending not in known:
        raise InputError(
            f"{os.fspath(path)!r} must have the extension of a picture: {', '.join(f'.{name}' for name in known)}"
        )
    with whole_file(path) as part, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(part, format=ending)
    others = [warning for warning in caught if not _NO_LETTERS.match(str(warning.message))]
    if len(others) < len(caught):
        logger.warning("%s: the font of the pictures lacks some letters and shows boxes instead", os.fspath(path))
    for warning in others:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def is_write_error(error: BaseException, path: Path) -> bool:
    """Whether an error means that `path`, or a file in this folder, cannot be written."""
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
    """Waits until a file is on the disk, or the entries of a folder, where the file system supports that."""
    with suppress(OSError) if path.is_dir() else nullcontext():
        # Windows syncs only files that are open for writing, and no folders
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
