"""The parts of a classifier around its encoder: the normalisation before it, the pooled linear head behind it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqstride.core.lengths import zero_padding
from seqstride.distributed import of_all_ranks
from seqstride.encoders.masked import MaskedBatchNorm1d, masked_max, masked_mean, masked_softmax_mean


class Moments(NamedTuple):
    """Statistics of frames, channel by channel."""

    frames: int
    mean: Tensor
    """(C,)"""
    squares: Tensor
    """(C,): the sum of the squared deviations from the mean."""
    largest: Tensor
    """(C,): the largest absolute value, before anything was subtracted."""

    def with_(self, other: Moments) -> Moments:
        """Statistics of these frames and others together.

        Deviations from the mean are merged, not squares of values: large means cost no precision. Source: Chan, Golub,
        LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
        """
        count = self.frames + other.frames
        if count == 0:
            return self
        delta = other.mean - self.mean
        between = delta.square() * (self.frames * other.frames / count)
        return Moments(
            count,
            self.mean + delta * (other.frames / count),
            self.squares + (other.squares + between),
            torch.maximum(self.largest, other.largest),
        )


class FeatureNorm(nn.Module):
    """Zero mean and unit variance per channel, by statistics of the training set.

    The statistics are buffers, so that they travel with the checkpoint. Before `fit` it is the identity.
    (B, C, T), lengths (B,) → (B, C, T), with 0 in the padding. Source: ours.

    Args:
        channels: C.
        centred: subtracts each item's own mean per channel first, which takes out what a microphone and a voice add to
            all its frames alike.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, centred: bool = False) -> None:
        super().__init__()
        self.centred = centred
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, items: Iterable[Tensor]) -> None:
        """Takes the statistics of all frames of `items`, each (C, T) and without padding; in distributed training of
        the items of all ranks, where every rank gives its own.

        Raises:
            ValueError: there are no frames, they do not have C channels, or values are so large that their variance is
                not finite.
        """
        channels = len(self.mean)
        nothing = torch.zeros(channels).double()
        total = Moments(0, nothing, nothing, nothing)
        for item in items:
            frames = item.double().cpu()
            if frames.ndim != 2 or frames.shape[0] != channels or frames.shape[1] == 0:
                raise ValueError(f"`items` (one is {tuple(item.shape)}) must be (C, T) with C={channels}, T > 0")
            largest = frames.abs().amax(1)
            if self.centred:
                frames = frames - frames.mean(1, keepdim=True)
            own = frames.mean(1)
            total = total.with_(Moments(frames.shape[1], own, (frames - own[:, None]).square().sum(1), largest))
        first, *others = of_all_ranks(total)
        count, mean, squares, largest = reduce(Moments.with_, others, first)
        if count == 0:
            raise ValueError("`items` (none) must have at least one frame")
        spread = (squares / count).sqrt()
        # a channel that never moves, but for its last digits, becomes 0 and not noise, whatever unit it is in
        kind = torch.finfo(self.std.dtype)
        moves = spread > (kind.eps * largest).clamp(min=kind.tiny)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(moves, spread, 1.0))
        if not bool((self.mean.isfinite() & self.std.isfinite()).all()):
            raise ValueError("`items` must not have values so large that their variance is not finite")

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalises a batch."""
        if self.centred:
            x = x - masked_mean(x, lengths)[:, :, None]
        return zero_padding((x - self.mean[:, None]) / self.std[:, None], lengths)


POOLS = ("mean", "max", "softmax")


class PooledClassifier(nn.Module):
    """Mean, maximum or what lies between over the real frames, then a linear layer: (B, C, L), lengths (B,) →
    (B, classes).

    Args:
        channels: C.
        classes: number of classes.
        dropout: probability of dropping a pooled channel in training.
        pool: "mean", "max", or "softmax" (`masked_softmax_mean` of `seqstride.encoders.masked`), whose sharpness each
            channel learns from 1 on. A feature of a texture becomes a mean, one of a rare event almost a maximum.
        normalise: normalise the pooled channels over the batch, so that one that hardly differs from item to item
            counts as much as the others.

    Raises:
        ValueError: an unknown `pool`.
    """

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, pool: str = "mean", normalise: bool = False
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"`pool` (={pool!r}) must be one of {', '.join(POOLS)}")
        self.pool = pool
        self.norm = MaskedBatchNorm1d(channels) if normalise else None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)
        self.sharpness = nn.Parameter(torch.ones(channels)) if pool == "softmax" else None

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The input of the linear layer: (B, C, L), lengths (B,) → (B, C)."""
        if self.sharpness is not None:
            pooled = masked_softmax_mean(features, self.sharpness, lengths)
        else:
            pooled = (masked_mean if self.pool == "mean" else masked_max)(features, lengths)
        if self.norm is not None:
            # torch's batch norm refuses a single item; ours accepts it with lengths
            ones = torch.ones(pooled.shape[0], dtype=torch.int64, device=pooled.device)
            pooled = self.norm(pooled[:, :, None], ones)[:, :, 0]
        embedded: Tensor = self.dropout(pooled)
        return embedded

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The logits of each item."""
        logits: Tensor = self.linear(self.embed(features, lengths))
        return logits


class FrameClassifier(nn.Module):
    """The logits of every frame: (B, C, L) → (B, classes, L).

    Args:
        channels: C.
        classes: number of classes.
        dropout: probability of dropping a channel of a frame in training.
    """

    def __init__(self, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Conv1d(channels, classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The logits; in the padding any numbers."""
        logits: Tensor = self.linear(self.dropout(features))
        return logits


class Heads(nn.ModuleDict):
    """Several heads behind one encoder: label → head. As one module, its gradients are averaged over the ranks."""

    def forward(self, features: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """(B, C, L) features with lengths (B,) → label → the logits of its head."""
        return {label: head(features, lengths) for label, head in self.items()}
