"""An encoder whose downsampling layer stands on the signal itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from seqstride.core.lengths import zero_padding
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.resnet import ResNet1d
from seqstride.layers.base import Downsampler, read_once
from seqstride.layers.blocks import block_downsampler
from seqstride.layers.complexity import Stage


class LeadingResNet1d(nn.Module):
    """A downsampling layer, then a `ResNet1d` that keeps its frames. What the layer cuts, no weight brings back.

    In the blocks of `ResNet1d` a layer stands behind rectifiers, which move the power of a tone to other frequencies.

    Args:
        in_channels: C of the input.
        stride: of the layer, its start where it is learnt.
        channels: channels of each block of the residual encoder.
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        downsampler_options: further arguments of the layer.
        kernel_size, input_kernel_size: see `ResNet1d`.

    Raises:
        ValueError: naming argument, value and rule.

    Source: ours.

    Example:
        >>> import torch
        >>> encoder = LeadingResNet1d(1, stride=4, channels=(16,), downsampler="average")
        >>> encoder(torch.randn(2, 1, 100)).features.shape
        torch.Size([2, 16, 25])
    """

    def __init__(
        self,
        in_channels: int,
        stride: float,
        channels: Sequence[int],
        downsampler: str = "adastride",
        downsampler_options: dict[str, Any] | None = None,
        kernel_size: int = 3,
        input_kernel_size: int = 1,
    ) -> None:
        super().__init__()
        self.downsample = block_downsampler(downsampler, in_channels, stride, **(downsampler_options or {}))
        ones = [1] * len(channels)
        self.rest = ResNet1d(in_channels, channels, ones, "average", None, kernel_size, input_kernel_size)
        self.in_channels, self.out_channels = in_channels, self.rest.out_channels

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Encoded:
        """(B, C, T), (B,) integers or None → `Encoded` with features (B, C', L).

        Raises:
            ValueError: naming argument, value and rule.
        """
        lengths, (stride,) = read_once(x, lengths, self.in_channels, self.downsamplers)
        if lengths is not None:
            x = zero_padding(x, lengths)
        plan = self.downsample.plan_checked(x, lengths, stride)
        h = self.downsample.pool(x, plan)
        features = self.rest(h, plan.frames.output).features
        return Encoded(features, plan.lengths, plan.penalty, [plan])

    @property
    def stages(self) -> list[Stage]:
        """Cost of every step in order of depth, for `seqstride.complexity`."""
        return [Stage(self.downsample, self.in_channels, self.downsample.input_macs), *self.rest.stages]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The downsampling layer."""
        return [self.downsample]
