"""An edge that starts wide and narrows in training, so that a learnt stride can come back from too large a start.

The narrow edge of DiffStride shows a stride only the bins around its cut. What stands further out is cut wholly, and
nothing tells the stride that it is needed (`seqstride.core.spectral_window` says why a wide edge in the gradient alone
is not enough). So the edge starts as wide as the spectrum. All bins come through, the weaker the further out; the rest
of the network learns to use them, and the loss pulls the stride to where they are stronger. As the edge narrows, the
stride has to go with it or lose them.

While the edge is wide, the output is long: L = T at first. The training runs on the whole spectrum for 1/8 of its
steps, then with 3/4, 1/2 and 1/4 of the bins that the narrow edge cuts, for 1/8 each, and for the second half at the
length that it ends with. So on average 5/16 of the frames that the stride saves are not saved in training. In
evaluation edges are narrow at any time: scores of validation are those of the trained layer, that of the paper.

`AdaStrideContent1d` with a `start` goes from that ratio to its stride, because its scores must have found the content
before frames get rare. Its steps may first lie 4 times, and at last 64 times below and above the mean. It has `start`
for 5/16 of the steps, goes on by eight equal factors, and has its stride from 3/4 on.

Source: ours.
"""

from __future__ import annotations

import math

from torch import nn

from seqstride.layers.base import Downsampler

#: widths that the edge has one after the other: few, because each has a graph of its own under torch.compile
STEPS = 4
#: ratios between `start` and the stride
CONTENT_STEPS = 8
#: part of the training in which the edge is wider than R
SHARE = 0.5


def narrow_edges(model: nn.Module, progress: float) -> None:
    """Sets the soft edges of all layers that were made with `narrowing=True` and learn, for this point of the training;
    and the ratios that layers made with a `start` aim at.

    One line in a training loop, before each step or each epoch:

        ss.narrow_edges(model, step / steps)

    The edge depends on `progress` alone and is no state: a training that is resumed needs nothing but its step, and all
    processes of a distributed training have the same edge. Without the call, and in evaluation, edges are narrow.
    `torch.compile` makes a graph for each of the four widths and one for the narrow edge.

    Args:
        model: any module; its layers are found.
        progress: the part of the training that is done, 0 … 1.

    Raises:
        ValueError: a `progress` outside 0 … 1.

    Source: ours.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"`progress` (={progress}) must be in 0 … 1")
    edge = max(0, math.ceil(STEPS * (1 - progress / SHARE))) / STEPS
    start = min(1, max(0, math.ceil(CONTENT_STEPS * (1.5 - 2 * progress)) / CONTENT_STEPS))
    for layer in model.modules():
        if not (isinstance(layer, Downsampler) and layer.narrowing):
            continue
        if layer.content_lengths:
            layer.edge = start
        elif layer.learnt_stride() is not None:
            layer.edge = edge


def epoch_progress(epoch: int, epochs: int) -> float:
    """The progress in an epoch, numbered from 1: 0 in the first epoch, 1 in the last and in an only one."""
    return 1 - (epochs - epoch) / max(1, epochs - 1)
