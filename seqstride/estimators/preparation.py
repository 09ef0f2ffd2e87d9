"""Series as the network reads them: gaps closed, channels normalised."""

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
"""What moves by less of its largest value counts as constant."""


class SeriesNorm(nn.Module):
    """Series (C, T) in double precision, NaN where a channel was not observed → what the network reads.

    Args:
        channels: C.
        kind: "training", zero mean and unit variance of each channel over the training series, which keeps levels and
            scales; "series", the same over the series itself, which takes them out; "both" as 2 C channels.
        harmonics: K; above 0 the curves of `RankHarmonics` stand behind, K for each channel, of ranks among the values
            normalised by the training series, or where `kind` is "series" by each series.

    Attributes:
        groups: the numbers of channels that belong together, of values and of curves.

    Raises:
        ValueError: an unknown kind, or `harmonics` is no integer or negative.
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

    def fit(self, items: Sequence[Tensor]) -> None:
        """Takes the statistics of the observed channels of the training series."""
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
        """(C, T) → (C', T), single precision."""
        parts = self._normalised(item)
        if self.ranks.harmonics > 0:
            parts.append(self.ranks(parts[0]))
        return torch.cat(parts).float()

    def _normalised(self, item: Tensor) -> list[Tensor]:
        """The parts that `kind` says, (C, T) each in double precision."""
        item = _where_missing(item, self.training_set.mean)
        parts = []
        if self.kind in ("training", "both"):
            parts.append(self.training_set(item[None], torch.tensor([item.shape[1]]))[0])
        if self.kind in ("series", "both"):
            mean, std = item.mean(1, keepdim=True), item.std(1, keepdim=True, unbiased=False)
            # a constant channel becomes 0, not the noise of its last digits
            moves = std > LAST_DIGITS * item.abs().amax(1, keepdim=True)
            parts.append(torch.where(moves, (item - mean) / torch.where(moves, std, 1.0), 0.0))
        return parts


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
