"""The mathematics as functions, without modules; shapes and sources as in the layers that use it."""

from __future__ import annotations

import torch
from torch import Tensor

from seqstride.core.align import align_frames, scatter_frames
from seqstride.core.checks import check_signal, read_lengths
from seqstride.core.lengths import Frames
from seqstride.core.positions import gap_penalty_from_positions, positions_from_scores
from seqstride.core.spectral import interpolate, pooling_windows, spectral_crop
from seqstride.core.spectral_window import Windows, spectral_mask
from seqstride.core.transforms import dct, idct
from seqstride.layers.adastride import check_alignment

__all__ = [
    "align",
    "cosine_resample",
    "dct",
    "expand",
    "gap_penalty",
    "idct",
    "positions",
    "scatter_align",
    "spectral_mask",
    "spectral_resample",
]


def positions(scores: Tensor, output_lengths: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Vector positioning: places every frame on the line of output frames.

    Args:
        scores: (B, T) floating point; a frame's score is the logarithm of the step that leads to it.
        output_lengths: (B,) integers, output frames of each item.
        lengths: (B,) integers, real frames; None: all T.

    Returns:
        (B, T) in double precision where the device has it: non-decreasing from 0 at the first frame to L_b − 1 at the
        last real one, 0 in the padding.

    Raises:
        ValueError: naming argument, value and rule.

    Source: AdaStride, vector positioning (official code); the scale of the scores is ours.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.functional.positions(torch.zeros(1, 5), torch.tensor([3]))
        tensor([[0.0000, 0.5000, 1.0000, 1.5000, 2.0000]], dtype=torch.float64)
    """
    _check_grid("scores", scores)
    frames = _frames(scores, output_lengths, lengths)
    return positions_from_scores(scores, frames)


def gap_penalty(positions: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over items of the mean excess of a step over one output frame: (B, T) → 0-d.

    (1 / (T_b − 1)) Σ_t relu(p_{t+1} − p_t − 1), 0 where T_b = 1. Source: AdaStride (official code).

    Raises:
        ValueError: naming argument, value and rule.
    """
    _check_grid("positions", positions)
    given = read_lengths(lengths, *positions.shape).lengths
    batch, width = positions.shape
    frames = Frames(batch, width, 1, positions.device, None if given is None else given.to(positions.device))
    return gap_penalty_from_positions(positions, frames.input_lengths, frames.real)


def align(
    x: Tensor, positions: Tensor, output_lengths: Tensor, lengths: Tensor | None = None, *, sigma_square: float = 5.0
) -> Tensor:
    """Reads output frame l as Σ_t softmax_t(−σ² (l − p_t)²) x_t: (B, C, T), (B, T) → (B, C, L). Exact.

    Args:
        x: (B, C, T).
        positions: (B, T), non-decreasing over the real frames.
        output_lengths: (B,) integers; L is the largest.
        lengths: (B,) integers, real frames; None: all T.
        sigma_square: σ² > 0.

    Returns:
        (B, C, L), 0 behind an item's own output length; differentiable in `x` and `positions`.

    Raises:
        ValueError: naming argument, value and rule.

    Source: AdaStride, the matrix method; the banded evaluation is ours.
    """
    check_alignment("matrix", sigma_square, "nearest")
    frames = _placed_frames(x, positions, output_lengths, lengths)
    return align_frames(x, positions, frames, sigma_square)


def scatter_align(
    x: Tensor,
    positions: Tensor,
    output_lengths: Tensor,
    lengths: Tensor | None = None,
    *,
    sigma_square: float = 5.0,
    empty: str = "nearest",
) -> Tensor:
    """Sends input frame t to output frame floor(p_t + ½), a softmax-weighted mean where several meet.

    Arguments, result and errors as `align`; `empty` as in `AdaStride1d`. Source: AdaStride-F.
    """
    check_alignment("scatter", sigma_square, empty)
    frames = _placed_frames(x, positions, output_lengths, lengths)
    return scatter_frames(x, positions, frames, sigma_square, empty)


def spectral_resample(x: Tensor, output_length: int, mask: Tensor | None = None, *, gain: str = "unit") -> Tensor:
    """Shortens by cropping the spectrum: (…, T) → (…, L), L ≤ T.

    Args:
        x: (…, T) floating point.
        output_length: L.
        mask: (K,) weights of the lowest K Fourier bins, as from `spectral_mask`; None: spectral pooling, exactly
            `scipy.signal.resample(x, L)`.
        gain: "unit" or "official" (times T / L).

    Raises:
        ValueError: naming argument, value and rule.

    Source: Rippel et al. 2015 (pooling), Riad et al. 2022 (mask).
    """
    if gain not in ("unit", "official"):
        raise ValueError(f"`gain` (={gain!r}) must be 'unit' or 'official'")
    return _resample(x, output_length, mask, "dft", gain == "official")


def cosine_resample(x: Tensor, output_length: int, mask: Tensor | None = None) -> Tensor:
    """Shortens by cropping the DCT-II, times √(L / T): (…, T) → (…, L). Arguments and errors as `spectral_resample`."""
    return _resample(x, output_length, mask, "dct", False)


def _resample(x: Tensor, output_length: int, mask: Tensor | None, transform: str, official: bool) -> Tensor:
    if not isinstance(x, Tensor) or x.ndim == 0 or 0 in x.shape:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"`x` (shape {shape}) must have shape (…, T) with no empty axis")
    frames = x.shape[-1]
    flat = x.reshape(1, -1, frames)
    check_signal(flat)
    if isinstance(output_length, bool) or not isinstance(output_length, int | torch.SymInt):
        raise ValueError(f"`output_length` (={output_length!r}) must be a whole number")
    if not 1 <= output_length <= frames:
        raise ValueError(f"`output_length` (={output_length}) must be between 1 and the {frames} frames of `x`")
    lengths = torch.full((1,), frames, device=x.device)
    outputs = torch.full((1,), output_length, device=x.device)
    if mask is None:
        windows = pooling_windows(lengths, outputs, transform)
    else:
        most = (output_length // 2 + 1) if transform == "dft" else output_length
        if mask.ndim != 1 or not 1 <= mask.shape[0] <= most:
            raise ValueError(
                f"`mask` (shape {tuple(mask.shape)}) must have shape (K,) with K at most the {most} bins of the output"
            )
        kept = torch.full((1,), mask.shape[0], device=x.device)
        windows = Windows(torch.stack([lengths, torch.zeros_like(kept), kept, outputs], 1), mask[None])
    y = spectral_crop(flat, windows, output_length, transform, official_gain=official)
    return y.reshape(*x.shape[:-1], output_length)


def expand(z: Tensor, positions: Tensor, output_lengths: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Every input frame reads z at its position by linear interpolation: (B, C, L), (B, T) → (B, C, T). Source: ours.

    Raises:
        ValueError: naming argument, value and rule.
    """
    check_signal(z)
    _check_grid("positions", positions)
    frames = _frames(positions, output_lengths, lengths)
    if z.shape[0] != positions.shape[0] or z.shape[2] != frames.output_width:
        raise ValueError(
            f"`z` (shape {tuple(z.shape)}) must have shape ({positions.shape[0]}, C, {frames.output_width})"
        )
    return interpolate(z, positions, frames)


def _check_grid(name: str, values: Tensor) -> None:
    if not isinstance(values, Tensor) or values.ndim != 2 or 0 in values.shape or not values.is_floating_point():
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"`{name}` (shape {shape}) must be a floating-point tensor of shape (B, T)")


def _frames(values: Tensor, output_lengths: Tensor, lengths: Tensor | None) -> Frames:
    """The checked time axis of `values` (B, T); the width of the output is that of the longest item."""
    given = read_lengths(lengths, *values.shape).lengths
    output = read_lengths(output_lengths, values.shape[0], None, name="output_lengths").lengths
    assert output is not None  # only together with a width
    if given is not None:
        given = given.to(values.device)
    batch, width = values.shape
    return Frames(batch, width, int(output.max()), values.device, given, output.to(values.device))


def _placed_frames(x: Tensor, positions: Tensor, output_lengths: Tensor, lengths: Tensor | None) -> Frames:
    """The checked time axis of a signal and its positions."""
    check_signal(x)
    _check_grid("positions", positions)
    if positions.shape != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"`positions` (shape {tuple(positions.shape)}) must have shape {(x.shape[0], x.shape[2])}, one per frame"
        )
    frames = _frames(positions, output_lengths, lengths)
    step = positions.detach()[:, 1:] - positions.detach()[:, :-1]
    if bool(((step < 0) & frames.real[:, 1:]).any()):
        raise ValueError("`positions` must not decrease along time")
    return frames
