"""Ctrl-C while a command is still importing torch: one line, as later.

Importing `seqstride.cli` imports the package first, and so torch, before any line of a command can catch anything.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import TracebackType

_MODULES = ("seqstride", "seqstride.cli.leash")
"""What `python -m` runs as the command; the latter for the runs of a comparison."""


def stop_in_one_line() -> None:
    """Makes Ctrl-C print a line in place of a traceback, wherever no code catches it."""
    others = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("seqstride: stopped", file=sys.stderr)
        else:
            others(kind, error, trace)

    sys.excepthook = hook


def is_command() -> bool:
    """Whether this process is a `seqstride` command, and not another program that imports the package."""
    script = Path(next(iter(sys.argv), "")).stem
    return script == "seqstride" or any(("-m", module) in pairwise(sys.orig_argv) for module in _MODULES)
