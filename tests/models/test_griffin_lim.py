"""Waveforms from spectrograms: the same at every call, and without the global generator."""

from __future__ import annotations

import torch
from tiny_models import tones

from seqstride.encoders.frontend import LogMel
from seqstride.models.griffin_lim import waveform_of


def test_the_global_generator_is_left_alone() -> None:
    frontend, wave = LogMel(8000, bands=40), tones(0.3)
    log_mel = frontend(wave[None], torch.tensor([len(wave)]))[0][0]
    state = torch.get_rng_state()
    first = waveform_of(frontend, log_mel, len(wave))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(waveform_of(frontend, log_mel, len(wave)), first)


def test_it_is_the_search_of_torchaudio() -> None:
    """torchaudio's function draws its first phases from the global generator."""
    from torchaudio.functional import griffinlim

    from seqstride.models.griffin_lim import MOMENTUM, PHASE_STEPS, _with_phases

    frontend, wave = LogMel(8000, bands=40), tones(0.3)
    size = 2 * (len(frontend.filters) - 1)
    form = {"n_fft": size, "hop_length": frontend.hop, "win_length": frontend.window}
    magnitudes = torch.stft(wave, window=frontend.taper, return_complex=True, **form).abs()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = griffinlim(
            magnitudes,
            frontend.taper,
            **form,
            power=1.0,
            n_iter=PHASE_STEPS,
            momentum=MOMENTUM,
            length=len(wave),
            rand_init=True,
        )
    torch.testing.assert_close(_with_phases(magnitudes, frontend, size, len(wave)), expected)
