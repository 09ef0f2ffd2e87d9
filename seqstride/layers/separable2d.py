"""Downsampling over time and frequency: one 1D layer for each axis.

A 1D layer works along one axis of an image (B, C, T, F). Its attribute `bins` says how it treats the other axis:

- "channels": as more channels, (B, C·F, T), for a layer that treats all channels alike. Two spectral layers in a row
  are the 2D layer of Riad et al.: its mask over the bins of a 2D transform is the product of a mask for each axis.
- "items": as more items, (B·F, C, T), for a convolution: one kernel for all bins.
- "mean": as more channels, with a plan made from the mean over the bins (AdaStride): all bins move alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqstride.core.lengths import zero_padding
from seqstride.core.plan import Plan
from seqstride.layers import method
from seqstride.layers.base import Downsampler, read_once
from seqstride.layers.diffstride import DCTDiffStride1d, DiffStride1d

if TYPE_CHECKING:
    from typing_extensions import Self

TIME, FREQUENCY = 2, 3  # axes of (B, C, T, F)


def zero_padding_2d(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, C, T, F) → (B, C, T, F): padded frames become 0; real cells are a prefix of the flattened (B, C, T·F)."""
    return zero_padding(x.flatten(2), lengths * x.shape[3]).view(x.shape)


class Separable2d(nn.Module):
    """Two 1D layers in a row, along time and along frequency: (B, C, T, F) → (B, C, T', F').

    Args:
        time: the layer along T.
        frequency: the layer along F; the same one where a stride is shared. Not AdaStride, whose strides would depend
            on the frames of an item: bins have to mean the same everywhere.

    Raises:
        ValueError: AdaStride along frequency.

    Source: Riad et al., ICLR 2022, §3, for the two windows; exact lengths along time and the other methods are ours.
    """

    def __init__(self, time: Downsampler, frequency: Downsampler) -> None:
        super().__init__()
        if frequency.adaptive:
            raise ValueError(f"`frequency` (={frequency}) must be a layer whose strides do not depend on the signal")
        self.time, self.frequency = time, frequency

    def plans(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Plan, Plan]:
        """The plans along T and F for an image (B, C, T, F), with lengths (B,) along T or None.

        Raises:
            ValueError: naming argument, value and rule.
        """
        if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape:
            shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"`x` (shape {shape}) must have shape (B, C, T, F) with no empty axis")
        checked = read_once(x[..., 0], lengths, self.time.channels, [self.time, self.frequency])
        return self.plans_checked(x, checked.lengths, checked.strides)

    def plans_checked(self, x: Tensor, lengths: Tensor | None, strides: Sequence[float]) -> tuple[Plan, Plan]:
        """`plans` as `Downsampler.plan_checked`, with the strides of both layers as `read_once` gives them."""
        # only an adaptive layer looks at values; for the others one bin stands for all
        mean = self.time.bins == "mean"
        seen = x.mean(FREQUENCY, dtype=torch.promote_types(x.dtype, torch.float32)) if mean else x[..., 0]
        time, frequency = strides
        return self.time.plan_checked(seen, lengths, time), self.frequency.plan_checked(x[:, :, 0], None, frequency)

    def pool(self, x: Tensor, plans: tuple[Plan, Plan]) -> Tensor:
        """Applies the layers with given plans: (B, C, T, F) → (B, C, T', F'), 0 behind an item's own output length."""
        time, frequency = plans
        y = _pool(self.frequency, _pool(self.time, x, time, TIME), frequency, FREQUENCY)
        # the bias of a convolution would stand in the padding
        return zero_padding_2d(y, time.lengths) if self.frequency.beyond_plan else y

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T, F), lengths (B,) along T or None → (B, C, T', F'), 0 behind an item's own output length.

        Raises:
            ValueError: naming argument, value and rule.
        """
        return self.pool(x, self.plans(x, lengths))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames along T of items with these lengths: (B,) integers → (B,) int64."""
        return self.time.output_lengths(lengths)

    @property
    def strides(self) -> Tensor:
        """The current strides along time and frequency, shape (2,), differentiable where they are learnt."""
        return torch.stack([torch.as_tensor(layer.stride) for layer in (self.time, self.frequency)])

    def freeze(self) -> Self:
        """Fixes both strides; see `Downsampler.freeze`."""
        self.time.freeze()
        self.frequency.freeze()
        return self

    def unfreeze(self) -> Self:
        """Undoes `freeze`."""
        self.time.unfreeze()
        self.frequency.unfreeze()
        return self


def _pool(layer: Downsampler, x: Tensor, plan: Plan, axis: int) -> Tensor:
    """One layer along one axis of (B, C, T, F), by the rules at the top of this file."""
    other = TIME + FREQUENCY - axis
    if layer.bins == "items":
        items = x.movedim(other, 1)
        lengths = plan.input_lengths.repeat_interleave(items.shape[1]) if plan.frames.padded else None
        signals = items.flatten(0, 1)
        # lengths were checked with the plan, and these layers learn no stride
        y = layer.pool(signals, layer.plan_checked(signals, lengths, math.nan))
        return y.unflatten(0, items.shape[:2]).movedim(1, other)
    rows = x.movedim(axis, 3)
    return layer.pool(rows.flatten(1, 2), plan).unflatten(1, rows.shape[1:3]).movedim(3, axis)


def make_downsampler2d(
    key: str, channels: int, strides: Sequence[float], *, shared: bool = False, **options: Any
) -> Separable2d:
    """A downsampling layer for both axes by name: (B, channels, T, F) → (B, channels, T', F').

    Args:
        key: one of `seqstride.DOWNSAMPLERS`. Along frequency those whose plans depend on the signal are "average",
            without `options`: a stride of each item's own would move its bins away from those of the others.
        channels: C.
        strides: along time and frequency, initial values where they are learnt; integers for strided, average, max,
            blur, phase and softpool, and along frequency where that is an average.
        shared: one stride for both axes: one parameter where it is learnt.
        **options: further arguments of the layers.

    Raises:
        ValueError: an unknown key, or whatever the layers reject.
    """

    def along(axis: int, stride: float) -> Downsampler:
        make = method(key).along_frequency if axis == FREQUENCY else method(key)
        return make(channels, stride, **options)

    return Separable2d(*_layers(along, strides, shared))


def _layers(
    along: Callable[[int, float], Downsampler], strides: Sequence[float], shared: bool
) -> tuple[Downsampler, Downsampler]:
    """A layer for each axis from `along(axis, stride)`, the same one for both where a learnt stride is shared."""
    strides = tuple(strides)
    if len(strides) != 2:
        raise ValueError(f"`strides` (={strides}) must be two numbers, for time and frequency")
    if shared and strides[0] != strides[1]:
        raise ValueError(f"`strides` (={strides}) must be equal where they are `shared`")
    time = along(TIME, strides[0])
    return time, time if shared and time.learns_stride else along(FREQUENCY, strides[1])


class DiffStride2d(Separable2d):
    """DiffStride over time and frequency: (B, C, T, F) → (B, C, T', F').

    Args:
        strides: initial strides along time and frequency, each ≥ 1.
        shared: one stride for both axes.
        **options: of `DiffStride1d` (smoothness, relative_smoothness, learnable, gain).

    Raises:
        ValueError: naming argument, value and rule.

    Source: Riad et al., ICLR 2022, §3; exact lengths along time are ours. It differs from the official 2D layer: that
    one has a vertical mask whose negative frequencies are not the mirror image of the positive ones, takes odd heights
    otherwise, and raises both strides to one minimum, the larger of those of the two axes. Here each axis is a
    `DiffStride1d` with a symmetric mask, any length, and bounds of its own.
    """

    def __init__(self, strides: Sequence[float], *, shared: bool = False, **options: Any) -> None:
        super().__init__(*_layers(lambda _, stride: DiffStride1d(stride, **options), strides, shared))


class DCTDiffStride2d(Separable2d):
    """DCT-DiffStride over time and frequency; as `DiffStride2d`, options as `DCTDiffStride1d`. Source: ours."""

    def __init__(self, strides: Sequence[float], *, shared: bool = False, **options: Any) -> None:
        super().__init__(*_layers(lambda _, stride: DCTDiffStride1d(stride, **options), strides, shared))
