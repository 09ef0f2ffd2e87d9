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


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _empty_output(x: Tensor, frames: Frames) -> Tensor:
    """(B, C, L) to be written item by item: zeros only where an item leaves some of it out."""
    width = frames.output_width
    make = x.new_empty if min(frames.host_output) == width else x.new_zeros
    return make(*x.shape[:2], width)


def _align_weights(p: Tensor, batch: Batch, sigma_square: float, dtype: torch.dtype) -> Tensor:
    """softmax(−σ² (l − p)²) of a batch of blocks: (N, rows, columns)."""
    item, rows, columns = batch.indices(p.device)
    square = (rows[:, :, None] - p[item, columns][:, None]).square_()
    # the least square is taken off in double precision: in a long gap all squares are large and nearly equal
    return torch.softmax((square.amin(2, keepdim=True) - square).mul_(sigma_square).to(dtype), dim=2)


# The two resamplers are operators of their own, with the gradient by hand: their loops over blocks depend on the
# positions, and torch.compile can leave an operator whole where it would have to break its graph. Lengths are plain
# integers.


@torch.library.custom_op("seqstride::align", mutates_args=())
def _align(x: Tensor, positions: Tensor, host_input: list[int], host_output: list[int], sigma_square: float) -> Tensor:
    frames = Frames.on(x.device, host_input, host_output, x.shape[2])
    p = sorted_positions(positions, frames.input_lengths)
    z = _empty_output(x, frames)
    for batch in _align_batches(p, frames, sigma_square):
        band_product(z, x, batch, _align_weights(p, batch, sigma_square, _at_least_float32(x)).to(x.dtype))
    return z


@torch.library.custom_op("seqstride::align_backward", mutates_args=())
def _align_backward(
    dz: Tensor, x: Tensor, positions: Tensor, host_input: list[int], host_output: list[int], sigma_square: float
) -> tuple[Tensor, Tensor]:
    """Gradients for x and the positions.

    With A a block's weights (computed again: that costs less than keeping them) and dA = dzᵀx, the gradient of the
    logits is dO = A ⊙ (dA − Σ_t A ⊙ dA), and as the logits are −σ² (l − p_t)²,
    dp_t = 2σ² Σ_l dO[l, t] (l − p_t) = 2σ² (Σ_l dO[l, t] (l − r0) − (p_t − r0) Σ_l dO[l, t]).
    """
    frames = Frames.on(x.device, host_input, host_output, x.shape[2])
    p = sorted_positions(positions, frames.input_lengths)
    dx, dp = torch.zeros_like(x), torch.zeros_like(p)
    dtype = _at_least_float32(x)
    for batch in _align_batches(p, frames, sigma_square):
        weights = _align_weights(p, batch, sigma_square, dtype)
        band_adjoint(dx, dz, batch, weights.to(x.dtype))
        gram = band_gram(dz, x, batch).to(dtype)
        dlogits = torch._softmax_backward_data(gram, weights, 2, dtype)
        moments = torch.ones(2, batch.rows, dtype=dtype, device=x.device)
        moments[0] = torch.arange(batch.rows)
        first, zeroth = (moments @ dlogits).unbind(1)
        item, rows, columns = batch.indices(x.device)
        dp.index_put_((item, columns), first - (p[item, columns] - rows[:, :1]) * zeroth, accumulate=True)
    return dx, dp.mul_(2 * sigma_square)


@_align.register_fake
def _(x: Tensor, positions: Tensor, host_input: list[int], host_output: list[int], sigma_square: float) -> Tensor:
    return x.new_empty(*x.shape[:2], max(host_output))


@_align_backward.register_fake
def _(
    dz: Tensor, x: Tensor, positions: Tensor, host_input: list[int], host_output: list[int], sigma_square: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(positions)


def _align_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, positions, *ctx.rest = inputs
    ctx.save_for_backward(x, positions)


def _align_gradient(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    dx, dp = _align_backward(dz, *ctx.saved_tensors, *ctx.rest)
    return dx, dp, None, None, None


_align.register_autograd(_align_gradient, setup_context=_align_setup)


def align_frames(x: Tensor, positions: Tensor, frames: Frames, sigma_square: float) -> Tensor:
    """(B, C, T) → (B, C, L) by the exact alignment: `seqstride.functional.align` without its checks."""
    z: Tensor = _align(x, positions, frames.host_input, frames.host_output, sigma_square)
    return z


def _scatter_matrices(
    weights: Tensor, bins: Tensor, fill: Tensor | None, batch: Batch, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Which frame falls into which row, and with which weight, the filled rows included: (N, rows, columns) twice."""
    item, rows, columns = batch.indices(bins.device)
    hit = rows[:, :, None] == bins[item, columns][:, None]
    matrices = torch.where(hit, weights[item, columns][:, None], 0.0)
    if fill is not None:
        matrices += columns[:, None] == fill[item, rows][:, :, None]
    return hit, matrices.to(dtype)


@torch.library.custom_op("seqstride::scatter", mutates_args=())
def _scatter(
    x: Tensor, weights: Tensor, positions: Tensor, host_input: list[int], host_output: list[int], nearest: bool
) -> Tensor:
    """z_l = Σ_{t: d_t = l} w_t x_t; with `nearest`, frames that receive nothing copy the nearest input frame."""
    frames = Frames.on(x.device, host_input, host_output, x.shape[2])
    bins = nearest_output(positions, frames.lengths)
    fill = _fill_sources(positions, frames) if nearest else None
    z = _empty_output(x, frames)
    for batch in _scatter_batches(bins, fill, frames):
        _, matrices = _scatter_matrices(weights, bins, fill, batch, x.dtype)
        band_product(z, x, batch, matrices)
    return z


@torch.library.custom_op("seqstride::scatter_backward", mutates_args=())
def _scatter_backward(
    dz: Tensor,
    x: Tensor,
    weights: Tensor,
    positions: Tensor,
    host_input: list[int],
    host_output: list[int],
    nearest: bool,
) -> tuple[Tensor, Tensor]:
    frames = Frames.on(x.device, host_input, host_output, x.shape[2])
    bins = nearest_output(positions, frames.lengths)
    fill = _fill_sources(positions, frames) if nearest else None
    dx, dweights = torch.zeros_like(x), torch.zeros_like(weights)
    for batch in _scatter_batches(bins, fill, frames):
        hit, matrices = _scatter_matrices(weights, bins, fill, batch, x.dtype)
        band_adjoint(dx, dz, batch, matrices)
        item, _, columns = batch.indices(x.device)
        per_frame = torch.where(hit, band_gram(dz, x, batch), 0.0).sum(1, dtype=weights.dtype)
        dweights.index_put_((item, columns), per_frame, accumulate=True)
    return dx, dweights


@_scatter.register_fake
def _(
    x: Tensor, weights: Tensor, positions: Tensor, host_input: list[int], host_output: list[int], nearest: bool
) -> Tensor:
    return x.new_empty(*x.shape[:2], max(host_output))


@_scatter_backward.register_fake
def _(
    dz: Tensor,
    x: Tensor,
    weights: Tensor,
    positions: Tensor,
    host_input: list[int],
    host_output: list[int],
    nearest: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weights)


def _scatter_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights, positions, *ctx.rest = inputs
    ctx.save_for_backward(x, weights, positions)


def _scatter_gradient(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    dx, dweights = _scatter_backward(dz, *ctx.saved_tensors, *ctx.rest)
    return dx, dweights, None, None, None, None


_scatter.register_autograd(_scatter_gradient, setup_context=_scatter_setup)


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


def _fill_sources(positions: Tensor, frames: Frames) -> Tensor | None:
    """For an output frame that no input frame rounds to, the nearest input frame (the earlier on a tie), else −1.

    (B, L) int64, or None where there is no such output frame.
    """
    p = sorted_positions(positions, frames.input_lengths)
    occupied = frame_counts(positions, frames) > 0
    rows = torch.arange(frames.output_width, device=p.device, dtype=p.dtype).expand(occupied.shape).contiguous()
    right = torch.searchsorted(p, rows)
    left = (right - 1).clamp(min=0)
    right = torch.minimum(right, frames.input_lengths[:, None] - 1)
    nearer_left = (rows - p.gather(1, left)).abs() <= (p.gather(1, right) - rows).abs()
    vacant = ~occupied & length_mask(frames.lengths, frames.output_width)
    return torch.where(nearer_left, left, right).masked_fill(~vacant, -1) if bool(vacant.any()) else None


def scatter_weights(positions: Tensor, frames: Frames, sigma_square: float) -> Tensor:
    """Weight of every input frame in its output frame: softmax of −σ² (d_t − p_t)² over the frames of a bin; (B, T)."""
    bins = nearest_output(positions, frames.lengths)
    padding = ~length_mask(frames.input_lengths, frames.width)
    logits = (-sigma_square * (bins - positions).square()).masked_fill(padding, -torch.inf)
    table = logits.new_zeros(positions.shape[0], frames.output_width)
    largest = table.scatter_reduce(1, bins, logits.detach(), "amax", include_self=False)
    e = (logits - largest.gather(1, bins)).exp().masked_fill(padding, 0.0)
    sums = table.scatter_add(1, bins, e).gather(1, bins)
    return e / sums.masked_fill(padding, 1.0)


def scatter_frames(x: Tensor, positions: Tensor, frames: Frames, sigma_square: float, empty: str) -> Tensor:
    """(B, C, T) → (B, C, L) by rounding: `seqstride.functional.scatter_align` without its checks."""
    weights = scatter_weights(positions, frames, sigma_square).to(_at_least_float32(x))
    nearest = empty == "nearest"
    z: Tensor = _scatter(x, weights, positions.detach(), frames.host_input, frames.host_output, nearest)
    return z
