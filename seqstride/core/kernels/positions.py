"""Positions from scores, all tiles of all items at once, and the scores' gradient.

p_t = c_t / c_n · (L − 1), with c the running sum of a_t = exp(s_t − M), a_0 = 0, and M the largest score of the item
behind frame 0 (`seqstride.core.positions`).

A running sum needs the sum of all tiles before it. Every program makes that sum itself, out of the tiles' moments, and
all of them over the same tree: floating-point sums over one tree do not fall when a term is added, so p does not fall
from one tile to the next. Inside a tile a parallel running sum can fall in its last bit; a running maximum mends that.
The tree does not depend on the batch's padding.

Backward, with g_t = Σ_{t' ≥ t} dp_t' and D = Σ_t dp_t p_t:

    ds_t = a_t / c_n · ((L − 1) g_t − D).

The gap penalty is Σ_b Σ_t relu(p_t − p_{t−1} − 1) / (n_b − 1) / B. With h = dpenalty / (n − 1) / B its gradient for p
is h at t and −h at t − 1 for every wide step t, one that is larger than 1: so g_t grows by h where step t is wide, and
D by h Σ (p_t − p_{t−1}) over the wide steps.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import blocks, launch
from seqstride.core.kernels.scores import TILE, real_length

#: frames of a tile of positions; a multiple of all other tiles of frames
PLACE = 512

#: numbers of tiles that a program sums at a time
CHUNK = 512


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def _largest_score(moments, b, tiles, CHUNK: tl.constexpr):
    m = tl.full([CHUNK], -float("inf"), tl.float64)
    for j0 in range(0, tiles, CHUNK):
        j = j0 + tl.arange(0, CHUNK)
        m = tl.maximum(m, tl.load(moments + 2 * (b * tiles + j), mask=j < tiles, other=-float("inf")))
    largest = tl.max(m, 0)
    return tl.where(largest == -float("inf"), 0.0, largest)  # of one frame: no score counts


@triton.jit
def _sum_before(moments, b, tiles, largest, behind, CHUNK: tl.constexpr):
    """Σ a over the tiles before tile `behind`."""
    sums = tl.zeros([CHUNK], tl.float64)
    for j0 in range(0, tl.minimum(tiles, behind), CHUNK):
        j = j0 + tl.arange(0, CHUNK)
        inside = (j < tiles) & (j < behind)
        at = moments + 2 * (b * tiles + j)
        m = tl.load(at, mask=inside, other=-float("inf"))
        sums += tl.load(at + 1, mask=inside, other=0.0) * tl.exp(m - largest)
    return tl.sum(sums, 0)


@triton.jit(do_not_specialize=["T", "tiles", "places", "B"])
def _positions_kernel(
    scores, lengths, output_lengths, moments, positions, gaps, T, tiles, places, B,
    GIVEN: tl.constexpr, TILE: tl.constexpr, PLACE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Positions of one tile of one item; its part of the penalty, and the sum of its wide steps."""
    k = tl.program_id(0)
    b = tl.program_id(1)
    n = real_length(lengths, b, T, GIVEN)
    last_row = (tl.load(output_lengths + b) - 1).to(tl.float64)
    largest = _largest_score(moments, b, tiles, CHUNK)
    total = _sum_before(moments, b, tiles, largest, tiles, CHUNK)
    total = tl.where(n == 1, 1.0, total)
    before = _sum_before(moments, b, tiles, largest, k * (PLACE // TILE), CHUNK)
    through = _sum_before(moments, b, tiles, largest, (k + 1) * (PLACE // TILE), CHUNK)
    t = k * PLACE + tl.arange(0, PLACE)
    step = (t > 0) & (t < n)
    s = tl.load(scores + b * T + t, mask=step, other=0.0).to(tl.float64)
    a = tl.where(step, tl.exp(s - largest), 0.0)
    c = tl.associative_scan(before + tl.cumsum(a, 0), 0, _larger)
    c = tl.where(c > through, through, c)  # where the next tile starts
    c = tl.where((t == n - 1) & (t > 0), total, c)
    p = tl.where(t < n, c / total * last_row, 0.0)
    tl.store(positions + b * T + t, p, mask=t < T)
    size = a / total * last_row
    wide = size - 1.0 > 1e-9  # uniform positions at stride 1 have steps of 1 up to rounding
    over = tl.sum(tl.where(wide, size - 1.0, 0.0), 0)
    tl.store(gaps + b * places + k, over / (tl.maximum(n - 1, 1) * B).to(tl.float64))
    tl.store(gaps + (B + b) * places + k, tl.sum(tl.where(wide, size, 0.0), 0))


@triton.jit(do_not_specialize=["T", "tiles"])
def _sums_kernel(dpositions, positions, lengths, sums, T, tiles, GIVEN: tl.constexpr, FRAMES: tl.constexpr):
    """Σ dp and Σ dp · p of one tile of one item."""
    k = tl.program_id(0)
    b = tl.program_id(1)
    n = real_length(lengths, b, T, GIVEN)
    t = k * FRAMES + tl.arange(0, FRAMES)
    d = tl.load(dpositions + b * T + t, mask=t < n, other=0.0)
    p = tl.load(positions + b * T + t, mask=t < n, other=0.0)
    tl.store(sums + 2 * (b * tiles + k), tl.sum(d, 0))
    tl.store(sums + 2 * (b * tiles + k) + 1, tl.sum(d * p, 0))


@triton.jit(do_not_specialize=["T", "tiles", "sum_tiles", "splits", "places", "B"])
def _scores_backward_kernel(
    scores, lengths, output_lengths, moments, dpositions, sums, gaps, dpenalty, dscores,
    T, tiles, sum_tiles, splits, places, B,
    GIVEN: tl.constexpr, PENALTY: tl.constexpr, FRAMES: tl.constexpr, PLACE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """ds of one tile of one item; dp (splits, B, T) and its tiles' sums (splits, B, sum_tiles, 2) come in parts."""
    k = tl.program_id(0)
    b = tl.program_id(1)
    n = real_length(lengths, b, T, GIVEN)
    last_row = (tl.load(output_lengths + b) - 1).to(tl.float64)
    largest = _largest_score(moments, b, tiles, CHUNK)
    total = _sum_before(moments, b, tiles, largest, tiles, CHUNK)
    total = tl.where(n == 1, 1.0, total)
    behind = tl.zeros([CHUNK], tl.float64)
    moment = tl.zeros([CHUNK], tl.float64)
    d = tl.zeros([PLACE], tl.float64)
    t = k * PLACE + tl.arange(0, PLACE)
    for part in range(0, splits):
        for j0 in range(0, sum_tiles, CHUNK):
            j = j0 + tl.arange(0, CHUNK)
            at = sums + 2 * ((part * B + b) * sum_tiles + j)
            moment += tl.load(at + 1, mask=j < sum_tiles, other=0.0)
            behind += tl.load(at, mask=(j < sum_tiles) & (j * FRAMES >= (k + 1) * PLACE), other=0.0)
        d += tl.load(dpositions + (part * B + b) * T + t, mask=t < n, other=0.0)
    g = tl.sum(behind, 0) + tl.cumsum(d, 0, reverse=True)
    D = tl.sum(moment, 0)
    step = (t > 0) & (t < n)
    s = tl.load(scores + b * T + t, mask=step, other=0.0).to(tl.float64)
    a = tl.where(step, tl.exp(s - largest), 0.0) / total
    if PENALTY:
        h = tl.load(dpenalty).to(tl.float64) / (tl.maximum(n - 1, 1) * B).to(tl.float64)
        g += tl.where(a * last_row - 1.0 > 1e-9, h, 0.0)
        wide = tl.zeros([CHUNK], tl.float64)
        for j0 in range(0, places, CHUNK):
            j = j0 + tl.arange(0, CHUNK)
            wide += tl.load(gaps + (B + b) * places + j, mask=j < places, other=0.0)
        D += h * tl.sum(wide, 0)
    tl.store(dscores + b * T + t, tl.where(step, a * (last_row * g - D), 0.0), mask=t < T)


def place_frames(
    scores: Tensor, moments: Tensor, lengths: Tensor | None, output_lengths: Tensor
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Positions (B, T) float64, and gaps (2, B, K): gaps[0] sums up to the penalty, gaps[1] has the wide steps."""
    B, T = scores.shape
    places = blocks(T, PLACE)
    positions = torch.empty(B, T, dtype=torch.float64, device=scores.device)
    gaps = torch.empty(2, B, places, dtype=torch.float64, device=scores.device)
    given = output_lengths if lengths is None else lengths
    launch(
        _positions_kernel, (places, B, 1),
        (scores, given, output_lengths, moments, positions, gaps, T, moments.shape[1], places, B),
        (lengths is not None, TILE, PLACE, CHUNK),
    )  # fmt: skip
    return positions, gaps


def sum_positions(dpositions: Tensor, positions: Tensor, lengths: Tensor | None) -> Tensor:
    """Σ dp and Σ dp · p of tiles of `TILE` frames: (B, T) twice → (1, B, K, 2)."""
    B, T = positions.shape
    tiles = blocks(T, TILE)
    sums = torch.empty(1, B, tiles, 2, dtype=torch.float64, device=positions.device)
    given = positions if lengths is None else lengths
    launch(
        _sums_kernel, (tiles, B, 1), (dpositions, positions, given, sums, T, tiles), (lengths is not None, TILE)
    )  # fmt: skip
    return sums


def scores_backward(
    scores: Tensor,
    moments: Tensor,
    gaps: Tensor,
    lengths: Tensor | None,
    output_lengths: Tensor,
    dpositions: Tensor,
    sums: Tensor,
    frames: int,
    dpenalty: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Gradient of the scores (B, T).

    Args:
        dpositions: (S, B, T) float64, in S parts.
        sums: (S, B, K, 2), Σ dp and Σ dp · p of tiles of `frames` frames.
        dpenalty: 0-d, or None where nothing asks for the penalty's gradient.
        dtype: of the result.
    """
    B, T = scores.shape
    places = blocks(T, PLACE)
    dscores = torch.empty(B, T, dtype=dtype, device=scores.device)
    launch(
        _scores_backward_kernel, (places, B, 1),
        (
            scores, output_lengths if lengths is None else lengths, output_lengths, moments, dpositions, sums, gaps,
            gaps if dpenalty is None else dpenalty, dscores,
            T, moments.shape[1], sums.shape[2], dpositions.shape[0], places, B,
        ),
        (lengths is not None, dpenalty is not None, frames, PLACE, CHUNK),
    )  # fmt: skip
    return dscores
