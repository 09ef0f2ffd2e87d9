"""One score per frame: a 1×1 convolution to one channel that never reads the padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqstride.core.derivatives import differentiable

# By hand, because 0 · NaN from the padding would reach the weight's gradient. What resamples the second output hands
# its gradient to this node, which adds its own w ⊗ ds to it in one pass.


def _scores(x: Tensor, weight: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """s_t = wᵀx_t over the real frames, and x itself once more."""
    if min(lengths) == x.shape[2]:
        # matmul(weight, x) would transpose all of x first
        return torch.bmm(weight.expand(x.shape[0], 1, -1), x.to(weight.dtype)).squeeze(1), x.view_as(x)
    scores = weight.new_zeros(x.shape[0], x.shape[2])
    for item, length in enumerate(lengths):
        scores[item, :length] = torch.mv(x[item, :, :length].to(weight.dtype).t(), weight)
    return scores, x.view_as(x)


def _scores_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, ctx.lengths = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight)


def _scores_gradient(ctx: Any, dscores: Tensor | None, dx: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight = ctx.saved_tensors
    if dscores is None:
        return dx, None, None
    dweight = None
    if ctx.needs_input_grad[1]:
        dweight = torch.zeros_like(weight)
        for item, length in enumerate(ctx.lengths):
            dweight = dweight + x[item, :, :length].to(weight.dtype) @ dscores[item, :length]
    # the gradient of a score in the padding is 0: the positions there are constants
    if ctx.needs_input_grad[0]:
        outer = weight.to(x.dtype)[:, None], dscores.to(x.dtype)[:, None]
        dx = outer[0] * outer[1] if dx is None else torch.addcmul(dx, *outer)
    return dx, dweight, None


_score = differentiable(_scores, _scores_setup, _scores_gradient)


class FrameScore(nn.Conv1d):
    """A bias-free 1×1 convolution to one channel, zero-initialised: (B, C, T) → (B, T), 0 in the padding, and the
    signal.

    The signal comes back as it is; resampling that one instead of the argument saves a pass in training (`_scores`).

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
            scores, source = _score(x, self.weight[0, :, 0].to(dtype), lengths)
            return scores, source
