"""H-Net's dynamic chunking: an output frame wherever a frame differs from the one before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_channels, check_stride
from seqstride.core.lengths import Frames, float64_on, zero_padding
from seqstride.core.plan import IdentityPlan, Plan
from seqstride.core.segments import FINE, BoundaryPlan, cosines, ratio_penalty, segment_rows
from seqstride.layers.base import Downsampler
from seqstride.layers.pooling import AvgPool1d


class HNet1d(Downsampler):
    """Dynamic chunking: (B, C, T) → (B, C, L), where L follows from the content of each item.

    A boundary stands before frame t with probability p_t = ½ (1 − cos(q_t, k_{t−1})), q = W_q x and k = W_k x, and
    p_1 = 1. Frames with p ≥ ½ start a chunk and are kept, the others are dropped. Both W start at the identity. With
    stride 1 all frames are kept.

    The kept frames pass through unchanged, and their probabilities get gradients as if they were factors (straight
    through), so that what follows a layer teaches it also where nothing is expanded again. `expand` of its plan is the
    paper's dechunking: smoothed by p, then repeated over each chunk, with the confidences straight through. (A
    VQ-VAE's decoder knows durations alone and expands as it does for all methods.)

    The plan's `penalty`, the ratio loss over all real frames of the batch, belongs in the loss, with weight 0.03 in the
    paper: it holds the mean ratio at s. It is a property of the batch, all else is one of the item. It also makes the
    first boundaries where all features are positive, as behind a ReLU: at the start no angle between them is obtuse.

    Args:
        channels: C of the input.
        stride: s, the mean ratio aimed at (N in the paper), real, ≥ 1; input frames per output frame.

    Raises:
        ValueError: naming argument, value and rule.

    Source: Hwang, Wang and Gu 2025, "Dynamic chunking for end-to-end hierarchical sequence modeling", §2.2, Eqs. 4–10.
    Ours: positions that spread a chunk evenly around its output frame; probabilities in double precision; two frames of
    zeros are alike; the gradient straight through the kept frames.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> x = torch.tensor([[[1.0, 2.0, -1.0, -3.0, 1.0]]])
        >>> plan = ss.HNet1d(1, stride=2).plan(x)
        >>> plan(x).tolist(), plan.durations()
        ([[[1.0, -1.0, 1.0]]], tensor([[2, 2, 1]]))
    """

    stride: float
    channels: int
    adaptive = True
    content_lengths = True
    no_stream = "it places a frame when its chunk has ended, which may be of any length"
    bins = "mean"
    along_frequency = AvgPool1d

    def __init__(self, channels: int, stride: float) -> None:
        super().__init__()
        self.channels, self.stride = check_channels(channels), check_stride(stride)
        self.queries, self.keys = (nn.Parameter(torch.eye(channels)) for _ in range(2))
        self.input_macs = 2 * channels**2

    def extra_repr(self) -> str:
        return f"{self.channels}, {super().extra_repr()}"

    def probabilities(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """p (B, T) in double precision where the device has it, anything in the padding."""
        signal = x if lengths is None else zero_padding(x, lengths)
        with torch.autocast(x.device.type, enabled=False):
            signal = signal.to(float64_on(x.device))
            queries, keys = (torch.matmul(w.to(signal.dtype), signal) for w in (self.queries, self.keys))
            first = torch.arange(x.shape[2], device=x.device) == 0
            return torch.where(first, 1.0, (1 - cosines(queries, keys)) / 2)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        if self.stride == 1:
            return IdentityPlan(frames.ending(frames.input_lengths), x)
        p = self.probabilities(x, frames.given)
        # a frame that is not finite stands alone
        rows, lengths = segment_rows(~((p.detach() * FINE).round() < FINE / 2), frames)
        kind = torch.promote_types(torch.promote_types(x.dtype, self.queries.dtype), torch.float32)
        penalty = ratio_penalty(p, rows, frames, self.stride).to(kind)
        return BoundaryPlan(frames.ending(lengths), p, rows, penalty)
