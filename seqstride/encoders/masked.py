"""Pooling over time and batch normalisation that read real frames only."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.distributed import ranks, sum_over_ranks


def _padding(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, 1, T) bool: True behind the real frames of each item."""
    return (torch.arange(x.shape[-1], device=x.device) >= lengths[:, None])[:, None]


def masked_mean(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the real frames of each item: (B, C, T) → (B, C)."""
    if lengths is None:
        return x.mean(-1)
    return x.masked_fill(_padding(x, lengths), 0.0).sum(-1) / lengths[:, None].to(x.dtype)


def masked_max(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Largest value over the real frames of each item: (B, C, T) → (B, C)."""
    if lengths is None:
        return x.amax(-1)
    return x.masked_fill(_padding(x, lengths), -math.inf).amax(-1)


def masked_softmax_mean(x: Tensor, sharpness: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the real frames with the weights softmax(sharpness · x): (B, C, T), (C,) → (B, C).

    A sharpness of 0 gives the mean, of ∞ the largest value. Source: McFee, Salamon, Bello 2018, "Adaptive pooling
    operators for weakly labeled sound event detection", IEEE/ACM TASLP 26 (11), where classes stand for channels.
    """
    if lengths is None:
        return ((sharpness[:, None] * x).softmax(-1) * x).sum(-1)
    padding = _padding(x, lengths)
    x = x.masked_fill(padding, 0.0)
    logits = (sharpness[:, None] * x).masked_fill(padding, -math.inf)
    return (logits.softmax(-1) * x).sum(-1)


class MaskedBatchNorm1d(nn.Module):
    """Batch normalisation whose statistics come from real frames only.

    (B, C, T), lengths (B,) or None → (B, C, T), with 0 in the padding. Parameters, buffers and, where nothing is
    padded, the result are those of `torch.nn.BatchNorm1d`. It does not derive from it: distributed training would
    replace it by `torch.nn.SyncBatchNorm`, which knows no lengths. In distributed training the statistics are those of
    the real frames of all ranks: first the mean, then the squares of the deviations from it are summed over the ranks,
    in the precision of the single process. Source: ours.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalises a batch; in training it also updates the running statistics."""
        if self.training:
            self.num_batches_tracked += 1
        if lengths is None and not (self.training and ranks() > 1):
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[-1], device=x.device)
        padding = _padding(x, lengths)
        if self.training:
            # in float32 at least, as torch's own: half precision has too few digits for a mean, and counts to 65504
            dtype = torch.promote_types(x.dtype, torch.float32)
            x = x.masked_fill(padding, 0.0)
            sums = sum_over_ranks(torch.cat([x.sum((0, 2), dtype=dtype), lengths.sum().to(dtype)[None]]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            squares = (x - mean[:, None]).masked_fill(padding, 0.0).square().sum((0, 2))
            variance = sum_over_ranks(squares) / count
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return ((x - mean[:, None]) * scale[:, None] + self.bias[:, None]).masked_fill(padding, 0.0)
