"""Pooling over time and batch normalisation that read real frames only."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.kernels import dispatch
from seqstride.distributed import ranks, sum_over_ranks


def _padding(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, 1, T) bool: True behind the real frames of each item."""
    return (torch.arange(x.shape[-1], device=x.device) >= lengths[:, None])[:, None]


def masked_mean(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the real frames of each item: (B, C, T) → (B, C)."""
    if lengths is None:
        return x.mean(-1)
    dtype = torch.promote_types(x.dtype, torch.float32)  # float16 has no numbers above 65504
    total = x.masked_fill(_padding(x, lengths), 0.0).sum(-1, dtype=dtype)
    return (total / lengths[:, None].to(dtype)).to(x.dtype)


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


def _has_kernels(x: Tensor, lengths: Tensor) -> bool:
    return x.device.type in dispatch.DEVICES and lengths.device == x.device and dispatch.has_kernels(x)


def _moments(x: Tensor, lengths: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and variance (C,) over the real frames of all ranks, and their number; x has 0 in the padding.

    In float32 at least, as torch's own: half precision has too few digits for a mean, and counts to 65504.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    sums = sum_over_ranks(torch.cat([x.sum((0, 2), dtype=dtype), lengths.sum().to(dtype)[None]]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    squares = (x - mean[:, None]).masked_fill(padding, 0.0).square().sum((0, 2))
    return mean, sum_over_ranks(squares) / count, count


def _normalise(
    x: Tensor, padding: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    scale = torch.rsqrt(variance + eps) * weight
    y = ((x - mean[:, None]) * scale[:, None] + bias[:, None]).masked_fill(padding, 0.0)
    return y.to(x.dtype)


def _plain_norm(
    x: Tensor,
    lengths: Tensor,
    weight: Tensor,
    bias: Tensor,
    given: tuple[Tensor, Tensor] | None,
    eps: float,
    relu: bool,
) -> Tensor:
    """What the kernels compute, by the mean and the variance `given` or those of the batch."""
    padding = _padding(x, lengths)
    x = x.masked_fill(padding, 0.0)
    mean, variance = _moments(x, lengths, padding)[:2] if given is None else given
    y = _normalise(x, padding, mean, variance, weight, bias, eps)
    return y.relu() if relu else y


class MaskedBatchNorm1d(nn.Module):
    """Batch normalisation whose statistics come from real frames only.

    (B, C, T), lengths (B,) or None → (B, C, T), with 0 in the padding. Parameters, buffers, the dtype of the result
    and, where nothing is padded, the result are those of `torch.nn.BatchNorm1d`. It does not derive from it:
    distributed training would replace it by `torch.nn.SyncBatchNorm`, which knows no lengths. In distributed training
    the statistics are those of the real frames of all ranks: first the mean, then the squares of the deviations from it
    are summed over the ranks, in the precision of the single process. On CUDA, with lengths, kernels do the same in
    two passes. Source: ours.
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

    def forward(self, x: Tensor, lengths: Tensor | None = None, relu: bool = False) -> Tensor:
        """Normalises a batch; in training it also updates the running statistics.

        Args:
            x: (B, C, T).
            lengths: (B,) integers, real frames of each item, or None: all.
            relu: whether a ReLU follows; on CUDA it then takes no pass of its own.
        """
        alone = ranks() == 1
        if lengths is not None and alone and _has_kernels(x, lengths):
            return self._by_kernels(x, lengths, relu)
        if self.training:
            self.num_batches_tracked += 1
        # torch refuses the variance of a single value
        single = self.training and x.shape[0] * x.shape[2] == 1
        if lengths is None and not single and (alone or not self.training):
            y = F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        else:
            y = self._masked(x, lengths)
        return y.relu() if relu else y

    def _by_kernels(self, x: Tensor, lengths: Tensor, relu: bool) -> Tensor:
        from seqstride.core.kernels.norm_node import Running, masked_batch_norm

        running = Running(
            self.running_mean, self.running_var, self.num_batches_tracked, self.momentum, self.training
        )  # fmt: skip
        plain = partial(_plain_norm, eps=self.eps, relu=relu)
        return masked_batch_norm(x, self.weight, self.bias, lengths, running, self.eps, relu, plain)

    def _masked(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[-1], device=x.device)
        padding = _padding(x, lengths)
        if self.training or torch.is_grad_enabled():  # 0 · NaN from the padding would reach the weight's gradient
            x = x.masked_fill(padding, 0.0)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance, count = _moments(x, lengths, padding)
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return _normalise(x, padding, mean, variance, self.weight, self.bias, self.eps)
