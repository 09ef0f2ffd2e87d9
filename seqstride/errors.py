"""Errors that users can fix: commands print their text as one line. Other errors are faults of the program."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LONGEST = 80  # letters of a value in a line


class UserError(Exception):
    """An error that the user can fix: the text names the value, the rule, and what to do."""


class InputError(UserError, ValueError):
    """An argument, a file's content or data that cannot be used."""


class FileError(UserError, OSError):
    """A file or folder that cannot be read or written."""


class DownloadError(FileError, ConnectionError):
    """A file that cannot be downloaded."""


class MissingExtraError(UserError, ImportError):
    """An optional package that is missing; the text says how to install it."""


def require(module: str, extra: str) -> Any:
    """Imports a module that is installed by an extra of this package.

    Args:
        module: the full name, such as "scipy.stats".
        extra: the name of the extra in `pyproject.toml`, such as "series".

    Returns:
        The module.

    Raises:
        MissingExtraError: it cannot be imported; the text has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
        reason = "is not installed" if absent else f"cannot be imported ({error})"
        raise MissingExtraError(
            f"{package} is needed here and {reason}. To install it: pip install 'seqstride[{extra}]'"
        ) from error


@contextmanager
def made_as_asked(key: str) -> Iterator[None]:
    """A context for code that builds an object from the arguments that the user gave as `key`.

    Raises:
        InputError: the code raises an error; the text names the key.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"`{key}` cannot be used: {error}") from error


def shown(path: str | os.PathLike[str]) -> str:
    """Returns a text or path for one line of a terminal: line breaks, escapes and other bytes are written as `\\n`."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in os.fspath(path)
    )


def brief(value: Any) -> str:
    """Returns a value of a user's file for a line of text: its `repr`, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
