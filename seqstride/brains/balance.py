"""What classifiers are compared by besides the accuracy of a label.

The balanced accuracy, where some classes have many more items than others; the mean over the labels, where several
count alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from seqstride.errors import InputError

BALANCED = "balanced_accuracy"
OF_LABELS = "label_accuracy"
METRICS = ("accuracy", BALANCED, OF_LABELS)
"""What runs of a classifier may be compared by: the hyperparameter `metric`."""


_NAMES = {BALANCED: "balanced accuracy", OF_LABELS: "mean accuracy of the labels"}


def check_metric(hparams: Mapping[str, Any]) -> None:
    """Checks the hyperparameter `metric`, which may be missing.

    Raises:
        InputError: it is not one of `METRICS`.
    """
    metric = hparams.get("metric", METRICS[0])
    if metric not in METRICS:
        raise InputError(f"`metric` (={metric!r}) must be one of {', '.join(METRICS)}")


def balanced_accuracy(confusion: Tensor) -> float:
    """Returns the mean, over the classes that occur, of the share of their items that are found.

    Args:
        confusion: (classes, classes), number of items by their class and the class that they are given.
    """
    items = confusion.sum(1)
    return float((confusion.diag() / items)[items > 0].mean())


def metric_scores(metric: str | None, confusions: Sequence[Tensor]) -> dict[str, float]:
    """Returns the score that runs are compared by, under its name; nothing for the accuracy of the first label.

    Args:
        metric: one of `METRICS`, or None for the accuracy.
        confusions: of every label, as for `balanced_accuracy`.
    """
    if metric == BALANCED:
        return {BALANCED: balanced_accuracy(confusions[0])}
    if metric == OF_LABELS:
        return {OF_LABELS: sum(float(one.diag().sum() / one.sum()) for one in confusions) / len(confusions)}
    return {}


def metric_record(metric: str | None, scores: Mapping[str, float]) -> dict[str, Any]:
    """Returns the entries of a record that make it one of this metric, with the accuracy of the first label beside it.

    Args:
        metric: as for `metric_scores`.
        scores: `accuracy`, and that of the metric, from 0 to 1.
    """
    if metric not in _NAMES:
        return {}
    return {
        "metric": {"name": _NAMES[metric], "value": 100 * scores[metric], "unit": "%", "lower_is_better": False},
        "figures": {"accuracy, %": 100 * scores["accuracy"]},
    }
