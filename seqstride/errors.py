"""Errors for users: the commands show their text as one line, and everything else as a fault of the program."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """Something that the user can mend: the text names what was given, what is expected and what to do."""


class InputError(UserError, ValueError):
    """An argument, a file's content or data that cannot be used."""


class FileError(UserError, OSError):
    """A file or folder that cannot be read or written."""


class DownloadError(FileError, ConnectionError):
    """What cannot be downloaded."""


class MissingExtraError(UserError, ImportError):
    """A package that an optional part needs is not installed; the text says how to install it."""


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
    """Inside, something is made with the arguments that the user gave as `key`.

    Raises:
        InputError: it refuses them; names the key.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"`{key}` cannot be used: {error}") from error
