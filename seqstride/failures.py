"""How a command ends: with an exit code, and after an error with one line of text.

0    success
1    an error in the program; the line names a log with the traceback
2    an error that the user can fix; the line says how
130  Ctrl-C
141  the reader of the output has ended, as with `| head`
"""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from seqstride.distributed import first_to_fail
from seqstride.errors import UserError, shown

DEBUG = "--debug"

_log_folder: ContextVar[Path | None] = ContextVar("log_folder", default=None)

#: errors of disks, permissions and paths: the user can fix them, wherever they come up
_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}
#: parts of errors of torch and CUDA that have no class of their own
_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "ALLOC_FAILED")
_LONGEST = 300  # letters of an error in a line


def run_command(run: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Runs a command and prints a line if it fails; with `--debug` an error passes through with its traceback.

    Args:
        run: takes the arguments and returns the exit code; None stands for 0.
        argv: the arguments of the program; `--debug` is removed from them.

    Returns:
        The exit code.
    """
    debug = DEBUG in argv
    _log_folder.set(None)
    _print_any_text()
    logging.raiseExceptions = debug  # a log on a full disk would fill the screen with tracebacks
    try:
        code = run([word for word in argv if word != DEBUG]) or 0
        with suppress(AttributeError):  # a process may have no standard output
            sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        _say(str(stop) or "stopped")
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_unread():
            _close_output()
            return 141
        if debug:
            raise
        line = _line_for_user(error)
        if line is not None:
            _say(line)
            return 2
        if (
            not first_to_fail()
        ):  # another rank has printed its error, and this rank may only have lost the connection to it
            return 2 if isinstance(error, RuntimeError) else 1
        print(f"seqstride: {shown(_summary(error))} ({_kept(error)})", file=sys.stderr)
        return 1


@contextmanager
def resumable() -> Iterator[None]:
    """A context in which Ctrl-C says that the same command goes on where it was stopped."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or "stopped; run the same command again to resume") from None


def _print_any_text() -> None:
    """Letters that the encoding of the terminal lacks are written as escapes: they must not end the work."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def log_errors_in(folder: Path) -> None:
    """Until the command ends, an error writes its log to this folder."""
    _log_folder.set(folder)


def _say(line: str) -> None:
    if first_to_fail():
        # a line may quote a file of a stranger
        print(f"seqstride: {shown(' '.join(line.split()))}", file=sys.stderr)


def _line_for_user(error: Exception) -> str | None:
    """The line for an error that the user can fix; None for other errors."""
    if isinstance(error, UserError):
        return str(error)
    if _is_out_of_memory(error):
        return (
            f"out of memory: use smaller batches (`--batch_size` in training), shorter recordings, or `--device cpu` "
            f"if a GPU is too small ({_text(error)})"
        )
    if isinstance(error, OSError) and error.errno in _MACHINE:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        return f"{name}{error.strerror}"
    return None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _summary(error: Exception) -> str:
    text = _text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _kept(error: Exception) -> str:
    """Writes the traceback to a log and returns a text that names it; prints the traceback if no log can be written."""
    text = "".join(traceback.format_exception(error))
    for folder in _log_folders():
        with suppress(OSError):
            prefix = f"seqstride-error-{time.strftime('%Y%m%d-%H%M%S')}-"
            number, name = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
            with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return f"an error in the program; its traceback is in {name}, and {DEBUG} shows it"
    print(text, file=sys.stderr, end="")
    return "an error in the program; its traceback is above, because no log can be written"


def _log_folders() -> Iterator[Path]:
    """Folders for the log, in order: the output folder of the run, the temporary folder, the current folder."""
    folder = _log_folder.get()
    if folder is not None:
        yield folder.absolute()
    with suppress(OSError):
        yield Path(tempfile.gettempdir()).absolute()
    with suppress(OSError):
        yield Path.cwd()


def _output_is_unread() -> bool:
    """Whether the reader of the standard output has ended; pipes inside the program can break, too."""
    with suppress(AttributeError, OSError, ValueError):  # there is no output, or the system has no poll
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _close_output() -> None:
    """Redirects the output, so that the interpreter does not complain about unwritten text when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
