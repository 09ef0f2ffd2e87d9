"""What stands around an encoder in a classifier: the normalisation before it and the pooled linear head after it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqstride.lengths import masked_mean, zero_padding


class FeatureNorm(nn.Module):
    """Zero mean and unit variance per channel, by statistics of the training set.

    The statistics are buffers, so that they travel with the checkpoint. Before `fit` it is the identity.
    (B, C, T), lengths (B,) → (B, C, T), with 0 in the padding. Source: ours.

    Args:
        channels: C.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, items: Iterable[Tensor]) -> None:
        """Takes the statistics of all frames of `items`, each (C, T) and without padding.

        Raises:
            ValueError: there are no frames, or they do not have C channels.
        """
        frames = torch.cat([item.double() for item in items], dim=1)
        if frames.shape[0] != len(self.mean) or frames.shape[1] == 0:
            raise ValueError(f"`items` (together {tuple(frames.shape)}) must be (C, T) with C={len(self.mean)}, T > 0")
        self.mean.copy_(frames.mean(1))
        # a channel that never moves stays 0 instead of becoming noise
        spread = frames.std(1, correction=0)
        self.std.copy_(torch.where(spread > 1e-6, spread, 1.0))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalises a batch."""
        return zero_padding((x - self.mean[:, None]) / self.std[:, None], lengths)


class PooledClassifier(nn.Module):
    """Mean over the real frames, then a linear layer: (B, C, L), lengths (B,) → (B, classes).

    Args:
        channels: C.
        classes: number of classes.
        dropout: probability of dropping a pooled channel in training.
    """

    def __init__(self, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The logits of each item."""
        logits: Tensor = self.linear(self.dropout(masked_mean(features, lengths)))
        return logits
