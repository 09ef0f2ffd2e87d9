"""Level and range of a series, which MiniRocket's kernels, whose taps sum to zero, do not see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Levels(nn.Module):
    """Mean, standard deviation, smallest and largest value of every channel: (…, C, T) → (…, 4 C).

    Source: ours.

    Args:
        channels: the number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = 4 * channels

    def fit(self, items: Sequence[Tensor], generator: torch.Generator) -> None:
        """Has nothing to fit."""

    def forward(self, x: Tensor) -> Tensor:
        """Computes the features."""
        return torch.cat([x.mean(-1), x.std(-1, unbiased=False), x.amin(-1), x.amax(-1)], -1)
