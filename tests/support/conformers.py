"""A small Conformer."""

from __future__ import annotations

import torch
from helpers import ADAPTIVE
from torch import nn

from seqstride.encoders.conformer import ConformerEncoder


def encoder(key: str, strides: tuple[float, ...] = (3, 2)) -> ConformerEncoder:
    """A small encoder whose scores, where it has them, are far from uniform."""
    torch.manual_seed(0)
    small = ConformerEncoder(5, 16, strides, key, layers=2, heads=4, feed_forward=24, kernel_size=7, dropout=0.0)
    if key in ADAPTIVE:
        for layer in small.downsamplers:
            nn.init.normal_(layer.score.weight, std=0.5)
    return small.eval()
