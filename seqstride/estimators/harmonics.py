"""Smooth curves of the ranks of values, which separate values that lie close together after normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn

from seqstride.errors import InputError

QUANTILES = 1024
"""Number of values per channel, evenly spaced in its sorted training values, between which ranks are interpolated."""


class RankHarmonics(nn.Module):
    """Turns each value into √2·cos(πku), k = 1 … K, of its rank u in [0, 1] among the training values of its channel.

    (C, T) → (K·C, T), the channels of k = 1 first. Over the training values u is uniform, so that the curves are the
    cosines of the DCT: each has mean 0 and variance 1 and is orthogonal to the others. Outliers get the ranks of the
    ends. A channel that is constant in training becomes 0.

    scikit-learn's `QuantileTransformer` interpolates the quantiles and treats equal values differently; with it the
    ranks, and with them all recorded results, would change.

    Source: ours. Ranks are those of quantile normalisation; periodic functions of numbers as features are from
    Gorishniy et al., "On embeddings for numerical features in tabular deep learning", NeurIPS 2022.

    Args:
        channels: the number of channels C.
        harmonics: the number of curves K.

    Raises:
        InputError: `harmonics` is not an integer, or is negative.
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
        """Computes the quantiles of the training series.

        Args:
            items: (C, T) each, normalised and finite.
            moves: (C,) bool, False for channels that are constant up to rounding.
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
        """Computes the curves of a normalised item: (C, T) → (K·C, T). Ranks are interpolated between quantiles."""
        ranks = self.ranks_of(item)
        curves = [math.sqrt(2) * torch.cos(math.pi * k * ranks) for k in range(1, self.harmonics + 1)]
        return torch.cat([torch.where(self.moves[:, None], curve, 0.0) for curve in curves])

    def ranks_of(self, item: Tensor) -> Tensor:
        """Returns the ranks of the values of a normalised item: (C, T) → (C, T), double precision."""
        channels = zip(item.numpy(), self.quantiles.numpy(), self.ranks.numpy(), strict=True)
        return torch.from_numpy(np.stack([np.interp(*channel) for channel in channels]))
