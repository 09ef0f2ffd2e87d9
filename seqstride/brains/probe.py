"""The information of codes about a label: a linear classifier on the frequencies of the codes in an item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqstride.errors import require


def code_shares(codes: np.ndarray, size: int) -> np.ndarray:
    """Returns the share of every code in one item: (L, Q) indices → (Q · size,), each quantiser's sum 1."""
    shares = [np.bincount(column, minlength=size) / len(column) for column in codes.T]
    return np.concatenate(shares)


def probe_accuracy(
    train: np.ndarray, train_labels: Sequence[str], scored: np.ndarray, scored_labels: Sequence[str]
) -> float:
    """Fits a logistic regression to the training items; returns the share of the scored items that it classifies right.

    The features are scaled to unit variance over `train`; the regression is scikit-learn's with its defaults (L2,
    C = 1).

    Args:
        train, scored: (N, K) and (M, K).
        train_labels, scored_labels: N and M names.

    Raises:
        ValueError: there are fewer than two training labels, or a scored label is not among them.
    """
    LogisticRegression = require("sklearn.linear_model", "vq").LogisticRegression
    make_pipeline = require("sklearn.pipeline", "vq").make_pipeline
    StandardScaler = require("sklearn.preprocessing", "vq").StandardScaler

    unknown = sorted(set(scored_labels) - set(train_labels))
    if unknown or len(set(train_labels)) < 2:
        raise ValueError(
            f"a probe must be fitted to at least two labels (={sorted(set(train_labels))}), and scored on them alone; "
            f"others are {unknown}"
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(train, list(train_labels))
    return float(probe.score(scored, list(scored_labels)))
