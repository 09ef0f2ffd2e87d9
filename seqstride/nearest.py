"""Near matches of misspelled names, values and paths, for error messages."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


def near_matches(name: str, known: Iterable[str], most: int = 3) -> str:
    """Returns "; near matches: a, b", or an empty text if no known name is similar."""
    near = difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)
    return f"; near matches: {', '.join(near)}" if near else ""


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Returns "; did you mean a", or an empty text if no known value is similar."""
    near = difflib.get_close_matches(value, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}" if near else ""


def near_paths(path: str | os.PathLike[str]) -> str:
    """Returns the same for a path that does not exist; the matches are names in its folder."""
    path = Path(path)
    if not path.name:  # "", "." and "/"
        return ""
    try:
        names = [name for name in os.listdir(path.parent) if path.with_name(name).exists()]  # leaves out broken links
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    shown = ", ".join(repr(os.fspath(path.with_name(name))) for name in near)
    return f"; near matches: {shown}" if near else ""
