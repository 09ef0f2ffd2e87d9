"""Groups of recordings that sound alike, for sets that do not say who speaks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from seqstride.encoders.frontend import LogMel
from seqstride.errors import InputError, require
from seqstride.files.loading import load_audio

BANDS = 40
QUANTILES = (0.05, 0.95)


def groups_alike(paths: Iterable[str], count: int, sample_rate: int) -> list[int]:
    """Returns the group of every recording, 0 to count − 1.

    A recording is described by what hardly depends on its words: the mean and two quantiles of every mel band over
    time, that is voice, microphone and room. The descriptions, each with variance 1, are merged by Ward's method.
    Recordings of a speaker in one session mostly come into one group, and a group may have several speakers.

    Args:
        paths: the recordings.
        count: number of groups.
        sample_rate: Hz, at which they are described.

    Raises:
        InputError: there are not more recordings than groups.
    """
    hierarchy = require("scipy.cluster.hierarchy", "speech")

    described = np.stack([_describe(load_audio(sample_rate, path), sample_rate) for path in paths])
    if not 1 <= count < len(described):
        raise InputError(f"there must be more recordings (={len(described)}) than groups (={count})")
    spread = described.std(0)
    tree = hierarchy.linkage((described - described.mean(0)) / np.where(spread > 0, spread, 1.0), "ward")
    groups: np.ndarray = hierarchy.fcluster(tree, count, "maxclust") - 1
    return groups.tolist()


def _describe(wave: torch.Tensor, sample_rate: int) -> np.ndarray:
    bands = LogMel(sample_rate, BANDS, hop_ms=25.0)(wave[None], torch.tensor([len(wave)]))[0][0].double().numpy()
    return np.concatenate([bands.mean(1), np.quantile(bands, QUANTILES, axis=1).ravel()])
