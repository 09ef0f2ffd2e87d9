"""Augmentation of features in time, in SpeechBrain's layout; its `Augmenter` takes these beside its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqstride.encoders.heads import FeatureNorm


class Tempo(nn.Module):
    """Speaks a batch faster or slower: frames read at another rate by linear interpolation, (B, T, C) → (B, T', C).

    One rate for the whole batch, so that relative lengths stay as they are; drawn on the CPU with torch's generator.

    Args:
        low, high: bounds of the rate; T' = T / rate, rounded.

    Raises:
        ValueError: the bounds are not 0 < low ≤ high.

    Source: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015 (tempo), on features instead of
    samples.
    """

    def __init__(self, low: float = 0.9, high: float = 1.1) -> None:
        super().__init__()
        if not 0 < low <= high:
            raise ValueError(f"`low` (={low}) and `high` (={high}) must be above 0 and in this order")
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Augments a batch."""
        rate = self.low + (self.high - self.low) * float(torch.rand(()))
        frames = max(1, round(x.shape[1] / rate))
        return nn.functional.interpolate(x.transpose(1, 2), size=frames, mode="linear").transpose(1, 2)


class BandAugment(nn.Module):
    """Stretches and masks the frequencies of each item by itself, on mel bands or on cepstra, (B, T, C) → (B, T, C).

    Log-mel spectra are read at α·f instead of f by linear interpolation between the bands, as if another speaker had
    said it; then runs of bands are set to their mean. Cepstra are first expanded over the bands and then taken back:
    all together is one C × C matrix for each item.

    Args:
        norm: the `FeatureNorm` that the features went through; stretching mixes channels, so it needs their true scale.
        low_hz, high_hz: the range of the mel bands.
        bands: how many there are.
        cepstra: whether the features are the first C cepstra of the bands; else they are the bands (C = `bands`).
        low, high: bounds of α.
        masks: how many runs of bands are masked.
        widest: bands of such a run at most; its width is drawn from 0 to this.

    Raises:
        ValueError: the bounds are not 0 < low ≤ high, the channels of `norm` do not fit the bands, or `widest` is not
            between 0 and `bands`.

    Source: Park et al., "SpecAugment", Interspeech 2019 (masks); Jaitly & Hinton, "Vocal tract length perturbation
    (VTLP) improves speech recognition", ICML workshop 2013; as a matrix of cepstra: Pitz & Ney, "Vocal tract
    normalization equals linear transformation in cepstral space", IEEE Trans. SAP 13(5), 2005. Interpolation instead
    of their closed form is ours.
    """

    def __init__(
        self,
        norm: FeatureNorm,
        low_hz: float,
        high_hz: float,
        bands: int = 40,
        cepstra: bool = False,
        low: float = 0.9,
        high: float = 1.1,
        masks: int = 0,
        widest: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < low <= high:
            raise ValueError(f"`low` (={low}) and `high` (={high}) must be above 0 and in this order")
        if not 0 <= widest <= bands:
            raise ValueError(f"`widest` (={widest}) must be between 0 and `bands` (={bands})")
        channels = len(norm.std)
        if channels > bands or (not cepstra and channels != bands):
            raise ValueError(f"`bands` (={bands}) must be the {channels} channels of the features, of cepstra no fewer")
        self.norm = (norm,)  # in a tuple: not a part of this module
        self.low, self.high, self.bands, self.masks, self.widest = low, high, bands, masks, widest
        edges = _mel(torch.tensor([low_hz, high_hz], dtype=torch.float64))
        # centres of the bands, evenly spaced in mel between the outer edges of the first and the last
        self.mels = edges[0] + (edges[1] - edges[0]) * torch.arange(1, bands + 1, dtype=torch.float64) / (bands + 1)
        index, band = torch.arange(channels, dtype=torch.float64), torch.arange(bands, dtype=torch.float64)
        # S_m = c_0 + 2 Σ_k c_k cos(πk(m + ½)/M) undoes c_k = 1/M Σ_m S_m cos(πk(m + ½)/M)
        cosines = torch.cos(torch.pi / bands * index * (band[:, None] + 0.5)) * (1 + (index > 0))
        self.expand = cosines if cepstra else torch.eye(bands, dtype=torch.float64)
        self.take_back = torch.linalg.pinv(self.expand)

    def matrix(self, factor: float, kept: Tensor) -> Tensor:
        """What α and masks do to the unscaled features of a frame: kept (bands,) 0 or 1 → (C, C), double precision."""
        # band m of the result is what stands at α times its frequency
        at = _mel(_hertz(self.mels) * factor)
        step = self.mels[1] - self.mels[0]
        place = ((at - self.mels[0]) / step).clamp(0, self.bands - 1)
        weights = (1 - (place[:, None] - torch.arange(self.bands)).abs()).clamp(min=0)
        return self.take_back @ (kept[:, None] * weights) @ self.expand

    def forward(self, x: Tensor) -> Tensor:
        """Augments a batch."""
        factors = (self.low + (self.high - self.low) * torch.rand(len(x))).tolist()
        scale = self.norm[0].std.double().cpu()
        # the mean that was taken out is left out here, too: of centred features it is 0
        matrices = torch.stack([self.matrix(factor, self._kept()) * scale / scale[:, None] for factor in factors])
        return x @ matrices.transpose(1, 2).to(x)

    def _kept(self) -> Tensor:
        kept = torch.ones(self.bands, dtype=torch.float64)
        for _ in range(self.masks):
            width = int(torch.randint(self.widest + 1, ()))
            start = int(torch.randint(self.bands - width + 1, ()))
            kept[start : start + width] = 0.0
        return kept


def _mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def _hertz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)
