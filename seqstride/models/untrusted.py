"""Model folders of strangers: nothing large is made before the weights say that it is needed.

A description of a few hundred bytes can ask for terabytes. So the weights are read first, and cannot be larger than
their file; then the model is made on torch's meta device, which computes shapes and allocates nothing, and its shapes
are compared with those of the weights; only then is it made in earnest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from seqstride.errors import InputError

SPARE = 1000
"""Modules that a model may have besides five for every tensor of its weights."""


def outline(make: Callable[[], nn.Module], tensors: int) -> nn.Module:
    """Makes a model without its numbers, which has the shapes of all its weights.

    Args:
        make: makes the model.
        tensors: the number of tensors in the weights that are there for it.

    Raises:
        InputError: the model has by far more modules than the weights can be for.
        Exception: of `make`.
    """
    with torch.device("meta"), _at_most(5 * tensors + SPARE):
        return make()


def check_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Compares the shapes of weights with those of a model, such as its `outline`.

    Raises:
        InputError: the model has other weights, or a weight is not finite in the model's type.
    """
    state = model.state_dict()
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            have = f"has shape {found[name]}" if name in found else "is missing"
            need = f"shape {wanted[name]} is needed" if name in wanted else "the model has none of this name"
            raise InputError(f"`{name}` {have}; {need}")
        if not weights[name].to(state[name].dtype).isfinite().all():  # float64 has larger numbers than float32
            raise InputError(f"`{name}` must be finite as {state[name].dtype}")


def rising_tone(*shape: int) -> Tensor:
    """Returns a signal to try a model with: a silence has features of 0 behind many norms, and says nothing."""
    return torch.arange(math.prod(shape), dtype=torch.float64).pow(1.5).sin().reshape(shape)


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Inside, no more modules can be put together."""
    made = 0

    def note(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > count:
            raise InputError(f"it has more than {count} modules, by far more than its weights are for")

    hook = register_module_module_registration_hook(note)
    try:
        yield
    finally:
        hook.remove()
