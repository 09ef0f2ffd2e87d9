"""AdaStride's two ways to one alignment: full matrices and bands."""

from __future__ import annotations

import pytest
import torch

import seqstride as ss


def weights(outputs: int, dtype: torch.dtype) -> torch.Tensor:
    """The weights (1, T, L) of an alignment of 200 frames, as what becomes of the unit vectors."""
    scores = torch.randn(1, 200, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([outputs])
    return ss.functional.align(torch.eye(200, dtype=dtype)[None], ss.functional.positions(scores, lengths), lengths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outputs", [200, 100])
def test_negligible_weights_are_zero(outputs: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights below 1e-38 made a training step at (16, 256, 200) seven times as slow."""
    full = weights(outputs, dtype)
    assert full[full > 0].min() > 1e-23
    monkeypatch.setattr("seqstride.core.align.FULL_UP_TO", 0)
    banded = weights(outputs, dtype)
    torch.testing.assert_close(full, banded, rtol=0, atol=5e-7 if dtype == torch.float32 else 1e-15)
