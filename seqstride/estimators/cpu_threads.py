"""How many CPU threads torch uses, for a while and for one thread of Python alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import torch

_ONE_AT_A_TIME = Lock()


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Inside, this thread computes with `count` CPU threads; other threads, and this one afterwards, as before.

    It should be entered before a thread's first work with torch, which decides what is "before" for it.
    """
    with _ONE_AT_A_TIME:
        before = torch.get_num_threads()
    _set(count)
    try:
        yield
    finally:
        _set(before)


def _set(count: int) -> None:
    """Torch keeps the number for every thread, but its setter also says what threads begin with that are new to torch.

    That is put back from such a thread: else fits that run side by side would leave 1 behind for all that follow.
    """
    if torch.get_num_threads() == count:
        return
    with _ONE_AT_A_TIME, ThreadPoolExecutor(1) as new:
        others = new.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        new.submit(torch.set_num_threads, others).result()
