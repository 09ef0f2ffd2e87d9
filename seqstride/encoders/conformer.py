"""A Conformer behind a convolutional front end that downsamples by any method.

It stands on SpeechBrain's Conformer, so it is imported from here and is not among the names of `seqstride` itself,
which loads torch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqstride._compat import require_torchaudio
from seqstride.encoders.encoded import Encoded
from seqstride.layers import make_downsampler
from seqstride.layers.base import Downsampler
from seqstride.layers.baselines import check_channels
from seqstride.lengths import MaskedBatchNorm1d, check_lengths, check_signal, length_mask, zero_padding
from seqstride.penalties import Stage
from seqstride.plan import Plan

require_torchaudio()

from speechbrain.lobes.models.transformer import Conformer  # noqa: E402
from speechbrain.nnet.attention import RelPosEncXL  # noqa: E402


class MaskedConvolutionModule(Conformer.ConvolutionModule):
    """SpeechBrain's convolution module with zeros in the padding of what its convolution reads.

    SpeechBrain masks what leaves the module. Inside, the layer norm and the biases make the padding something else
    than 0, and the convolution would carry it into the last real frames, so that an item depended on its batch.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None, dynchunktrain_config: None = None) -> Tensor:
        """x (B, T, C), mask (B, T, 1) True in the padding or None → (B, T, C); whole items only, no chunks."""
        h = self.bottleneck(self.layer_norm(x).transpose(1, 2))
        if mask is not None:
            h = h.masked_fill(mask.transpose(1, 2), 0.0)
        y: Tensor = self.after_conv(self.conv(h).transpose(1, 2))
        return y if mask is None else y.masked_fill(mask, 0.0)


class FrontEndStage(nn.Module):
    """Convolution, norm, SiLU, downsampling: (B, C_in, T) → (B, C, L). Source: ours."""

    def __init__(self, in_channels: int, channels: int, downsample: Downsampler, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = MaskedBatchNorm1d(channels)
        self.downsample = downsample

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Plan]:
        """(B, C_in, T) with zeros in the padding → (B, C, L) likewise, and the plan."""
        h = nn.functional.silu(self.norm(self.conv(x), lengths))
        plan = self.downsample.plan(h, lengths)
        return self.downsample.pool(h, plan), plan

    @property
    def stage(self) -> Stage:
        """Cost before and in the downsampling."""
        before = self.conv.weight.numel() + self.downsample.input_macs
        return Stage(self.downsample, self.conv.out_channels, before, macs_behind=self.downsample.output_macs)


class ConformerEncoder(nn.Module):
    """Front end of one `FrontEndStage` per stride, a projection, then SpeechBrain's Conformer with relative positions.

    With `downsampler="strided"` this is the usual arrangement of a CTC model: strided convolutions of 3 taps, and a
    Conformer at the lower rate. Every method leaves the same encoder behind it. An item alone and the same item in a
    padded batch give the same features, whatever stands in the padding.

    Args:
        in_channels: C of the input.
        channels: C' of the front end and the Conformer, even.
        strides: stride of each stage of the front end, its start where it is learnt: (2, 2), (3, 2), (8,), …
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        downsampler_options: further arguments of the downsampling layers.
        front_kernel: odd, taps of the front end's convolutions.
        layers: of the Conformer.
        heads: of its attention, a divisor of `channels`.
        feed_forward: width of its feed-forward modules.
        kernel_size: odd, taps of its convolutions.
        dropout: in the Conformer and behind the projection.

    Raises:
        ValueError: naming argument, value and rule.

    Source: Gulati et al., "Conformer", Interspeech 2020, with the relative positions of Dai et al., "Transformer-XL",
    ACL 2019, both SpeechBrain's; exact lengths and the front end are ours.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 144,
        strides: Sequence[float] = (2, 2),
        downsampler: str = "strided",
        downsampler_options: dict[str, Any] | None = None,
        front_kernel: int = 3,
        layers: int = 4,
        heads: int = 4,
        feed_forward: int = 288,
        kernel_size: int = 15,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = check_channels(in_channels), check_channels(channels)
        if not strides:
            raise ValueError(f"`strides` (={tuple(strides)}) must have at least one entry")
        for name, value in (("front_kernel", front_kernel), ("kernel_size", kernel_size)):
            if value < 1 or value % 2 == 0:
                raise ValueError(f"`{name}` (={value}) must be odd and at least 1")
        if heads < 1 or channels % heads or channels % 2:
            raise ValueError(f"`heads` (={heads}) must divide `channels` (={channels}), and those must be even")
        if layers < 1:
            raise ValueError(f"`layers` (={layers}) must be at least 1")
        options = downsampler_options or {}
        self.front = nn.ModuleList(
            FrontEndStage(before, channels, make_downsampler(downsampler, channels, stride, **options), front_kernel)
            for before, stride in zip([in_channels, *[channels] * len(strides)], strides, strict=False)
        )
        self.projection = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.positions = RelPosEncXL(channels)
        self.conformer = Conformer.ConformerEncoder(
            num_layers=layers,
            d_model=channels,
            d_ffn=feed_forward,
            nhead=heads,
            kernel_size=kernel_size,
            dropout=dropout,
            attention_type="RelPosMHAXL",
        )
        for layer in self.conformer.layers:
            layer.convolution_module = MaskedConvolutionModule(channels, kernel_size, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Encoded:
        """(B, C, T), (B,) integers or None → `Encoded` with features (B, C', L).

        Raises:
            ValueError: naming argument, value and rule.
        """
        check_signal(x, self.in_channels)
        if lengths is not None:
            check_lengths(lengths, x.shape[0])
            x = zero_padding(x, lengths)
        plans: list[Plan] = []
        h, inner = x, lengths
        for stage in self.front:
            h, plan = stage(h, inner)
            plans.append(plan)
            inner = None if lengths is None else plan.lengths
        frames = self.dropout(self.projection(h.transpose(1, 2)))
        # real frames attend to real frames: what stands in the padding reaches nobody, and is cut off at the end
        padding = None if inner is None else ~length_mask(inner, frames.shape[1])
        frames, _ = self.conformer(frames, src_key_padding_mask=padding, pos_embs=self.positions(frames))
        features = frames.transpose(1, 2)
        penalty = torch.stack([plan.penalty for plan in plans]).sum()
        return Encoded(features if inner is None else zero_padding(features, inner), plans[-1].lengths, penalty, plans)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of items with these input lengths, with the present strides: (B,) integers → (B,) int64."""
        for layer in self.downsamplers:
            lengths = layer.output_lengths(lengths)
        return lengths

    @property
    def stages(self) -> list[Stage]:
        """Cost of every step in order of depth, for `seqstride.complexity`.

        Attention over n frames counts 4 C' n² in each layer: queries times keys, queries times the 2 n − 1 relative
        positions, and weights times values. Softmax, norms and activations are not counted, as everywhere else.
        """
        c, (first, *_) = self.out_channels, self.conformer.layers
        # every weight meets every frame once, but for that of the relative positions, of which there are 2 n − 1
        weights = sum(m.weight.numel() for m in first.modules() if isinstance(m, nn.Linear | nn.Conv1d))
        weights += first.mha_layer.in_proj_weight.numel() + first.mha_layer.linear_pos.weight.numel()
        front: list[Stage] = [stage.stage for stage in self.front]  # type: ignore[misc]
        projection = Stage(None, c, self.projection.weight.numel())
        return [*front, projection, *[Stage(None, c, weights, macs_per_pair=4 * c)] * len(self.conformer.layers)]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The downsampling layers in order of depth."""
        return [stage.downsample for stage in self.front]  # type: ignore[misc]
