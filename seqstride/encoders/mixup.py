"""Mixup of sequences of different lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from seqstride.errors import require

betaincinv = require("scipy.special", "speech").betaincinv


def mixup(
    x: Tensor, lengths: Tensor, targets: Tensor, alpha: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixes every item with another one of the batch, inputs and labels with the same weight.

    A mixture is as long as the longer of its two items; past the end of the shorter one it holds the longer item only.

    Args:
        x: (B, C, T), with 0 in the padding (after normalisation: the mean of the training set).
        lengths: (B,) int64.
        targets: (B, classes), rows that sum to 1.
        alpha: the weight is drawn from Beta(alpha, alpha); small values mix little.
        generator: on the CPU, of weights and partners; None: torch's global one.

    Returns:
        The mixed inputs, their lengths and their labels, in the same shapes.

    Raises:
        ValueError: `alpha` is not positive.

    Source: Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018; the lengths are ours.
    """
    if not alpha > 0:
        raise ValueError(f"`alpha` (={alpha}) must be positive")
    # drawn on the CPU, so that a seed gives the same mixtures on every device
    # by the inverse of its distribution function: torch's own Beta takes no generator
    quantiles = torch.rand(len(x), dtype=torch.float64, generator=generator)
    weight = torch.from_numpy(betaincinv(alpha, alpha, quantiles.numpy())).to(x)
    weight = torch.maximum(weight, 1 - weight)  # an item is at least half itself
    partner = torch.randperm(len(x), generator=generator).to(x.device)
    mixed = torch.lerp(x[partner], x, weight[:, None, None])
    mixed_targets = torch.lerp(targets[partner], targets, weight[:, None])
    return mixed, torch.maximum(lengths, lengths[partner]), mixed_targets
