"""What exporters see, without an exporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch


@contextmanager
def exporting() -> Iterator[None]:
    """Modules compute by the formulas that graphs are made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        patch.setattr(torch.compiler, "is_exporting", lambda: True)
        yield
