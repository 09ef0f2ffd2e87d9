"""From waveforms to features: the log-mel front end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.checks import check_lengths
from seqstride.core.lengths import length_mask, zero_padding
from seqstride.errors import require
from seqstride.files.signal_reader import SignalReader

# lowest power: 1e-10 is 100 dB below white noise of full-scale power, about the range of 16 bits
FLOOR = 1e-10
PIECE = 1 << 17  # frames of all items that are transformed at a time
LARGEST = 1 << 25  # of bands times samples of a window: filters of up to 1 GB


class LogMel(nn.Module):
    """Log-mel spectrogram: (B, S) waveforms → (B, bands, T), one frame every `hop_ms`, centred on its sample.

    The padding has no influence: samples behind an item's length count as 0, as do those before its start, and the
    frames are those of the item alone. Computed in float32, under autocast too, because powers leave half precision.

    Args:
        sample_rate: Hz.
        bands: mel bands.
        window_ms, hop_ms: length of the (Hann) window and distance of the frames, in milliseconds.
        low_hz, high_hz: the range of the bands; None: half the sample rate.

    Raises:
        ValueError: naming argument, value and rule.

    Source: torchaudio's mel transform; exact lengths are ours.
    """

    first_centre = 0.0
    """Frames from the start of a recording to the centre of its first frame."""

    taper: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int,
        bands: int = 64,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        low_hz: float = 20.0,
        high_hz: float | None = None,
    ) -> None:
        super().__init__()
        high_hz = sample_rate / 2 if high_hz is None else high_hz
        self.sample_rate, self.bands = sample_rate, bands
        self.low_hz, self.high_hz = low_hz, high_hz
        self.window, self.hop = round(sample_rate * window_ms / 1000), round(sample_rate * hop_ms / 1000)
        if not 1 <= self.hop <= self.window:
            raise ValueError(f"`hop_ms` (={hop_ms}) must be at least one sample and at most `window_ms` (={window_ms})")
        if not 0 <= low_hz < high_hz <= sample_rate / 2:
            raise ValueError(
                f"`low_hz` (={low_hz}) must lie below `high_hz` (={high_hz}), and that in 0 … {sample_rate / 2} Hz"
            )
        if not 1 <= bands * self.window <= LARGEST:
            raise ValueError(
                f"`bands` (={bands}) times the samples of a window ({self.window}) must lie in 1 … {LARGEST}"
            )
        # both follow from the arguments, so checkpoints need not keep them
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)
        self.register_buffer("filters", self._filters(), persistent=False)

    def _filters(self) -> Tensor:
        """(bins, bands): with the shortest FFT, a power of two, that leaves no band without a bin."""
        melscale_fbanks = require("torchaudio.functional", "speech").melscale_fbanks

        with torch.device("cpu"):  # it looks at numbers, which the meta device does not have
            return self._finest_needed(melscale_fbanks)

    def _finest_needed(self, melscale_fbanks: Callable[..., Tensor]) -> Tensor:
        size = 1 << (self.window - 1).bit_length()
        for fft in (size, 2 * size, 4 * size, 8 * size):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about bands without a bin, for which this loop looks
                filters = melscale_fbanks(fft // 2 + 1, self.low_hz, self.high_hz, self.bands, self.sample_rate)
            if (filters.amax(0) > 0).all():
                return filters
        raise ValueError(
            f"`bands` (={self.bands}) must be fewer: between {self.low_hz} and {self.high_hz} Hz "
            f"they are narrower than the bins of an FFT of {fft} samples"
        )

    @property
    def settings(self) -> tuple[float, ...]:
        """All that decides the result: sample rate, bands, window and hop in samples, range in Hz."""
        return self.sample_rate, self.bands, self.window, self.hop, self.low_hz, self.high_hz

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    def centres_hz(self) -> Tensor:
        """The frequencies, in Hz, at which the bands have their peaks: (bands,), evenly spaced in mel."""
        low, high = (math.log1p(frequency / 700) for frequency in (self.low_hz, self.high_hz))
        return 700 * torch.linspace(low, high, self.bands + 2, dtype=torch.float64)[1:-1].expm1()

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """The number of frames of items with these numbers of samples: (B,) integers → (B,) int64."""
        return lengths.long() // self.hop + 1

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S), lengths (B,) int64 in samples → (B, bands, T) with 0 in the padding, lengths (B,) int64 in frames.

        Raises:
            ValueError: `waveforms` is not (B, S), or `lengths` are no integers.
        """
        if waveforms.ndim != 2:
            raise ValueError(f"`waveforms` (shape {tuple(waveforms.shape)}) must have shape (B, S)")
        check_lengths(lengths, waveforms.shape[0])
        real = length_mask(lengths, waveforms.shape[1])
        with torch.autocast(waveforms.device.type, enabled=False):
            x = self._log_power(waveforms.float().masked_fill(~real, 0.0))
        frames = self.output_lengths(lengths)
        return zero_padding(x, frames), frames

    def of_reader(self, waveform: SignalReader) -> tuple[Tensor, Tensor]:
        """What `forward` returns for one waveform (S,), whose samples are read as they are needed."""
        device = self.taper.device

        def read(start: int, stop: int) -> Tensor:
            return waveform.read(start, stop)[None].to(device)

        with torch.autocast(device.type, enabled=False):
            x = self._log_power_of(read, 1, len(waveform))
        return x, torch.tensor([x.shape[2]], device=device)

    def _log_power(self, waveforms: Tensor) -> Tensor:
        """(B, S) with 0 in the padding → (B, bands, T)."""
        if torch.compiler.is_exporting():
            power = power_by_convolution(waveforms, self.taper, len(self.filters), self.hop)
            # of one tap, because for a matrix product the exporter adds a guard on the batch size
            return F.conv1d(power, self.filters.T[:, :, None]).clamp(min=FLOOR).log()
        return self._log_power_of(lambda start, stop: waveforms[:, start:stop], *waveforms.shape)

    def _log_power_of(self, cut: Callable[[int, int], Tensor], batch: int, samples: int) -> Tensor:
        """(B, bands, T) in pieces, because the spectra of hours are far larger than the result.

        Args:
            cut: first sample and the one behind the last → the samples (B, N).
            batch, samples: B and S.
        """
        frames, reach = samples // self.hop + 1, len(self.filters) - 1  # half the FFT
        step = max(1, PIECE // batch)
        pieces = []
        for first in range(0, frames, step):
            last = min(first + step, frames) - 1
            start, stop = first * self.hop - reach, last * self.hop + reach
            inside = cut(max(start, 0), min(stop, samples))
            spectra = torch.stft(
                F.pad(inside, (max(-start, 0), stop - max(start, 0) - inside.shape[1])),
                n_fft=2 * reach,
                hop_length=self.hop,
                win_length=self.window,
                window=self.taper / self.taper.square().sum().sqrt(),  # white noise has one level whatever the window
                center=False,
                return_complex=True,
            )
            # the square of abs() takes a root for every number first
            power = torch.view_as_real(spectra).square().sum(-1)
            pieces.append((power.transpose(1, 2) @ self.filters).clamp(min=FLOOR).log().transpose(1, 2))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def power_by_convolution(waveforms: Tensor, taper: Tensor, bins: int, hop: int) -> Tensor:
    """The power spectrogram of `LogMel` without complex numbers: a convolution with tapered cosines and sines.

    Its time grows with bins · window, that of FFTs with bins · log(bins). Exporters and runtimes know convolutions.

    Args:
        waveforms: (B, S).
        taper: (window,).
        bins: half the FFT's size, and one.
        hop: samples from frame to frame.

    Returns:
        (B, bins, S // hop + 1).
    """
    half, window = bins - 1, len(taper)
    # made on the host, which makes them a constant of the graph; the phase has no influence on the power
    angle = np.arange(bins)[:, None] * np.arange(window) * (math.pi / half)
    waves = torch.tensor(np.concatenate([np.cos(angle), np.sin(angle)]), dtype=taper.dtype, device=taper.device)
    waves = waves * (taper / taper.square().sum().sqrt())
    # the window stands in the middle of the FFT's frame, and that on its sample
    before = half - (2 * half - window) // 2
    x = F.pad(waveforms[:, None], (before, window - before))
    real, imaginary = F.conv1d(x, waves[:, None], stride=hop).chunk(2, dim=1)
    return real.square() + imaginary.square()
