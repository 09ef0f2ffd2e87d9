"""Series of slow and fast waves, as arrays and tables."""

from __future__ import annotations

import numpy as np
import pandas as pd


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
