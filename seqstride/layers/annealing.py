"""Layers that keep more frames early in training than in the end.

A layer that starts at a large stride may never find what it cuts: nothing of it reaches the loss. So some layers start
wide: the soft edge of DiffStride (`seqstride.layers.diffstride.LearntStride.anneal`), or the ratio of an
`AdaStrideContent1d` with a `start`. What is wide goes down in few equal stairs, because each has shapes of its own, for
which `torch.compile` may make a graph. In evaluation all layers have what they end with, at any time: scores of
validation are those of the trained layer.

Source: ours.
"""

from __future__ import annotations

import math

from torch import nn

from seqstride.layers.base import Downsampler


def anneal(model: nn.Module, progress: float) -> None:
    """Sets how wide the layers of a model are at this point of the training: of DiffStride layers made with
    `narrowing=True` the soft edge, of `AdaStrideContent1d` with a `start` the ratio. All others stay as they are.

    One line in a training loop, before each step or each epoch:

        ss.anneal(model, step / steps)

    It depends on `progress` alone and is no state: a training that is resumed needs nothing but its step, and all
    processes of a distributed training have the same. Without the call, and in evaluation, no layer is wide.

    Args:
        model: any module; its layers are found.
        progress: the part of the training that is done, 0 … 1.

    Raises:
        ValueError: a `progress` outside 0 … 1.

    Source: ours.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"`progress` (={progress}) must be in 0 … 1")
    for layer in model.modules():
        if isinstance(layer, Downsampler):
            layer.anneal(progress)


def stairs(progress: float, begin: float, end: float, steps: int) -> float:
    """1 up to the first step behind `begin`, and down to 0 at `end` by equal steps."""
    return min(1.0, max(0.0, math.ceil(steps * (end - progress) / (end - begin)) / steps))


def epoch_progress(epoch: int, epochs: int) -> float:
    """The progress in an epoch, numbered from 1: 0 in the first epoch, 1 in the last and in an only one."""
    return 1 - (epochs - epoch) / max(1, epochs - 1)
