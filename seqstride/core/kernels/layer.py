"""The layer from end to end: signal and weight of the scores → resampled signal, positions, gap penalty, lengths.

Three launches forward: scores, positions, alignment. Four backward: dp from dz, ds from dp, dx and parts of dw in one
pass, and the sum of the parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqstride.core.kernels.align import Rows, align_forward
from seqstride.core.kernels.align_backward import FRAMES, align_backward
from seqstride.core.kernels.positions import place_frames, scores_backward
from seqstride.core.kernels.scores import score_frames


class Result(NamedTuple):
    """z (B, C, width), positions (B, T) float64, penalty (0-d float32), output lengths (B,) int64, rows of the output.

    saved: what the backward needs beside them.
    """

    z: Tensor
    positions: Tensor
    penalty: Tensor
    output_lengths: Tensor
    rows: Rows
    saved: Saved


class Saved(NamedTuple):
    """Scores (B, T) float64, moments of their tiles, parts of the penalty, and z's rest (None in single precision)."""

    scores: Tensor
    moments: Tensor
    gaps: Tensor
    rest: Tensor | None


def adastride_forward(
    x: Tensor,
    weight: Tensor,
    lengths: Tensor | None,
    stride: float,
    width: int,
    sigma_square: float,
    empty: str | None = None,
    *,
    dtype: torch.dtype | None = None,
    keep_rest: bool = False,
) -> Result:
    """Scores, places and resamples a signal.

    Args:
        x: (B, C, T), contiguous, of a dtype in `DTYPES`.
        weight: (C,), contiguous, of a floating-point dtype.
        lengths: (B,) integers in 1 … T, on the device; None: all T frames are real.
        width: of the output, at least the output length of the longest item; ⌈T / stride⌉ needs no look at the device.
        empty: None for the matrix method; "nearest" or "zero" for the scatter method.
        dtype: of z; that of `x` by default.
        keep_rest: whether there will be a backward.
    """
    scores, moments, output_lengths = score_frames(x, weight, lengths, stride)
    positions, gaps = place_frames(scores, moments, lengths, output_lengths)
    z, rest, rows, penalty = align_forward(
        x, positions, lengths, output_lengths, width, sigma_square, empty, dtype=dtype, keep_rest=keep_rest, gaps=gaps
    )
    assert penalty is not None
    return Result(z, positions, penalty, output_lengths, rows, Saved(scores, moments, gaps, rest))


def adastride_backward(
    dz: Tensor,
    dpositions: Tensor | None,
    dpenalty: Tensor | None,
    x: Tensor,
    weight: Tensor,
    lengths: Tensor | None,
    result: Result,
    sigma_square: float,
    empty: str | None = None,
    *,
    want_dx: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """Gradients for the signal (None unless wanted) and the weight; arguments of `adastride_forward` and its result.

    Args:
        dz: (B, C, width), contiguous; what stands behind an item's own output length is not read.
        dpositions: (B, T) float64, contiguous, or None; the padding is not read.
        dpenalty: 0-d, or None.
    """
    saved = result.saved
    shared = dz, x, result.z, saved.rest, result.positions, lengths, result.rows, sigma_square, empty
    first = align_backward(*shared, want_dx=False, more_dp=dpositions)
    assert first.dp is not None
    assert first.sums is not None
    ds = scores_backward(
        saved.scores, saved.moments, saved.gaps, lengths, result.output_lengths, first.dp, first.sums, FRAMES, dpenalty,
        torch.float32,
    )  # fmt: skip
    second = align_backward(*shared, want_dx=want_dx, want_dp=False, score=(weight, ds))
    assert second.dw is not None
    return second.dx, second.dw.sum(1).to(weight.dtype)
