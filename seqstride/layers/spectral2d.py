"""DiffStride over time and frequency: one 1D window per axis, so that the mask of a bin is the product of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.layers.dct_diffstride import DCTDiffStride1d
from seqstride.layers.diffstride import DiffStride1d
from seqstride.layers.learnt_stride import LearntStride


class _LearntStride2d(nn.Module):
    """Two separable passes: along T with `time`, along F with `frequency` (the same layer where it is shared)."""

    layer: type[LearntStride]

    def __init__(self, strides: Sequence[float], *, shared: bool = False, **options: Any) -> None:
        super().__init__()
        strides = tuple(strides)
        if len(strides) != 2:
            raise ValueError(f"`strides` (={strides}) must be two numbers, for time and frequency")
        if shared and strides[0] != strides[1]:
            raise ValueError(f"`strides` (={strides}) must be equal where they are `shared`")
        self.time = self.layer(strides[0], **options)
        self.frequency = self.time if shared else self.layer(strides[1], **options)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T, F), lengths (B,) along T or None → (B, C, T', F'), 0 behind an item's own output length.

        Raises:
            ValueError: naming argument, value and rule.
        """
        if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape:
            shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"`x` (shape {shape}) must have shape (B, C, T, F) with no empty axis")
        batch, channels, frames, bands = x.shape
        y = self.time(x.transpose(2, 3).reshape(batch, channels * bands, frames), lengths)
        y = y.view(batch, channels, bands, -1).transpose(2, 3)
        shortened = y.shape[2]
        z = self.frequency(y.reshape(batch, channels * shortened, bands))
        return z.view(batch, channels, shortened, -1)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames along T of items with these lengths: (B,) integers → (B,) int64."""
        return self.time.output_lengths(lengths)

    @property
    def strides(self) -> Tensor:
        """The current strides along time and frequency, shape (2,), differentiable."""
        return torch.stack([self.time.stride, self.frequency.stride])

    def freeze(self) -> _LearntStride2d:
        """Fixes both strides; see `LearntStride.freeze`."""
        self.time.freeze()
        self.frequency.freeze()
        return self

    def unfreeze(self) -> _LearntStride2d:
        """Undoes `freeze`."""
        self.time.unfreeze()
        self.frequency.unfreeze()
        return self


class DiffStride2d(_LearntStride2d):
    """DiffStride over time and frequency: (B, C, T, F) → (B, C, T', F').

    Args:
        strides: initial strides along time and frequency, each ≥ 1.
        shared: one stride for both axes.
        **options: of `DiffStride1d` (smoothness, relative_smoothness, learnable, gain).

    Raises:
        ValueError: naming argument, value and rule.

    Source: Riad et al., ICLR 2022, §3; exact lengths along time are ours.
    """

    layer = DiffStride1d


class DCTDiffStride2d(_LearntStride2d):
    """DCT-DiffStride over time and frequency; as `DiffStride2d`, options as `DCTDiffStride1d`. Source: ours."""

    layer = DCTDiffStride1d
