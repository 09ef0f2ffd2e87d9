"""The downsampling layers, and the registry that names them.

A new method is one class and one line in `DOWNSAMPLERS`, and its definition in the tests' oracles. Other parts of the
package read what they need to know about a method from the attributes of its layer class
(`seqstride.layers.base.Downsampler`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seqstride.layers.adastride import AdaStride1d
from seqstride.layers.adastride_content import AdaStrideContent1d
from seqstride.layers.adastride_ratio import AdaStrideRatio1d
from seqstride.layers.base import Downsampler
from seqstride.layers.cif import CIF1d
from seqstride.layers.diffstride import DCTDiffStride1d, DiffStride1d
from seqstride.layers.hnet import HNet1d
from seqstride.layers.merge import MergePool1d
from seqstride.layers.phases import PhasePool1d
from seqstride.layers.pooling import AvgPool1d, BlurPool1d, MaxPool1d, StridedConv1d
from seqstride.layers.softpool import SoftPool1d
from seqstride.layers.spectral_pooling import DCTPool1d, SpectralPool1d


@dataclass(frozen=True)
class Method:
    """An entry of the registry. Calling it makes a layer.

    Attributes:
        layer: the class; its attributes say what the method can do and how it is exported.
        oracle: the function of the tests' oracles that computes the same from the definition.
        options: arguments of the layer that the key stands for.
    """

    layer: type[Downsampler]
    oracle: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, channels: int, stride: float, **options: Any) -> Downsampler:
        """The layer for `channels` channels; `channels` is left out where the class has no such argument."""
        own = {"channels": channels} if "channels" in inspect.signature(self.layer).parameters else {}
        return self.layer(stride=stride, **own, **{**self.options, **options})

    def along_frequency(self, channels: int, stride: float, **options: Any) -> Downsampler:
        """The layer along frequency of an image. Where it is of another class, it is made without `options`."""
        other: Any = self.layer.along_frequency
        layer: Downsampler = self(channels, stride, **options) if other is None else other(stride)
        return layer


#: key → `Method`, a factory (channels, stride, **options) with facts about its layer
DOWNSAMPLERS: dict[str, Method] = {
    "strided": Method(StridedConv1d, "strided"),
    "average": Method(AvgPool1d, "average"),
    "max": Method(MaxPool1d, "maximum"),
    "blur": Method(BlurPool1d, "blur"),
    "phase": Method(PhasePool1d, "phase"),
    "softpool": Method(SoftPool1d, "softpool"),
    "spectral": Method(SpectralPool1d, "spectral"),
    "dct": Method(DCTPool1d, "dct_pool"),
    "diffstride": Method(DiffStride1d, "diffstride"),
    "dct_diffstride": Method(DCTDiffStride1d, "dct_diffstride"),
    "diffstride_narrowing": Method(DiffStride1d, "diffstride", {"narrowing": True}),
    "dct_diffstride_narrowing": Method(DCTDiffStride1d, "dct_diffstride", {"narrowing": True}),
    "adastride": Method(AdaStride1d, "adastride"),
    "adastride_f": Method(AdaStride1d, "adastride_f", {"method": "scatter"}),
    "adastride_context": Method(AdaStride1d, "adastride", {"scorer": "context"}),
    "adastride_softpool": Method(AdaStride1d, "adastride_softpool", {"scorer": "context", "pooling": "softmax"}),
    "adastride_ratio": Method(AdaStrideRatio1d, "adastride_ratio"),
    "adastride_content": Method(AdaStrideContent1d, "adastride_content"),
    "cif": Method(CIF1d, "cif"),
    "hnet": Method(HNet1d, "hnet"),
    "merge": Method(MergePool1d, "merge"),
}


def method(key: str) -> Method:
    """The entry of the registry with this key.

    Raises:
        ValueError: an unknown key; lists the known ones.
    """
    if key not in DOWNSAMPLERS:
        raise ValueError(f"`key` (={key!r}) must be one of {', '.join(DOWNSAMPLERS)}")
    return DOWNSAMPLERS[key]


def make_downsampler(key: str, channels: int, stride: float, **options: Any) -> Downsampler:
    """A downsampling layer by name: (B, channels, T) → (B, channels, L).

    Args:
        key: one of `DOWNSAMPLERS`.
        channels: C.
        stride: the stride, or its initial value where it is learnt; an integer for strided, average, max,
            blur, phase and softpool.
        **options: further arguments of the layer.

    Raises:
        ValueError: an unknown key, or an argument that the layer rejects.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.make_downsampler("blur", channels=64, stride=2)(torch.randn(1, 64, 9)).shape
        torch.Size([1, 64, 5])
    """
    return method(key)(channels, stride, **options)
