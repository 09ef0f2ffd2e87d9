"""Augmentation of features in time, in SpeechBrain's layout; its `Augmenter` takes these beside its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tempo(nn.Module):
    """Makes a batch faster or slower by linear interpolation of its frames, (B, T, C) → (B, T', C).

    The whole batch has one rate, so that relative lengths stay the same. It is drawn on the CPU with torch's generator.

    Args:
        low, high: bounds of the rate; T' = T / rate, rounded.

    Raises:
        ValueError: the bounds are not 0 < low ≤ high.

    Source: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015 (tempo), on features instead of
    samples.
    """

    def __init__(self, low: float = 0.9, high: float = 1.1) -> None:
        super().__init__()
        if not 0 < low <= high:
            raise ValueError(f"`low` (={low}) and `high` (={high}) must be above 0 and in this order")
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Augments a batch."""
        rate = self.low + (self.high - self.low) * float(torch.rand(()))
        frames = max(1, round(x.shape[1] / rate))
        return nn.functional.interpolate(x.transpose(1, 2), size=frames, mode="linear").transpose(1, 2)
