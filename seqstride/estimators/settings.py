"""Checks the arguments of the estimators, and builds the network that they describe.

Numbers may be Python's or numpy's, lists also arrays: searches such as scikit-learn's `GridSearchCV` pass them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from seqstride.encoders.heads import PooledClassifier
from seqstride.encoders.initial_strides import initial_strides
from seqstride.encoders.resnet import ResNet1d
from seqstride.errors import InputError
from seqstride.estimators.network import Network
from seqstride.estimators.randomness import DrawnFrom
from seqstride.layers import DOWNSAMPLERS

if TYPE_CHECKING:
    from collections.abc import Callable


def integer(name: str, value: Any, least: int = 1) -> int:
    """Checks an argument that must be an integer, and returns it as Python's.

    Raises:
        InputError: it is not an integer, or is below `least`.
    """
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"`{name}` (={value!r}) must be an integer of at least {least}")
    return int(value)


def number(name: str, value: Any, rule: str, holds: Callable[[float], bool]) -> float:
    """Checks an argument that must be a number, and returns it as Python's.

    Args:
        name: the name of the argument.
        value: its value.
        rule: describes the allowed values in the message.
        holds: returns whether a number is allowed; False for NaN.

    Raises:
        InputError: the value is not a number, or the rule does not hold.
    """
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not holds(float(value)):
        raise InputError(f"`{name}` (={value!r}) must be a number, {rule}")
    return float(value)


def _rate(name: str, value: Any) -> float:
    return number(name, value, "finite and not negative", lambda v: 0 <= v < math.inf)


def _share(name: str, value: Any) -> float:
    return number(name, value, "at least 0 and below 1", lambda v: 0 <= v < 1)


def _window(name: str, value: Any) -> float:
    return number(name, value, "above 0 and at most 1", lambda v: 0 < v <= 1)


def _key(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in DOWNSAMPLERS:
        raise InputError(f"`{name}` (={value!r}) must be one of {', '.join(DOWNSAMPLERS)}")
    return str(value)


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"`{name}` (={value!r}) must be a word")
    return str(value)


def _options(name: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"`{name}` (={value!r}) must be a dict of arguments, or None")
    return {key: _plain(option) for key, option in (value or {}).items()}


def _strides(name: str, value: Any) -> str | list[float]:
    """Checks strides; a whole stride stays an integer, because some layers take no other number."""
    if isinstance(value, str) and value == "random":
        return str(value)
    entries = _entries(value)
    shown = entries if isinstance(value, np.ndarray) else value
    rule = f"`{name}` (={shown!r}) must list a number of at least 1 for every block, or be 'random'"
    if not entries:
        raise InputError(rule)
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, Real) or not 1 <= float(entry) < math.inf:
            raise InputError(rule)
    return [int(entry) if isinstance(entry, Integral) else float(entry) for entry in entries]


def _channels(name: str, value: Any, strides: str | Sequence[float]) -> list[int]:
    """Returns the channels of each block."""
    entries = _entries(value)
    if entries is None:
        width = integer(name, value)
        if isinstance(strides, str):
            raise InputError(
                f"`{name}` (={width}) must list the channels of every block where `strides` is {strides!r}"
            )
        return [width] * len(strides)
    return [integer(name, entry) for entry in entries]


def _entries(value: Any) -> list[Any] | None:
    """Returns the entries of a list or an array as Python's numbers; None for anything else."""
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return None


def _plain(value: Any) -> Any:
    """Converts a number of numpy, also in an array without axes, to Python's; returns anything else unchanged."""
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "downsampler": _key,
    "strides": _strides,
    "kernel_size": integer,
    "input_kernel_size": integer,
    "pool": _word,
    "downsampler_options": _options,
    "dropout": _share,
    "n_epochs": integer,
    "batch_size": integer,
    "lr": _rate,
    "stride_lr": _rate,
    "weight_decay": _rate,
    "crop": _window,
    "mixup_alpha": _rate,
    "complexity_weight": _rate,
    "validation_fraction": _share,
    "patience": integer,
}


@dataclass(frozen=True)
class Settings:
    """The checked arguments of network and training, under the estimators' names, as Python's numbers and lists."""

    downsampler: str
    strides: str | list[float]
    channels: list[int]
    kernel_size: int
    downsampler_options: dict[str, Any]
    dropout: float
    n_epochs: int
    batch_size: int
    lr: float
    stride_lr: float
    weight_decay: float
    mixup_alpha: float
    complexity_weight: float
    validation_fraction: float
    patience: int
    input_kernel_size: int = 1
    pool: str = "mean"
    crop: float = 1.0

    @classmethod
    def of(cls, estimator: Any) -> Settings:
        """Checks the arguments of an estimator; that for tables has no `input_kernel_size`, `pool` and `crop`.

        Raises:
            InputError: an argument is wrong; the message names argument, value and rule.
        """
        given = vars(estimator)
        values = {name: check(name, given[name]) for name, check in CHECKS.items() if name in given}
        return cls(**values, channels=_channels("channels", given["channels"], values["strides"]))

    def network(
        self, groups: Sequence[int], outputs: int, generator: torch.Generator, embedding: nn.Module | None = None
    ) -> Network:
        """Builds an untrained network.

        Args:
            groups: number of input channels in each group.
            outputs: number of outputs per item.
            generator: the weights are drawn from it; strides that are "random" depend on its seed alone.
            embedding: a module before the encoder, or None.

        Raises:
            InputError: the layers refuse a setting.
        """
        try:
            pairs = initial_strides(self.strides, len(self.channels), generator.initial_seed())
            with DrawnFrom(generator):
                encoder = ResNet1d(
                    groups,
                    channels=self.channels,
                    strides=[time for time, _ in pairs],
                    downsampler=self.downsampler,
                    downsampler_options=self.downsampler_options,
                    kernel_size=self.kernel_size,
                    input_kernel_size=self.input_kernel_size,
                )
                width = encoder.out_channels // len(groups)
                # side by side, groups whose pooled features hardly vary would learn later than the others
                heads = [PooledClassifier(width, outputs, pool=self.pool, normalise=len(groups) > 1) for _ in groups]
        except ValueError as error:
            raise InputError(str(error)) from error
        except TypeError as error:  # of an option that the layer does not have
            raise InputError(f"`downsampler_options` (={self.downsampler_options!r}): {error}") from error
        return Network(encoder, heads, embedding)
