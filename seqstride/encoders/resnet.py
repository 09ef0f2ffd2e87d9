"""A 1D residual encoder with a downsampling layer in every block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_widths
from seqstride.core.lengths import zero_padding
from seqstride.core.plan import Plan
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.initial_strides import initial_strides
from seqstride.encoders.masked import MaskedBatchNorm1d
from seqstride.layers.base import Downsampler, read_once
from seqstride.layers.blocks import block_downsampler
from seqstride.layers.complexity import Stage


class ResidualBlock(nn.Module):
    """Pre-activation residual block: norm, ReLU, convolution, downsampling, norm, ReLU, convolution, plus the shortcut.

    Main and shortcut branch are resampled by the same plan, so that they stay in step wherever frames go.

    (B, C_in, T) → (B, C_out, L). Source: He et al. 2016, "Identity mappings in deep residual networks"; the shared
    resampling: Riad et al. 2022, §3, and AdaStride.
    """

    def __init__(
        self, in_channels: int, channels: int, downsample: Downsampler, kernel_size: int, groups: int = 1
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.norm1 = MaskedBatchNorm1d(in_channels)
        self.conv1 = nn.Conv1d(in_channels, channels, kernel_size, padding=padding, groups=groups, bias=False)
        self.downsample = downsample
        self.norm2 = MaskedBatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel_size, padding=padding, groups=groups)
        same = in_channels == channels
        self.shortcut = None if same else nn.Conv1d(in_channels, channels, 1, groups=groups, bias=False)

    def forward(self, x: Tensor, lengths: Tensor | None, stride: float = math.nan) -> tuple[Tensor, Plan]:
        """(B, C_in, T) → (B, C_out, L), and the plan. The padding is not read, and any numbers stand there afterwards.

        Arguments as in `Downsampler.plan_checked`.
        """
        h = self.conv1(self.norm1(x, lengths, relu=True))
        plan = self.downsample.plan_checked(h, lengths, stride)
        h = self.downsample.pool(h, plan)
        h = self.conv2(self.norm2(h, plan.frames.output, relu=True))
        shortcut = plan(x)
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        return h + shortcut, plan

    @property
    def stages(self) -> list[Stage]:
        """Cost before and behind the downsampling."""
        before = self.conv1.weight.numel() + self.downsample.input_macs
        behind = self.conv2.weight.numel() + self.downsample.output_macs
        if self.shortcut is not None:
            behind += self.shortcut.weight.numel()
        channels = self.conv2.out_channels
        return [Stage(self.downsample, channels, before), Stage(None, channels, behind)]


class Projection(nn.Module):
    """A convolution for every group of the input's channels: (B, C, T) → (B, C', T), an equal share of C' from each."""

    def __init__(self, groups: Sequence[int], channels: int, kernel_size: int) -> None:
        super().__init__()
        self.groups, self.channels = list(groups), channels
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, channels // len(groups), kernel_size, padding=kernel_size // 2) for width in groups
        )
        self.macs = sum(parameter.numel() for name, parameter in self.named_parameters() if name.endswith("weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Projects a batch."""
        parts = x.split(self.groups, dim=1)
        return torch.cat([convolve(part) for convolve, part in zip(self.convolutions, parts, strict=True)], 1)


class ResNet1d(nn.Module):
    """Residual encoder: projection, then one `ResidualBlock` per entry of `channels`, norm and ReLU.

    Args:
        in_channels: C of the input. Or a list, whose sum is C: the channels then come in groups that no convolution
            mixes, each with an equal share of the channels of every block. The downsampling layers see all groups, so
            that there is one plan ("strided" mixes them, being a convolution).
        channels: channels of each block.
        strides: stride of each block's downsampling layer, its start where it is learnt; or "random".
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        downsampler_options: further arguments of the downsampling layers. A block of stride 1 has the identity for its
            layer, unless the stride is learnt, or 'live_at_one' is True.
        kernel_size: odd, taps of the blocks' convolutions.
        input_kernel_size: odd, taps of the projection. A signal of few channels, such as a single sensor, needs many:
            with one tap, all features are scaled copies of the same signal.

    Raises:
        ValueError: naming argument, value and rule.

    Source: the classifier of the AdaStride experiments in outline (1×1 projection, residual blocks, three
    downsamplings); sizes are ours. It differs from the official model: a shortcut has a 1×1 convolution only where
    widths change, a norm and a ReLU follow the last block, and statistics of norms are those of real frames alone.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> encoder = ss.ResNet1d(40, channels=(64, 64), strides=(2, 2), downsampler="adastride")
        >>> encoded = encoder(torch.randn(2, 40, 100), torch.tensor([100, 60]))
        >>> encoded.features.shape, encoded.lengths
        (torch.Size([2, 64, 25]), tensor([25, 15]))
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: Sequence[int] = (64, 64, 64),
        strides: Sequence[float] | Literal["random"] = (2, 2, 2),
        downsampler: str = "adastride",
        downsampler_options: dict[str, Any] | None = None,
        kernel_size: int = 3,
        input_kernel_size: int = 1,
    ) -> None:
        super().__init__()
        starts = [time for time, _ in initial_strides(strides, len(channels))]
        for name, taps in (("kernel_size", kernel_size), ("input_kernel_size", input_kernel_size)):
            if taps < 1 or taps % 2 == 0:
                raise ValueError(f"`{name}` (={taps}) must be odd and at least 1")
        widths = check_widths(channels)
        groups = check_widths(in_channels if isinstance(in_channels, Sequence) else [in_channels])
        if not groups:
            raise ValueError("`in_channels` (with 0 groups) must be a number, or list one for each group")
        if any(width % len(groups) for width in widths):
            raise ValueError(
                f"`channels` (={list(channels)}) must be multiples of the {len(groups)} groups of input channels"
            )
        self.in_channels, self.out_channels = sum(groups), widths[-1]
        self.projection = Projection(groups, widths[0], input_kernel_size)
        options = downsampler_options or {}
        self.blocks = nn.ModuleList(
            ResidualBlock(
                before, after, block_downsampler(downsampler, after, stride, **options), kernel_size, len(groups)
            )
            for before, after, stride in zip([widths[0], *widths], widths, starts, strict=False)
        )
        self.norm = MaskedBatchNorm1d(self.out_channels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Encoded:
        """(B, C, T), (B,) integers or None → `Encoded` with features (B, C', L).

        Raises:
            ValueError: naming argument, value and rule.
        """
        lengths, strides = read_once(x, lengths, self.in_channels, self.downsamplers)
        if lengths is not None:
            x = zero_padding(x, lengths)
        h = self.projection(x)
        plans: list[Plan] = []
        inner = lengths
        for block, stride in zip(self.blocks, strides, strict=True):
            h, plan = block(h, inner, stride)
            plans.append(plan)
            inner = plan.frames.output
        features = self.norm(h, inner, relu=True)
        penalty = torch.stack([plan.penalty for plan in plans]).sum()
        return Encoded(features, plans[-1].lengths, penalty, plans)

    @property
    def stages(self) -> list[Stage]:
        """Cost of every step in order of depth, for `seqstride.complexity`."""
        first = Stage(None, self.projection.channels, self.projection.macs)
        return [first, *(stage for block in self.blocks for stage in block.stages)]  # type: ignore[union-attr]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The downsampling layers in order of depth."""
        return [block.downsample for block in self.blocks]  # type: ignore[misc]
