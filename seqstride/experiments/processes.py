"""Child processes that end with their parent, signals that end it, and the processor time of both."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GRACE = 10.0
"""Seconds between asking a process to stop and killing it."""


def cpu_seconds() -> float:
    """Returns the processor time of this process, of all its threads, and of its child processes that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Children:
    """The processes that are running; after `stop` they have ended, and no new one starts.

    Each has a pipe for its standard input that nothing is written to: see `seqstride.cli.leash`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> int:
        """Runs a command, appending all that it prints to `log`; returns its exit code."""
        with open(log, "ab") as file:
            with self._lock:
                if self._stopped:
                    return -signal.SIGTERM
                child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, env=environment
                )
                self._running.add(child)
            with child:
                code = child.wait()
        with self._lock:
            self._running.remove(child)
        return code

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for child in running:
            child.terminate()
        for child in running:
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()


@contextmanager
def one_interrupt() -> Iterator[None]:
    """A context in which the first SIGINT (Ctrl-C) or SIGTERM raises KeyboardInterrupt, and later ones do nothing.

    Programs such as `timeout` send a signal twice, and people press Ctrl-C twice: the second one must not break the
    ending of the children, which takes `GRACE` at most. Outside the main thread the context has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised = False

    def interrupt(signal_number: int, frame: Any) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
