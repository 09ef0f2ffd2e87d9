"""The convolutional front end of a recogniser, between features and a Conformer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from seqstride.core.checks import check_channels
from seqstride.core.lengths import zero_padding
from seqstride.core.plan import Plan
from seqstride.encoders.masked import MaskedBatchNorm1d
from seqstride.layers.base import Downsampler, read_once
from seqstride.layers.blocks import block_downsampler
from seqstride.layers.complexity import Stage


class SubsamplingBlock(nn.Module):
    """Convolution, norm, SiLU, downsampling: (B, C_in, T) → (B, C, L). Source: ours."""

    def __init__(self, in_channels: int, channels: int, downsample: Downsampler, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = MaskedBatchNorm1d(channels)
        self.downsample = downsample

    def forward(self, x: Tensor, lengths: Tensor | None, stride: float = math.nan) -> tuple[Tensor, Plan]:
        """(B, C_in, T) with zeros in the padding → (B, C, L) likewise, and the plan.

        Arguments as in `Downsampler.plan_checked`.
        """
        h = nn.functional.silu(self.norm(self.conv(x), lengths))
        plan = self.downsample.plan_checked(h, lengths, stride)
        return self.downsample.pool(h, plan), plan

    @property
    def stage(self) -> Stage:
        """Cost before and in the downsampling."""
        before = self.conv.weight.numel() + self.downsample.input_macs
        return Stage(self.downsample, self.conv.out_channels, before, macs_behind=self.downsample.output_macs)


class Subsampling(nn.Module):
    """One `SubsamplingBlock` per stride: (B, C_in, T) → (B, C, L).

    With `downsampler="strided"` it is the front end of most recognisers: strided convolutions of 3 taps.

    Args:
        in_channels: C_in of the input.
        channels: C.
        strides: stride of each block, its start where it is learnt: (2, 2), (3, 2), (8,), …
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        downsampler_options: further arguments of the downsampling layers. A block of stride 1 has the identity for its
            layer, unless the stride is learnt, or 'live_at_one' is True.
        kernel_size: odd, taps of the convolutions.

    Raises:
        ValueError: naming argument, value and rule.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        strides: Sequence[float] = (2, 2),
        downsampler: str = "strided",
        downsampler_options: dict[str, Any] | None = None,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = check_channels(in_channels), check_channels(channels)
        if not strides:
            raise ValueError(f"`strides` (={tuple(strides)}) must have at least one entry")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` (={kernel_size}) must be odd and at least 1")
        options = downsampler_options or {}
        self.blocks = nn.ModuleList(
            SubsamplingBlock(before, channels, block_downsampler(downsampler, channels, stride, **options), kernel_size)
            for before, stride in zip([in_channels, *[channels] * len(strides)], strides, strict=False)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None, list[Plan]]:
        """(B, C_in, T), (B,) integers or None → (B, C, L) with 0 in the padding, its lengths or None, and the plans.

        None: all L frames of every item are real.

        Raises:
            ValueError: naming argument, value and rule.
        """
        inner, strides = read_once(x, lengths, self.in_channels, self.downsamplers)
        if inner is not None:
            x = zero_padding(x, inner)
        plans: list[Plan] = []
        for block, stride in zip(self.blocks, strides, strict=True):
            x, plan = block(x, inner, stride)
            plans.append(plan)
            inner = plan.frames.output
        return x, inner, plans

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of items with these input lengths, with the present strides: (B,) integers → (B,) int64."""
        for layer in self.downsamplers:
            lengths = layer.output_lengths(lengths)
        return lengths

    @property
    def stages(self) -> list[Stage]:
        """Cost of every block in order of depth, for `seqstride.complexity`."""
        return [block.stage for block in self.blocks]  # type: ignore[misc]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The downsampling layers in order of depth."""
        return [block.downsample for block in self.blocks]  # type: ignore[misc]
