"""Scores of frames: what AdaStride's steps are made of, (B, C, T) → (B, T).

A score never reads the padding, and is computed in double precision where the device has it: an error of 3e-6, as sums
of 256 numbers in float32 have it, moves frames by 3e-6 · L. Products of float32 numbers are exact in double precision,
and sums of them to 1e-15: the same frames come out on every device, alone and in a batch.

All of them start at zero, the uniform stride, as their `weight` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.core.derivatives import differentiable
from seqstride.core.lengths import Frames, double, float64_on, length_mask, reading_waits, zero_padding
from seqstride.distributed import sum_over_ranks
from seqstride.layers.pace import MEMORY

# The linear score. Its gradient is written by hand, because 0 · NaN from the padding would reach the weight's gradient.
# The plan resamples the second output, so this node gets its gradient and adds w ⊗ ds to it in one pass.

# Numbers of a signal that a CPU converts to double precision at a time: 1 MB, which stays in the cache.
CHUNK = 1 << 17

REMEMBERED = 0.95
"""The part of the means that a batch leaves, once twenty have been seen."""

SCALE = 5.0
"""Of scores behind weights that do not start at zero."""


def _sums(x: Tensor, weight: Tensor) -> Tensor:
    """wᵀx_t in double precision where the device has it: (B, C, T), (C,) → (B, T)."""
    weight = weight.to(float64_on(x.device))
    if x.device.type != "cpu" or x.dtype == weight.dtype:
        return _products(x, weight)
    _, channels, frames = x.shape
    items = CHUNK // (channels * frames)
    if items > 0:
        return torch.cat([_products(part, weight) for part in x.split(items)])
    rows = max(1, CHUNK // frames)
    return torch.cat([_sum_of_parts(item, weight, rows) for item in x.split(1)])


def _sum_of_parts(x: Tensor, weight: Tensor, rows: int) -> Tensor:
    """wᵀx_t, some channels after the others."""
    first, *others = (_products(*part) for part in zip(x.split(rows, 1), weight.split(rows), strict=True))
    return sum(others, start=first)


def _products(x: Tensor, weight: Tensor) -> Tensor:
    """wᵀx_t in the precision of the weight."""
    # matmul(weight, x) would transpose all of x first
    return torch.bmm(weight.expand(x.shape[0], 1, -1), x.to(weight.dtype)).squeeze(1)


def _scores(x: Tensor, weight: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """s_t = wᵀx_t over the real frames, and x itself once more."""
    scores = _sums(x, weight)
    if lengths is not None:
        scores = scores.masked_fill(~length_mask(lengths, x.shape[2]), 0.0)
    return scores, x.view_as(x)


def _scores_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs)


def _scores_gradient(ctx: Any, dscores: Tensor | None, dx: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, lengths = ctx.saved_tensors
    if dscores is None:
        return dx, None, None
    dscores, dweight = dscores.to(weight.dtype), None
    if ctx.needs_input_grad[1] and reading_waits(x.device):
        signal = x if lengths is None else zero_padding(x, lengths)
        dweight = torch.bmm(signal.to(weight.dtype), dscores[:, :, None]).sum(0).squeeze(1)
    elif ctx.needs_input_grad[1]:
        dweight = torch.zeros_like(weight)
        for item, length in enumerate([x.shape[2]] * len(x) if lengths is None else lengths.tolist()):
            dweight = dweight + x[item, :, :length].to(weight.dtype) @ dscores[item, :length]
    # the gradient of a score in the padding is 0: the positions there are constants
    if ctx.needs_input_grad[0]:
        outer = weight.to(x.dtype)[:, None], dscores.to(x.dtype)[:, None]
        dx = outer[0] * outer[1] if dx is None else torch.addcmul(dx, *outer)
    return dx, dweight, None


def _traced_scores(x: Tensor, weight: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same in a graph, which cannot depend on the values of lengths: the padding is read as 0."""
    signal = x if lengths is None else zero_padding(x, lengths)
    precision = float64_on(x.device)
    return (signal.to(precision) * weight.to(precision)[:, None]).sum(1), x


_score = differentiable(_scores, _scores_setup, _scores_gradient, _traced_scores)


class Score(nn.Module):
    """Base of scores: (B, C, T), lengths (B,) or None → scores (B, T), 0 in the padding, and the signal."""

    weight: Tensor
    """Zeros at the start: then so are all scores."""
    context: int = 0
    """Frames on either side of a frame that its score reads."""
    macs: int
    """Multiply-accumulates per frame."""

    def precision(self, x: Tensor) -> torch.dtype:
        """That of the weight or of `x`, whichever is higher, and at least float32."""
        return torch.promote_types(torch.promote_types(x.dtype, self.weight.dtype), torch.float32)


class FrameScore(Score, nn.Conv1d):
    """A bias-free 1×1 convolution to one channel, zero-initialised: (B, C, T) → (B, T), 0 in the padding, and the
    signal.

    The returned signal equals the argument; resampling it instead of the argument saves a pass in training (`_scores`).

    In double precision where the device has it, also under autocast: scores pass through exp and a running sum over T,
    where any rounding moves frames. The gradient is computed in the precision of the weight or of `x`, whichever is
    higher, and at least float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, 1, bias=False)
        self.macs = channels

    def reset_parameters(self) -> None:
        """Zeros: training starts at the uniform stride (official code)."""
        nn.init.zeros_(self.weight)

    def forward(  # type: ignore[override]
        self, x: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            score = _traced_scores if torch.compiler.is_compiling() else _score
            scores, source = score(x, self.weight.view(-1).to(self.precision(x)), lengths)
            return scores, source


class ContextScore(Score):
    """A score that sees the frames around: (B, C, T) → (B, T), 0 in the padding, and the signal.

    f_t = Σ_h w⁺_h max(a_hᵀx_t, 0) + w⁻_h max(−a_hᵀx_t, 0) says what is in a frame, and the score is five times its mean
    over the frames around: s_t = 5 Σ_k h_k f_{t+k} / Σ_k h_k, k = −R … R, with a Hann window, h_k = cos²(½πk / (R+1)).
    Both sums run over the frames that the item has, so that an even signal has even scores up to its ends.

    - The nonlinearity comes before the mean over time: the energy of what changes its sign from frame to frame is a
      number per frame behind it, which no linear score can tell, and the mean takes its noise off.
    - One of the two parts of a projection is always alive, and nothing has a bias: with biases and ReLU alone, units
      died at five times the learning rate, and all scores were equal from then on.
    - The five lets scores of 1 come early in training, as a step of Adam is as long as the learning rate whatever the
      gradient is: the layers behind get used to the local strides that they are trained with.

    Args:
        channels: C.
        context: R, frames on either side.
        hidden: projections a_h.

    Source: ours.
    """

    def __init__(self, channels: int, context: int = 7, hidden: int = 16) -> None:
        super().__init__()
        self.context = context
        self.inner = nn.Linear(channels, hidden, bias=False)
        self.weight = nn.Parameter(torch.zeros(2, hidden))
        self.macs = channels * hidden + self.weight.numel() + 2 * context + 1

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            inside = self._inside(_rows(x, self.inner, lengths), lengths)
            scores = SCALE * self._window_means(inside, lengths)
            return (scores if lengths is None else scores.masked_fill(~length_mask(lengths, x.shape[2]), 0.0)), x

    def _inside(self, rows: Tensor, lengths: Tensor | None) -> Tensor:
        """f (B, T) of the projections (B, H, T), 0 in the padding."""
        positive, negative = _double(self.weight, rows)
        return torch.matmul(positive, rows.relu()) + torch.matmul(negative, (-rows).relu())

    def _window_means(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """Means over the window around every frame, of the frames that the item has; values are 0 in the padding."""
        ones = torch.ones_like(values)
        if lengths is not None:
            ones = ones.masked_fill(~length_mask(lengths, values.shape[1]), 0.0)
        sums, shares = self._window_sums(torch.stack([values, ones], 1)).unbind(1)
        return sums / shares.clamp(min=1e-3)  # nothing is in the window of a frame far inside the padding

    def _window_sums(self, rows: Tensor) -> Tensor:
        """Σ_k h_k rows[:, :, t + k], zeros beyond the ends: (B, 2, T) → (B, 2, T)."""
        device = rows.device
        if torch.compiler.is_exporting():  # runtimes have no convolution in double precision
            t = torch.arange(rows.shape[2], device=device)
            return torch.matmul(rows, self._window(t - t[:, None], rows.dtype))
        window = self._window(torch.arange(-self.context, self.context + 1, device=device), rows.dtype)
        return nn.functional.conv1d(rows, window.expand(2, 1, -1), padding=self.context, groups=2)

    def _window(self, offsets: Tensor, dtype: torch.dtype) -> Tensor:
        """h at integer offsets, 0 beyond R."""
        angle = offsets.to(dtype) * double(math.pi / (2 * self.context + 2), offsets.device).to(dtype)
        return angle.cos().square().masked_fill(offsets.abs() > self.context, 0.0)

    def extra_repr(self) -> str:
        return f"context={self.context}"


class LevelledScore(ContextScore):
    """A `ContextScore` whose features are counted from their mean over the training so far.

    f_t is never negative, so all its weights have one direction in common: the level of the scores, which decides how
    many frames come out where steps are not relative to those of the item. Every step of Adam moves each weight by
    about the learning rate, and in this direction they add up, so that the level runs away or jitters, and nothing else
    is learnt. Less the means of its two parts, a change of the weights leaves the level of all items together where it
    is, and items may still differ.

    The means are buffers that follow the real frames of the training batches (of all ranks), as those of a batch norm
    do, but not without gradients: a stream of a layer that trains moves nothing. A batch is scored with the means of
    those before it, so that batch mates have no influence. The transforms of `torch.func` write no buffers: call
    `eval()` first, as with batch norms.

    Source: ours.
    """

    level: Tensor
    """Means of max(a_hᵀx, 0) and max(−a_hᵀx, 0): (2, hidden)."""
    batches: Tensor
    """The number of batches that they have seen."""

    def __init__(self, channels: int, context: int = 7, hidden: int = 16) -> None:
        super().__init__(channels, context, hidden)
        self.register_buffer("level", torch.zeros(2, hidden))
        self.register_buffer("batches", torch.zeros(()))

    def _inside(self, rows: Tensor, lengths: Tensor | None) -> Tensor:
        level = self.level.to(rows, copy=True)  # it follows the batch only now
        if self.training and torch.is_grad_enabled():
            self._follow(rows.detach(), lengths)
        inside = super()._inside(rows, lengths) - (_double(self.weight, rows) * level).sum()
        return inside if lengths is None else inside.masked_fill(~length_mask(lengths, rows.shape[2]), 0.0)

    def _follow(self, rows: Tensor, lengths: Tensor | None) -> None:
        frames = rows.new_tensor([rows.shape[0] * rows.shape[2]]) if lengths is None else lengths.sum()[None].to(rows)
        sums = sum_over_ranks(torch.cat([rows.relu().sum((0, 2)), (-rows).relu().sum((0, 2)), frames]))
        means = (sums[:-1] / sums[-1]).view_as(self.level).to(self.level)
        means = torch.where(means.isfinite(), means, self.level)
        self.level.lerp_(means, (1 / (self.batches + 1)).clamp(min=1 - REMEMBERED))
        self.batches += 1


class ChangeScore(Score):
    """A score from change: s_t = 5 g (1 − cos(q_t, k_{t−1})), q = Q x, k = K x; (B, C, T) → (B, T), and the signal.

    The gain g starts at zero. s_0 is 0; no step leads to the first frame, so it is not looked at.

    Args:
        channels: C.
        hidden: rows of Q and K.

    Source: the boundary rule of H-Net (Hwang et al. 2025, dynamic chunking) as a score; the gain is ours.
    """

    context = 1

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.query, self.key = (nn.Linear(channels, hidden, bias=False) for _ in range(2))
        self.weight = nn.Parameter(torch.zeros(1))
        self.macs = 2 * channels * hidden + 3 * hidden

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            q, k = (_units(_rows(x, layer, lengths)) for layer in (self.query, self.key))
            change = 1 - (q[..., 1:] * k[..., :-1]).sum(1)
            scores = nn.functional.pad(SCALE * _double(self.weight, x) * change, (1, 0))
            return (scores if lengths is None else scores.masked_fill(~length_mask(lengths, x.shape[2]), 0.0)), x


def _double(weight: Tensor, x: Tensor) -> Tensor:
    return weight.to(float64_on(x.device))


def _rows(x: Tensor, layer: nn.Linear, lengths: Tensor | None) -> Tensor:
    """W x_t in double precision, 0 in the padding: (B, C, T) → (B, H, T)."""
    signal = x if lengths is None else zero_padding(x, lengths)
    return torch.matmul(_double(layer.weight, x), _double(signal, x))


def _units(rows: Tensor) -> Tensor:
    """Rows (B, H, T) to unit length; 1e-12 keeps the gradient of zeros finite."""
    return rows * (rows.square().sum(1, keepdim=True) + 1e-12).rsqrt()


def bounded_scores(scores: Tensor, bound: float, frames: Frames) -> tuple[Tensor, Tensor]:
    """Scores (B, T) less the mean of their item, between the bounds of `soft_clamp`; and their penalty, 0-d.

    Positions do not know the level of an item's scores. Nothing would hold it otherwise, and at a high learning rate it
    would drift until all scores stand at one bound, where strides are uniform and gradients small.

    The penalty is 0.1 times the mean of how far scores, less the level, stand beyond ±3β, where the clamp has 95 % of
    its range and 3 % of its slope. A mean over the frames of each item, and over the items, as the gap penalty is.
    """
    if bound == math.inf:
        return scores, scores.new_zeros(())
    level = scores.masked_fill(~frames.real, 0.0).sum(1) / frames.input_lengths
    scores = (scores - level[:, None]).masked_fill(~frames.real, 0.0)
    excess = (scores.abs() - 1.5 * math.log(bound)).relu().sum(1) / frames.input_lengths
    return soft_clamp(scores, bound), 0.1 * excess.mean()


def soft_clamp(scores: Tensor, bound: float) -> Tensor:
    """Scores that let every local stride lie within s / `bound` … `bound` · s: s / √(1 + (s / β)²), β = ln(bound) / 2.

    A step is the exponential of its score, here between e^−β and e^β. So is the mean of all, and the ratio of a step to
    the mean lies between e^−2β = 1 / bound and bound. The mean step is that of the uniform stride, (L − 1) / (T − 1)
    output frames: s input frames per output frame but for rounding to whole frames. A stretch of a share q of all
    frames gets at most 1 / (q + (1 − q) / bound) times the frames that the uniform stride would give it.

    The slope, (1 + (s / β)²)^(−3/2), falls as a power of a score, where that of tanh falls exponentially: scores that
    ran far beyond the bound still have a gradient to come back by.
    """
    limit = math.log(bound) / 2
    return scores * ((scores / limit).square() + 1).rsqrt()


class Level:
    """The mean of the scores of a signal so far, which stands in for that of all where a signal still goes on.

    It forgets from `MEMORY` scores on, as the mean of the steps does in `seqstride.layers.pace`.
    """

    def __init__(self) -> None:
        self._frames, self._mean = 0, 0.0

    def take_off(self, scores: Iterable[float]) -> list[float]:
        """The next scores, each less the mean of those up to it."""
        return [self._next(score) for score in scores]

    def _next(self, score: float) -> float:
        self._frames += 1
        self._mean += (score - self._mean) / min(self._frames, MEMORY)
        return score - self._mean
