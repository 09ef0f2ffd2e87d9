"""An estimator draws from a generator of its own, so that other threads neither change its numbers nor lose theirs."""

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
"""The functions that draw the initial weights of torch's layers and of ours."""


def own_generator(random_state: Any) -> torch.Generator:
    """Returns a new generator on the CPU, seeded by `random_state` as scikit-learn reads it.

    Raises:
        InputError: `random_state` is not a seed.
    """
    try:
        source = check_random_state(random_state)
    except ValueError as error:
        raise InputError(
            f"`random_state` (={random_state!r}) must be None, an integer of 0 to 2**32 - 1 or a numpy RandomState"
        ) from error
    return torch.Generator().manual_seed(int(source.randint(np.iinfo(np.int32).max)))


class DrawnFrom(TorchFunctionMode):
    """Inside, new layers draw their weights from `generator` instead of torch's global one, in this thread alone.

    Layers have no argument for a generator. Seeding the global generator and restoring it afterwards would disturb
    other threads that draw from it.
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
