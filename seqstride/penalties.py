"""Complexity of an encoder as a differentiable function of its strides, to be added to a loss with a weight λ.

The continuous lengths behind a layer are n_l = min(n_{l−1}, n_{l−1}/S_l + 2R) for DiffStride (+ R for the DCT) and
n_{l−1}/s for AdaStride and fixed strides (`Downsampler.expected_length`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seqstride.layers.base import Downsampler
from seqstride.layers.learnt_stride import LearntStride


class Stage(NamedTuple):
    """One step of an encoder, as far as cost goes.

    Attributes:
        layer: the downsampling layer at the end of the stage, or None.
        channels: channels of the activation that leaves the stage.
        macs: multiply-accumulates per frame at the stage's input length.
    """

    layer: Downsampler | None
    channels: int
    macs: int


class Staged(Protocol):
    """An encoder that lists its stages in order of depth."""

    @property
    def stages(self) -> list[Stage]: ...


Kind = Literal["frames", "memory", "macs"]


def _lengths(stages: list[Stage], length: float) -> list[Tensor]:
    """n_0, n_1, …, n_L in double precision."""
    n = torch.tensor(float(length), dtype=torch.float64)
    lengths = [n]
    for stage in stages:
        if stage.layer is not None:
            n = stage.layer.expected_length(n.to(_device(stage.layer)))
        lengths.append(n)
    return lengths


def _device(layer: nn.Module) -> torch.device:
    return next((p.device for p in layer.parameters()), torch.device("cpu"))


def complexity(encoder: Staged | Iterable[Downsampler], kind: Kind = "frames", length: int = 1000) -> Tensor:
    """What an encoder costs, as a 0-d tensor that is differentiable in the strides.

    Args:
        encoder: an encoder with `stages`; for kind "frames" also the layers in order of depth.
        kind: "frames": Σ_l Π_{i≤l} 1/S_i, the number of layers where all strides are 1;
            "memory": activations Σ_l C_l n_l, "macs": multiply-accumulates Σ_l macs_l n_{l−1}, both relative to the
            same net without downsampling (1 at most).
        length: n_0, frames at the encoder's input; the soft edge of a spectral window weighs more in short signals.

    Returns:
        0-d tensor.

    Raises:
        ValueError: an unknown kind, a length below 1, layers without stages for another kind than "frames".

    Source: "frames" is Riad et al. 2022, Eq. 6 in one dimension (without λ); "memory" and "macs" are ours.
    """
    if kind not in ("frames", "memory", "macs"):
        raise ValueError(f"`kind` (={kind!r}) must be 'frames', 'memory' or 'macs'")
    if length < 1:
        raise ValueError(f"`length` (={length}) must be at least 1")
    stages = getattr(encoder, "stages", None)
    if kind == "frames":
        layers: Any = encoder if stages is None else [stage.layer for stage in stages if stage.layer is not None]
        total, share = torch.zeros(()), torch.ones(())
        for layer in layers:
            share = share / layer.stride
            total = total + share
        return total
    if stages is None:
        raise ValueError(f"`encoder` (a {type(encoder).__name__}) must list its `stages` for kind {kind!r}")
    n = _lengths(stages, length)
    weights, at = ([s.channels for s in stages], n[1:]) if kind == "memory" else ([s.macs for s in stages], n[:-1])
    cost = torch.stack([weight * frames.cpu() for weight, frames in zip(weights, at, strict=True)]).sum()
    return (cost / (sum(weights) * n[0])).float()


def macs(encoder: Staged, length: int) -> float:
    """Multiply-accumulates of one forward pass over one item of `length` frames, with the present strides."""
    if length < 1:
        raise ValueError(f"`length` (={length}) must be at least 1")
    with torch.no_grad():
        n = _lengths(encoder.stages, length)
        return float(sum(stage.macs * float(frames) for stage, frames in zip(encoder.stages, n[:-1], strict=True)))


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, stride_lr: float | None = None
) -> list[dict[str, Any]]:
    """Optimiser groups: the strides without weight decay and with their own learning rate, and everything else.

    A stride that decayed would shrink towards 0 for no reason in the data (Riad et al. 2022, §4).

    Args:
        model: any module; its learnt strides are found by their layers.
        lr: learning rate.
        weight_decay: of everything but the strides.
        stride_lr: learning rate of the strides; None: `lr`.

    Returns:
        Groups for `torch.optim`, the strides last and only where there are any.

    Raises:
        ValueError: negative or non-finite rates.
    """
    for name, value in (
        ("lr", lr),
        ("weight_decay", weight_decay),
        ("stride_lr", lr if stride_lr is None else stride_lr),
    ):
        if not 0 <= value < float("inf"):
            raise ValueError(f"`{name}` (={value}) must be finite and not negative")
    strides = [m.stride_parameter for m in model.modules() if isinstance(m, LearntStride)]
    known = {id(p) for p in strides}
    rest = [p for p in model.parameters() if id(p) not in known]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": lr, "weight_decay": weight_decay}]
    if strides:
        groups.append({"params": strides, "lr": lr if stride_lr is None else stride_lr, "weight_decay": 0.0})
    return groups
