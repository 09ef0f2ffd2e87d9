"""The balanced accuracy: what counts where some classes have many more items than others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seqstride.errors import InputError

BALANCED = "balanced_accuracy"
METRICS = ("accuracy", BALANCED)
"""What runs of a classifier may be compared by: the hyperparameter `metric`."""


def check_metric(hparams: Mapping[str, Any]) -> None:
    """Checks the hyperparameter `metric`, which may be missing.

    Raises:
        InputError: it is not one of `METRICS`.
    """
    metric = hparams.get("metric", METRICS[0])
    if metric not in METRICS:
        raise InputError(f"`metric` (={metric!r}) must be {' or '.join(METRICS)}")


def balanced_accuracy(confusion: Tensor) -> float:
    """Returns the mean, over the classes that occur, of the share of their items that are found.

    Args:
        confusion: (classes, classes), number of items by their class and the class that they are given.
    """
    items = confusion.sum(1)
    return float((confusion.diag() / items)[items > 0].mean())


def balanced_record(scores: Mapping[str, float]) -> dict[str, Any]:
    """Returns the entries of a record that make it one of the balanced accuracy, with the accuracy beside it.

    Args:
        scores: `accuracy` and `balanced_accuracy`, from 0 to 1.
    """
    value = 100 * scores[BALANCED]
    return {
        "metric": {"name": "balanced accuracy", "value": value, "unit": "%", "lower_is_better": False},
        "figures": {"accuracy, %": 100 * scores["accuracy"]},
    }
