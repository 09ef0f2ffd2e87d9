"""The progress of a comparison: its finished runs, the epochs of those that are running, and the time that is left.

In a terminal it is one line that changes. In a file it is a line whenever a run ends, and between them one in a while.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

WHILE = 60.0
"""The fewest seconds between two lines of a file while no run ends."""
_EPOCH = re.compile(rb"^ *(\d+)/(\d+) ", re.MULTILINE)
_TAIL = 8192  # bytes at the end of a log in which its last epoch stands


class Epoch(NamedTuple):
    """The last finished epoch of a run, counted from 1, and the number of all."""

    number: int
    of: int


def last_epoch(log: Path, start: int = 0) -> Epoch | None:
    """Returns the last epoch that `seqstride.experiments.screen.EpochTable` wrote into a run's log.

    Args:
        log: the file; it may be missing.
        start: the size of the file when the run began, in bytes; what stands before is of an earlier attempt.
    """
    try:
        with open(log, "rb") as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - _TAIL))
            found = _EPOCH.findall(file.read())
    except FileNotFoundError:
        return None
    return Epoch(int(found[-1][0]), int(found[-1][1])) if found else None


class Progress:
    """Shows the progress on the standard error stream.

    Args:
        total: the number of runs.
        ended: how many of them had ended before.
    """

    def __init__(self, total: int, ended: int) -> None:
        self.total, self.before = total, ended
        self.start, self.shown = time.monotonic(), -math.inf
        self.state: tuple[object, ...] = ()

    def show(self, ended: int, failed: int, running: Mapping[str, Epoch | None]) -> None:
        """Shows the progress if it is time to.

        Args:
            ended: how many runs have ended.
            failed: how many of them failed.
            running: name of each run that is running → its last epoch; None before the first.
        """
        now, state = time.monotonic(), (ended, failed, *running.items())
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{self._text(ended, failed, running)[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        elif state[:2] != self.state[:2] or (state != self.state and now - self.shown >= WHILE):
            print(self._text(ended, failed, running), file=sys.stderr, flush=True)
            self.state, self.shown = state, now

    def close(self) -> None:
        """Ends the line of a terminal."""
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def _text(self, ended: int, failed: int, running: Mapping[str, Epoch | None]) -> str:
        parts = [f"{ended} of {self.total} runs done" + (f", {failed} of them failed" if failed else "")]
        share = sum(epoch.number / epoch.of for epoch in running.values() if epoch)
        done = ended - self.before + share
        if done > 0 and ended < self.total:
            left = (time.monotonic() - self.start) / done * (self.total - ended - share)
            parts.append(f"about {_duration(left)} left")
        parts += [
            f"{name}: epoch {epoch.number} of {epoch.of}" if epoch else f"{name}: begins"
            for name, epoch in running.items()
        ]
        return "; ".join(parts)


def _duration(seconds: float) -> str:
    """Returns whole minutes, and hours where there are any."""
    minutes = max(1, math.ceil(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
