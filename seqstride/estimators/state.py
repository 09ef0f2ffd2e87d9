"""A fit that fails leaves the estimator as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def unchanged_on_failure(estimator: Any) -> Iterator[Mapping[str, Any]]:
    """Gives the attributes of `estimator`; if the body raises, it has these again and no others."""
    before = vars(estimator).copy()
    try:
        yield before
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
