"""The targets of a fit: labels of classes, or numbers. They are checked before anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Number, Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils import compute_class_weight
from torch import Tensor

from seqstride.errors import InputError


def check_labels(y: Any) -> Any:
    """Checks labels and returns them: a list or a series of pandas as an array, a table of several columns unchanged.

    Raises:
        InputError: a label is missing, or the labels are of different kinds; names the position.
    """
    return _checked(y, _labels)


def check_numbers(y: Any) -> Any:
    """Checks numbers and returns them: a list or a series of pandas as an array, a table of several columns unchanged.

    Raises:
        InputError: a number is missing or infinite, or an entry is not a number; names the position.
    """
    return _checked(y, _numbers)


def one_hot(y: np.ndarray, classes: np.ndarray, earlier: Mapping[str, Any] | None) -> Tensor:
    """The targets of classification.

    Args:
        y: (N,) labels.
        classes: (K,), the different labels in `y`, sorted.
        earlier: the attributes of the fit that a warm start continues, or None.

    Returns:
        (N, K), a single 1 in every row.

    Raises:
        InputError: the earlier fit had other classes.
    """
    if earlier is not None and not np.array_equal(earlier["classes_"], classes):
        raise InputError(
            f"`y` (classes {classes.tolist()}) must have the classes {earlier['classes_'].tolist()}, as "
            "before, for a warm start"
        )
    indices = torch.from_numpy(np.searchsorted(classes, y))
    return torch.nn.functional.one_hot(indices, len(classes)).float()


def class_weights(given: Any, classes: np.ndarray, y: np.ndarray) -> Tensor | None:
    """Returns the weights (K,) of the classes in the loss, read as scikit-learn does; None if `given` is None.

    Raises:
        InputError: `given` is of another kind or names other labels, or a weight is not positive.
    """
    if given is None:
        return None
    try:
        weights = np.asarray(compute_class_weight(given, classes=classes, y=y), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`class_weight` (={given!r}) must be 'balanced', a dict of labels, or None: {error}"
        ) from error
    # a batch whose weights are all 0 has no mean loss
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InputError(f"`class_weight` (={given!r}) must have weights that are positive and finite")
    return torch.from_numpy(weights).float()


def _checked(y: Any, check: Callable[[Any, str], np.ndarray]) -> Any:
    """Applies `check` to every column of `y`."""
    if isinstance(y, pd.DataFrame):
        columns = [check(y.iloc[:, column], f" of column {name!r}") for column, name in enumerate(y.columns)]
        return columns[0] if len(columns) == 1 else y
    if isinstance(y, np.ndarray) and y.ndim == 2:
        for column in range(y.shape[1]):
            check(y[:, column], f" of column {column}" if y.shape[1] > 1 else "")
        return y
    if isinstance(y, list | tuple) and not any(isinstance(entry, list | tuple | dict | np.ndarray) for entry in y):
        values = np.empty(len(y), dtype=object)
        values[:] = y
        checked = check(values, "")
        return np.array(list(y)) if checked.dtype == object else checked
    if isinstance(y, pd.Series | pd.Index | pd.api.extensions.ExtensionArray) or (
        isinstance(y, np.ndarray) and y.ndim == 1
    ):
        return check(y, "")
    return y  # a container that sktime or scikit-learn knows, or else refuses


def _labels(y: Any, where: str) -> np.ndarray:
    values = _present(y, where, "a label for every item")
    if values.dtype != object:
        return values
    kinds = [_kind(value) for value in values]
    for index, kind in enumerate(kinds):
        if kind != kinds[0]:
            first, other = _shown(values[0]), _shown(values[index])
            raise InputError(
                f"`y` ({first} at position 0 and {other} at position {index}{where}) must have labels of one kind, "
                "such as text or numbers"
            )
    # an array of objects that are numbers becomes an array of numbers
    return np.array(values.tolist()) if kinds and kinds[0] in ("number", "bool") else values


def _numbers(y: Any, where: str) -> np.ndarray:
    values = _present(y, where, "a number for every item")
    for index, value in enumerate(values):
        if not isinstance(value, Real | np.bool_):
            raise InputError(f"`y` ({_shown(value)} at position {index}{where}) must be numbers")
        if not np.isfinite(float(value)):
            raise InputError(f"`y` ({value} at position {index}{where}) must be finite")
    return np.array(values.tolist()) if values.dtype == object else values


def _present(y: Any, where: str, rule: str) -> np.ndarray:
    missing = np.flatnonzero(np.asarray(pd.isna(y)))
    if len(missing):
        value = y.iloc[missing[0]] if isinstance(y, pd.Series) else y[missing[0]]
        raise InputError(f"`y` ({value} at position {missing[0]}{where}) must have {rule}")
    return np.asarray(y.to_numpy() if isinstance(y, pd.Series | pd.Index) else y)


def _kind(label: Any) -> str:
    if isinstance(label, str):
        return "text"
    if isinstance(label, bool | np.bool_):
        return "bool"
    return "number" if isinstance(label, Number) else type(label).__name__


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
