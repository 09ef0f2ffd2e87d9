"""Complexity of an encoder as a differentiable function of its strides, to be added to a loss with a weight λ.

The continuous lengths behind a layer are n_l = min(n_{l−1}, n_{l−1}/S_l + 2R) for DiffStride (+ R for the DCT) and
n_{l−1}/s for AdaStride and fixed strides (`Downsampler.expected_length`). An encoder over time and frequency
has frames times bins, the bins m_l from m_0 = `encoder.bands` in the same way; without a frequency axis there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seqstride.layers.base import Downsampler


class Stage(NamedTuple):
    """The cost of one step of an encoder.

    Attributes:
        layer: the downsampling layer at the end of the stage, or None.
        channels: channels of the activation that leaves the stage.
        macs: multiply-accumulates per frame (and bin) at the stage's input length.
        frequency: the downsampling layer along frequency, which comes behind `layer`, or None.
        macs_between: multiply-accumulates per frame and bin between `layer` and `frequency`.
        macs_behind: … and behind both of them.
        macs_per_pair: multiply-accumulates per pair of frames at the stage's input length (attention).
    """

    layer: Downsampler | None
    channels: int
    macs: int
    frequency: Downsampler | None = None
    macs_between: int = 0
    macs_behind: int = 0
    macs_per_pair: int = 0

    @property
    def layers(self) -> list[Downsampler]:
        """The downsampling layers there are."""
        return [layer for layer in (self.layer, self.frequency) if layer is not None]


class Staged(Protocol):
    """An encoder that lists its stages in order of depth; one over time and frequency also has `bands`, its input's."""

    @property
    def stages(self) -> list[Stage]: ...


Kind = Literal["frames", "memory", "macs"]


class _Cells(NamedTuple):
    """Frames times bins at a stage's input, between its two layers and behind them; 0-d, in double precision."""

    before: Tensor
    between: Tensor
    behind: Tensor

    def cost(self, stage: Stage, kind: Kind) -> Tensor:
        if kind == "memory":
            return stage.channels * self.behind
        frames = stage.macs * self.before + stage.macs_between * self.between + stage.macs_behind * self.behind
        return frames + stage.macs_per_pair * self.before.square()


def _cells(encoder: Any, length: float) -> list[_Cells]:
    """The cells of every stage, differentiable in the strides."""
    n, m = torch.tensor([length, getattr(encoder, "bands", 1)], dtype=torch.float64).unbind()
    cells = []
    for stage in encoder.stages:
        shorter, narrower = _shortened(n, stage.layer), _shortened(m, stage.frequency)
        cells.append(_Cells(n * m, shorter * m, shorter * narrower))
        n, m = shorter, narrower
    return cells


def _shortened(size: Tensor, layer: Downsampler | None) -> Tensor:
    return size if layer is None else layer.expected_length(size.to(_device(layer))).cpu()


def _device(layer: nn.Module) -> torch.device:
    return next((p.device for p in layer.parameters()), torch.device("cpu"))


def complexity(encoder: Staged | Iterable[Downsampler], kind: Kind = "frames", length: int = 1000) -> Tensor:
    """The cost of an encoder, a 0-d tensor that is differentiable in the strides.

    Args:
        encoder: an encoder with `stages`; for kind "frames" also the layers in order of depth.
        kind: "frames": Σ_l Π_{i≤l} 1/S_i, which is the number of layers if all strides are 1; S_i is the product of the
            strides along time and frequency where there are two;
            "memory": activations Σ_l C_l n_l m_l, "macs": multiply-accumulates Σ_l macs_l n_{l−1} m_{l−1}, both
            relative to the same net without downsampling (1 at most).
        length: n_0, frames at the encoder's input; the soft edge of a spectral window weighs more in short signals.

    Returns:
        0-d tensor.

    Raises:
        ValueError: an unknown kind, a length below 1, layers without stages for another kind than "frames".

    Source: "frames" is Riad et al. 2022, Eq. 6 (without λ); "memory" and "macs" are ours.

    Example:
        >>> import seqstride as ss
        >>> encoder = ss.ResNet1d(40, channels=(64, 64), strides=(2, 2), downsampler="average")
        >>> float(ss.complexity(encoder, kind="frames"))  # 1/2 + 1/4
        0.75
    """
    if kind not in ("frames", "memory", "macs"):
        raise ValueError(f"`kind` (={kind!r}) must be 'frames', 'memory' or 'macs'")
    if length < 1:
        raise ValueError(f"`length` (={length}) must be at least 1")
    stages = getattr(encoder, "stages", None)
    if kind == "frames":
        layers: Any = encoder
        steps = [[layer] for layer in layers] if stages is None else [stage.layers for stage in stages if stage.layers]
        total, share = torch.zeros(()), torch.ones(())
        for step in steps:
            for layer in step:
                share = share / layer.stride
            total = total + share
        return total
    if stages is None:
        raise ValueError(f"`encoder` (a {type(encoder).__name__}) must list its `stages` for kind {kind!r}")
    cells = _cells(encoder, length)
    whole = _Cells(*[cells[0].before] * 3)
    cost = torch.stack([cell.cost(stage, kind) for cell, stage in zip(cells, stages, strict=True)]).sum()
    return (cost / torch.stack([whole.cost(stage, kind) for stage in stages]).sum()).float()


def macs(encoder: Staged, length: int) -> float:
    """Multiply-accumulates of one forward pass over one item of `length` frames, with the present strides."""
    if length < 1:
        raise ValueError(f"`length` (={length}) must be at least 1")
    with torch.no_grad():
        cells = _cells(encoder, length)
        return float(sum(cell.cost(stage, "macs") for cell, stage in zip(cells, encoder.stages, strict=True)))


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, stride_lr: float | None = None
) -> list[dict[str, Any]]:
    """Optimiser groups: the strides without weight decay and with their own learning rate, and everything else.

    Weight decay would pull a stride towards 0 for no reason in the data (Riad et al. 2022, §4).

    Args:
        model: any module; its learnt strides are found by their layers.
        lr: learning rate.
        weight_decay: of everything but the strides.
        stride_lr: learning rate of the strides; None: `lr`.

    Returns:
        Groups for `torch.optim`, the strides last and only where there are any.

    Raises:
        ValueError: negative or non-finite rates.

    Example:
        >>> import seqstride as ss
        >>> model = ss.ResNet1d(40, downsampler="diffstride")
        >>> groups = ss.parameter_groups(model, lr=1e-3, weight_decay=0.01, stride_lr=0.02)
        >>> [(group["lr"], group["weight_decay"]) for group in groups]
        [(0.001, 0.01), (0.02, 0.0)]
    """
    for name, value in (
        ("lr", lr),
        ("weight_decay", weight_decay),
        ("stride_lr", lr if stride_lr is None else stride_lr),
    ):
        if not 0 <= value < float("inf"):
            raise ValueError(f"`{name}` (={value}) must be finite and not negative")
    strides = [m.stride_parameter for m in model.modules() if isinstance(m, Downsampler) and m.learns_stride]
    known = {id(p) for p in strides}
    rest = [p for p in model.parameters() if id(p) not in known]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": lr, "weight_decay": weight_decay}]
    if strides:
        groups.append({"params": strides, "lr": lr if stride_lr is None else stride_lr, "weight_decay": 0.0})
    return groups
