"""One command at a time in an output folder.

The lock is one of the operating system (`filelock`), so it ends with its process, however that ends, and it holds over
the network file systems that pass such locks on. Beside it a file tells who holds it, for the message of the others.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqstride.errors import FileError, InputError
from seqstride.files.room import write_reason
from seqstride.files.whole_files import forget_parts

LOCK = ".seqstride.lock"
HOLDER = ".seqstride.json"
"""Files of a lock in its folder."""


class FolderLock:
    """The lock of a folder, which `take` gets and `release` gives back; a folder that was made for it goes again.

    Who takes it removes what a process left that was killed while it wrote a file there.

    Args:
        folder: need not exist.
        name: of the lock and of the file beside it, where several locks share a folder.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str = "") -> None:
        self.folder = Path(folder)
        self._name = name
        self._lock = FileLock(self.folder / f"{name}{LOCK}")
        self._holder = self.folder / f"{name}{HOLDER}"
        self._made: list[Path] = []

    def take(self) -> str:
        """Gets the lock, or says who has it. The text that it returns is empty, as those of passed checks are.

        Raises:
            InputError: another process works in the folder.
            FileError: nothing can be written there.
        """
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._holder.write_text(json.dumps(_this_process()), encoding="utf-8")
        except Timeout:
            raise InputError(
                f"{os.fspath(self.folder)!r} is in use: {_told(self._holder)} works there. Wait until it has finished, "
                "or choose another folder"
            ) from None
        except OSError as error:
            self.release()
            raise FileError(
                f"{os.fspath(self.folder)!r} cannot be written: {write_reason(error, self.folder)}"
            ) from error
        forget_parts(self.folder, self._name)
        return ""

    def release(self) -> None:
        """Gives the lock back; does nothing without it."""
        if not self._lock.is_locked:
            return
        with suppress(OSError):
            self._holder.unlink(missing_ok=True)
        # before the lock: who takes it next must find the same file
        with suppress(OSError):
            if self._made and set(os.listdir(self.folder)) == {Path(self._lock.lock_file).name}:
                Path(self._lock.lock_file).unlink()
                for path in self._made:
                    path.rmdir()
        self._lock.release()


@contextmanager
def locked(folder: str | os.PathLike[str], name: str = "") -> Iterator[None]:
    """A context with the lock of a folder; errors as those of `FolderLock.take`."""
    lock = FolderLock(folder, name)
    lock.take()
    try:
        yield
    finally:
        lock.release()


def _this_process() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since}


def _told(holder: Path) -> str:
    try:
        told = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {int(told['process'])} on host {told['host']!r} (since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or another lock is beside this one
        return "another process"
