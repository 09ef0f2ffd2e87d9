"""From normalised features back to the features that a front end gives."""

from __future__ import annotations

from torch import Tensor

from seqstride.core.lengths import zero_padding
from seqstride.encoders.heads import FeatureNorm
from seqstride.errors import InputError


def undo_norm(normalize: FeatureNorm, x: Tensor, lengths: Tensor) -> Tensor:
    """Returns normalised features (B, C, T) as they were before normalisation, with 0 in the padding.

    Raises:
        ValueError: the normalisation subtracts the mean of each item, which is not kept.
    """
    if normalize.centred:
        raise InputError("`centred` (=True) must be false where features are to be reconstructed")
    return zero_padding(x * normalize.std[:, None] + normalize.mean[:, None], lengths)
