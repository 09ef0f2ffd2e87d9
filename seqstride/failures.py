"""How a command ends: its exit code, one line for what the user can mend, and a log for all else.

0    done
1    an error in the program; the line names the log that has its traceback
2    the user can mend it, and the line says what
130  Ctrl-C
141  whoever read the output is gone, as with `| head`
"""

from __future__ import annotations

import errno
import os
import select
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

from seqstride.distributed import first_to_fail
from seqstride.errors import UserError

DEBUG = "--debug"

_log_folder: ContextVar[Path | None] = ContextVar("log_folder", default=None)

#: what a system says of a disk, of permissions, and of folders that are files, wherever it comes up
_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}
#: parts of what torch and CUDA say without a class of its own
_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "ALLOC_FAILED")
_LONGEST = 300  # letters of an error's text that a line has


def run_command(run: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Runs a command and says why it failed; with `--debug` the error comes through, with its traceback.

    Args:
        run: takes the arguments and gives the exit code, None for 0.
        argv: what follows the program's name; `--debug` among it is taken out.

    Returns:
        The exit code.
    """
    debug = DEBUG in argv
    _log_folder.set(None)
    try:
        code = run([word for word in argv if word != DEBUG]) or 0
        with suppress(AttributeError):  # there may be no standard output
            sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        _say(str(stop) or "stopped; the same command resumes the run")
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
        if not first_to_fail():  # another rank has said why it ended, and perhaps this one has only lost it
            return 2 if isinstance(error, RuntimeError) else 1
        print(f"seqstride: {_summary(error)} ({_kept(error)})", file=sys.stderr)
        return 1


def log_errors_in(folder: Path) -> None:
    """From now on, until the command ends, the log of an error goes to this folder."""
    _log_folder.set(folder)


def _say(line: str) -> None:
    if first_to_fail():
        print(f"seqstride: {' '.join(line.split())}", file=sys.stderr)


def _line_for_user(error: Exception) -> str | None:
    """What the user can mend; None where that is nothing."""
    if isinstance(error, UserError):
        return str(error)
    if _is_out_of_memory(error):
        return (
            f"out of memory: smaller batches (`--batch_size` where training, `--device cpu` where a GPU is too small) "
            f"or shorter recordings need less ({_text(error)})"
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
    """Writes the traceback to a log of its own and says where that is; shows it where none can be written."""
    text = "".join(traceback.format_exception(error))
    for folder in _log_folders():
        with suppress(OSError):
            prefix = f"seqstride-error-{time.strftime('%Y%m%d-%H%M%S')}-"
            number, name = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
            with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return f"an error in the program; its traceback is in {name}, and {DEBUG} shows it"
    print(text, file=sys.stderr, end="")
    return "an error in the program; its traceback is above, no log of it can be written"


def _log_folders() -> Iterator[Path]:
    """Where a log may go: the output folder of the run, that for temporary files, the current one."""
    folder = _log_folder.get()
    if folder is not None:
        yield folder.absolute()
    with suppress(OSError):
        yield Path(tempfile.gettempdir()).absolute()
    with suppress(OSError):
        yield Path.cwd()


def _output_is_unread() -> bool:
    """Whether the reader of the standard output has gone: pipes inside the program break, too."""
    with suppress(AttributeError, OSError, ValueError):  # no such output, or no such question
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _close_output() -> None:
    """Lets the interpreter end without a word about what it could not write."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
