"""The downsampling layers of encoders: a block of stride 1 leaves frames as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seqstride.layers import make_downsampler
from seqstride.layers.base import Downsampler
from seqstride.layers.pooling import AvgPool1d
from seqstride.layers.separable2d import Separable2d, make_downsampler2d

# At stride 1, AdaStride still moves frames and blurs them (a constant comes through, noise loses 1.6 % of its amplitude
# at the start), and a strided convolution is one more convolution. The published models have no layer there. A learnt
# stride is another matter: 1 is where it starts.


class Unchanged1d(AvgPool1d):
    """The identity, in the place of a layer of stride 1 with weights."""

    def __init__(self) -> None:
        super().__init__(1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        *_, error_msgs = args
        if any(name.startswith(prefix) for name in state_dict):
            error_msgs.append(
                f"the weights hold a layer of stride 1 ({prefix.rstrip('.')}), which is now the identity: give the "
                "encoder `downsampler_options` with 'live_at_one': True (in model.json, if this is a saved model)"
            )


def _unless_one(layer: Downsampler) -> Downsampler:
    weighted = (layer.adaptive or layer.beyond_plan) and not layer.learns_stride
    return Unchanged1d() if weighted and layer.stride == 1 else layer


def block_downsampler(
    key: str, channels: int, stride: float, *, live_at_one: bool = False, **options: Any
) -> Downsampler:
    """As `make_downsampler`, but the identity at stride 1, unless the stride is learnt.

    Args:
        live_at_one: a layer of stride 1 stays what its key says.

    Raises:
        ValueError: as `make_downsampler`.
    """
    layer = make_downsampler(key, channels, stride, **options)
    return layer if live_at_one else _unless_one(layer)


def block_downsampler2d(
    key: str, channels: int, strides: Sequence[float], *, live_at_one: bool = False, **options: Any
) -> Separable2d:
    """As `make_downsampler2d`, with each axis as in `block_downsampler`."""
    layer = make_downsampler2d(key, channels, strides, **options)
    return layer if live_at_one else Separable2d(_unless_one(layer.time), _unless_one(layer.frequency))
