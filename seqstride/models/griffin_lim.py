"""From a log-mel spectrogram to a waveform that has it."""

from __future__ import annotations

import torch
from torch import Tensor

from seqstride.encoders.frontend import LogMel

MEL_STEPS = 100
PHASE_STEPS = 60


@torch.no_grad()
def waveform_of(frontend: LogMel, log_mel: Tensor, samples: int) -> Tensor:
    """A waveform whose spectrogram is near to the given one; the same at every call.

    Args:
        frontend: made the spectrogram, or one like it.
        log_mel: (bands, T).
        samples: S.

    Returns:
        (S,) float32.

    Source: the bins by the multiplicative updates of Lee & Seung 2001 ("Algorithms for non-negative matrix
    factorization") with the filters fixed, which keep quiet bands where least squares give them up; the phases by
    torchaudio's Griffin-Lim (1984, with the momentum of Perraudin et al. 2013).
    """
    from torchaudio.functional import griffinlim

    size, hop = 2 * (len(frontend.filters) - 1), frontend.hop
    power = _bins(frontend.filters.T.double(), log_mel.double().exp())
    # the search reflects the signal at its ends, which must be longer than what is reflected
    frames = max(power.shape[1], size // hop + 1)
    power = torch.nn.functional.pad(power, (0, frames - power.shape[1]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        waveform: Tensor = griffinlim(
            (power * frontend.taper.square().sum()).float(),  # LogMel divides power by that of the window
            frontend.taper,
            n_fft=size,
            hop_length=hop,
            win_length=frontend.window,
            power=2.0,
            n_iter=PHASE_STEPS,
            momentum=0.99,
            length=max(samples, (frames - 1) * hop),
            rand_init=True,
        )
    return waveform[:samples]


def _bins(filters: Tensor, mel: Tensor) -> Tensor:
    """Non-negative bins with filters @ bins near to mel: (bands, bins), (bands, T) → (bins, T)."""
    wanted = filters.T @ mel
    bins = wanted.clamp(min=1e-30)
    for _ in range(MEL_STEPS):
        bins = bins * wanted / (filters.T @ (filters @ bins)).clamp(min=1e-30)
    return bins
