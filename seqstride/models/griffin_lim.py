"""From a log-mel spectrogram to a waveform that has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqstride.encoders.frontend import LogMel

MEL_STEPS = 100
PHASE_STEPS = 60
MOMENTUM = 0.99


@torch.no_grad()
def waveform_of(frontend: LogMel, log_mel: Tensor, samples: int) -> Tensor:
    """Computes a waveform whose spectrogram is close to the given one; every call returns the same waveform.

    Args:
        frontend: the front end that made the spectrogram, or one with the same settings.
        log_mel: (bands, T), natural logarithm of power.
        samples: S.

    Returns:
        (S,) float32.

    Source: the bins by the multiplicative updates of Lee & Seung 2001 ("Algorithms for non-negative matrix
    factorization") with the filters fixed, which keep quiet bands where least squares give them up; the phases by
    Griffin & Lim 1984, with the momentum of Perraudin et al. 2013.
    """
    size, hop = 2 * (len(frontend.filters) - 1), frontend.hop
    power = _bins(frontend.filters.T.double(), log_mel.double().exp())
    # the STFT reflects the signal at its ends, so the signal must be longer than the reflected part
    frames = max(power.shape[1], size // hop + 1)
    power = torch.nn.functional.pad(power, (0, frames - power.shape[1]))
    # LogMel divides the power by that of the window
    magnitudes = (power * frontend.taper.square().sum()).float().sqrt()
    return _with_phases(magnitudes, frontend, size, max(samples, (frames - 1) * hop))[:samples]


def _bins(filters: Tensor, mel: Tensor) -> Tensor:
    """Non-negative bins with filters @ bins near to mel: (bands, bins), (bands, T) → (bins, T)."""
    wanted = filters.T @ mel
    bins = wanted.clamp(min=1e-30)
    for _ in range(MEL_STEPS):
        bins = bins * wanted / (filters.T @ (filters @ bins)).clamp(min=1e-30)
    return bins


def _with_phases(magnitudes: Tensor, frontend: LogMel, size: int, samples: int) -> Tensor:
    """A waveform (samples,) with nearly these magnitudes (bins, T); as torchaudio's `griffinlim`.

    That function draws the first phases from the global generator; here they have a generator of their own.
    """
    form: dict[str, Any] = {
        "n_fft": size,
        "hop_length": frontend.hop,
        "win_length": frontend.window,
        "window": frontend.taper,
    }
    generator = torch.Generator(magnitudes.device).manual_seed(0)
    phases = torch.rand(magnitudes.shape, dtype=torch.complex64, device=magnitudes.device, generator=generator)
    before = torch.zeros_like(phases)
    for _ in range(PHASE_STEPS):
        waveform = torch.istft(magnitudes * phases, length=samples, **form)
        rebuilt = torch.stft(waveform, pad_mode="reflect", return_complex=True, **form)
        phases = rebuilt - before * (MOMENTUM / (1 + MOMENTUM))
        phases = phases / (phases.abs() + 1e-16)
        before = rebuilt
    return torch.istft(magnitudes * phases, length=samples, **form)
