"""Pooling that keeps the lowest coefficients of a spectrum, at a fixed real stride."""

from __future__ import annotations

from torch import Tensor

from seqstride.core.checks import check_stride
from seqstride.core.lengths import Count, Frames, floor_lengths
from seqstride.core.plan import Plan, SpectralPlan
from seqstride.core.spectral import pooling_windows
from seqstride.core.spectral_window import Transform
from seqstride.layers.base import Downsampler


class _RealStride(Downsampler):
    """A fixed real stride with a crop of the spectrum; L = max(1, floor(T_b / s))."""

    transform: Transform
    no_stream = "it transforms the signal as a whole"
    stride: float

    def __init__(self, stride: float) -> None:
        super().__init__()
        self.stride = check_stride(stride)

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        return floor_lengths(lengths, self.stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        windows = pooling_windows(frames.input_lengths, frames.lengths, self.transform)
        return SpectralPlan(frames, windows, self.transform, x)


class SpectralPool1d(_RealStride):
    """Spectral pooling: keeps the lowest Fourier bins. (B, C, T) → (B, C, max(1, floor(T / s))).

    Per item exactly `scipy.signal.resample(x, L)`.

    Args:
        stride: real, ≥ 1.

    Raises:
        ValueError: any other stride.

    Source: Rippel, Snoek & Adams 2015, "Spectral representations for convolutional neural networks", §3.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.SpectralPool1d(stride=1.5)(torch.ones(1, 1, 6))
        tensor([[[1., 1., 1., 1.]]])
    """

    transform: Transform = "dft"


class DCTPool1d(_RealStride):
    """Cosine pooling: keeps the lowest DCT-II coefficients, times √(L / T). (B, C, T) → (B, C, max(1, floor(T / s))).

    Arguments as `SpectralPool1d`. Source: ours.
    """

    transform: Transform = "dct"
