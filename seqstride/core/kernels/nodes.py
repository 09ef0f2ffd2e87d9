"""The kernels as nodes of autograd: the whole layer, positions of given scores, and signals at given positions.

None has a second derivative; each says so in one sentence where one is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from seqstride.core.derivatives import differentiable, refuse_second_derivative
from seqstride.core.kernels.align import Rows, align_forward
from seqstride.core.kernels.align_backward import align_backward
from seqstride.core.kernels.layer import Result, Saved, adastride_backward, adastride_forward
from seqstride.core.kernels.positions import place_frames, scores_backward, sum_positions
from seqstride.core.kernels.scores import TILE, score_moments


def _contiguous(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _once(adjoint: Callable[..., Any]) -> Callable[..., Any]:
    """`adjoint` with a node behind it that refuses a second derivative, where anything is recorded at all."""
    refusing = differentiable(adjoint, _nothing_to_keep, _no_gradient)

    def call(*arguments: Any) -> Any:
        return refusing(*arguments) if torch.is_grad_enabled() else adjoint(*arguments)

    return call


def _nothing_to_keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _no_gradient(ctx: Any, *gradients: Tensor) -> NoReturn:
    refuse_second_derivative("an alignment (AdaStride)")


@_once
def _layer_adjoint(
    dz: Tensor,
    dpositions: Tensor | None,
    dpenalty: Tensor | None,
    x: Tensor,
    weight: Tensor,
    lengths: Tensor | None,
    z: Tensor,
    positions: Tensor,
    penalty: Tensor,
    output_lengths: Tensor,
    runs: Tensor,
    anchors: Tensor,
    scores: Tensor,
    moments: Tensor,
    gaps: Tensor,
    rest: Tensor | None,
    sigma_square: float,
    empty: str | None,
    want_dx: bool,
) -> tuple[Tensor | None, Tensor]:
    saved = Saved(scores, moments, gaps, rest)
    result = Result(z, positions, penalty, output_lengths, Rows(runs, anchors), saved)
    return adastride_backward(
        dz, dpositions, dpenalty, x, weight, lengths, result, sigma_square, empty, want_dx=want_dx
    )


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        lengths: Tensor | None,
        stride: float,
        width: int,
        sigma_square: float,
        empty: str | None,
        dtype: torch.dtype | None,
    ) -> tuple[Tensor, ...]:
        x, weight = x.contiguous(), weight.contiguous()
        learns = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        result = adastride_forward(
            x, weight, lengths, stride, width, sigma_square, empty, dtype=dtype, keep_rest=learns
        )
        z, positions, penalty, output_lengths, rows, saved = result
        ctx.save_for_backward(x, weight, lengths, z, positions, penalty, output_lengths, *rows, *saved)
        ctx.method = sigma_square, empty
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output_lengths, *rows)
        return z, positions, penalty, output_lengths, *rows

    @staticmethod
    def backward(ctx: Any, dz: Tensor | None, dpositions: Tensor | None, dpenalty: Tensor | None, *_: Any) -> Any:
        x, weight, lengths, z, *kept = ctx.saved_tensors
        dz = torch.zeros_like(z) if dz is None else dz.contiguous()
        given = _contiguous(dpositions), dpenalty
        want_dx, want_dw = ctx.needs_input_grad[:2]
        dx, dw = _layer_adjoint(dz, *given, x, weight, lengths, z, *kept, *ctx.method, want_dx)
        return dx, dw if want_dw else None, None, None, None, None, None, None


def adastride(
    x: Tensor,
    weight: Tensor,
    lengths: Tensor | None,
    stride: float,
    width: int,
    sigma_square: float,
    empty: str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Rows]:
    """`adastride_forward` with gradients for the signal and the weight.

    Returns:
        z, positions, penalty, output lengths, and the rows for `align` of other signals at the same positions.
    """
    arguments = lengths, stride, width, sigma_square, empty
    if not torch.is_grad_enabled():  # a node takes longer, and in half precision writes more
        result = adastride_forward(x.contiguous(), weight.contiguous(), *arguments, dtype=dtype)
        return result[:5]
    z, positions, penalty, output_lengths, runs, anchors = _Layer.apply(x, weight, *arguments, dtype)
    return z, positions, penalty, output_lengths, Rows(runs, anchors)


@_once
def _positions_adjoint(
    dpositions: Tensor | None,
    dpenalty: Tensor | None,
    scores: Tensor,
    moments: Tensor,
    gaps: Tensor,
    positions: Tensor,
    lengths: Tensor | None,
    output_lengths: Tensor,
) -> Tensor:
    dp = torch.zeros_like(positions) if dpositions is None else dpositions
    sums = sum_positions(dp, positions, lengths)
    return scores_backward(scores, moments, gaps, lengths, output_lengths, dp[None], sums, TILE, dpenalty, scores.dtype)


class _Positions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, lengths: Tensor | None, output_lengths: Tensor) -> tuple[Tensor, Tensor]:
        scores = scores.contiguous()
        moments = score_moments(scores, lengths)
        positions, gaps = place_frames(scores, moments, lengths, output_lengths)
        ctx.save_for_backward(scores, moments, gaps, positions, lengths, output_lengths)
        ctx.set_materialize_grads(False)
        return positions, gaps[0].sum(dtype=torch.promote_types(scores.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, dpositions: Tensor | None, dpenalty: Tensor | None) -> Any:
        return _positions_adjoint(_contiguous(dpositions), dpenalty, *ctx.saved_tensors), None, None


def positions_from_scores(scores: Tensor, lengths: Tensor | None, output_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, T), of any floating-point dtype → positions (B, T) float64, and the gap penalty, 0-d."""
    positions, penalty = _Positions.apply(scores, lengths, output_lengths)
    return positions, penalty


@_once
def _align_adjoint(
    dz: Tensor,
    x: Tensor,
    z: Tensor,
    rest: Tensor | None,
    positions: Tensor,
    lengths: Tensor | None,
    runs: Tensor,
    anchors: Tensor,
    sigma_square: float,
    empty: str | None,
    want_dx: bool,
    want_dp: bool,
) -> tuple[Tensor | None, Tensor | None]:
    gradients = align_backward(
        dz, x, z, rest, positions, lengths, Rows(runs, anchors), sigma_square, empty, want_dx=want_dx, want_dp=want_dp
    )
    dp = gradients.dp
    return gradients.dx, None if dp is None else dp[0] if len(dp) == 1 else dp.sum(0)


class _Align(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        positions: Tensor,
        lengths: Tensor | None,
        output_lengths: Tensor,
        width: int,
        sigma_square: float,
        empty: str | None,
        dtype: torch.dtype | None,
        rows: Rows | None,
    ) -> Tensor:
        x, positions = x.contiguous(), positions.contiguous()
        z, rest, rows, _ = align_forward(
            x, positions, lengths, output_lengths, width, sigma_square, empty, dtype=dtype, rows=rows,
            keep_rest=ctx.needs_input_grad[1],
        )  # fmt: skip
        ctx.save_for_backward(x, z, rest, positions, lengths, *rows)
        ctx.method = sigma_square, empty
        return z

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> Any:
        want = ctx.needs_input_grad[:2]
        dx, dp = _align_adjoint(dz.contiguous(), *ctx.saved_tensors, *ctx.method, *want)
        return dx, dp, None, None, None, None, None, None, None


def align(
    x: Tensor,
    positions: Tensor,
    lengths: Tensor | None,
    output_lengths: Tensor,
    width: int,
    sigma_square: float,
    empty: str | None = None,
    dtype: torch.dtype | None = None,
    rows: Rows | None = None,
) -> Tensor:
    """`align_forward` with gradients for the signal and the positions: (B, C, T) → (B, C, width)."""
    arguments = lengths, output_lengths, width, sigma_square, empty
    if not torch.is_grad_enabled():
        return align_forward(x.contiguous(), positions.contiguous(), *arguments, dtype=dtype, rows=rows)[0]
    z: Tensor = _Align.apply(x, positions, *arguments, dtype, rows)
    return z
