"""Merging of similar neighbours: segments of frames that resemble each other become their means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seqstride.core.checks import check_stride
from seqstride.core.lengths import TIE, Count, Frames, ceil_lengths, double, zero_padding
from seqstride.core.plan import Plan
from seqstride.core.segments import FINE, MeanPlan, cosines, segment_rows
from seqstride.layers.base import Downsampler
from seqstride.layers.pooling import AvgPool1d


def ranks(values: Tensor, stride: float) -> Tensor:
    """The place of each value among those of its item, from the smallest on: (B, T) → (B, T) int64.

    Of equal values those come first on which a window of a fixed stride would start (t / s passes a whole number), then
    the earlier ones.
    """
    t = torch.arange(values.shape[1], device=values.device)
    windows = (t / double(stride, t.device) + TIE).floor()
    inside = F.pad(windows[1:] == windows[:-1], (1, 0))
    order = inside.long().argsort(stable=True)
    order = order[values[:, order].argsort(dim=1, stable=True)]
    return torch.zeros_like(order).scatter(1, order, t.expand_as(order))


class MergePool1d(Downsampler):
    """Merges similar neighbours, without parameters: (B, C, T) → (B, C, ceil(T / s)).

    Of the T − 1 pairs of neighbouring frames of an item, the ceil(T / s) − 1 with the smallest cosine similarity are
    taken apart, and every run of frames between them becomes its mean. Of equally similar pairs those are taken apart
    first that average pooling would take apart, so that digital silence is cut evenly, then the earlier ones. With
    stride 1 it is the identity.

    Args:
        stride: s, input frames per output frame, real, ≥ 1.
        threshold: in [−1, 1]. Given, it decides, and not `stride`: pairs with a smaller similarity are taken apart, so
            that the output lengths follow from the content (`content_lengths`); `stride` is then the mean ratio that
            `seqstride.complexity` counts with.

    Raises:
        ValueError: naming argument, value and rule.

    Source: Li et al. 2023, "Accelerating Transducers through adjacent token merging", §3, for neighbours, cosines and
    both rules; it goes back to Bolya et al. 2023, "Token merging". There pairs are merged layer by layer, with keys of
    the attention. Ours: frames themselves, all runs at once.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.MergePool1d(2)(torch.tensor([[[1.0, 1.0, 1.0, 5.0], [0.0, 0.0, 0.0, -5.0]]]))
        tensor([[[ 1.,  5.],
                 [ 0., -5.]]])
    """

    stride: float
    adaptive = True
    no_stream = "it merges runs of any number of frames"
    bins = "mean"
    along_frequency = AvgPool1d

    def __init__(self, stride: float, *, threshold: float | None = None) -> None:
        super().__init__()
        self.stride = check_stride(stride)
        if threshold is not None and not (isinstance(threshold, (int, float)) and -1 <= threshold <= 1):
            raise ValueError(f"`threshold` (={threshold!r}) must be a cosine, in -1 … 1")
        self.threshold = threshold
        self.content_lengths = threshold is not None

    def extra_repr(self) -> str:
        rule = "" if self.threshold is None else f", threshold={self.threshold:g}"
        return super().extra_repr() + rule

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        return ceil_lengths(lengths, self.stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        signal = x.detach() if frames.given is None else zero_padding(x.detach(), frames.given)
        # a frame that is not finite stands alone
        similar = (cosines(signal, signal) * FINE).round().nan_to_num(nan=-FINE)
        first = torch.arange(frames.width, device=x.device) == 0
        if self.threshold is None:
            similar = similar.masked_fill(first, -torch.inf).masked_fill(~frames.real, torch.inf)
            rows, _ = segment_rows(ranks(similar, self.stride) < frames.lengths[:, None], frames)
        else:
            rows, lengths = segment_rows(first | (similar < round(self.threshold * FINE)), frames)
            frames = frames.ending(lengths)
        penalty = torch.zeros((), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        return MeanPlan(frames, rows, penalty)
