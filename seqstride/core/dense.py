"""The resamplers as formulas of dense tensors: for exported graphs, forward mode and second derivatives.

The operators of `seqstride.core.align` and `seqstride.core.spectral` read lengths and positions, and compute only what
counts. A graph for any lengths cannot do that. Here lengths are tensors, widths may be symbols, and every item has full
matrices: time and memory grow with T·L. The operations are real ones that ONNX knows.

Exporters store numbers of Python in single precision. Where double precision matters, they are tensors (`double` of
`seqstride.core.lengths`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqstride.core.full import NEGLIGIBLE
from seqstride.core.lengths import double, length_mask, zero_padding
from seqstride.core.positions import nearest_output


def dense_align(
    x: Tensor, positions: Tensor, lengths: Tensor, output_lengths: Tensor, width: int, sigma_square: float
) -> Tensor:
    """Alignment with the full matrix of softmax_t(−σ² (l − p_t)²) over the real frames.

    Args:
        x: (B, C, T), with anything in the padding.
        positions: (B, T), with any numbers in the padding.
        lengths, output_lengths: (B,) int64.
        width: L, at least the largest output length.

    Returns:
        (B, C, L), 0 behind an item's output length.
    """
    rows = torch.arange(width, dtype=positions.dtype, device=positions.device)
    square = (rows - positions[:, :, None]).square()
    square = square.masked_fill(~length_mask(lengths, x.shape[2])[:, :, None], math.inf)
    # the smallest square is taken off in double precision: in a long gap all squares are large and nearly equal
    logits = (square - square.amin(1, keepdim=True)) * double(-sigma_square, square.device)
    logits = logits.to(_working_dtype(x))
    weights = logits.masked_fill(logits < -NEGLIGIBLE[logits.dtype], -math.inf).softmax(1)
    z = torch.bmm(zero_padding(x, lengths).to(weights.dtype), weights)
    return zero_padding(z, output_lengths).to(x.dtype)


def dense_scatter(
    x: Tensor,
    weights: Tensor,
    positions: Tensor,
    lengths: Tensor,
    output_lengths: Tensor,
    width: int,
    nearest: bool,
) -> Tensor:
    """z_l = Σ_{t: d_t = l} w_t x_t; with `nearest`, output frames that receive nothing copy the nearest input frame.

    Args:
        weights: (B, T), see `seqstride.core.align.scatter_weights`.
        others: as in `dense_align`.
    """
    (batch, channels, frames), dtype = x.shape, x.dtype
    real = length_mask(lengths, frames)
    bins = nearest_output(positions, output_lengths)
    x = zero_padding(x, lengths).to(weights.dtype)
    weighted = x * weights.masked_fill(~real, 0.0)[:, None]
    z = x.new_zeros(batch, channels, width).scatter_add(2, bins[:, None].expand(batch, channels, frames), weighted)
    if nearest:
        count = bins.new_zeros(batch, width).scatter_add(1, bins, real.long())
        # no frame rounds to a vacant row; the frames around it are first − 1 and first; the earlier wins a tie
        first = count.cumsum(1) - count
        left, right = (first - 1).clamp(min=0), torch.minimum(first, lengths[:, None] - 1)
        rows = torch.arange(width, device=x.device)
        nearer_left = (rows - positions.gather(1, left)).abs() <= (positions.gather(1, right) - rows).abs()
        source = torch.where(nearer_left, left, right)[:, None]
        z = torch.where((count == 0)[:, None], x.gather(2, source.expand(batch, channels, width)), z)
    return zero_padding(z, output_lengths).to(dtype)


def dense_crop(
    x: Tensor, ramp: Tensor, windows: Tensor, bins: int, width: int, transform: str, official: bool
) -> Tensor:
    """The crop of a spectrum by products with cosines and sines.

    With m_k the window's weights, w_0 = w_{L/2} = 1 and else 2, and c_k and s_k the sums of x_t cos(2πkt / T) and
    x_t sin(2πkt / T), y_j = (1/T) Σ_k w_k m_k (c_k cos(2πkj / L) + s_k sin(2πkj / L)). The DCT has c_k alone, of
    cos(πk (2t + 1) / 2T), and w_k = 2 but for w_0.

    Args:
        x: (B, C, T), with anything in the padding.
        ramp: (B, W) weights of the bins flat … kept − 1.
        windows: (B, 4) int64: frames, flat, kept, output of each item. One row for all items will do; it makes their
            matrices once.
        bins: K, at least the largest `kept`.
        width: L, at least the largest `output`.
        transform: "dft" or "dct".
        official: whether to multiply by T / L.

    Returns:
        (B, C, L), 0 behind an item's output length.
    """
    batch, frames = x.shape[0], x.shape[2]
    lengths, flat, kept, outputs = windows.unbind(1)
    k = torch.arange(bins, device=x.device)
    single = k == 0
    if transform == "dft":
        single = single | (2 * k == outputs[:, None])
    gain = torch.where(single, 1.0, 2.0) * _mask(ramp, flat, kept, k) / (outputs if official else lengths)[:, None]
    gain = gain if transform == "dct" else torch.cat([gain, gain], dim=1)
    dtype = _working_dtype(x)
    analysis = _waves(lengths, frames, bins, transform).to(dtype).expand(batch, -1, -1)
    synthesis = _waves(outputs, width, bins, transform).to(dtype).transpose(1, 2).expand(batch, -1, -1)
    spectrum = torch.bmm(zero_padding(x, lengths).to(dtype), analysis)
    return zero_padding(torch.bmm(spectrum * gain.to(dtype)[:, None], synthesis), outputs).to(x.dtype)


def _mask(ramp: Tensor, flat: Tensor, kept: Tensor, k: Tensor) -> Tensor:
    """Weights (B, K) of the bins k: 1 below `flat`, the ramp (B, W) below `kept`, 0 from there on."""
    place = k - flat[:, None]
    columns = torch.cat([ramp.double(), ramp.new_zeros(ramp.shape[0], 1).double()], dim=1)
    mask = columns.gather(1, torch.minimum(place.clamp(min=0), (kept - flat)[:, None]))
    return torch.where(place < 0, 1.0, mask).masked_fill(k >= kept[:, None], 0.0)


def _waves(lengths: Tensor, points: int, bins: int, transform: str) -> Tensor:
    """cos(πk (2t + 1) / 2T_b), (B, points, bins); for the DFT cos and sin of 2πkt / T_b, (B, points, 2·bins).

    Angles are made in double precision, without whole turns. Cosines in a graph are in single precision: runtimes
    have no others.
    """
    t, k = (torch.arange(count, dtype=torch.float64, device=lengths.device) for count in (points, bins))
    shift, period = (0.5, 2 * lengths) if transform == "dct" else (0.0, lengths)
    turns = (t + shift)[:, None] * k / period[:, None, None]
    angle = (turns - turns.round()) * double(2 * math.pi, turns.device)
    if torch.compiler.is_exporting():
        angle = angle.float()
    return angle.cos() if transform == "dct" else torch.cat([angle.cos(), angle.sin()], dim=2)


def _working_dtype(x: Tensor) -> torch.dtype:
    """Products are computed in float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)
