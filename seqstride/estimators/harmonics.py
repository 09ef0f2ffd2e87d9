"""Ranks of values as smooth curves: what a network sees of a distribution that normalisation leaves squeezed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn

from seqstride.errors import InputError

QUANTILES = 1024
"""Values of a channel, evenly spaced in its sorted training values, among which ranks are found."""


class RankHarmonics(nn.Module):
    """Each value's rank u in [0, 1] among the training values of its channel, as √2·cos(πku), k = 1 … K.

    (C, T) → (K·C, T), the channels of k = 1 first. Over the training values each curve has mean 0 and variance 1 and is
    orthogonal to the others: u is uniform there, and these are the cosines of the DCT. Where values lie close together,
    ranks tell them apart; outliers are no farther than the ends. A channel that did not move in training becomes 0.

    Source: ours; ranks are those of quantile normalisation, periodic functions of numbers as features those of
    Gorishniy et al., "On embeddings for numerical features in tabular deep learning", NeurIPS 2022.

    Args:
        channels: C.
        harmonics: K.

    Raises:
        ValueError: `harmonics` is no integer, or negative.
    """

    quantiles: Tensor
    ranks: Tensor
    moves: Tensor
    harmonics: int

    def __init__(self, channels: int, harmonics: int) -> None:
        super().__init__()
        if not isinstance(harmonics, Integral) or harmonics < 0:
            raise InputError(f"`harmonics` (={harmonics!r}) must be an integer of at least 0")
        self.harmonics = int(harmonics)
        self.register_buffer("quantiles", torch.zeros(channels, QUANTILES).double())
        self.register_buffer("ranks", torch.zeros(channels, QUANTILES).double())
        self.register_buffer("moves", torch.zeros(channels, dtype=torch.bool))

    def fit(self, items: Sequence[Tensor], moves: Tensor) -> None:
        """Takes the quantiles of training series (C, T), normalised and finite.

        Args:
            items: the series.
            moves: (C,) bool, whether a channel moves by more than its last digits.
        """
        values = torch.cat(list(items), dim=1).double().sort(1).values
        # the middles of QUANTILES equal parts of the sorted values
        middles = (torch.arange(QUANTILES).double() + 0.5) / QUANTILES * values.shape[1]
        quantiles = values[:, middles.long()]
        # equal values share the middle of their ranks
        below, at_most = (torch.searchsorted(quantiles, quantiles, right=right) for right in (False, True))
        self.quantiles.copy_(quantiles)
        self.ranks.copy_((below + at_most) / (2 * QUANTILES))
        self.moves.copy_(moves)

    def forward(self, item: Tensor) -> Tensor:
        """(C, T), normalised likewise → (K·C, T); ranks are interpolated linearly between the quantiles."""
        channels = zip(item.numpy(), self.quantiles.numpy(), self.ranks.numpy(), strict=True)
        ranks = torch.from_numpy(np.stack([np.interp(*channel) for channel in channels]))
        curves = [math.sqrt(2) * torch.cos(math.pi * k * ranks) for k in range(1, self.harmonics + 1)]
        return torch.cat([torch.where(self.moves[:, None], curve, 0.0) for curve in curves])
