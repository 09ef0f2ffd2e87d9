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
from seqstride.core.lengths import length_mask, zero_padding
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.subsampling import Subsampling
from seqstride.layers.base import Downsampler
from seqstride.layers.complexity import Stage

require_torchaudio()

from speechbrain.lobes.models.transformer import Conformer  # noqa: E402
from speechbrain.nnet.attention import RelPosEncXL, RelPosMHAXL  # noqa: E402


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


class RelativeAttention(RelPosMHAXL):
    """SpeechBrain's attention with relative positions, with a shift that exporters take."""

    def rel_shift(self, x: Tensor) -> Tensor:
        """Scores of query i for the relative positions n − 1 … 1 − n → for key j: (B, H, n, 2 n − 1) → (B, H, n, n)."""
        if not torch.compiler.is_exporting():
            shifted: Tensor = super().rel_shift(x)
            return shifted
        # SpeechBrain changes the axes of a tensor, but a graph that reads n from tensors cannot tell its size
        batch, heads, frames, _ = x.shape
        i = torch.arange(frames, device=x.device)
        column = i - i[:, None] + (frames - 1)
        return x.gather(3, column.expand(batch, heads, frames, frames))


class ConformerEncoder(nn.Module):
    """`Subsampling`, a projection, then SpeechBrain's Conformer with relative positions.

    With `downsampler="strided"` this is the usual arrangement of a CTC model: strided convolutions, and a Conformer at
    the lower rate. Every method has the same Conformer behind it. An item alone and the same item in a padded batch
    give the same features, whatever stands in the padding.

    Args:
        in_channels: C of the input.
        channels: C' of the front end and the Conformer, even.
        strides: stride of each block of the front end, its start where it is learnt: (2, 2), (3, 2), (8,), …
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
        self.front = Subsampling(in_channels, channels, strides, downsampler, downsampler_options, front_kernel)
        self.in_channels, self.out_channels = in_channels, channels
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` (={kernel_size}) must be odd and at least 1")
        if heads < 1 or channels % heads or channels % 2:
            raise ValueError(f"`heads` (={heads}) must divide `channels` (={channels}), and those must be even")
        if layers < 1:
            raise ValueError(f"`layers` (={layers}) must be at least 1")
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
            output_hidden_states=True,
        )
        for layer in self.conformer.layers:
            layer.mha_layer = _relative_attention(layer.mha_layer)
            layer.convolution_module = MaskedConvolutionModule(channels, kernel_size, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Encoded:
        """(B, C, T), (B,) integers or None → `Encoded` with features (B, C', L), in training also those in the middle.

        Raises:
            ValueError: naming argument, value and rule.
        """
        h, inner, plans = self.front(x, lengths)
        frames = self.dropout(self.projection(h.transpose(1, 2)))
        # real frames attend to real frames only; the padding is set to 0 at the end
        padding = None if inner is None else ~length_mask(inner, frames.shape[1])
        frames, _, inputs = self.conformer(frames, src_key_padding_mask=padding, pos_embs=self.positions(frames))
        features = frames.transpose(1, 2)
        penalty = torch.stack([plan.penalty for plan in plans]).sum()
        # the middle gets the same norm as the end
        middle = self.conformer.norm(inputs[len(inputs) // 2]).transpose(1, 2) if self.training else None
        if inner is not None:
            features = zero_padding(features, inner)
        return Encoded(features, plans[-1].lengths, penalty, plans, middle=middle)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of items with these input lengths, with the present strides: (B,) integers → (B,) int64."""
        return self.front.output_lengths(lengths)

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
        projection = Stage(None, c, self.projection.weight.numel())
        return [
            *self.front.stages,
            projection,
            *[Stage(None, c, weights, macs_per_pair=4 * c)] * len(self.conformer.layers),
        ]

    @property
    def downsamplers(self) -> list[Downsampler]:
        """The downsampling layers in order of depth."""
        return self.front.downsamplers


def _relative_attention(of: RelPosMHAXL) -> RelativeAttention:
    """The same attention, with the same parameters; it draws no random numbers."""
    with torch.random.fork_rng(devices=[]):
        attention = RelativeAttention(of.embed_dim, of.num_heads, of.dropout)
    attention.load_state_dict(of.state_dict())
    return attention
