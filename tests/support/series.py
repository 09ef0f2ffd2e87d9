"""Series of slow and fast waves, as arrays and tables, and settings of small estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

SMALL: dict[str, Any] = {
    "channels": 8,
    "kernel_size": 5,
    "strides": (2, 2),
    "random_state": 0,
    "n_epochs": 12,
    "lr": 0.002,
    "n_rocket_features": 84,
}


def waves(seed: int, count: int = 24) -> list[tuple[str, np.ndarray]]:
    """Label and values of slow and fast waves, 12 to 20 frames long."""
    random = np.random.default_rng(seed)
    series = []
    for index in range(count):
        label = ("fast", "slow")[index % 2]
        time = np.arange(random.integers(12, 21))
        series.append((label, np.sin(time * (1.2 if label == "fast" else 0.3) + random.uniform(0, 6))))
    return series


def wide(seed: int, **extra: object) -> pd.DataFrame:
    """A row for every series."""
    rows = [{"label": label, **{f"t{t}": value for t, value in enumerate(values)}} for label, values in waves(seed)]
    return pd.DataFrame(rows).assign(**extra)


def series_of_waves(
    count: int, *, seed: int, shortest: int = 20, longest: int = 40
) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Series of two channels and unequal lengths: "slow" and "fast" waves in the first, noise in the second."""
    random = np.random.default_rng(seed)
    labels = np.where(np.arange(count) % 2, "slow", "fast")
    series = []
    for label in labels:
        time = np.arange(random.integers(shortest, longest + 1))
        wave = np.sin(time * (0.3 if label == "slow" else 1.2) + random.uniform(0, 6)) * random.uniform(1, 3)
        series.append(pd.DataFrame({"wave": wave + 5, "noise": random.normal(size=len(time))}))
    return series, labels
