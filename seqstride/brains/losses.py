"""Losses of reconstructions, which a recipe names as its `reconstruction`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqstride.core.lengths import length_mask, zero_padding
from seqstride.errors import InputError


class MaskedL1(nn.Module):
    """Mean absolute difference over channels and real frames: two (B, C, T), lengths (B,) → 0-d."""

    def forward(self, y: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
        """Returns the loss of a batch; every real frame has the same weight."""
        return zero_padding(y - x, lengths).abs().sum() / (x.shape[1] * lengths.sum())


class SpectralL1(nn.Module):
    """Difference of waveforms in their magnitude spectra at several resolutions: two (B, 1, S), lengths (B,) → 0-d.

    For each size, over the bins of the real frames,

        mean |log (m_y + floor) − log (m_x + floor)| + Σ |m_y − m_x| / Σ m_x,

    where the first term weighs quiet parts and the second loud ones. The result is the mean over the sizes.

    Args:
        sizes: samples of the Hann windows; the hop is a quarter of the size.
        floor: is added to magnitudes; a full-scale square wave has magnitudes near 1.

    Raises:
        ValueError: no sizes, or one below 4.

    Source: Yamamoto et al. 2020, "Parallel WaveGAN", §3.2, with the spectral convergence as a ratio of sums of
    magnitudes, which padding cannot change.
    """

    def __init__(self, sizes: Sequence[int] = (128, 256, 512), floor: float = 1e-4) -> None:
        super().__init__()
        if not sizes or min(sizes) < 4:
            raise InputError(f"`sizes` (={tuple(sizes)}) must be at least one, of at least 4 samples")
        self.sizes, self.floor = list(sizes), floor

    def forward(self, y: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
        """Returns the loss of a batch."""
        y, x = (zero_padding(wave, lengths)[:, 0] for wave in (y, x))
        return torch.stack([self._difference(y, x, lengths, size) for size in self.sizes]).mean()

    def _difference(self, y: Tensor, x: Tensor, lengths: Tensor, size: int) -> Tensor:
        window = torch.hann_window(size, device=x.device, dtype=x.dtype)
        hop = size // 4
        magnitudes = []
        for wave in (y, x):
            spectrum = torch.stft(wave, size, hop, window=window, center=True, pad_mode="constant", return_complex=True)
            # the square root has no finite slope at 0
            magnitudes.append((spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt() / window.sum())
        frames = lengths // hop + 1
        real = length_mask(frames, magnitudes[0].shape[2])[:, None]
        m_y, m_x = (magnitude.masked_fill(~real, 0.0) for magnitude in magnitudes)
        logs = ((m_y + self.floor).log() - (m_x + self.floor).log()).abs()
        return logs.sum() / (logs.shape[1] * frames.sum()) + (m_y - m_x).abs().sum() / m_x.sum().clamp(min=self.floor)
