"""Copies of modules that can be exported: every layer becomes its twin (`seqstride.export.traced_layers`)."""

from __future__ import annotations

import copy
import sys
from typing import TypeVar

from torch import nn

from seqstride.encoders.frontend import LogMel
from seqstride.encoders.vqvae import Quantizer
from seqstride.errors import InputError
from seqstride.export import traced_layers
from seqstride.export.traced_models import TracedLinear, TracedLogMel, TracedQuantizer, TracedSequenceClassifier
from seqstride.layers.base import Downsampler
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
        ValueError: a layer of another package has a plan of its own and no twin.
    """
    module, twins = copy.deepcopy(module).eval(), _twins()
    for part in [*module.modules()]:
        if isinstance(part, Downsampler):
            part.freeze()
            part.__class__ = layer_twin(type(part))  # a twin has the same state and other methods
        elif type(part) in twins:
            part.__class__ = twins[type(part)]
        if isinstance(part, TracedLogMel):
            part.register_buffer("waves", part.tapered_waves(), persistent=False)
        if isinstance(part, TracedQuantizer):
            part.keep_books()
    return module


def layer_twin(layer: type[Downsampler]) -> type[Downsampler]:
    """The class that a layer of this class is exported as: its twin's methods before its own, or the class itself."""
    if layer.twin is None:
        return layer
    order = layer.__mro__
    owner = next(index for index, base in enumerate(order) if "twin" in vars(base))
    replaced = [name for name in ("plan", "_plan", "_output_lengths") if any(name in vars(c) for c in order[:owner])]
    if replaced:
        raise InputError(
            f"`module` (with a {layer.__name__}) must have layers with the `{replaced[0]}` of {order[owner].__name__}, "
            "or with a `twin` of their own"
        )
    return type(f"Traced{layer.__name__}", (getattr(traced_layers, layer.twin), layer), {})


#: modules around the layers → their twins
TWINS: dict[type[nn.Module], type[nn.Module]] = {
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
