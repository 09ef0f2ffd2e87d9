"""AdaStride's two resamplers: every output frame reads the input frames whose positions lie near it.

`align_frames` (the *matrix* method) weighs input frame t by softmax_t(−σ² (l − p_t)²). p is sorted, so with d_l the
distance of output l to its nearest position every t with |l − p_t| > √(d_l² + 45 / σ²) has less than e⁻⁴⁵ of the
nearest one's weight: nothing in float32 and below the rounding of a sum in float64 (2e-16 needs e⁻³⁶). So each output
reads one run of inputs, also inside long gaps, and l ± √(d_l² + 45 / σ²) is monotone in l (d is 1-Lipschitz, and so is
the root): a banded matrix. In float32, e⁻²² of the nearest weight (3e-10) is already negligible.

Every path leaves out the same frames, those beyond that root. A layer that multiplies weights by others of its own
(`seqstride.layers.softpool`) would else tell one path from another, and so an item alone from the same in a batch.

`scatter_frames` (the *scatter* method, AdaStride-F) rounds every position to one output frame: a band one frame deep.

On a GPU both are kernels (`seqstride.core.kernels`). Elsewhere, in double precision and in compiled code they are
custom operators with gradients written by hand. The number of entries of a band depends on the positions, and
torch.compile keeps a custom operator whole where it would otherwise break its graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqstride.core.banded import Band, band_adjoint, band_product
from seqstride.core.dense import dense_align, dense_scatter
from seqstride.core.derivatives import differentiable, differentiable_adjoint, widen_batches
from seqstride.core.full import NEGLIGIBLE, full_align, full_align_backward
from seqstride.core.kernels import dispatch
from seqstride.core.lengths import Frames, length_mask, reading_waits
from seqstride.core.positions import nearest_output

if TYPE_CHECKING:
    from seqstride.core.kernels.align import Rows

# A band of more entries than this share of the full matrix, and than this number, costs more than it saves: an entry
# takes 40 bytes, and about 6 times as long as one of a full product.
FULL, FEW = 1 / 8, 1 << 16

# Items of equal lengths up to this many frames are full matrices, too: one batched product beats making indices.
FULL_UP_TO = 256

# On other devices than a CPU, full matrices up to this many cells an item: making a band waits for the device.
FULL_UP_TO_ELSEWHERE = 1 << 26


def _working_dtype(x: Tensor) -> torch.dtype:
    """Weights and products are float32 at least; a sparse product has no half precision everywhere."""
    return torch.promote_types(x.dtype, torch.float32)


def _sorted(positions: Tensor, lengths: Tensor) -> Tensor:
    """Positions (B, T) with +inf in the padding, so that every row is sorted."""
    padding = ~length_mask(lengths, positions.shape[1])
    return positions.detach().masked_fill(padding, torch.inf).contiguous()


def _row_sums(band: Band, values: Tensor) -> Tensor:
    """Sums of (n,) values over each row: (B·L,)."""
    return values.new_zeros(band.first.numel()).index_add_(0, band.row, values)


def _column_sums(band: Band, values: Tensor, frames: int) -> Tensor:
    """Sums of (n,) values over each column: (B, T)."""
    sums = values.new_zeros(band.first.shape[0] * frames).index_add_(0, band.place, values)
    return sums.view(-1, frames)


def _align_band(
    p: Tensor, lengths: Tensor, output_lengths: Tensor, output_width: int, sigma_square: float, dtype: torch.dtype
) -> tuple[Band, Tensor] | None:
    """Runs and weights (n,) of softmax_t(−σ² (l − p_t)²); p (B, T) as `_sorted` gives it.

    None where full matrices are the faster way: for runs so long that they are also smaller, and short equal items.
    """
    width = p.shape[1]
    if reading_waits(p.device) and width * output_width <= FULL_UP_TO_ELSEWHERE:
        return None
    if width <= FULL_UP_TO and bool((lengths == lengths[0]).all()):
        return None
    lengths, output_lengths = lengths[:, None], output_lengths[:, None]
    rows = torch.arange(output_width, device=p.device, dtype=p.dtype).expand(p.shape[0], -1).contiguous()
    # positions that are not finite cannot be searched: the runs of such an item are arbitrary, its weights NaN
    ordered = torch.where(p.isnan(), torch.arange(width, device=p.device, dtype=p.dtype), p)
    right = torch.searchsorted(ordered, rows)
    p_left, p_right = (ordered.gather(1, t) for t in ((right - 1).clamp(min=0), torch.minimum(right, lengths - 1)))
    nearest = torch.minimum((rows - p_left).abs(), (p_right - rows).abs())
    reach = (nearest.square() + NEGLIGIBLE[dtype] / sigma_square).sqrt()
    padding = rows >= output_lengths
    first = torch.where(padding, lengths, torch.searchsorted(ordered, rows - reach))
    behind = torch.minimum(torch.searchsorted(ordered, rows + reach, right=True), lengths)
    # entries of the band, and cells of all items' full matrices
    entries, cells = (
        int(n) for n in torch.stack([(behind - first).masked_fill(padding, 0).sum(), (lengths * output_lengths).sum()])
    )
    if entries > max(FEW, FULL * cells):
        return None
    band = Band.of(first, torch.where(padding, lengths, behind), entries, width)
    # the largest logit, that of the nearest position, is taken off in double precision: in a long gap all squares are
    # large and nearly equal
    distance = rows.view(-1)[band.row] - p.view(-1)[band.place]
    logits = (nearest.square().view(-1)[band.row] - distance.square_()) * sigma_square
    e = logits.to(dtype).exp_()
    return band, e / _row_sums(band, e)[band.row]


@torch.library.custom_op("seqstride::align", mutates_args=())
def _align(
    x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, sigma_square: float
) -> Tensor:
    if dispatch.has_kernels(x):
        from seqstride.core.kernels import compiled

        return compiled.align(x, positions, lengths, output_lengths, width, sigma_square)
    p = _sorted(positions, lengths)
    dtype = _working_dtype(x)
    found = _align_band(p, lengths, output_lengths, width, sigma_square, dtype)
    if found is not None:
        return band_product(x, *found)
    return full_align(x, p, lengths, output_lengths, width, sigma_square, dtype)


@torch.library.custom_op("seqstride::align_backward", mutates_args=())
def _align_backward(
    dz: Tensor, x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, sigma_square: float
) -> tuple[Tensor, Tensor]:
    """Gradients for x and the positions.

    With A the weights (computed again, which costs less than keeping them) and dA = dzᵀx, the gradient of the logits is
    dO = A ⊙ (dA − Σ_t A ⊙ dA), and as the logits are −σ² (l − p_t)², dp_t = 2σ² Σ_l dO[l, t] (l − p_t).
    """
    if dispatch.has_kernels(x):
        from seqstride.core.kernels import compiled

        return compiled.align_backward(dz, x, positions, lengths, output_lengths, sigma_square)
    p = _sorted(positions, lengths)
    dtype = _working_dtype(x)
    found = _align_band(p, lengths, output_lengths, dz.shape[2], sigma_square, dtype)
    if found is not None:
        band, weights = found
        dx, gram = band_adjoint(dz, x, band, weights)
        pulled = weights * gram
        dlogits = pulled - weights * _row_sums(band, pulled)[band.row]
        distance = band.row % dz.shape[2] - p.view(-1)[band.place]
        return dx, _column_sums(band, dlogits * distance, x.shape[2]).mul_(2 * sigma_square)
    return full_align_backward(dz, x, p, lengths, output_lengths, sigma_square, dtype)


@_align.register_fake
def _(x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, sigma_square: float) -> Tensor:
    return x.new_empty(*x.shape[:2], width)


@_align_backward.register_fake
def _(
    dz: Tensor, x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, sigma_square: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(positions)


def _align_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, positions, lengths, output_lengths, _, ctx.sigma_square = inputs
    ctx.save_for_backward(x, positions, lengths, output_lengths)


def _align_gradient(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    with torch.autocast(dz.device.type, enabled=False):
        dx, dp = _align_adjoint(dz, *ctx.saved_tensors, ctx.sigma_square)
    return dx, dp, None, None, None, None


for operator in (_align, _align_backward):
    widen_batches(operator)
_align_adjoint = differentiable_adjoint(_align_backward, dense_align)
_differentiable_align: Callable[[Tensor, Tensor, Tensor, Tensor, int, float], Tensor] = differentiable(
    _align, _align_setup, _align_gradient, dense_align
)


def align_frames(x: Tensor, positions: Tensor, frames: Frames, sigma_square: float, rows: Rows | None = None) -> Tensor:
    """(B, C, T) → (B, C, L), the exact alignment: `seqstride.functional.align` without its checks.

    Args:
        rows: of the kernels, for these positions; they save the search for the frames around every row.
    """
    if x.device.type in dispatch.DEVICES and dispatch.has_kernels(x):
        return _by_kernels(x, positions, frames, sigma_square, None, rows)
    return _differentiable_align(x, positions, frames.input_lengths, frames.lengths, frames.output_width, sigma_square)


def _by_kernels(
    x: Tensor, positions: Tensor, frames: Frames, sigma_square: float, empty: str | None, rows: Rows | None
) -> Tensor:
    from seqstride.core.kernels import nodes

    return nodes.align(
        x, positions.double(), frames.given, frames.lengths, frames.output_width, sigma_square, empty, rows=rows
    )


def _scatter_band(positions: Tensor, frames: Frames, nearest: bool) -> tuple[Band, Tensor]:
    """Runs of the frames that round to each output frame, and which rows (B·L,) copy the nearest frame instead."""
    bins = nearest_output(positions, frames.lengths)
    bins = bins.masked_fill(~frames.real, frames.output_width)
    rows = torch.arange(frames.output_width, device=bins.device).expand(bins.shape[0], -1).contiguous()
    first = torch.searchsorted(bins, rows)
    behind = torch.searchsorted(bins, rows, right=True)
    vacant = (first == behind) & frames.real_output & nearest
    # no frame rounds to a vacant row: the frames around it are first − 1 and first; the earlier on a tie
    left, right = (first - 1).clamp(min=0), torch.minimum(first, frames.input_lengths[:, None] - 1)
    p = positions.detach()
    nearer_left = (rows - p.gather(1, left)).abs() <= (p.gather(1, right) - rows).abs()
    source = torch.where(nearer_left, left, right)
    first, behind = torch.where(vacant, source, first), torch.where(vacant, source + 1, behind)
    return Band.of(first, behind, int((behind - first).sum()), frames.width), vacant.view(-1)


def _scatter_values(weights: Tensor, band: Band, vacant: Tensor) -> Tensor:
    """The entries (n,) of a scatter's matrix: a frame's weight in its row, 1 in the rows that copy a frame."""
    return weights.reshape(-1)[band.place].masked_fill(vacant[band.row], 1.0)  # vmap repeats them without a copy


@torch.library.custom_op("seqstride::scatter", mutates_args=())
def _scatter(
    x: Tensor, weights: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, nearest: bool
) -> Tensor:
    """z_l = Σ_{t: d_t = l} w_t x_t; with `nearest`, frames that receive nothing copy the nearest input frame."""
    frames = Frames(x.shape[0], x.shape[2], width, x.device, lengths, output_lengths)
    band, vacant = _scatter_band(positions, frames, nearest)
    return band_product(x, band, _scatter_values(weights, band, vacant))


@torch.library.custom_op("seqstride::scatter_backward", mutates_args=())
def _scatter_backward(
    dz: Tensor,
    x: Tensor,
    weights: Tensor,
    positions: Tensor,
    lengths: Tensor,
    output_lengths: Tensor,
    nearest: bool,
) -> tuple[Tensor, Tensor]:
    frames = Frames(x.shape[0], x.shape[2], dz.shape[2], x.device, lengths, output_lengths)
    band, vacant = _scatter_band(positions, frames, nearest)
    dx, gram = band_adjoint(dz, x, band, _scatter_values(weights, band, vacant))
    return dx, _column_sums(band, gram.masked_fill(vacant[band.row], 0.0), frames.width)


@_scatter.register_fake
def _(
    x: Tensor, weights: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, nearest: bool
) -> Tensor:
    return x.new_empty(*x.shape[:2], width)


@_scatter_backward.register_fake
def _(
    dz: Tensor,
    x: Tensor,
    weights: Tensor,
    positions: Tensor,
    lengths: Tensor,
    output_lengths: Tensor,
    nearest: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weights)


def _scatter_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, _, ctx.nearest = inputs
    ctx.save_for_backward(*tensors)


def _scatter_gradient(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    with torch.autocast(dz.device.type, enabled=False):
        dx, dweights = _scatter_adjoint(dz, *ctx.saved_tensors, ctx.nearest)
    return dx, dweights, None, None, None, None, None


for operator in (_scatter, _scatter_backward):
    widen_batches(operator)
_differentiable_scatter = differentiable(_scatter, _scatter_setup, _scatter_gradient, dense_scatter)
_scatter_adjoint = differentiable_adjoint(_scatter_backward, dense_scatter)


def scatter_weights(positions: Tensor, frames: Frames, sigma_square: float) -> Tensor:
    """Weight of every input frame in its output frame: softmax of −σ² (d_t − p_t)² over the frames of a bin; (B, T)."""
    bins = nearest_output(positions, frames.lengths)
    padding = ~frames.real
    logits = (-sigma_square * (bins - positions).square()).masked_fill(padding, -torch.inf)
    table = logits.new_zeros(positions.shape[0], frames.output_width)
    largest = table.scatter_reduce(1, bins, logits.detach(), "amax", include_self=False)
    e = (logits - largest.gather(1, bins)).exp().masked_fill(padding, 0.0)
    sums = table.scatter_add(1, bins, e).gather(1, bins)
    return e / sums.masked_fill(padding, 1.0)


def scatter_frames(
    x: Tensor, positions: Tensor, frames: Frames, sigma_square: float, empty: str, rows: Rows | None = None
) -> Tensor:
    """(B, C, T) → (B, C, L) by rounding: `seqstride.functional.scatter_align` without its checks.

    `rows` as in `align_frames`.
    """
    if x.device.type in dispatch.DEVICES and dispatch.has_kernels(x):
        return _by_kernels(x, positions, frames, sigma_square, empty, rows)
    weights = scatter_weights(positions, frames, sigma_square).to(_working_dtype(x))
    # the operator makes a band, for which it reads the device
    scatter = dense_scatter if reading_waits(x.device) else _differentiable_scatter
    lengths = frames.input_lengths, frames.lengths
    z: Tensor = scatter(x, weights, positions.detach(), *lengths, frames.output_width, empty == "nearest")
    return z


def sum_frames(x: Tensor, weights: Tensor, rows: Tensor, frames: Frames) -> Tensor:
    """z_l = Σ_{t: r_t = l} w_t x_t: (B, C, T) → (B, C, L) in the dtype of `x`.

    Args:
        weights: (B, T); 0 for frames that belong nowhere.
        rows: r, (B, T) whole numbers that never fall over the real frames of an item; those behind its last output
            frame count as that one.
    """
    scatter = dense_scatter if reading_waits(x.device) else _differentiable_scatter
    lengths = frames.input_lengths, frames.lengths
    weights, rows = weights.to(_working_dtype(x)), rows.to(frames.dtype)
    z: Tensor = scatter(x, weights, rows, *lengths, frames.output_width, False)
    return z
