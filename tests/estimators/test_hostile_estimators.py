"""Estimators with whatever series, rows and labels may come: a result that makes sense, or an error that says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seqstride as ss

TINY: dict[str, Any] = {"channels": 4, "kernel_size": 3, "n_epochs": 1, "random_state": 0}

numbers = st.one_of(
    st.floats(-3, 3),
    st.sampled_from([0.0, 1.0, 1e-300, 1e30, 1e300, -1e308, float("nan"), float("inf"), float("-inf")]),
)
series = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=9)
labels = st.sampled_from([["a", "b"] * 3, [0, 1, 2, 3, 4, 5], [True, False] * 3, [7] * 6, ["", "ü\n"] * 3])
methods = st.sampled_from(["adastride", "adastride_f", "diffstride", "dct_diffstride", "spectral", "strided"])


def must_be_right(estimator: Any, x: Any, y: np.ndarray) -> None:
    """Fits and predicts; values that are infinite, or too large for their variance, are refused."""
    values = np.concatenate([np.asarray(item).ravel() for item in x])
    # sktime does not look at series of a single class
    if np.isinf(values).any() and (isinstance(x, np.ndarray) or len(np.unique(y)) > 1):
        with pytest.raises(ValueError, match="infin"):
            estimator.fit(x, y)
        return
    refused = ""
    try:
        probabilities = estimator.fit(x, y).predict_proba(x)
    except ValueError as error:
        refused = str(error)
    if refused:
        assert np.nanmax(np.abs(values)) > 1e30
        assert "must not have values so far" in refused or "must not have values so large" in refused
        return
    assert probabilities.shape == (len(y), len(np.unique(y)))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(1) == pytest.approx(1)
    assert set(estimator.predict(x).tolist()) <= set(y.tolist())


pytestmark = [
    pytest.mark.filterwarnings("ignore:only single label seen:UserWarning"),  # sktime's, and right
    pytest.mark.filterwarnings(
        "ignore:invalid value encountered in reduce:RuntimeWarning"
    ),  # scikit-learn's, of inf − inf
]
slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_batch_of_one_series_of_one_frame() -> None:
    frames = [pd.DataFrame([[0.0, 0.0]], columns=["first", "second"]) for _ in range(2)]
    estimator = ss.SeqStrideClassifier(strides=(2, 2), batch_size=1, **TINY)
    must_be_right(estimator, frames, np.array(["a", "b"]))


@slow
@given(items=st.lists(series, min_size=1, max_size=6), names=labels, method=methods, batch=st.sampled_from([1, 2, 8]))
def test_series_of_anything(items: list[list[list[float]]], names: list[Any], method: str, batch: int) -> None:
    frames = [pd.DataFrame(item, columns=["first", "second"], dtype=float) for item in items]
    estimator = ss.SeqStrideClassifier(downsampler=method, strides=(2, 2), batch_size=batch, **TINY)
    must_be_right(estimator, frames, np.array(names[: len(frames)]))


@slow
@given(rows=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=6), names=labels, method=methods)
def test_rows_of_anything(rows: list[list[float]], names: list[Any], method: str) -> None:
    estimator = ss.SeqStrideTabularClassifier(downsampler=method, strides=(2,), batch_size=2, **TINY)
    must_be_right(estimator, np.array(rows), np.array(names[: len(rows)]))
