"""Exportable twins of the modules around the layers: log-mel front end, windows, quantiser, linear layers."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.lengths import length_mask, zero_padding
from seqstride.encoders.frontend import FLOOR, LogMel
from seqstride.encoders.vqvae import Quantized, Quantizer
from seqstride.models.classifier import SequenceClassifier
from seqstride.models.windows import cut


class TracedLogMel(LogMel):
    """The twin of the log-mel front end: a convolution with tapered cosines and sines."""

    waves: Tensor

    def tapered_waves(self) -> Tensor:
        """Returns the weight (2·bins, 1, window) of the convolution. Power does not depend on the phase."""
        bins = len(self.filters)
        k, n = torch.arange(bins, dtype=torch.float64), torch.arange(self.window, dtype=torch.float64)
        angle = k[:, None] * n * (math.pi / (bins - 1))
        taper = self.taper.double().cpu()
        waves = torch.cat([angle.cos(), angle.sin()]) * (taper / taper.square().sum().sqrt())
        return waves[:, None].to(self.taper)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Same as `LogMel.forward`."""
        size = 2 * (len(self.filters) - 1)
        # the window is in the middle of the FFT frame, which is centred on its sample
        before = size // 2 - (size - self.window) // 2
        x = F.pad(zero_padding(waveforms[:, None], lengths), (before, self.window - before))
        real, imaginary = F.conv1d(x, self.waves, stride=self.hop).chunk(2, dim=1)
        power = real.square() + imaginary.square()
        frames = self.output_lengths(lengths)
        # a convolution of one tap, because a matrix product would add a guard on the batch size
        mels = F.conv1d(power, self.filters.T[:, :, None])
        return zero_padding(mels.clamp(min=FLOOR).log(), frames), frames


class TracedSequenceClassifier(SequenceClassifier):
    """The twin of a trained classifier. Every item has as many windows as the longest item."""

    def embed(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Same as `SequenceClassifier.embed`, with the windows of `seqstride.models.windows.all_windows`."""
        size = self.window_size
        if size is None:
            return super().embed(signal, lengths)
        batch, most = signal.shape[0], (signal.shape[1] + size - 1) // size
        count = (lengths + size - 1) // size
        room = (lengths - size).clamp(min=0)[:, None]
        index = torch.arange(most, device=signal.device)
        starts = torch.minimum(index * room // (count - 1).clamp(min=1)[:, None], room)
        # a window of a short item may reach beyond the batch's width
        signal = F.pad(signal, (0, 0) * (signal.ndim - 2) + (0, size))
        items = torch.arange(batch, device=signal.device)[:, None].expand(batch, most)
        windows = cut(signal, items.flatten(), starts.flatten(), size)
        encoded = self.encode(windows, lengths.clamp(max=size)[items].flatten())
        share = length_mask(count, most) / count[:, None]
        heads: dict[str, Any] = dict(self.classifier.items())
        vectors = {label: head.embed(encoded.features, encoded.lengths) for label, head in heads.items()}
        return {label: (v.unflatten(0, (batch, most)) * share[:, :, None]).sum(1) for label, v in vectors.items()}


class TracedQuantizer(Quantizer):
    """The twin of the quantiser: the nearest vectors by |v|² − 2 x·v. It leaves the loss out, which is for training."""

    books: Tensor

    def keep_books(self) -> None:
        """Keeps the library's codebooks (Q, size, dimension) and the layers around them, and removes the rest."""
        self.register_buffer("books", self.codebooks)
        self.project_in, self.project_out = self.vq.project_in, self.vq.project_out
        del self.vq

    def forward(self, features: Tensor, lengths: Tensor) -> Quantized:
        """Same as `Quantizer.forward`."""
        x = self.project_in(features.transpose(1, 2)).transpose(1, 2)
        rest, codes = x, []
        for book in self.books:
            # a convolution of one tap, as in the front end
            nearest = (book.square().sum(1)[:, None] - 2 * F.conv1d(rest, book[:, :, None])).argmin(1)
            rest = rest - F.embedding(nearest, book).transpose(1, 2)
            codes.append(nearest)
        real = length_mask(lengths, features.shape[2])
        vectors = self.project_out((x - rest).transpose(1, 2)).transpose(1, 2)
        return Quantized(
            zero_padding(vectors, lengths),
            torch.stack(codes, 2).masked_fill(~real[:, :, None], -1),
            features.new_zeros(()),
        )


class TracedLinear(nn.Linear):
    """The twin of a linear layer. It makes its input contiguous.

    For a non-contiguous input, the exporter adds a guard on the batch size. A copy avoids it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same as `Linear.forward`."""
        return super().forward(x.clone(memory_format=torch.contiguous_format))
