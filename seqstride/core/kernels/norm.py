"""Batch normalisation over real frames, y = (x − mean_c) · w_c / √(var_c + ε) + b_c, and 0 in the padding.

A tile of frames leaves its mean and Σ (x − mean)², in one pass over the signal. With n_k, m_k, q_k of tile k the batch
has

    mean = Σ n_k m_k / n,        n · var = Σ q_k + Σ n_k m_k² − (Σ n_k m_k)² / n,

where only the last difference cancels: it is taken in double precision. A second pass normalises, with the ReLU that
may follow. Backward likewise: sums of tiles, their total, and

    dx = w / √(var + ε) · (dy − mean(dy) − x̂ · mean(dy · x̂)),        dw = Σ dy · x̂,        db = Σ dy,

without both means where the statistics were given. x̂ and the ReLU's sign are computed again from x: x must be read in
any case, and y need not be.

Loads run up to the next multiple of `aligned` behind an item's end, so that they are 16 bytes wide; what they find
there is replaced by 0 before it is used.
"""

# mypy: disable-error-code="no-untyped-def, import-untyped"

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from seqstride.core.kernels.launch import aligned, blocks, double_bits, launch, narrow

#: frames of a tile, numbers of a tile, and tiles and channels that a program adds up at a time
FRAMES, NUMBERS, TOGETHER, COLUMNS = 256, 4096, 256, 8


@triton.jit
def _tile(lengths, C, T, tiles, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr):
    """Of this program: number of its tile; channels and frames; offsets and whether they are real; real frames."""
    part = tl.program_id(0)
    b = part // tiles
    start = part % tiles * FRAMES
    n = tl.load(lengths + b).to(tl.int32)
    row = T // ALIGNED * ALIGNED
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    t = start + tl.arange(0, FRAMES)
    at = b.to(tl.int64) * C * row + (c * row)[:, None] + t[None, :]
    real = (c < C)[:, None] & (t < n)[None, :]
    loaded = (c < C)[:, None] & (t < (n + ALIGNED - 1) // ALIGNED * ALIGNED)[None, :]
    stored = (c < C)[:, None] & (t < row)[None, :]
    return part, c, at, real, loaded, stored, tl.minimum(n - start, FRAMES)


@triton.jit
def _load_real(x, at, real, loaded):
    return tl.where(real, tl.load(x + at, mask=loaded, other=0.0).to(tl.float32), 0.0)


@triton.jit
def _scale(mean, variance, weight, bias, c, C, eps_bits, GIVEN: tl.constexpr):
    """Mean, 1 / √(var + ε), w and b of channels c. GIVEN: `variance` has variances; else the roots' inverses."""
    inside = c < C
    inverse = tl.load(variance + c, mask=inside, other=1.0)
    if GIVEN:
        eps = tl.cast(eps_bits, tl.int64).to(tl.float64, bitcast=True)
        inverse = 1.0 / tl.sqrt(inverse.to(tl.float64) + eps)
    return (
        tl.load(mean + c, mask=inside, other=0.0).to(tl.float32),
        inverse.to(tl.float32),
        tl.load(weight + c, mask=inside, other=0.0).to(tl.float32),
        tl.load(bias + c, mask=inside, other=0.0).to(tl.float32),
    )


@triton.jit(do_not_specialize=["C", "T", "tiles"])
def _batch_moments_kernel(
    x, lengths, moments, C, T, tiles, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    part, c, at, real, loaded, _stored, count = _tile(lengths, C, T, tiles, ALIGNED, CHANNELS, FRAMES)
    if count > 0:
        frames = _load_real(x, at, real, loaded)
        mean = tl.sum(frames, 1) / count.to(tl.float32)
        apart = tl.where(real, frames - mean[:, None], 0.0)
        squares = tl.sum(apart * apart, 1).to(tl.float64)
        rest = tl.sum(apart, 1).to(tl.float64) / count  # what rounding took off the mean
        store = moments + part.to(tl.int64) * C + c
        tl.store(store, mean + rest, mask=c < C)
        tl.store(store + tl.num_programs(0).to(tl.int64) * C, squares - count * rest * rest, mask=c < C)


@triton.jit
def _two_totals(
    values, lengths, C, tiles, parts, WEIGHTED: tl.constexpr,
    TOGETHER: tl.constexpr, COLUMNS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    """Channels c, real frames n, and sums over all tiles of values (2, parts, C), in double precision.

    WEIGHTED: of n_k m_k, and of q_k + n_k m_k².
    """
    c = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.zeros([TOGETHER, COLUMNS], tl.float64)
    second = tl.zeros([TOGETHER, COLUMNS], tl.float64)
    total = tl.zeros([TOGETHER], tl.float64)
    for start in range(0, parts, TOGETHER):
        part = start + tl.arange(0, TOGETHER)
        n = tl.load(lengths + part // tiles, mask=part < parts, other=0).to(tl.int32)
        count = tl.minimum(tl.maximum(n - part % tiles * FRAMES, 0), FRAMES)
        inside = (count > 0)[:, None] & (c < C)[None, :]
        at = values + part.to(tl.int64)[:, None] * C + c[None, :]
        a = tl.load(at, mask=inside, other=0.0).to(tl.float64)
        b = tl.load(at + parts.to(tl.int64) * C, mask=inside, other=0.0).to(tl.float64)
        total += count.to(tl.float64)
        if WEIGHTED:
            weighted = a * count.to(tl.float64)[:, None]
            b += weighted * a
            a = weighted
        first += a
        second += b
    return c, tl.sum(total, 0), tl.sum(first, 0), tl.sum(second, 0)


@triton.jit
def _move(running, c, C, value, momentum):
    old = tl.load(running + c, mask=c < C, other=0.0)
    moved = old.to(tl.float32) + momentum * (value.to(tl.float32) - old.to(tl.float32))
    tl.store(running + c, moved.to(running.dtype.element_ty), mask=c < C)


@triton.jit(do_not_specialize=["eps_bits", "C", "tiles", "parts"])
def _statistics_kernel(
    moments, lengths, statistics, running_mean, running_var, batches, momentum, eps_bits, C, tiles, parts,
    TOGETHER: tl.constexpr, COLUMNS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    c, n, total, squares = _two_totals(moments, lengths, C, tiles, parts, True, TOGETHER, COLUMNS, FRAMES)
    mean = total / n
    squares = tl.maximum(squares - total * mean, 0.0)
    eps = tl.cast(eps_bits, tl.int64).to(tl.float64, bitcast=True)
    tl.store(statistics + c, mean.to(tl.float32), mask=c < C)
    tl.store(statistics + C + c, (1.0 / tl.sqrt(squares / n + eps)).to(tl.float32), mask=c < C)
    _move(running_mean, c, C, mean, momentum)
    _move(running_var, c, C, squares / tl.maximum(n - 1.0, 1.0), momentum)
    if tl.program_id(0) == 0:
        tl.store(batches, tl.load(batches) + 1)


@triton.jit(do_not_specialize=["eps_bits", "C", "T", "tiles"])
def _normalise_kernel(
    x, mean, variance, weight, bias, lengths, y, eps_bits, C, T, tiles,
    GIVEN: tl.constexpr, RELU: tl.constexpr, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    _part, c, at, real, loaded, stored, _count = _tile(lengths, C, T, tiles, ALIGNED, CHANNELS, FRAMES)
    m, inverse, w, b = _scale(mean, variance, weight, bias, c, C, eps_bits, GIVEN)
    value = (_load_real(x, at, real, loaded) - m[:, None]) * (inverse * w)[:, None] + b[:, None]
    if RELU:
        value = tl.where(value < 0.0, 0.0, value)  # keeps what is not a number
    tl.store(y + at, tl.where(real, value, 0.0).to(y.dtype.element_ty), mask=stored)


@triton.jit
def _gradient(x, dy, mean, variance, weight, bias, at, real, loaded, c, C, eps_bits, GIVEN: tl.constexpr,
    RELU: tl.constexpr,
):  # fmt: skip
    """dy behind the ReLU, x̂, and w / √(var + ε)."""
    m, inverse, w, b = _scale(mean, variance, weight, bias, c, C, eps_bits, GIVEN)
    apart = _load_real(x, at, real, loaded) - m[:, None]
    gradient = _load_real(dy, at, real, loaded)
    if RELU:
        gradient = tl.where(apart * (inverse * w)[:, None] + b[:, None] <= 0.0, 0.0, gradient)
    return gradient, tl.where(real, apart * inverse[:, None], 0.0), inverse * w


@triton.jit(do_not_specialize=["eps_bits", "C", "T", "tiles"])
def _gradient_sums_kernel(
    x, dy, mean, variance, weight, bias, lengths, sums, eps_bits, C, T, tiles,
    GIVEN: tl.constexpr, RELU: tl.constexpr, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    part, c, at, real, loaded, _stored, count = _tile(lengths, C, T, tiles, ALIGNED, CHANNELS, FRAMES)
    if count > 0:
        gradient, unit, _scaled = _gradient(
            x, dy, mean, variance, weight, bias, at, real, loaded, c, C, eps_bits, GIVEN, RELU
        )
        store = sums + part.to(tl.int64) * C + c
        tl.store(store, tl.sum(gradient, 1), mask=c < C)
        tl.store(store + tl.num_programs(0).to(tl.int64) * C, tl.sum(gradient * unit, 1), mask=c < C)


@triton.jit(do_not_specialize=["C", "tiles", "parts"])
def _gradient_totals_kernel(
    sums, lengths, dweight, dbias, means, C, tiles, parts,
    TOGETHER: tl.constexpr, COLUMNS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    c, n, db, dw = _two_totals(sums, lengths, C, tiles, parts, False, TOGETHER, COLUMNS, FRAMES)
    tl.store(dbias + c, db.to(dbias.dtype.element_ty), mask=c < C)
    tl.store(dweight + c, dw.to(dweight.dtype.element_ty), mask=c < C)
    tl.store(means + c, (db / n).to(tl.float32), mask=c < C)
    tl.store(means + C + c, (dw / n).to(tl.float32), mask=c < C)


@triton.jit(do_not_specialize=["eps_bits", "C", "T", "tiles"])
def _signal_gradient_kernel(
    x, dy, mean, variance, weight, bias, lengths, means, dx, eps_bits, C, T, tiles,
    GIVEN: tl.constexpr, RELU: tl.constexpr, ALIGNED: tl.constexpr, CHANNELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    _part, c, at, real, loaded, stored, _count = _tile(lengths, C, T, tiles, ALIGNED, CHANNELS, FRAMES)
    gradient, unit, scale = _gradient(
        x, dy, mean, variance, weight, bias, at, real, loaded, c, C, eps_bits, GIVEN, RELU
    )
    if not GIVEN:
        gradient -= tl.load(means + c, mask=c < C, other=0.0)[:, None]
        gradient -= unit * tl.load(means + C + c, mask=c < C, other=0.0)[:, None]
    value = tl.where(real, gradient * scale[:, None], 0.0)
    tl.store(dx + at, value.to(dx.dtype.element_ty), mask=stored)


class Statistics(NamedTuple):
    """Of channels: mean (C,), and (C,) `second`: 1 / √(var + ε) of a batch, or, where `given`, variances."""

    mean: Tensor
    second: Tensor
    given: bool


class _Cut(NamedTuple):
    """How a signal is cut into tiles."""

    channels: int
    frames: int
    tiles: int
    grid: tuple[int, int, int]

    @classmethod
    def of(cls, x: Tensor) -> _Cut:
        B, C, T = x.shape
        frames = narrow(FRAMES, T)
        channels, tiles = narrow(NUMBERS // frames, C), blocks(T, frames)
        return cls(channels, frames, tiles, (B * tiles, blocks(C, channels), 1))


def batch_statistics(
    x: Tensor,
    lengths: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    momentum: float,
    eps: float,
) -> Statistics:
    """Statistics of a signal (B, C, T), contiguous, over its real frames; the running ones move towards them."""
    _, C, T = x.shape
    cut = _Cut.of(x)
    parts = cut.grid[0]
    moments = torch.empty(2, parts, C, dtype=torch.float64, device=x.device)
    statistics = torch.empty(2, C, dtype=torch.float32, device=x.device)
    launch(
        _batch_moments_kernel, cut.grid, (x, lengths, moments, C, T, cut.tiles), (aligned(T), cut.channels, cut.frames)
    )  # fmt: skip
    launch(
        _statistics_kernel, (blocks(C, COLUMNS), 1, 1),
        (
            moments, lengths, statistics, running_mean, running_var, batches, momentum, double_bits(eps),
            C, cut.tiles, parts,
        ),
        (TOGETHER, COLUMNS, cut.frames),
    )  # fmt: skip
    torch.autograd.graph.increment_version((running_mean, running_var, batches))
    return Statistics(statistics[0], statistics[1], given=False)


def normalise(
    x: Tensor, lengths: Tensor, statistics: Statistics, weight: Tensor, bias: Tensor, eps: float, relu: bool
) -> Tensor:
    """(B, C, T) → (B, C, T), of x's dtype."""
    _, C, T = x.shape
    cut = _Cut.of(x)
    y = torch.empty_like(x)
    launch(
        _normalise_kernel, cut.grid,
        (x, statistics.mean, statistics.second, weight, bias, lengths, y, double_bits(eps), C, T, cut.tiles),
        (statistics.given, relu, aligned(T), cut.channels, cut.frames),
    )  # fmt: skip
    return y


def normalise_backward(
    dy: Tensor,
    x: Tensor,
    lengths: Tensor,
    statistics: Statistics,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    relu: bool,
    *,
    want_dx: bool = True,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients for the signal (None unless wanted), the weight and the bias; the padding of dy is not read."""
    _, C, T = x.shape
    cut = _Cut.of(x)
    parts = cut.grid[0]
    constants = statistics.given, relu, aligned(T), cut.channels, cut.frames
    sizes = double_bits(eps), C, T, cut.tiles
    sums = torch.empty(2, parts, C, dtype=torch.float32, device=x.device)
    means = torch.empty(2, C, dtype=torch.float32, device=x.device)
    dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
    shared = x, dy, statistics.mean, statistics.second, weight, bias, lengths
    launch(_gradient_sums_kernel, cut.grid, (*shared, sums, *sizes), constants)
    launch(
        _gradient_totals_kernel, (blocks(C, COLUMNS), 1, 1),
        (sums, lengths, dweight, dbias, means, C, cut.tiles, parts),
        (TOGETHER, COLUMNS, cut.frames),
    )  # fmt: skip
    dx = torch.empty_like(x) if want_dx else None
    if dx is not None:
        launch(_signal_gradient_kernel, cut.grid, (*shared, means, dx, *sizes), constants)
    return dx, dweight, dbias
