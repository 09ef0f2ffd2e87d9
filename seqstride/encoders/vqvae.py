"""The parts that make an encoder a VQ-VAE: the quantiser behind it, and decoders back to its time axis.

    encoder    (B, C, T) → features (B, C', L), and the positions of its frames
    quantiser  features → codes (B, L, Q), and their vectors
    decoder    vectors and durations → (B, C, T)

A decoder gets the duration of each code: how many input frames it stands for. It expands the codes with
`DurationPlan.expand`, which in training passes gradients on to the positions of the encoder's plans.

The quantiser is that of the library vector-quantize-pytorch, so this is imported from here and is not among the names
of `seqstride` itself, which loads torch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.checks import check_channels
from seqstride.core.lengths import length_mask, zero_padding
from seqstride.core.plan import DurationPlan
from seqstride.core.positions import nearest_output
from seqstride.encoders.encoded import Encoded
from seqstride.encoders.masked import MaskedBatchNorm1d
from seqstride.encoders.resnet import ResidualBlock
from seqstride.errors import require
from seqstride.layers.pooling import AvgPool1d

MOST = 1000
"""Quantizers of a `Quantizer`."""


class Quantized(NamedTuple):
    """The result of a quantiser."""

    features: Tensor
    """(B, C, L): the vectors that the codes stand for; gradients go straight through to the input."""
    codes: Tensor
    """(B, L, Q) int64, −1 in the padding."""
    commitment: Tensor
    """0-d: mean squared distance between what is quantised and its code, summed over the Q quantisers."""


class Quantizer(nn.Module):
    """Vector quantisation, residual where there are several quantisers: (B, C, L), lengths (B,) → `Quantized`.

    Codebooks are running means of what is given to each code; padding does not enter them.

    Args:
        channels: C.
        size: codes of each codebook.
        dimension: of the codebooks' vectors; a linear layer leads there and another one back. None: C, and none.
        quantizers: Q; each one quantises what those before it left over.
        options: further arguments of `vector_quantize_pytorch.VectorQuantize`, such as `kmeans_init`, `decay` or
            `threshold_ema_dead_code` (codes that are given fewer frames a batch are replaced).

    Raises:
        ValueError: naming argument, value and rule.

    Source: van den Oord et al. 2017, "Neural discrete representation learning", with the running means of its appendix;
    residual: Zeghidour et al. 2021, "SoundStream"; both as in the library.
    """

    def __init__(
        self,
        channels: int,
        size: int = 256,
        dimension: int | None = None,
        quantizers: int = 1,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.channels = check_channels(channels)
        for name, value in (("size", size), ("quantizers", quantizers)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` (={value!r}) must be an integer of at least 1")
        if quantizers > MOST:
            raise ValueError(f"`quantizers` (={quantizers}) must be {MOST} at most")
        self.size, self.quantizers = size, quantizers
        self.vq = _residual_vq()(
            dim=channels,
            codebook_dim=dimension,
            num_quantizers=quantizers,
            codebook_size=size,
            **(options or {}),
        )

    def forward(self, features: Tensor, lengths: Tensor) -> Quantized:
        """Quantises a batch; in training it also updates the codebooks."""
        if torch.compiler.is_exporting():
            return self._nearest(features, lengths)
        x, real = features.transpose(1, 2), length_mask(lengths, features.shape[2])
        vectors, codes, losses = self.vq(x, mask=real)
        # the library returns no loss outside of training
        commitment = losses.sum() if self.training else self._commitment(x[real], codes[real])
        return Quantized(vectors.transpose(1, 2), codes, commitment)

    def _nearest(self, features: Tensor, lengths: Tensor) -> Quantized:
        """`forward` in evaluation, in operators that exporters know: the smallest |v|² − 2 x·v."""
        real = length_mask(lengths, features.shape[2])
        x = rest = self.vq.project_in(features.transpose(1, 2)).transpose(1, 2)
        codes, commitment = [], x.new_zeros(())
        for book in self.codebooks:
            # a convolution of one tap, because for a matrix product the exporter adds a guard on the batch size
            nearest = (book.square().sum(1)[:, None] - 2 * F.conv1d(rest, book[:, :, None])).argmin(1)
            rest = rest - F.embedding(nearest, book).transpose(1, 2)
            codes.append(nearest)
            commitment = commitment + rest.square().mean(1).masked_fill(~real, 0.0).sum() / real.sum()
        vectors = self.vq.project_out((x - rest).transpose(1, 2)).transpose(1, 2)
        masked = torch.stack(codes, 2).masked_fill(~real[:, :, None], -1)
        return Quantized(zero_padding(vectors, lengths), masked, commitment)

    @property
    def codebooks(self) -> Tensor:
        """(Q, size, dimension)."""
        return torch.stack([quantizer.codebook.detach() for quantizer in self.vq.layers])

    def excess(self, features: Tensor, codes: Tensor) -> Tensor:
        """How much farther than its quantiser's nearest vector each code is: (N, C), (N, Q) → (N, Q).

        A quantiser reads what the codes before it left over. Of two vectors that are equally near rounding chooses
        one, and what follows may then be another code altogether: this is 0 for both, and a difference of codes not.
        """
        rest, found = self.vq.project_in(features).double(), []
        for book, chosen in zip(self.codebooks.double(), codes.T, strict=True):
            distances = torch.cdist(rest, book)
            found.append(distances.gather(1, chosen[:, None])[:, 0] - distances.amin(1))
            rest = rest - book[chosen]
        return torch.stack(found, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """The vectors that codes stand for: (B, L, Q) int64, −1 in the padding → (B, C, L), 0 there."""
        vectors = self.vq.get_output_from_indices(codes).transpose(1, 2)
        return zero_padding(vectors, (codes[..., 0] >= 0).sum(1))

    def _commitment(self, x: Tensor, codes: Tensor) -> Tensor:
        """(N, C), (N, Q) → 0-d."""
        approximations = self.vq.get_codes_from_indices(codes[None])[:, 0].cumsum(0)
        return (self.vq.project_in(x) - approximations).square().mean((1, 2)).sum()


def _residual_vq() -> Any:
    return require("vector_quantize_pytorch", "vq").ResidualVQ


def duration_plan(encoded: Encoded) -> DurationPlan:
    """The durations of an encoder's output frames, as a plan for a decoder."""
    return DurationPlan(encoded.durations(), encoded.lengths, encoded.positions)


def decode_vectors(decoder: nn.Module, vectors: Tensor, plan: DurationPlan, lengths: Tensor, width: int) -> Tensor:
    """The output of a decoder for the codes' vectors: (B, C', L) → (B, C, `width`), 0 from `lengths` (B,) on.

    A decoder of waveforms gives whole frames of samples, which may end behind the recording.
    """
    return zero_padding(decoder(vectors, plan)[..., :width], lengths)


class _Decoder(nn.Module):
    """Residual blocks at the rate of the codes, a way back to the input's time axis, residual blocks there."""

    def __init__(
        self, channels: int, out_channels: int, width: int, code_blocks: int, blocks: int, kernel_size: int
    ) -> None:
        super().__init__()
        self.projection = nn.Conv1d(check_channels(channels), check_channels(width), 1)
        self.code_blocks = _blocks(code_blocks, width, kernel_size)
        self.blocks = _blocks(blocks, width, kernel_size)
        self.head = _Head(width, out_channels)

    def forward(self, vectors: Tensor, plan: DurationPlan) -> Tensor:
        """Reconstructs a batch."""
        h = self._back(_run(self.code_blocks, self.projection(vectors), plan.lengths), plan)
        return self.head(_run(self.blocks, h, plan.input_lengths), plan.input_lengths)

    def _back(self, h: Tensor, plan: DurationPlan) -> Tensor:
        """(B, width, L) → (B, width, T), with anything in the padding."""
        raise NotImplementedError


class ExpandDecoder(_Decoder):
    """Residual blocks at the rate of the codes, back to the input's time axis by `expand`, residual blocks there.

    Each input frame reads the vectors at its position, and how far it is from the nearest code.
    (B, C', L), `DurationPlan` → (B, C, T), with 0 in the padding. Source: ours.

    Args:
        channels: C' of the codes' vectors.
        out_channels: C.
        width: channels of the blocks.
        code_blocks, blocks: how many before and behind the expansion.
        kernel_size: odd, taps of the blocks' convolutions.

    Raises:
        ValueError: naming argument, value and rule.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        width: int = 64,
        code_blocks: int = 1,
        blocks: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(channels, out_channels, width, code_blocks, blocks, kernel_size)
        self.place = nn.Conv1d(width + 1, width, 1)

    def _back(self, h: Tensor, plan: DurationPlan) -> Tensor:
        place = plan.positions - nearest_output(plan.positions, plan.lengths)
        expanded: Tensor = self.place(torch.cat([plan.expand(h), place[:, None].to(h.dtype)], 1))
        return expanded


class TransposedDecoder(_Decoder):
    """Transposed convolutions, for encoders with fixed whole strides: what most decoders do today.

    (B, C', L), `DurationPlan` → (B, C, T), with 0 in the padding. Of the plan it reads the lengths only; it raises a
    ValueError where the strides do not lead back to the input's length.

    Args:
        strides: those of the encoder; they are taken from the last to the first.
        channels, out_channels, width, code_blocks, blocks, kernel_size: as in `ExpandDecoder`.

    Raises:
        ValueError: naming argument, value and rule.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        strides: Sequence[int],
        width: int = 64,
        code_blocks: int = 1,
        blocks: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(channels, out_channels, width, code_blocks, blocks, kernel_size)
        if not strides or any(stride != int(stride) or stride < 1 for stride in strides):
            raise ValueError(f"`strides` (={tuple(strides)}) must be whole numbers of at least 1, one at least")
        self.strides = [int(stride) for stride in reversed(strides)]
        self.norms = nn.ModuleList(MaskedBatchNorm1d(width) for _ in strides)
        self.convolutions = nn.ModuleList(transposed(width, width, stride) for stride in self.strides)

    def _back(self, h: Tensor, plan: DurationPlan) -> Tensor:
        lengths = plan.lengths
        for norm, convolution, stride in zip(self.norms, self.convolutions, self.strides, strict=True):
            h = norm(h, lengths, relu=True)
            lengths = lengths * stride
            h = zero_padding(convolution(h), lengths)
        if bool((lengths < plan.input_lengths).any()):
            raise ValueError(
                f"the decoder's strides lead from {plan.lengths.tolist()} to {lengths.tolist()} frames, where "
                f"{plan.input_lengths.tolist()} are needed: it must be used with an encoder of the same fixed whole "
                "strides"
            )
        return nn.functional.pad(h, (0, max(0, plan.frames.width - h.shape[2])))[..., : plan.frames.width]


class _Head(nn.Module):
    """Norm, ReLU, linear: the last step of a decoder."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm1d(channels)
        self.linear = nn.Conv1d(channels, check_channels(out_channels), 1)

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        return zero_padding(self.linear(self.norm(h, lengths, relu=True)), lengths)


def transposed(channels: int, out_channels: int, stride: int) -> nn.ConvTranspose1d:
    """A transposed convolution that makes L frames exactly L · stride, each from the two nearest at least."""
    return nn.ConvTranspose1d(
        channels, out_channels, 2 * stride, stride, padding=(stride + 1) // 2, output_padding=stride % 2
    )


def _blocks(count: int, channels: int, kernel_size: int) -> nn.ModuleList:
    """Residual blocks that keep the rate."""
    return nn.ModuleList(ResidualBlock(channels, channels, AvgPool1d(1), kernel_size) for _ in range(count))


def _run(blocks: nn.ModuleList, h: Tensor, lengths: Tensor) -> Tensor:
    for block in blocks:
        h, _ = block(h, lengths)
    return zero_padding(h, lengths)
