"""The plan: an object that holds all that a layer decides about time for one batch.

A layer computes a plan from a signal. The plan then resamples any tensor on the same time axis, such as the features
and the shortcut of a residual block, and says where frames went. It holds tensors and a few integers, never layers.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seqstride.core.align import align_frames, scatter_frames
from seqstride.core.checks import check_lengths, check_signal
from seqstride.core.kernels import dispatch
from seqstride.core.lengths import Frames, double, zero_padding
from seqstride.core.positions import (
    frame_counts,
    inverse_positions,
    local_strides,
    positions_from_durations,
    uniform_positions,
)
from seqstride.core.spectral import interpolate, spectral_crop
from seqstride.core.spectral_window import Transform, Windows

if TYPE_CHECKING:
    from seqstride.core.kernels.align import Rows


class Plan:
    """A layer's decision about time for one batch; call it to resample a tensor.

    `copy.deepcopy` gives a plan with the same numbers and without their gradients, which stay with the original.

    Attributes:
        input_lengths: (B,) int64, real input frames of each item.
        lengths: (B,) int64, output frames of each item.
        positions: (B, T), double precision where the device has it: the output coordinate of every input frame; 0 in
            the padding.
        penalty: 0-d tensor, to be added to the loss: AdaStride's gap penalty, the mean over the items; where the
            content decides on the output lengths, what holds the mean ratio of the batch; 0 for the other methods.

    Source: ours; the positions of AdaStride are the paper's vector positioning.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> plan = ss.AvgPool1d(2).plan(torch.randn(1, 1, 6))
        >>> plan.times()
        tensor([[0.5000, 2.5000, 4.5000]], dtype=torch.float64)
        >>> plan.strides()
        tensor([[2., 2., 2., 2., 2., 2.]], dtype=torch.float64)
        >>> plan.durations()
        tensor([[2, 2, 2]])
    """

    linear = True
    """Whether the plan has a matrix."""

    def __init__(self, frames: Frames, penalty: Tensor) -> None:
        self.frames = frames
        self.penalty = penalty

    @property
    def input_lengths(self) -> Tensor:
        return self.frames.input_lengths

    @property
    def lengths(self) -> Tensor:
        return self.frames.lengths

    @property
    def positions(self) -> Tensor:
        raise NotImplementedError

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        # torch copies no tensor that stands in a graph of gradients
        plan = object.__new__(type(self))
        memo[id(self)] = plan
        vars(plan).update((name, _detached(value, memo)) for name, value in vars(self).items())
        return plan

    def __call__(self, x: Tensor) -> Tensor:
        """Resamples `x` along time: (B, C, T) → (B, C, L), any C; 0 behind an item's own output length.

        Raises:
            ValueError: `x` is not a floating-point (B, C, T) tensor with the plan's B and T.
        """
        batch, width = self.frames.batch, self.frames.width
        if not (isinstance(x, Tensor) and x.ndim == 3 and x.shape[1] and x.is_floating_point()):
            check_signal(x)
        if x.shape[0] != batch or x.shape[2] != width:
            raise ValueError(
                f"`x` (shape {tuple(x.shape)}) must have the batch size {batch} and the {width} frames of the signal "
                "the plan was made from"
            )
        return self.resample(x)

    def resample(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, L) for a checked `x`; each kind of plan has its own."""
        raise NotImplementedError(f"{type(self).__name__} must define `resample`: (B, C, T) → (B, C, L)")

    def strides(self) -> Tensor:
        """Local stride at every input frame, in input per output frames: (B, T), at most T_b, 0 in the padding."""
        return local_strides(self.positions, self.input_lengths)

    def durations(self) -> Tensor:
        """How many input frames belong to every output frame: (B, L) int64; an item's durations sum to its length."""
        return frame_counts(self.positions, self.frames)

    def times(self) -> Tensor:
        """The input frame index (fractional, in [0, T_b − 1]) an output frame stands for: (B, L), 0 in the padding."""
        return inverse_positions(self.positions, self.frames)

    def expand(self, z: Tensor) -> Tensor:
        """The way back: every input frame reads z at its position by linear interpolation; (B, C, L) → (B, C, T).

        Raises:
            ValueError: `z` is not a floating-point (B, C, L) tensor with the plan's B and L.
        """
        self.check_output(z)
        return interpolate(z, self.positions, self.frames)

    def check_output(self, z: Tensor) -> None:
        """Raises a ValueError, naming argument, value and rule, if `z` is not (B, C, L) with the plan's B and L."""
        check_signal(z)
        batch, width = self.frames.batch, self.frames.output_width
        if z.shape[0] != batch or z.shape[2] != width:
            raise ValueError(
                f"`z` (shape {tuple(z.shape)}) must have the plan's batch size {batch} and {width} output frames"
            )

    def matrix(self) -> Tensor:
        """The plan as a matrix (B, L, T): plan(x) = matrix @ x over time. It takes O(T·L) memory.

        Raises:
            ValueError: the layer is not linear (max pooling).
        """
        if not self.linear:
            raise ValueError(f"`plan` (a {type(self).__name__}) must be of a linear layer to have a matrix")
        width = self.frames.width
        dtype = self.positions.dtype
        deltas = torch.eye(width, dtype=dtype, device=self.lengths.device).expand(self.frames.batch, -1, -1)
        return self.resample(deltas).transpose(1, 2)


def _detached(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy, with tensors detached, also those in tuples."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple):
        parts = [_detached(part, memo) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return copy.deepcopy(value, memo)


class UniformPlan(Plan):
    """A plan with one stride per item: p_t = slope·t + offset."""

    def __init__(self, frames: Frames, like: Tensor) -> None:
        dtype = torch.promote_types(like.dtype, torch.float32)
        super().__init__(frames, torch.zeros((), dtype=dtype, device=like.device))

    def line(self) -> tuple[Tensor, Tensor]:
        """Slope and offset, 0-d or (B,)."""
        raise NotImplementedError

    @property
    def positions(self) -> Tensor:
        slope, offset = self.line()
        return uniform_positions(slope, offset, self.frames.real)


class IdentityPlan(UniformPlan):
    """Stride 1 that cannot change: frames stay where they are."""

    def line(self) -> tuple[Tensor, Tensor]:
        return double(1.0, self.frames.device), double(0.0, self.frames.device)

    def resample(self, x: Tensor) -> Tensor:
        return zero_padding(x[..., : self.frames.output_width], self.lengths) if self.frames.padded else x


class SpectralPlan(UniformPlan):
    """Crop of a spectrum: DiffStride, DCT-DiffStride, spectral and cosine pooling.

    The DFT's grid is periodic, sample 0 stays at 0: p_t = t·L/T. The DCT's is half-sample symmetric:
    p_t = (t + ½)·L/T − ½.
    """

    def __init__(
        self, frames: Frames, windows: Windows, transform: Transform, like: Tensor, *, official_gain: bool = False
    ) -> None:
        super().__init__(frames, like)
        self.windows, self.transform, self.official_gain = windows, transform, official_gain

    def line(self) -> tuple[Tensor, Tensor]:
        slope = self.lengths.to(self.frames.dtype) / self.input_lengths
        return slope, torch.zeros_like(slope) if self.transform == "dft" else (slope - 1) / 2

    def resample(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return spectral_crop(
                x, self.windows, self.frames.output_width, self.transform, official_gain=self.official_gain
            )


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast wants of a resampled `x`: half precision instead of float32."""
    kind = x.device.type
    if x.dtype == torch.float32 and not x.is_meta and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


class Resampled(NamedTuple):
    """A signal `x`, the `version` it had when it was resampled, and the result `z`; `recorded`: with gradients on."""

    x: Tensor
    version: int
    z: Tensor
    recorded: bool


class PositionPlan(Plan):
    """A plan whose positions were placed frame by frame (AdaStride).

    Args:
        source: the signal the positions were made from, and the same as it left the scores' node: gradients of the
            resampled signal that go back through that node take those of the scores along.
    """

    def __init__(self, frames: Frames, positions: Tensor, penalty: Tensor, source: tuple[Tensor, Tensor]) -> None:
        super().__init__(frames, penalty)
        self._positions = positions
        self._source = source if torch.is_grad_enabled() else None
        self._rows: Rows | None = None
        self._first: Resampled | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        # what was kept for the signal itself, by which it is known again, is no use to a copy
        light = copy.copy(self)
        light._source = light._first = None
        return Plan.__deepcopy__(light, memo)

    def keep(self, x: Tensor, z: Tensor, rows: Rows) -> None:
        """Keeps what the kernels computed along with the positions: `x` resampled, and the rows for other signals."""
        self._rows = rows
        if not x.is_inference():  # such a tensor does not tell whether it was changed since
            self._first = Resampled(x, x._version, z, torch.is_grad_enabled())

    def _take(self, x: Tensor, dtype: torch.dtype) -> Tensor | None:
        """`x` resampled, if that was kept. Given away once: the next caller gets a tensor of its own."""
        first = self._first
        if first is None or first.x is not x or not dispatch.has_kernels(x):
            return None
        if (first.version, first.z.dtype, first.recorded) != (x._version, dtype, torch.is_grad_enabled()):
            return None
        self._first = None
        return first.z

    @property
    def positions(self) -> Tensor:
        return self._positions

    def resample(self, x: Tensor) -> Tensor:
        dtype = autocast_dtype(x)
        z = self._take(x, dtype)
        if z is not None:
            return z
        if self._source is not None and x is self._source[0]:
            x = self._source[1]
        with torch.autocast(x.device.type, enabled=False):
            return self.align(x.to(dtype))

    def align(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, L) in the dtype of `x`; each method has its own."""
        raise NotImplementedError


class AlignPlan(PositionPlan):
    """AdaStride, the matrix method: each output frame a softmax-weighted mean of the frames placed around it."""

    def __init__(
        self,
        frames: Frames,
        positions: Tensor,
        penalty: Tensor,
        source: tuple[Tensor, Tensor],
        sigma_square: float,
    ) -> None:
        super().__init__(frames, positions, penalty, source)
        self.sigma_square = sigma_square

    def align(self, x: Tensor) -> Tensor:
        return align_frames(x, self.positions, self.frames, self.sigma_square, self._rows)


class ScatterPlan(PositionPlan):
    """AdaStride-F, the scatter method: each input frame goes to the output frame nearest to it."""

    def __init__(
        self,
        frames: Frames,
        positions: Tensor,
        penalty: Tensor,
        source: tuple[Tensor, Tensor],
        sigma_square: float,
        empty: str,
    ) -> None:
        super().__init__(frames, positions, penalty, source)
        self.sigma_square, self.empty = sigma_square, empty

    def align(self, x: Tensor) -> Tensor:
        return scatter_frames(x, self.positions, self.frames, self.sigma_square, self.empty, self._rows)


class DurationPlan(Plan):
    """A plan known from its durations alone: enough for `expand`, strides, durations and times.

    Args:
        durations: (B, L) int64, at least one frame for every item, 0 behind its output length.
        lengths: (B,) int64, output frames of each item.
        positions: (B, T), those the durations were counted from. They get the gradients, straight through; None: there
            are none.

    Raises:
        ValueError: naming argument, value and rule.

    Source: ours.
    """

    def __init__(self, durations: Tensor, lengths: Tensor, positions: Tensor | None = None) -> None:
        if durations.ndim != 2 or durations.dtype != torch.int64:
            raise ValueError(
                f"`durations` ({durations.dtype}, {tuple(durations.shape)}) must be int64, of shape (B, L)"
            )
        check_lengths(lengths, len(durations))
        most = durations.shape[1]
        longest = 1
        for *counts, output in torch.cat([durations, lengths[:, None]], 1).tolist():
            if not 1 <= output <= most:
                raise ValueError(f"`lengths` (={lengths.tolist()}) must be in 1 … {most}, the L of `durations`")
            if min(counts) < 0 or sum(counts) < 1 or any(counts[output:]):
                raise ValueError(
                    f"`durations` (={counts}) must not be negative, at least one frame in all, and 0 behind the item's "
                    f"{output} output frames"
                )
            longest = max(longest, sum(counts))
        width = longest if positions is None else positions.shape[1]
        frames = Frames(len(durations), width, most, durations.device, durations.sum(1), lengths.long())
        dtype = torch.float32 if positions is None else positions.dtype
        super().__init__(frames, torch.zeros((), dtype=dtype, device=durations.device))
        self._positions = positions_from_durations(durations, frames)
        if positions is not None:
            self._positions = self._positions + (positions - positions.detach())

    @property
    def positions(self) -> Tensor:
        return self._positions
