"""Copies of modules that can be exported: every layer becomes its twin (`seqstride.export.traced_layers`)."""

from __future__ import annotations

import copy
import sys
from typing import TypeVar

from torch import nn

from seqstride.encoders.frontend import LogMel
from seqstride.encoders.vqvae import Quantizer
from seqstride.errors import InputError
from seqstride.export.traced_layers import (
    TracedAdaStride1d,
    TracedAvgPool1d,
    TracedBlurPool1d,
    TracedDCTDiffStride1d,
    TracedDCTPool1d,
    TracedDiffStride1d,
    TracedMaxPool1d,
    TracedSpectralPool1d,
    TracedStridedConv1d,
)
from seqstride.export.traced_models import TracedLinear, TracedLogMel, TracedQuantizer, TracedSequenceClassifier
from seqstride.layers.adastride import AdaStride1d
from seqstride.layers.base import Downsampler
from seqstride.layers.diffstride import DCTDiffStride1d, DiffStride1d
from seqstride.layers.pooling import AvgPool1d, BlurPool1d, MaxPool1d, StridedConv1d
from seqstride.layers.spectral_pooling import DCTPool1d, SpectralPool1d
from seqstride.models.classifier import SequenceClassifier

Module = TypeVar("Module", bound=nn.Module)


def exportable(module: Module) -> Module:
    """A copy for torch.export and torch.onnx, in evaluation mode and with fixed strides, that computes the same.

    Args:
        module: any module with layers of this package inside, or one of them.

    Returns:
        The copy. Methods with whole strides give outputs as wide as the batch asks for, which is more than the longest
        item needs where all items are padded: `Plan.lengths` says what counts, behind it stand zeros.

    Raises:
        ValueError: a downsampling layer that is not of this package.
    """
    module, twins = copy.deepcopy(module).eval(), _twins()
    for part in [*module.modules()]:
        if isinstance(part, Downsampler):
            if type(part) not in twins:
                raise InputError(f"`module` (with a {type(part).__name__}) must have layers of this package only")
            part.freeze()
        if type(part) in twins:
            part.__class__ = twins[type(part)]  # a twin has the same state and other methods
        if isinstance(part, TracedLogMel):
            part.register_buffer("waves", part.tapered_waves(), persistent=False)
        if isinstance(part, TracedQuantizer):
            part.keep_books()
    return module


TWINS: dict[type[nn.Module], type[nn.Module]] = {
    AvgPool1d: TracedAvgPool1d,
    MaxPool1d: TracedMaxPool1d,
    BlurPool1d: TracedBlurPool1d,
    StridedConv1d: TracedStridedConv1d,
    SpectralPool1d: TracedSpectralPool1d,
    DCTPool1d: TracedDCTPool1d,
    DiffStride1d: TracedDiffStride1d,
    DCTDiffStride1d: TracedDCTDiffStride1d,
    AdaStride1d: TracedAdaStride1d,
    nn.Linear: TracedLinear,
    LogMel: TracedLogMel,
    Quantizer: TracedQuantizer,
    SequenceClassifier: TracedSequenceClassifier,
}


def _twins() -> dict[type[nn.Module], type[nn.Module]]:
    """`TWINS`, and that of SpeechBrain's attention; a module that has one inside has loaded SpeechBrain."""
    if "speechbrain.nnet.attention" not in sys.modules:
        return TWINS
    from speechbrain.nnet.attention import RelPosMHAXL

    from seqstride.export.traced_attention import TracedAttention

    return {**TWINS, RelPosMHAXL: TracedAttention}
