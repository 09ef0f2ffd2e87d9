"""A 2D convolutional encoder of spectrograms that downsamples time and frequency in every block."""

from __future__ import annotations

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
from seqstride.layers.blocks import block_downsampler2d
from seqstride.layers.complexity import Stage
from seqstride.layers.separable2d import Separable2d

STRIDES = ((2, 2), (2, 2), (1, 1), (2, 2), (1, 1), (2, 2))
"""Initial strides along time and frequency of the audio experiment of Riad et al."""


class SpectrogramBlock(nn.Module):
    """Convolution over 3 frames, then over 3 bins, norm, ReLU, downsampling.

    (B, C_in, T, F) → (B, C_out, T', F'). Source: Riad et al., ICLR 2022, §4.1.
    """

    def __init__(self, in_channels: int, channels: int, downsample: Separable2d) -> None:
        super().__init__()
        self.time_conv = nn.Conv2d(in_channels, channels, (3, 1), padding=(1, 0), bias=False)
        self.frequency_conv = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), bias=False)
        self.norm = MaskedBatchNorm1d(channels)
        self.downsample = downsample

    def forward(self, x: Tensor, lengths: Tensor | None, strides: Sequence[float]) -> tuple[Tensor, Plan, Plan]:
        """(B, C_in, T, F) with zeros in the padding → (B, C_out, T', F') likewise, and the plans of both axes.

        Arguments as in `Separable2d.plans_checked`.
        """
        h = self.frequency_conv(self.time_conv(x))
        # frame by frame, the cells of an item's real frames come first: (B, C, T·F) is a signal of length·F frames
        cells = None if lengths is None else lengths * h.shape[3]
        h = self.norm(h.flatten(2), cells, relu=True).view(h.shape)
        plans = self.downsample.plans_checked(h, lengths, strides)
        return self.downsample.pool(h, plans), *plans

    @property
    def stage(self) -> Stage:
        """Cost of the block; scores, C a frame and not a cell, and H-Net's projections, 2 C² a frame, do not count."""
        time, frequency = self.downsample.time, self.downsample.frequency
        convolutions = self.time_conv.weight.numel() + self.frequency_conv.weight.numel()
        channels = self.time_conv.out_channels
        return Stage(time, channels, convolutions, frequency, time.output_macs, frequency.output_macs)


class Spectrogram2d(nn.Module):
    """Encoder of spectrograms: (B, F, T) seen as an image (B, 1, T, F), one `SpectrogramBlock` per entry of `channels`.

    The features are the maxima over the remaining bins, so the time axis stays; a head with a maximum over time
    (`PooledClassifier(pool="max")`) makes them the paper's global maximum.

    Args:
        bands: F of the input, such as mel bands.
        channels: channels of each block.
        strides: stride of each block's downsampling, its start where it is learnt: a number for both axes, or a pair
            for time and frequency; or "random".
        downsampler: a key of `seqstride.DOWNSAMPLERS`; those of AdaStride work along time, and frequency is averaged
            (`make_downsampler2d`).
        downsampler_options: further arguments of the downsampling layers. A block of stride 1 has the identity for its
            layer, unless the stride is learnt, or 'live_at_one' is True.
        shared: one stride for both axes in every block, one parameter where it is learnt.

    Raises:
        ValueError: naming argument, value and rule.

    Source: the audio encoder of Riad et al., ICLR 2022, §4.1; exact lengths are ours.
    """

    def __init__(
        self,
        bands: int = 64,
        channels: Sequence[int] = (64, 128, 256, 256, 512, 512),
        strides: Sequence[float | Sequence[float]] | Literal["random"] = STRIDES,
        downsampler: str = "diffstride",
        downsampler_options: dict[str, Any] | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(bands, bool) or not isinstance(bands, int) or bands < 1:
            raise ValueError(f"`bands` (={bands!r}) must be an integer of at least 1")
        pairs = initial_strides(strides, len(channels))
        if shared and strides == "random":
            pairs = [(time, time) for time, _ in pairs]
        widths = check_widths(channels)
        self.bands, self.out_channels = bands, widths[-1]
        options = downsampler_options or {}
        self.blocks = nn.ModuleList(
            SpectrogramBlock(before, after, block_downsampler2d(downsampler, after, pair, shared=shared, **options))
            for before, after, pair in zip([1, *widths], widths, pairs, strict=False)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Encoded:
        """(B, F, T), (B,) integers or None → `Encoded` with features (B, C', L); its plans are those of time.

        Raises:
            ValueError: naming argument, value and rule.
        """
        layers = [*self.downsamplers, *self.frequency_downsamplers]
        lengths, strides = read_once(x, lengths, self.bands, layers)
        if lengths is not None:
            x = zero_padding(x, lengths)
        h, inner = x.transpose(1, 2)[:, None], lengths
        plans: list[Plan] = []
        frequency_plans: list[Plan] = []
        count = len(self.blocks)
        for block, *pair in zip(self.blocks, strides[:count], strides[count:], strict=True):
            h, plan, frequency_plan = block(h, inner, pair)
            plans.append(plan)
            frequency_plans.append(frequency_plan)
            inner = plan.frames.output
        penalty = torch.stack([plan.penalty for plan in plans]).sum()
        return Encoded(h.amax(3), plans[-1].lengths, penalty, plans, frequency_plans)

    @property
    def stages(self) -> list[Stage]:
        """Cost of every block in order of depth, for `seqstride.complexity`."""
        return [block.stage for block in self.blocks]  # type: ignore[misc]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The layers along time in order of depth, those of `Encoded.plans`."""
        return [block.downsample.time for block in self.blocks]  # type: ignore[union-attr, misc]

    @property
    def frequency_downsamplers(self) -> list[Downsampler]:
        """The layers along frequency in order of depth, those of `Encoded.frequency_plans`."""
        return [block.downsample.frequency for block in self.blocks]  # type: ignore[union-attr, misc]
