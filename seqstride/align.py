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

from seqstride.band import Block, band_adjoint, band_gram, band_product, block_rows, blocks_of
from seqstride.lengths import length_mask
from seqstride.positions import frame_counts, nearest_output, sorted_positions


def _nearest_distance(p: Tensor, rows: Tensor, lengths: Tensor) -> Tensor:
    """Distance of every queried output frame (B, Q) to the nearest position; p (B, T) sorted, +inf in the padding."""
    right = torch.searchsorted(p, rows)
    left = (right - 1).clamp(min=0)
    right = torch.minimum(right, lengths[:, None] - 1)
    return torch.minimum((rows - p.gather(1, left)).abs(), (p.gather(1, right) - rows).abs())


def _align_blocks(
    p: Tensor, lengths: Tensor, output_lengths: Tensor, host_output: list[int], sigma_square: float
) -> list[Block]:
    """The windows of all blocks of rows; p (B, T) sorted, +inf in the padding."""
    first_row, last_row = (rows.to(p.dtype) for rows in block_rows(output_lengths, max(host_output)))
    radius = math.sqrt(45.0 / sigma_square)
    reach = _nearest_distance(p, first_row, lengths) + radius
    first = torch.searchsorted(p, first_row - reach)
    reach = _nearest_distance(p, last_row, lengths) + radius
    behind = torch.searchsorted(p, last_row + reach, right=True)
    return blocks_of(first, torch.minimum(behind, lengths[:, None]), host_output)


class _Align(torch.autograd.Function):
    """z = softmax(−σ² (l − p)²) x in blocks, with gradients for x and p.

    With A a block's weights and dA = dzᵀx, the gradient of the logits is dO = A ⊙ (dA − Σ_t A ⊙ dA), and as the logits
    are −σ² (l − p_t)², dp_t = 2σ² Σ_l dO[l, t] (l − p_t) = 2σ² (Σ_l dO[l, t] (l − r0) − (p_t − r0) Σ_l dO[l, t]).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        positions: Tensor,
        lengths: Tensor,
        output_lengths: Tensor,
        host_output: list[int],
        sigma_square: float,
    ) -> Tensor:
        p = sorted_positions(positions, lengths)
        blocks = _align_blocks(p, lengths, output_lengths, host_output, sigma_square)
        width = max(host_output)
        dtype = torch.promote_types(x.dtype, torch.float32)
        sigma = math.sqrt(sigma_square)
        scaled = p * sigma
        rows = torch.arange(width, device=p.device, dtype=p.dtype)[:, None] * sigma
        weights = []
        for item, r0, r1, c0, c1 in blocks:
            # the least square is taken off in double precision: in a long gap all squares are large and nearly equal
            square = torch.sub(rows[r0:r1], scaled[item, c0:c1]).square_()
            logits = torch.sub(square.amin(1, keepdim=True), square).to(dtype)
            weights.append(torch.softmax(logits, dim=1).to(x.dtype))
        z = band_product(x, blocks, weights, width, full=min(host_output) == width)
        ctx.save_for_backward(x, p, *weights)
        ctx.blocks, ctx.sigma_square = blocks, sigma_square
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, p, *weights = ctx.saved_tensors
        gradient = gradients[0]
        dx = band_adjoint(gradient, ctx.blocks, weights, x.shape[-1]) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None, None, None
        dp = torch.zeros_like(p)
        dtype = torch.promote_types(x.dtype, torch.float32)
        count = max(r1 - r0 for _, r0, r1, _, _ in ctx.blocks)
        moments = torch.ones(2, count, dtype=dtype, device=x.device)
        moments[0] = torch.arange(count)
        for block, weight in zip(ctx.blocks, weights, strict=True):
            item, r0, r1, c0, c1 = block
            weight = weight.to(dtype)
            dlogits = torch._softmax_backward_data(band_gram(gradient, x, block).to(dtype), weight, 1, dtype)
            first, zeroth = moments[:, : r1 - r0] @ dlogits
            dp[item, c0:c1] += first - (p[item, c0:c1] - r0) * zeroth
        return dx, dp * (2 * ctx.sigma_square), None, None, None, None


def align_frames(
    x: Tensor,
    positions: Tensor,
    lengths: Tensor,
    output_lengths: Tensor,
    host_output: list[int],
    sigma_square: float,
) -> Tensor:
    """(B, C, T) → (B, C, L) by the exact alignment: `seqstride.functional.align` without its checks."""
    return _Align.apply(x, positions, lengths, output_lengths, host_output, sigma_square)


class _Scatter(torch.autograd.Function):
    """z_l = Σ_{t: d_t = l} w_t x_t; output frames that receive nothing copy the input frame `fill` (−1: stay 0)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        bins: Tensor,
        fill: Tensor,
        lengths: Tensor,
        output_lengths: Tensor,
        host_output: list[int],
    ) -> Tensor:
        blocks, has_fill = _scatter_blocks(bins, fill, lengths, output_lengths, host_output)
        width = max(host_output)
        rows = torch.arange(width, device=x.device)[:, None]
        columns = torch.arange(x.shape[-1], device=x.device)
        matrices = []
        for (item, r0, r1, c0, c1), filled in zip(blocks, has_fill, strict=True):
            hit = rows[r0:r1] == bins[item, c0:c1]
            matrix = torch.where(hit, weights[item, c0:c1], 0.0)
            if filled:
                matrix += columns[c0:c1] == fill[item, r0:r1, None]
            matrices.append(matrix.to(x.dtype))
        z = band_product(x, blocks, matrices, width, full=min(host_output) == width)
        ctx.save_for_backward(x, bins, rows, *matrices)
        ctx.blocks, ctx.weights_dtype = blocks, weights.dtype
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, bins, rows, *matrices = ctx.saved_tensors
        gradient = gradients[0]
        dx = band_adjoint(gradient, ctx.blocks, matrices, x.shape[-1]) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None, None, None, None
        dweights = torch.zeros(bins.shape, dtype=ctx.weights_dtype, device=x.device)
        for block in ctx.blocks:
            item, r0, r1, c0, c1 = block
            hit = rows[r0:r1] == bins[item, c0:c1]
            dweights[item, c0:c1] += torch.where(hit, band_gram(gradient, x, block), 0.0).sum(0)
        return dx, dweights, None, None, None, None, None


def _scatter_blocks(
    bins: Tensor, fill: Tensor, lengths: Tensor, output_lengths: Tensor, host_output: list[int]
) -> tuple[list[Block], list[bool]]:
    """The window of every block of rows, and whether it has rows to fill."""
    sorted_bins = bins.masked_fill(~length_mask(lengths, bins.shape[1]), torch.iinfo(bins.dtype).max)
    first_row, last_row = block_rows(output_lengths, max(host_output))
    first = torch.searchsorted(sorted_bins, first_row)
    behind = torch.searchsorted(sorted_bins, last_row, right=True)
    blocks = blocks_of(first, behind, host_output)
    sources = fill.tolist() if bool((fill >= 0).any()) else None
    if sources is None:
        return blocks, [False] * len(blocks)
    widened, has_fill = [], []
    for item, r0, r1, c0, c1 in blocks:
        # sorted, and in the block's own window or right beside it
        needed = [t for t in sources[item][r0:r1] if t >= 0]
        if needed:
            c0, c1 = (min(c0, needed[0]), max(c1, needed[-1] + 1)) if c1 > c0 else (needed[0], needed[-1] + 1)
        widened.append((item, r0, r1, c0, c1))
        has_fill.append(bool(needed))
    return widened, has_fill


def _fill_sources(positions: Tensor, lengths: Tensor, output_lengths: Tensor, occupied: Tensor) -> Tensor:
    """For an output frame that no input frame rounds to, the nearest input frame (the earlier on a tie), else −1."""
    p = sorted_positions(positions, lengths)
    rows = torch.arange(occupied.shape[1], device=p.device, dtype=p.dtype).expand(occupied.shape).contiguous()
    right = torch.searchsorted(p, rows)
    left = (right - 1).clamp(min=0)
    right = torch.minimum(right, lengths[:, None] - 1)
    nearer_left = (rows - p.gather(1, left)).abs() <= (p.gather(1, right) - rows).abs()
    source = torch.where(nearer_left, left, right)
    return source.masked_fill(occupied | ~length_mask(output_lengths, occupied.shape[1]), -1)


def scatter_weights(positions: Tensor, bins: Tensor, lengths: Tensor, width: int, sigma_square: float) -> Tensor:
    """Weight of every input frame in its output frame: softmax of −σ² (d_t − p_t)² over the frames of a bin; (B, T)."""
    real = length_mask(lengths, positions.shape[1])
    logits = (-sigma_square * (bins - positions).square()).masked_fill(~real, -torch.inf)
    table = torch.zeros(positions.shape[0], width, dtype=logits.dtype, device=logits.device)
    largest = table.scatter_reduce(1, bins, logits.detach(), "amax", include_self=False)
    e = (logits - largest.gather(1, bins)).exp().masked_fill(~real, 0.0)
    sums = table.scatter_add(1, bins, e).gather(1, bins)
    return e / sums.masked_fill(~real, 1.0)


def scatter_frames(
    x: Tensor,
    positions: Tensor,
    lengths: Tensor,
    output_lengths: Tensor,
    host_output: list[int],
    sigma_square: float,
    empty: str,
) -> Tensor:
    """(B, C, T) → (B, C, L) by rounding: `seqstride.functional.scatter_align` without its checks."""
    width = max(host_output)
    bins = nearest_output(positions, output_lengths)
    weights = scatter_weights(positions, bins, lengths, width, sigma_square)
    if empty == "nearest":
        occupied = frame_counts(positions, lengths, output_lengths, width) > 0
        fill = _fill_sources(positions, lengths, output_lengths, occupied)
    else:
        fill = torch.full((positions.shape[0], width), -1, device=x.device)
    weights = weights.to(torch.promote_types(x.dtype, torch.float32))
    return _Scatter.apply(x, weights, bins, fill, lengths, output_lengths, host_output)
