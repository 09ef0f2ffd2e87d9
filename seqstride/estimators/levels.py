"""Level and range of a series.

The taps of MiniRocket's kernels sum to zero: they do not see the level, and the range only through their thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LAST_DIGITS = 1e-6
"""A feature whose training values lie closer together counts as constant. Such features come from normalised series,
whose levels differ by the rounding of single precision and of text files alone."""


class Levels(nn.Module):
    """Mean, standard deviation, smallest and largest value of every channel: (…, C, T) → (…, 4 C), double precision.

    Once fitted, a feature is clamped to one training range below its smallest and above its largest training value:
    where training levels hardly differ, a regression would follow that of a series without values in one channel far
    away. A feature that is constant in training becomes 0.

    Source: ours.

    Args:
        channels: the number of channels C.
    """

    least: Tensor
    most: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = 4 * channels
        self.register_buffer("least", torch.full((self.features,), -torch.inf).double())
        self.register_buffer("most", torch.full((self.features,), torch.inf).double())

    def fit(self, items: Sequence[Tensor], generator: torch.Generator) -> None:
        """Takes the ranges of the features over the training series (C, T); draws nothing."""
        features = torch.stack([levels(item) for item in items])
        least, most = features.amin(0), features.amax(0)
        reach = most - least
        moves = reach > LAST_DIGITS
        self.least.copy_(torch.where(moves, least - reach, 0.0))
        self.most.copy_(torch.where(moves, most + reach, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        """Computes the features."""
        return self.bounded(levels(x))

    def bounded(self, features: Tensor) -> Tensor:
        """Bounds features (…, 4 C)."""
        return features.clamp(self.least, self.most)


def levels(x: Tensor) -> Tensor:
    """Mean, standard deviation, smallest and largest value: (…, C, T) → (…, 4 C)."""
    return torch.cat([x.mean(-1), x.std(-1, unbiased=False), x.amin(-1), x.amax(-1)], -1)
