"""Batch normalisation by kernels as a node of autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqstride.core.kernels.norm import Statistics, batch_statistics, normalise, normalise_backward


class Running(NamedTuple):
    """Running mean and variance (C,), the number of batches in them (0-d), and whether this batch is one more."""

    mean: Tensor
    variance: Tensor
    batches: Tensor
    momentum: float
    training: bool


Plain = Callable[[Tensor, Tensor, Tensor, Tensor, "tuple[Tensor, Tensor] | None"], Tensor]
"""The same in plain torch: signal, lengths, weight, bias, and mean and variance or None where the batch's own count."""


def _statistics(x: Tensor, lengths: Tensor, running: Running, eps: float) -> Statistics:
    if running.training:
        return batch_statistics(x, lengths, running.mean, running.variance, running.batches, running.momentum, eps)
    return Statistics(running.mean, running.variance, given=True)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        lengths: Tensor,
        running: Running,
        eps: float,
        relu: bool,
        plain: Plain,
    ) -> Tensor:
        x = x.contiguous()
        statistics = _statistics(x, lengths, running, eps)
        if statistics.given:  # later batches may move them before the backward
            both = torch.stack([running.mean, running.variance])
            statistics = Statistics(both[0], both[1], given=True)
        ctx.save_for_backward(x, weight, bias, lengths, statistics.mean, statistics.second)
        ctx.given, ctx.method, ctx.plain = statistics.given, (eps, relu), plain
        return normalise(x, lengths, statistics, weight, bias, eps, relu)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, bias, lengths, mean, second = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # a second derivative may follow: plain torch has one
            y = ctx.plain(x, lengths, weight, bias, (mean, second) if ctx.given else None)
            learnt = [tensor for tensor, want in zip((x, weight, bias), wanted, strict=True) if want]
            gradients = iter(torch.autograd.grad(y, learnt, dy, create_graph=True))
            return *(next(gradients) if want else None for want in wanted), None, None, None, None, None
        statistics = Statistics(mean, second, ctx.given)
        dx, dweight, dbias = normalise_backward(
            dy.contiguous(), x, lengths, statistics, weight, bias, *ctx.method, want_dx=wanted[0]
        )
        return dx, dweight if wanted[1] else None, dbias if wanted[2] else None, None, None, None, None, None


def masked_batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    lengths: Tensor,
    running: Running,
    eps: float,
    relu: bool,
    plain: Plain,
) -> Tensor:
    """(B, C, T) → (B, C, T), of x's dtype, with 0 in the padding; in training the running statistics move.

    Args:
        weight, bias: (C,).
        lengths: (B,) integers, on the device.
        relu: whether a ReLU follows.
        plain: for second derivatives.
    """
    if torch.is_grad_enabled():
        y: Tensor = _Norm.apply(x, weight, bias, lengths, running, eps, relu, plain)
        return y
    x = x.contiguous()
    return normalise(x, lengths, _statistics(x, lengths, running, eps), weight, bias, eps, relu)
