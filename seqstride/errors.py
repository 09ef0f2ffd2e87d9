"""Errors for users: the commands show their text as one line, and everything else as a fault of the program."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can mend: the text names what was given, what is expected and what to do."""


class InputError(UserError, ValueError):
    """An argument, a file's content or data that cannot be used."""


class FileError(UserError, OSError):
    """A file or folder that cannot be read or written."""


class MissingExtraError(UserError, ImportError):
    """A package that an optional part needs is not installed; the text says how to install it."""
