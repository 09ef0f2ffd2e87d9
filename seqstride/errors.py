"""Errors for users: the commands show their text as one line, and everything else as a fault of the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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
