"""Classifiers of arrays (N, C, T) for series of unequal lengths: the series are filled up to one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from seqstride.errors import InputError
from seqstride.estimators.preparation import interpolate


class PaddedClassifier(BaseEstimator):
    """Gives a classifier of other packages series of one length, that of the longest training series.

    Shorter series are filled up with the mean of each channel, as the archives' own versions of equal length are (but
    for their faint noise); longer ones are cut. Gaps are interpolated.

    Args:
        classifier: has `fit` and `predict` for arrays (N, C, T), or for features.
        features: a transformer of arrays (N, C, T) to features (N, F), or None. It stands here because sktime's own
            pipeline hands on arrays that cannot be written to, which sktime's MultiRocket refuses.
    """

    def __init__(self, classifier: Any, features: Any = None) -> None:
        self.classifier, self.features = classifier, features

    def fit(self, X: Any, y: Sequence[Any]) -> PaddedClassifier:
        """Fits the classifier to series, a data frame whose cells are series (sktime's `nested_univ`)."""
        series = _arrays(X)
        self.frames_ = max(values.shape[1] for values in series)
        x = _padded(series, self.frames_)
        if self.features is not None:
            self.features.fit(x)
        self.classifier.fit(self._features(x), np.asarray(y))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Returns the labels (N,) of series, a data frame as in `fit`."""
        labels: np.ndarray = self.classifier.predict(self._features(_padded(_arrays(X), self.frames_)))
        return labels

    def _features(self, x: np.ndarray) -> np.ndarray:
        return x if self.features is None else np.asarray(self.features.transform(x))


def _arrays(X: Any) -> list[np.ndarray]:
    """Series (C, T) without gaps."""
    return [interpolate(np.array([np.asarray(cell, dtype=float) for cell in row])) for row in X.to_numpy()]


def _padded(series: Sequence[np.ndarray], frames: int) -> np.ndarray:
    """Cuts series (C, T), or fills them up with their means: (N, C, frames)."""
    x = np.empty((len(series), len(series[0]), frames))  # in double precision: sktime's MultiRocket takes no other
    for row, values in zip(x, series, strict=True):
        if np.isnan(values).any():
            raise InputError("`X` must have a value in every channel of every series, for this classifier")
        row[:] = values.mean(1, keepdims=True)
        row[:, : values.shape[1]] = values[:, :frames]
    return x
