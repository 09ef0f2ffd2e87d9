"""One score per frame: a 1×1 convolution to one channel that never reads the padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Score(torch.autograd.Function):
    """s_t = wᵀx_t over the real frames, and x itself once more.

    By hand, because 0 · NaN from the padding would reach the weight's gradient. What resamples the second output hands
    its gradient to this node, which adds its own w ⊗ ds to it in place: a second array of the size of x, as wide as all
    that a pooling layer writes, is never made.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.lengths = lengths
        if min(lengths) == x.shape[2]:
            # matmul(weight, x) would transpose all of x first
            return torch.bmm(weight.expand(x.shape[0], 1, -1), x.to(weight.dtype)).squeeze(1), x
        scores = weight.new_zeros(x.shape[0], x.shape[2])
        for item, length in enumerate(lengths):
            torch.mv(x[item, :, :length].to(weight.dtype).t(), weight, out=scores[item, :length])
        return scores, x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        dscores, dx = gradients
        if dscores is None:
            return dx, None, None
        dweight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        if dweight is not None:
            for item, length in enumerate(ctx.lengths):
                dweight += x[item, :, :length].to(weight.dtype) @ dscores[item, :length]
        # the gradient of a score in the padding is 0: the positions there are constants
        if ctx.needs_input_grad[0]:
            outer = weight.to(x.dtype)[:, None], dscores.to(x.dtype)[:, None]
            dx = outer[0] * outer[1] if dx is None else dx.addcmul_(*outer)
        return dx, dweight, None


class FrameScore(nn.Conv1d):
    """A bias-free 1×1 convolution to one channel, zero-initialised: (B, C, T) → (B, T), 0 in the padding, and the
    signal.

    The signal comes back as it is; resampling that one instead of the argument saves memory in training (`_Score`).

    In the precision of the weight or of `x`, whichever is higher, and at least float32, also under autocast: scores
    pass through exp and a running sum over T, where half precision would move frames.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, 1, bias=False)

    def reset_parameters(self) -> None:
        """Zeros: training starts at the uniform stride (official code)."""
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        dtype = torch.promote_types(torch.promote_types(x.dtype, self.weight.dtype), torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return _Score.apply(x, self.weight[0, :, 0].to(dtype), lengths)
