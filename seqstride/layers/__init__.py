"""The downsampling layers, and the registry that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqstride.layers.adastride import AdaStride1d
from seqstride.layers.base import Downsampler
from seqstride.layers.diffstride import DCTDiffStride1d, DiffStride1d
from seqstride.layers.pooling import AvgPool1d, BlurPool1d, MaxPool1d, StridedConv1d
from seqstride.layers.spectral_pooling import DCTPool1d, SpectralPool1d


def _without_channels(layer: Callable[..., Downsampler]) -> Callable[..., Downsampler]:
    def make(channels: int, stride: float, **options: Any) -> Downsampler:
        return layer(stride, **options)

    return make


def _adastride_f(channels: int, stride: float, **options: Any) -> Downsampler:
    return AdaStride1d(channels, stride, method="scatter", **options)


#: key → factory(channels, stride, **options)
DOWNSAMPLERS: dict[str, Callable[..., Downsampler]] = {
    "strided": StridedConv1d,
    "average": _without_channels(AvgPool1d),
    "max": _without_channels(MaxPool1d),
    "blur": _without_channels(BlurPool1d),
    "spectral": _without_channels(SpectralPool1d),
    "dct": _without_channels(DCTPool1d),
    "diffstride": _without_channels(DiffStride1d),
    "dct_diffstride": _without_channels(DCTDiffStride1d),
    "adastride": AdaStride1d,
    "adastride_f": _adastride_f,
}


def make_downsampler(key: str, channels: int, stride: float, **options: Any) -> Downsampler:
    """A downsampling layer by name: (B, channels, T) → (B, channels, L).

    Args:
        key: one of `DOWNSAMPLERS`.
        channels: C.
        stride: the stride, or its initial value where it is learnt; an integer for strided, average, max and blur.
        **options: further arguments of the layer.

    Raises:
        ValueError: an unknown key, or whatever the layer rejects.
    """
    if key not in DOWNSAMPLERS:
        raise ValueError(f"`key` (={key!r}) must be one of {', '.join(DOWNSAMPLERS)}")
    return DOWNSAMPLERS[key](channels=channels, stride=stride, **options)
