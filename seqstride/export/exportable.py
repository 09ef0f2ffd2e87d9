"""Copies of modules that can be exported: every layer becomes its twin (`seqstride.export.traced_layers`)."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from seqstride.errors import InputError
from seqstride.export import traced_layers
from seqstride.layers.base import Downsampler

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
    module = copy.deepcopy(module).eval()
    for part in [*module.modules()]:
        if isinstance(part, Downsampler):
            part.freeze()
            part.__class__ = layer_twin(type(part))  # a twin has the same state and other methods
    return module


def layer_twin(layer: type[Downsampler]) -> type[Downsampler]:
    """The class that a layer of this class is exported as: its twin's methods before its own, or the class itself."""
    if layer.twin is None:
        return layer
    order = layer.__mro__
    owner = next(index for index, base in enumerate(order) if "twin" in vars(base))
    replaced = [
        name
        for name in ("plan", "plan_checked", "_plan", "_output_lengths")
        if any(name in vars(c) for c in order[:owner])
    ]
    if replaced:
        raise InputError(
            f"`module` (with a {layer.__name__}) must have layers with the `{replaced[0]}` of {order[owner].__name__}, "
            "or with a `twin` of their own"
        )
    return type(f"Traced{layer.__name__}", (getattr(traced_layers, layer.twin), layer), {})
