"""Twins of the downsampling layers made of tensors alone, for `seqstride.export.exportable`.

A layer class names its twin (`Downsampler.twin`). The layers read lengths on the host, group items of equal length and
compute only real frames, so their graphs would depend on the values of a batch. In the twins, lengths stay tensors.
Spectra are products with matrices of cosines and sines that the graph computes from the lengths. AdaStride's alignment
is the full matrix of its definition. Time and memory of the matrices grow with T·L; those of the layers grow with T.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seqstride.core.align import scatter_weights
from seqstride.core.lengths import Frames, length_mask, zero_padding
from seqstride.core.plan import Plan
from seqstride.core.positions import nearest_output, positions_from_scores, uniform_positions
from seqstride.core.spectral_window import Transform, window_sizes
from seqstride.layers.adastride import AdaStride1d
from seqstride.layers.base import Downsampler
from seqstride.layers.diffstride import LearntStride
from seqstride.layers.pooling import StridedConv1d, WholeStride


class TracedPlan(Plan):
    """A plan of tensors alone.

    Args:
        frames: the time axis.
        positions: (B, T).
        apply: maps (B, C, T) with zeros in the padding to (B, C, L) with any values in the padding.
    """

    def __init__(self, frames: Frames, positions: Tensor, apply: Callable[[Tensor], Tensor]) -> None:
        super().__init__(frames, torch.zeros((), device=positions.device))
        self._positions, self._apply = positions, apply

    @property
    def positions(self) -> Tensor:
        return self._positions

    def __call__(self, x: Tensor) -> Tensor:
        return self.resample(x)

    def resample(self, x: Tensor) -> Tensor:
        if not self.frames.padded:
            return self._apply(x)
        return zero_padding(self._apply(zero_padding(x, self.input_lengths)), self.lengths)


class Traced(Downsampler):
    """A layer whose plan is made of tensors alone."""

    def plan_checked(self, x: Tensor, lengths: Tensor | None, stride: float) -> Plan:
        """Same as `Downsampler.plan_checked`."""
        batch, width = x.shape[0], x.shape[2]
        # without lengths, all items have one length and share their matrices
        own = x.new_full((1,), width, dtype=torch.int64) if lengths is None else lengths.long()
        outputs = self._outputs(own)
        static = lengths is None and isinstance(width, int)
        output_width = self._output_lengths(width, math.nan) if static else self._widest(width, outputs)
        given = None if lengths is None else own
        frames = Frames(batch, width, output_width, x.device, given, outputs.expand(batch))
        positions, apply = self._traced(x, own, outputs, frames)
        return TracedPlan(frames, positions.expand(batch, width), apply)

    def _outputs(self, lengths: Tensor) -> Tensor:
        """Returns the output lengths as a tensor; see `_output_lengths`."""
        raise NotImplementedError

    def _widest(self, width: int, outputs: Tensor) -> int:
        """Returns the output width of a batch of this width."""
        return _largest(outputs)

    def _traced(
        self, x: Tensor, lengths: Tensor, outputs: Tensor, frames: Frames
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Returns positions and the resampling. `lengths` and `outputs` have one entry per item, or one for all."""
        raise NotImplementedError


def _rounded(values: Tensor) -> Tensor:
    """Rounds to 9 decimals in double precision, as in `seqstride.core.lengths.ceil_lengths`."""
    return (values * 1e9).round() / 1e9


def _double(value: float, like: Tensor) -> Tensor:
    """Returns a number as a double-precision tensor, because exporters store Python numbers in single precision."""
    return torch.tensor(value, dtype=torch.float64, device=like.device)


def _largest(values: Tensor) -> int:
    """Returns the largest of positive integers. The exporter makes a symbol of it, so that size formulas stay short."""
    largest: int = values.max().item()  # type: ignore[assignment]
    torch._check(largest >= 1)
    return largest


# Whole strides


class TracedPooling(Traced, WholeStride):
    """Pooling with a whole stride."""

    def _outputs(self, lengths: Tensor) -> Tensor:
        return (lengths + self.stride - 1) // self.stride

    def _widest(self, width: int, outputs: Tensor) -> int:
        # from the width, as in a convolution, not from the longest item
        return (width + self.stride - 1) // self.stride

    def _traced(
        self, x: Tensor, lengths: Tensor, outputs: Tensor, frames: Frames
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        slope = torch.ones_like(lengths, dtype=torch.float64) / self.stride
        offset = 0.5 * slope - 0.5 if self.centred else torch.zeros_like(slope)

        def apply(x: Tensor) -> Tensor:
            return self._pooled(x, lengths, frames.output_width)

        return uniform_positions(slope, offset, length_mask(lengths, frames.width)), apply

    def _pooled(self, x: Tensor, lengths: Tensor, width: int) -> Tensor:
        return self.pool_frames(x, self.stride, lengths, width)


class TracedMaxPooling(TracedPooling):
    """Max pooling with the windows on their own axis, because the graph must not depend on the signal's length."""

    def _pooled(self, x: Tensor, lengths: Tensor, width: int) -> Tensor:
        x = x.masked_fill(~length_mask(lengths, x.shape[-1])[:, None], -math.inf)
        padded = F.pad(x, (0, width * self.stride - x.shape[-1]), value=-math.inf)
        return padded.unflatten(2, (width, self.stride)).amax(3)


class TracedConvolution(TracedPooling, StridedConv1d):
    """Strided convolution."""

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        if not plan.frames.padded:
            return self.conv(x)
        return zero_padding(self.conv(zero_padding(x, plan.input_lengths)), plan.lengths)


# Spectra


def _waves(transform: Transform, points: int, bins: int, lengths: Tensor) -> Tensor:
    """Returns cos(πk(2t + 1) / 2T_b), (B, points, bins); for the DFT cos and sin of 2πkt / T_b, (B, points, 2·bins)."""
    t, k = (torch.arange(count, dtype=torch.float64, device=lengths.device)[:, None] for count in (points, bins))
    shift, period = (0.5, 2 * lengths) if transform == "dct" else (0.0, lengths)
    turns = (t + shift) * k.T / period[:, None, None]
    # whole turns are subtracted in double precision
    angle = ((turns - turns.round()) * _double(2 * math.pi, turns)).float()
    return angle.cos() if transform == "dct" else torch.cat([angle.cos(), angle.sin()], dim=2)


def _cropped_spectrum(
    mask: Tensor, transform: Transform, lengths: Tensor, outputs: Tensor, frames: Frames, *, official: bool = False
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Computes `seqstride.core.spectral.spectral_crop` in tensors. `mask` (B, K) weights the lowest bins; 0 crops.

    With c_k and s_k the sums of x_t cos and x_t sin, y_j = (1/T) Σ_k w_k m_k (c_k cos(2πkj/L) + s_k sin(2πkj/L)).
    """
    bins = mask.shape[1]
    k = torch.arange(bins, device=mask.device)
    # a bin also represents its negative frequency, except for 0 and the Nyquist bin; DCT bins have the norm √2
    single = (k == 0) | (2 * k == outputs[:, None]) if transform == "dft" else (k == 0).expand(mask.shape)
    gain = mask * torch.where(single, 1.0, 2.0) / (outputs if official else lengths)[:, None]
    gain = (gain if transform == "dct" else torch.cat([gain, gain], dim=1)).float()[:, None]
    analysis = _waves(transform, frames.width, bins, lengths)
    synthesis = _waves(transform, frames.output_width, bins, outputs).transpose(1, 2)

    def apply(x: Tensor) -> Tensor:
        spectrum = torch.bmm(x, analysis.expand(x.shape[0], -1, -1))
        return torch.bmm(spectrum * gain, synthesis.expand(x.shape[0], -1, -1))

    slope = outputs.double() / lengths
    offset = torch.zeros_like(slope) if transform == "dft" else (slope - 1) / 2
    return uniform_positions(slope, offset, length_mask(lengths, frames.width)), apply


class TracedSpectralPooling(Traced):
    """The lowest bins of a spectrum."""

    transform: Transform
    stride: float

    def _outputs(self, lengths: Tensor) -> Tensor:
        return _rounded(lengths / _double(self.stride, lengths)).floor().long().clamp(min=1)

    def _traced(
        self, x: Tensor, lengths: Tensor, outputs: Tensor, frames: Frames
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        fourier = self.transform == "dft"
        k = torch.arange(frames.output_width // 2 + 1 if fourier else frames.output_width, device=x.device)
        if fourier:
            # as in `seqstride.core.spectral.pooling_windows`
            doubled = (2 * k == outputs[:, None]) & (outputs < lengths)[:, None]
            mask = torch.where(2 * k <= outputs[:, None], torch.where(doubled, 2.0, 1.0), 0.0)
        else:
            mask = torch.where(k < outputs[:, None], 1.0, 0.0)
        return _cropped_spectrum(mask, self.transform, lengths, outputs, frames)


class TracedLearntStride(Traced, LearntStride):
    """A learnt stride, frozen at its current value."""

    def _numbers(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The windows of `seqstride.core.spectral_window` in tensors (B,): R_eff, threshold, bins kept, all bins."""
        frames, stride = lengths.double(), _double(self._number(math.nan), lengths)
        smoothness = _double(self.smoothness, lengths)
        if self.relative_smoothness is not None:
            smoothness = (_double(self.relative_smoothness, lengths) * frames / stride).clamp(min=0.5)
        smoothness = torch.minimum(smoothness, frames / 4)
        effective = torch.maximum(torch.minimum(stride, frames / 2), frames / (frames - smoothness))
        if self.transform == "dft":
            bins, threshold = lengths // 2 + 1, frames / (2 * effective) + 1
        else:
            bins, threshold = lengths, frames / effective
        kept = torch.minimum(bins, _rounded(threshold + smoothness).ceil().long())
        return smoothness, threshold, kept, bins

    def _outputs(self, lengths: Tensor) -> Tensor:
        if self._is_identity:
            return lengths
        *_, kept, bins = self._numbers(lengths)
        output = kept if self.transform == "dct" else torch.where(kept == bins, lengths, 2 * (kept - 1))
        m = self.length_multiple
        return torch.minimum((output + m - 1) // m * m, lengths)

    def _widest(self, width: int, outputs: Tensor) -> int:
        return width if self._is_identity else super()._widest(width, outputs)

    def _traced(
        self, x: Tensor, lengths: Tensor, outputs: Tensor, frames: Frames
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if self._is_identity:
            one = torch.ones_like(lengths, dtype=torch.float64)
            return uniform_positions(one, 0 * one, length_mask(lengths, frames.width)), lambda x: x
        smoothness, threshold, kept, _ = self._numbers(lengths)
        static = not frames.padded and isinstance(frames.width, int)
        bins = window_sizes(self._number(math.nan), frames.width, self._shape).kept if static else _largest(kept)
        k = torch.arange(bins, device=x.device)
        mask = ((smoothness + threshold)[:, None] - k) / smoothness[:, None]
        mask = mask.clamp(0.0, 1.0).masked_fill(k >= kept[:, None], 0.0)
        return _cropped_spectrum(mask, self.transform, lengths, outputs, frames, official=self.official_gain)


# Alignments


class TracedAdaStride(Traced, AdaStride1d):
    """AdaStride and AdaStride-F."""

    def _outputs(self, lengths: Tensor) -> Tensor:
        return _rounded(lengths / _double(self.stride, lengths)).ceil().long()

    def _traced(
        self, x: Tensor, lengths: Tensor, outputs: Tensor, frames: Frames
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        scores, _ = self.score(x, frames.input_lengths)
        positions = positions_from_scores(scores, frames)
        if self.method == "matrix":
            return positions, _alignment(positions, frames, self.sigma_square)
        return positions, _scattering(positions, frames, self.sigma_square, self.empty)


def _alignment(positions: Tensor, frames: Frames, sigma_square: float) -> Callable[[Tensor], Tensor]:
    """Returns the resampling with the matrix (B, T, L) of softmax_t(−σ² (l − p_t)²) over the real frames."""
    rows = torch.arange(frames.output_width, dtype=positions.dtype, device=positions.device)
    square = (rows - positions[:, :, None]).square()
    square = square.masked_fill(~frames.real[:, :, None], math.inf)
    # subtracts the smallest square in double precision: in a long gap, all squares are large and nearly equal
    weights = ((square - square.amin(1, keepdim=True)) * _double(-sigma_square, square)).float().softmax(1)
    return lambda x: torch.bmm(x, weights)


def _scattering(positions: Tensor, frames: Frames, sigma_square: float, empty: str) -> Callable[[Tensor], Tensor]:
    """Returns the resampling of `seqstride.core.align.scatter_frames`."""
    bins = nearest_output(positions, frames.lengths)
    weights = scatter_weights(positions, frames, sigma_square).float()
    real = frames.real.long()
    count = real.new_zeros(bins.shape[0], frames.output_width).scatter_add(1, bins, real)
    # no frame rounds to a vacant row; its neighbours are frames first − 1 and first; the earlier wins a tie
    first = count.cumsum(1) - count
    left, right = (first - 1).clamp(min=0), torch.minimum(first, frames.input_lengths[:, None] - 1)
    rows = torch.arange(frames.output_width, device=bins.device)
    nearer_left = (rows - positions.gather(1, left)).abs() <= (positions.gather(1, right) - rows).abs()
    source, vacant = torch.where(nearer_left, left, right)[:, None], (count == 0)[:, None]

    def apply(x: Tensor) -> Tensor:
        z = x.new_zeros(x.shape[0], x.shape[1], frames.output_width)
        z = z.scatter_add(2, bins[:, None].expand(x.shape), x * weights[:, None])
        return torch.where(vacant, x.gather(2, source.expand(z.shape)), z) if empty == "nearest" else z

    return apply
