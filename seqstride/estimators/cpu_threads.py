"""Sets the number of CPU threads that torch uses, for one Python thread and for a while."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import torch

_ONE_AT_A_TIME = Lock()


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Inside, this Python thread computes with `count` CPU threads. Other threads are not affected.

    Enter it before the thread's first work with torch: the number at that time is restored afterwards.
    """
    with _ONE_AT_A_TIME:
        before = torch.get_num_threads()
    _set(count)
    try:
        yield
    finally:
        _set(before)


def _set(count: int) -> None:
    """Sets the number for this thread alone.

    Torch keeps a number per thread, but its setter also changes the number with which new threads begin. A new thread
    restores the latter; otherwise parallel fits would leave 1 behind for all threads that follow.
    """
    if torch.get_num_threads() == count:
        return
    with _ONE_AT_A_TIME, ThreadPoolExecutor(1) as new:
        others = new.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        new.submit(torch.set_num_threads, others).result()
