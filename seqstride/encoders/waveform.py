"""Encoder and decoder of waveforms: a strided convolutional front end, and its mirror image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.checks import check_lengths, check_widths
from seqstride.core.lengths import zero_padding
from seqstride.core.plan import DurationPlan
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.masked import MaskedBatchNorm1d
from seqstride.encoders.resnet import ResNet1d
from seqstride.encoders.vqvae import ExpandDecoder, transposed
from seqstride.layers.base import Downsampler
from seqstride.layers.complexity import Stage


class Samples(nn.Module):
    """Waveforms as signals of one channel, for an encoder that turns every `hop` samples into a frame.

    (B, S), lengths (B,) → (B, 1, S) with 0 in the padding, lengths (B,).

    Args:
        sample_rate: Hz.
        hop: samples of a frame.

    Raises:
        ValueError: `hop` is below 1.
    """

    first_centre = 0.5
    """Frames from the start of a recording to the centre of its first frame."""

    def __init__(self, sample_rate: int, hop: int) -> None:
        super().__init__()
        if hop < 1:
            raise ValueError(f"`hop` (={hop}) must be at least 1")
        self.sample_rate, self.hop = sample_rate, hop

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the axis of the channel."""
        check_lengths(lengths, waveforms.shape[0])
        return zero_padding(waveforms[:, None].float(), lengths), lengths


class WaveEncoder(nn.Module):
    """Strided convolutions of 2s taps from samples to frames, each with norm and ReLU, then a `ResNet1d`.

    (B, 1, S) → `Encoded`, whose input frames are those behind the front end, ceil(S / hop) with the product of
    `front_strides` as hop; frame t has its centre at sample (t + ½) · hop. Source: ours.

    Args:
        front_strides: of the convolutions; they do not change.
        front_channels: as many, channels of each.
        channels, strides, downsampler, downsampler_options: of the `ResNet1d`.

    Raises:
        ValueError: naming argument, value and rule.
    """

    def __init__(
        self,
        front_strides: Sequence[int] = (5, 4, 4),
        front_channels: Sequence[int] = (32, 64, 64),
        channels: Sequence[int] = (64, 64),
        strides: Sequence[float] = (2, 2),
        downsampler: str = "adastride",
        downsampler_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.front_strides = _whole(front_strides)
        if len(front_channels) != len(front_strides):
            raise ValueError(f"`front_channels` (={tuple(front_channels)}) must be as many as `front_strides`")
        widths = [1, *check_widths(front_channels)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, 2 * stride, stride)
            for before, after, stride in zip(widths, widths[1:], self.front_strides, strict=False)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(width) for width in widths[1:])
        self.resnet = ResNet1d(widths[-1], channels, strides, downsampler, downsampler_options)
        self.in_channels, self.out_channels = 1, self.resnet.out_channels

    def forward(self, x: Tensor, lengths: Tensor) -> Encoded:
        """(B, 1, S), (B,) int64 in samples → `Encoded` with features (B, C', L)."""
        h = zero_padding(x, lengths)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.front_strides, strict=True):
            # a frame reads its own `stride` samples and half as many on either side
            h = convolution(F.pad(h, (stride // 2, stride - stride // 2 + -h.shape[2] % stride)))
            lengths = -(-lengths // stride)
            h = norm(h, lengths, relu=True)
        encoded: Encoded = self.resnet(h, lengths)
        return encoded

    @property
    def stages(self) -> list[Stage]:
        """Cost of every step in order of depth; all costs, also the front end's, are per frame."""
        rate, cost = math.prod(self.front_strides), 0
        for convolution, stride in zip(self.convolutions, self.front_strides, strict=True):
            rate //= stride
            cost += rate * convolution.weight.numel()  # type: ignore[operator]
        return [Stage(None, self.resnet.in_channels, cost), *self.resnet.stages]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The downsampling layers in order of depth, without the strided convolutions of the front end."""
        return self.resnet.downsamplers


class WaveDecoder(nn.Module):
    """An `ExpandDecoder` to the frames of a `WaveEncoder`, then transposed convolutions to its samples.

    (B, C', L), `DurationPlan` → (B, 1, frames · hop), with 0 in the padding. Source: ours.

    Args:
        channels: C' of the codes' vectors.
        front_strides: those of the encoder.
        width: channels.
        kernel_size: odd, taps of the last convolution.

    Raises:
        ValueError: naming argument, value and rule.
    """

    def __init__(
        self, channels: int, front_strides: Sequence[int] = (5, 4, 4), width: int = 64, kernel_size: int = 9
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` (={kernel_size}) must be odd and at least 1")
        self.strides = _whole(front_strides)[::-1]
        self.frames = ExpandDecoder(channels, width, width)
        widths = [max(16, width >> level) for level in range(len(self.strides) + 1)]
        self.norms = nn.ModuleList(MaskedBatchNorm1d(before) for before in [width, *widths[1:]])
        self.convolutions = nn.ModuleList(
            transposed(before, after, stride)
            for before, after, stride in zip([width, *widths[1:]], widths[1:], self.strides, strict=False)
        )
        self.head = nn.Conv1d(widths[-1], 1, kernel_size, padding=kernel_size // 2)

    def forward(self, vectors: Tensor, plan: DurationPlan) -> Tensor:
        """Reconstructs a batch."""
        h, lengths = self.frames(vectors, plan), plan.input_lengths
        *norms, last = self.norms
        for norm, convolution, stride in zip(norms, self.convolutions, self.strides, strict=True):
            h = norm(h, lengths, relu=True)
            lengths = lengths * stride
            h = zero_padding(convolution(h), lengths)
        return zero_padding(self.head(last(h, lengths, relu=True)), lengths)


def _whole(strides: Sequence[int]) -> list[int]:
    if not strides or any(stride != int(stride) or stride < 1 for stride in strides):
        raise ValueError(f"`front_strides` (={tuple(strides)}) must be whole numbers of at least 1, one at least")
    return [int(stride) for stride in strides]
