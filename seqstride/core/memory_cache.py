"""A cache of tensors that is bounded by their size, not by their number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

Tensors = TypeVar("Tensors", bound=Tensor | tuple[Tensor, ...])


def cached_by_size(megabytes: int) -> Callable[[Callable[..., Tensors]], Callable[..., Tensors]]:
    """Caches the results of a function, at most `megabytes` in all; the least recently used are dropped first.

    A limit on the number of entries would be too low for short tables and too high for long ones: batches of varied
    lengths use hundreds of tables in turn. Compiled code does not use the cache, and tensors of a trace, which are of a
    class of their own (`FakeTensor`), are not kept.
    """

    def cached(function: Callable[..., Tensors]) -> Callable[..., Tensors]:
        kept: OrderedDict[Hashable, Tensors] = OrderedDict()
        lock = Lock()
        size = 0

        @wraps(function)
        def read(*key: Hashable) -> Tensors:
            nonlocal size
            if torch.compiler.is_compiling():
                return function(*key)
            with lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            made = function(*key)
            with lock:
                if key not in kept and all(type(tensor) is Tensor for tensor in _tensors(made)):
                    kept[key] = made
                    size += _bytes(made)
                while size > megabytes << 20:
                    size -= _bytes(kept.popitem(last=False)[1])
                return made

        return read

    return cached


def _tensors(made: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (made,) if isinstance(made, Tensor) else made


def _bytes(made: Tensor | tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in _tensors(made))
