"""Random numbers of an estimator's own: what it draws depends on no other thread, and disturbs none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seqstride.errors import InputError

DRAWS = frozenset({nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, Tensor.uniform_, Tensor.normal_})
"""What draws the weights of torch's layers, and of ours."""


def own_generator(random_state: Any) -> torch.Generator:
    """A new generator on the CPU, seeded as scikit-learn reads `random_state`.

    Raises:
        ValueError: it is no seed.
    """
    try:
        source = check_random_state(random_state)
    except ValueError as error:
        raise InputError(
            f"`random_state` (={random_state!r}) must be None, an integer of 0 to 2**32 - 1 or a numpy RandomState"
        ) from error
    return torch.Generator().manual_seed(int(source.randint(np.iinfo(np.int32).max)))


class DrawnFrom(TorchFunctionMode):
    """Inside, in this thread alone, layers draw their weights from `generator` instead of torch's global one.

    Layers have no argument for a generator, and to seed the global one and put it back afterwards would take random
    numbers from other threads, and give them ours.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in DRAWS:
            given["generator"] = self.generator
        return func(*args, **given)
