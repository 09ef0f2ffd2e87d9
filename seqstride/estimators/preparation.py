"""Prepares series for the network: fills gaps and normalises channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from seqstride.encoders.heads import FeatureNorm
from seqstride.errors import InputError
from seqstride.estimators.harmonics import RankHarmonics

NORMS = ("training", "series", "both")
LAST_DIGITS = 1e-9
"""A channel whose range is a smaller share of its largest value counts as constant."""


class SeriesNorm(nn.Module):
    """Normalises series (C, T) in double precision, where NaN marks a channel that was not observed.

    Args:
        channels: the number of channels C.
        kind: "training": zero mean and unit variance of each channel over the training series, which keeps differences
            in level and scale between series. "series": the same over each series, which removes them. "both": 2 C
            channels.
        harmonics: number of rank curves (`RankHarmonics`) to append per channel. The ranks are those of the values
            normalised by "training", or by "series" if that is the only kind.

    Attributes:
        groups: the number of channels in the group of values and, if there are any, in the group of curves.
        n_views: the number of `views`, of C channels each.

    Raises:
        InputError: an unknown kind, or `harmonics` is not an integer or is negative.
    """

    def __init__(self, channels: int, kind: str, harmonics: int = 0) -> None:
        super().__init__()
        if kind not in NORMS:
            raise InputError(f"`normalise` (={kind!r}) must be one of {', '.join(NORMS)}")
        self.kind = kind
        self.training_set = FeatureNorm(channels).double()
        self.ranks = RankHarmonics(channels, harmonics)
        self.groups = [2 * channels if kind == "both" else channels]
        if harmonics > 0:
            self.groups.append(harmonics * channels)
        self.n_views = 2 + (kind == "both") + (harmonics > 0)

    def fit(self, items: Sequence[Tensor]) -> None:
        """Computes the statistics of the training series; channels that were not observed do not count."""
        values = torch.cat(list(items), dim=1)
        means = values.nanmean(1).nan_to_num(0.0)
        try:
            self.training_set.fit([_where_missing(item, means) for item in items])
        except ValueError as error:
            raise InputError(str(error).replace("`items`", "`X`")) from error
        if self.ranks.harmonics > 0:
            values = _where_missing(values, means)
            moves = values.amax(1) - values.amin(1) > LAST_DIGITS * values.abs().amax(1)
            self.ranks.fit([self._normalised(item)[0] for item in items], moves)

    def forward(self, item: Tensor) -> Tensor:
        """Normalises a series: (C, T) → (C', T), single precision."""
        return torch.cat(self._parts(item)).float()

    def views(self, item: Tensor) -> list[Tensor]:
        """Returns what the MiniRocket features read: (C, T) → (C, T) each, double precision.

        The values, normalised by the first kind, and their differences from frame to frame; the values normalised by
        the second kind, if there is one; the ranks of the values, if there are curves of them.
        """
        values, *others = self._normalised(item)
        views = [values, differences(values), *others]
        return [*views, self.ranks.ranks_of(values)] if self.ranks.harmonics > 0 else views

    def _parts(self, item: Tensor) -> list[Tensor]:
        """Returns the normalised values, by every kind, and the rank curves: (C', T) each, double precision."""
        parts = self._normalised(item)
        return [*parts, self.ranks(parts[0])] if self.ranks.harmonics > 0 else parts

    def _normalised(self, item: Tensor) -> list[Tensor]:
        """Returns the normalised parts that `kind` asks for: (C, T) each, double precision."""
        item = _where_missing(item, self.training_set.mean)
        parts = []
        if self.kind in ("training", "both"):
            parts.append(self.training_set(item[None], torch.tensor([item.shape[1]]))[0])
        if self.kind in ("series", "both"):
            mean, std = item.mean(1, keepdim=True), item.std(1, keepdim=True, unbiased=False)
            # a constant channel becomes 0, not amplified rounding noise
            moves = std > LAST_DIGITS * item.abs().amax(1, keepdim=True)
            parts.append(torch.where(moves, (item - mean) / torch.where(moves, std, 1.0), 0.0))
        return parts


def differences(x: Tensor) -> Tensor:
    """Subtracts from every frame the one before it; the first becomes 0: (…, T) → (…, T)."""
    return torch.diff(x, dim=-1, prepend=x[..., :1])


def _where_missing(item: Tensor, fallback: Tensor) -> Tensor:
    return torch.where(item.isnan(), fallback[:, None], item)


def interpolate(values: np.ndarray) -> np.ndarray:
    """Fills gaps inside a series by straight lines, and those at its ends with the nearest value.

    Args:
        values: (C, T), NaN where a value is missing.

    Returns:
        (C, T), a copy; a channel without any value stays NaN.
    """
    if not np.isnan(values).any():
        return values.copy()
    return np.array(pd.DataFrame(values.T).interpolate(limit_direction="both").to_numpy().T, order="C")
