"""One score per frame: a 1×1 convolution to one channel that never reads the padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Score(torch.autograd.Function):
    """s_t = wᵀx_t over the real frames. By hand, because 0 · NaN from the padding would reach the weight's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, lengths: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.lengths = lengths
        scores = weight.new_zeros(x.shape[0], x.shape[2])
        for item, length in enumerate(lengths):
            torch.mv(x[item, :, :length].to(weight.dtype).t(), weight, out=scores[item, :length])
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        dweight = torch.zeros_like(weight)
        for item, length in enumerate(ctx.lengths):
            dweight += x[item, :, :length].to(weight.dtype) @ gradient[item, :length]
        # the gradient of a score in the padding is 0: the positions there are constants
        dx = (weight[:, None] * gradient[:, None]).to(x.dtype) if ctx.needs_input_grad[0] else None
        return dx, dweight, None


def score_frames(x: Tensor, weight: Tensor, lengths: list[int]) -> Tensor:
    """(B, C, T), (C,) → (B, T) scores in the precision of `weight` and of `x`, whichever is higher, 0 in the padding."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    return _Score.apply(x, weight.to(dtype), lengths)
