"""AdaStride's two resamplers: every output frame reads the input frames whose positions lie near it.

`align_frames` (the *matrix* method) weighs input frame t by softmax_t(−σ² (l − p_t)²). p is sorted, so with d_l the
distance of output l to its nearest position every t with |l − p_t| > d_l + √(45 / σ²) has less than e⁻⁴⁵ of the
nearest one's weight: nothing in float32 and below the rounding of a sum in float64 (2e-16 needs e⁻³⁶). Each output so
needs one contiguous run of inputs, outputs inside long gaps included. l ± (d_l + √(45 / σ²)) is monotone in l (d is
1-Lipschitz), so the window of a block of rows goes from the first input of its first row to the last input of its last
row.

`scatter_frames` (the *scatter* method, AdaStride-F) rounds every position to one output frame.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seqstride.band import Batch, band_adjoint, band_gram, band_product, batches_of, block_rows
from seqstride.lengths import Frames, length_mask
from seqstride.positions import frame_counts, nearest_output, sorted_positions


def _nearest_distance(p: Tensor, rows: Tensor, lengths: Tensor) -> Tensor:
    """Distance of every queried output frame (B, Q) to the nearest position; p (B, T) sorted, +inf in the padding."""
    right = torch.searchsorted(p, rows)
    left = (right - 1).clamp(min=0)
    right = torch.minimum(right, lengths[:, None] - 1)
    return torch.minimum((rows - p.gather(1, left)).abs(), (p.gather(1, right) - rows).abs())


def _align_batches(p: Tensor, frames: Frames, sigma_square: float) -> list[Batch]:
    """The windows of all blocks of rows; p (B, T) sorted, +inf in the padding."""
    lengths = frames.input_lengths
    first_row, last_row = (rows.to(p.dtype) for rows in block_rows(frames))
    radius = math.sqrt(45.0 / sigma_square)
    reach = _nearest_distance(p, first_row, lengths) + radius
    first = torch.searchsorted(p, first_row - reach)
    reach = _nearest_distance(p, last_row, lengths) + radius
    behind = torch.minimum(torch.searchsorted(p, last_row + reach, right=True), lengths[:, None])
    return batches_of(torch.stack([first, behind], dim=-1).tolist(), frames)


def _empty_output(x: Tensor, frames: Frames) -> Tensor:
    """(B, C, L) to be written item by item: zeros only where an item leaves some of it out."""
    width = frames.output_width
    make = x.new_empty if min(frames.host_output) == width else x.new_zeros
    return make(*x.shape[:2], width)


class _Align(torch.autograd.Function):
    """z = softmax(−σ² (l − p)²) x in blocks, with gradients for x and p.

    With A a block's weights and dA = dzᵀx, the gradient of the logits is dO = A ⊙ (dA − Σ_t A ⊙ dA), and as the logits
    are −σ² (l − p_t)², dp_t = 2σ² Σ_l dO[l, t] (l − p_t) = 2σ² (Σ_l dO[l, t] (l − r0) − (p_t − r0) Σ_l dO[l, t]).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor, frames: Frames, sigma_square: float) -> Tensor:
        p = sorted_positions(positions, frames.input_lengths)
        batches = _align_batches(p, frames, sigma_square)
        dtype = torch.promote_types(x.dtype, torch.float32)
        scaled = p * math.sqrt(sigma_square)
        z = _empty_output(x, frames)
        saved = []
        for batch in batches:
            item, rows, columns = batch.indices(x.device)
            # the least square is taken off in double precision: in a long gap all squares are large and nearly equal
            lines = rows.to(p.dtype)[:, :, None] * math.sqrt(sigma_square)
            square = (lines - scaled[item, columns][:, None]).square_()
            logits = torch.sub(square.amin(2, keepdim=True), square).to(dtype)
            weights = torch.softmax(logits, dim=2).to(x.dtype)
            band_product(z, x, batch, weights)
            saved.append(weights)
        ctx.save_for_backward(x, p, *saved)
        ctx.batches, ctx.sigma_square = batches, sigma_square
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, p, *saved = ctx.saved_tensors
        dz = gradients[0]
        dx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        dp = torch.zeros_like(p) if ctx.needs_input_grad[1] else None
        dtype = torch.promote_types(x.dtype, torch.float32)
        for batch, weights in zip(ctx.batches, saved, strict=True):
            if dx is not None:
                band_adjoint(dx, dz, batch, weights)
            if dp is not None:
                gram = band_gram(dz, x, batch).to(dtype)
                dlogits = torch._softmax_backward_data(gram, weights.to(dtype), 2, dtype)
                moments = torch.ones(2, batch.rows, dtype=dtype, device=x.device)
                moments[0] = torch.arange(batch.rows)
                first, zeroth = (moments @ dlogits).unbind(1)
                item, rows, columns = batch.indices(x.device)
                local = p[item, columns] - rows[:, :1]
                dp.index_put_((item, columns), first - local * zeroth, accumulate=True)
        if dp is not None:
            dp *= 2 * ctx.sigma_square
        return dx, dp, None, None


def align_frames(x: Tensor, positions: Tensor, frames: Frames, sigma_square: float) -> Tensor:
    """(B, C, T) → (B, C, L) by the exact alignment: `seqstride.functional.align` without its checks."""
    return _Align.apply(x, positions, frames, sigma_square)


class _Scatter(torch.autograd.Function):
    """z_l = Σ_{t: d_t = l} w_t x_t; output frames that receive nothing copy the input frame `fill` (−1: stay 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, bins: Tensor, fill: Tensor | None, frames: Frames) -> Tensor:
        batches = _scatter_batches(bins, fill, frames)
        z = _empty_output(x, frames)
        saved = []
        for batch in batches:
            item, rows, columns = batch.indices(x.device)
            hit = rows[:, :, None] == bins[item, columns][:, None]
            matrices = torch.where(hit, weights[item, columns][:, None], 0.0)
            if fill is not None:
                matrices += columns[:, None] == fill[item, rows][:, :, None]
            matrices = matrices.to(x.dtype)
            band_product(z, x, batch, matrices)
            saved.append(matrices)
        ctx.save_for_backward(x, bins, *saved)
        ctx.batches, ctx.weights_dtype = batches, weights.dtype
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, bins, *saved = ctx.saved_tensors
        dz = gradients[0]
        dx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        dweights = torch.zeros(bins.shape, dtype=ctx.weights_dtype, device=x.device)
        for batch, matrices in zip(ctx.batches, saved, strict=True):
            if dx is not None:
                band_adjoint(dx, dz, batch, matrices)
            if ctx.needs_input_grad[1]:
                item, rows, columns = batch.indices(x.device)
                hit = rows[:, :, None] == bins[item, columns][:, None]
                per_frame = torch.where(hit, band_gram(dz, x, batch), 0.0).sum(1, dtype=ctx.weights_dtype)
                dweights.index_put_((item, columns), per_frame, accumulate=True)
        return dx, dweights, None, None, None


def _scatter_batches(bins: Tensor, fill: Tensor | None, frames: Frames) -> list[Batch]:
    """The windows of all blocks of rows: the frames that fall into them, and those they are filled from."""
    sorted_bins = bins.masked_fill(~length_mask(frames.input_lengths, frames.width), torch.iinfo(bins.dtype).max)
    first_row, last_row = block_rows(frames)
    first = torch.searchsorted(sorted_bins, first_row)
    behind = torch.searchsorted(sorted_bins, last_row, right=True)
    if fill is not None:
        # sources are sorted, and lie in the window or right beside it; a block's outermost rows tell how far it reaches
        low, high = fill.gather(1, first_row), fill.gather(1, last_row)
        first = torch.where(low >= 0, torch.minimum(first, low), first)
        behind = torch.where(high >= 0, torch.maximum(behind, high + 1), behind)
    return batches_of(torch.stack([first, behind], dim=-1).tolist(), frames)


def _fill_sources(positions: Tensor, frames: Frames) -> Tensor:
    """For an output frame that no input frame rounds to, the nearest input frame (the earlier on a tie), else −1."""
    p = sorted_positions(positions, frames.input_lengths)
    occupied = frame_counts(positions, frames) > 0
    rows = torch.arange(frames.output_width, device=p.device, dtype=p.dtype).expand(occupied.shape).contiguous()
    right = torch.searchsorted(p, rows)
    left = (right - 1).clamp(min=0)
    right = torch.minimum(right, frames.input_lengths[:, None] - 1)
    nearer_left = (rows - p.gather(1, left)).abs() <= (p.gather(1, right) - rows).abs()
    source = torch.where(nearer_left, left, right)
    return source.masked_fill(occupied | ~length_mask(frames.lengths, frames.output_width), -1)


def scatter_weights(positions: Tensor, bins: Tensor, frames: Frames, sigma_square: float) -> Tensor:
    """Weight of every input frame in its output frame: softmax of −σ² (d_t − p_t)² over the frames of a bin; (B, T)."""
    padding = ~length_mask(frames.input_lengths, frames.width)
    logits = (-sigma_square * (bins - positions).square()).masked_fill(padding, -torch.inf)
    table = logits.new_zeros(positions.shape[0], frames.output_width)
    largest = table.scatter_reduce(1, bins, logits.detach(), "amax", include_self=False)
    e = (logits - largest.gather(1, bins)).exp().masked_fill(padding, 0.0)
    sums = table.scatter_add(1, bins, e).gather(1, bins)
    return e / sums.masked_fill(padding, 1.0)


def scatter_frames(x: Tensor, positions: Tensor, frames: Frames, sigma_square: float, empty: str) -> Tensor:
    """(B, C, T) → (B, C, L) by rounding: `seqstride.functional.scatter_align` without its checks."""
    bins = nearest_output(positions, frames.lengths)
    weights = scatter_weights(positions, bins, frames, sigma_square)
    fill = None
    if empty == "nearest":
        sources = _fill_sources(positions, frames)
        fill = sources if bool((sources >= 0).any()) else None
    weights = weights.to(torch.promote_types(x.dtype, torch.float32))
    return _Scatter.apply(x, weights, bins, fill, frames)
