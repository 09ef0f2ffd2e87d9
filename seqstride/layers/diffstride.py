"""DiffStride and DCT-DiffStride: a stride learnt through a soft low-pass window over a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqstride.core.lengths import Count, Frames, double
from seqstride.core.plan import IdentityPlan, Plan, SpectralPlan
from seqstride.core.spectral_window import (
    Shape,
    Transform,
    Windows,
    check_smoothness,
    fixed_windows,
    output_lengths,
    output_width,
    widest_output,
    windows_of,
)
from seqstride.layers.annealing import stairs
from seqstride.layers.learnt import Learnt

if TYPE_CHECKING:
    from typing_extensions import Self


class LearntStride(Learnt):
    """One learnt stride for all channels; see `DiffStride1d` and `DCTDiffStride1d`."""

    transform: Transform
    official_gain = False
    edge = 0.0
    """How far the soft edge is stretched towards the end of the spectrum in training; `anneal` sets it."""
    no_stream = "it transforms the signal as a whole"

    def __init__(
        self,
        stride: float,
        *,
        smoothness: float = 4.0,
        relative_smoothness: float | None = None,
        learnable: bool = True,
        length_multiple: int = 1,
        narrowing: bool = False,
    ) -> None:
        super().__init__(stride, learnable=learnable)
        check_smoothness(smoothness, relative_smoothness)
        self.smoothness = float(smoothness)
        self.relative_smoothness = None if relative_smoothness is None else float(relative_smoothness)
        if length_multiple < 1:
            raise ValueError(f"`length_multiple` (={length_multiple}) must be at least 1")
        self.length_multiple = length_multiple
        self.narrowing = narrowing

    def anneal(self, progress: float) -> None:
        """With `narrowing`, and where the stride learns: sets the soft edge for this point of the training.

        A narrow edge shows a stride only the bins around its cut. What stands further out is cut wholly, and nothing
        tells the stride that it is needed (`seqstride.core.spectral_window` says why a wide edge in the gradient alone
        is not enough). So the edge starts as wide as the spectrum. All bins come through, the weaker the further out;
        the rest of the network learns to use them, and the loss pulls the stride to where they are stronger. As the
        edge narrows, the stride has to go with it or lose them.

        While the edge is wide, the output is long: L = T at first. The training runs on the whole spectrum for 1/8 of
        its steps, then with 5/6, 4/6 … 1/6 of the bins that the narrow edge cuts, for 1/8 each, and for the last
        quarter at the length that it ends with. So on average 7/16 of the frames that the stride saves are not saved in
        training. Narrowing over half of it left two strides of ten behind (`recipes/Synthetic/tones`): while all comes
        through, the gradient hardly tells up from down, and a stride that went up first needs the time.
        """
        if self.narrowing and self.learnt_stride() is not None:
            self.edge = stairs(progress, begin=0.0, end=0.75, steps=6)

    def freeze(self) -> Self:
        """Fixes the stride, as `Learnt.freeze`, and the narrow edge."""
        self.edge = 0.0
        return super().freeze()

    def expected_length(self, frames: Tensor) -> Tensor:
        """min(n, n / S + 2R), for the DCT + R: the soft edge of the window costs frames, and more while it is wide."""
        kept = frames / self.stride
        smoothness = torch.full_like(kept, self.smoothness)
        if self.relative_smoothness is not None:
            smoothness = self.relative_smoothness * kept.detach()
        smoothness = torch.minimum(smoothness.clamp(min=1.0), frames / 4)
        narrow = torch.minimum(
            frames * torch.ones_like(kept), kept + (2 if self.transform == "dft" else 1) * smoothness
        )
        return narrow + self._shape.edge * (frames - narrow)

    def extra_repr(self) -> str:
        smoothness = (
            f"smoothness={self.smoothness:g}"
            if self.relative_smoothness is None
            else f"relative_smoothness={self.relative_smoothness:g}"
        )
        narrowing = ", narrowing=True" if self.narrowing else ""
        return f"{super().extra_repr()}, {smoothness}, learnable={self.learnable}{narrowing}"

    @property
    def _is_identity(self) -> bool:
        return not self.learnable and self._fixed_stride == 1

    @property
    def _shape(self) -> Shape:
        edge = self.edge if self.training else 0.0
        return Shape(self.transform, self.smoothness, self.relative_smoothness, self.length_multiple, edge)

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        if self._is_identity:
            return lengths
        number = self._number(stride)
        if isinstance(lengths, Tensor):
            return output_lengths(number, lengths, self._shape)
        return output_width(number, lengths, self._shape)

    def _output_width(self, width: int, stride: float) -> int:
        if self._is_identity:
            return width
        return widest_output(self._number(stride), width, self._shape)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        if self._is_identity:
            return IdentityPlan(frames, x)
        windows = self._windows(frames, self._number(stride))
        return SpectralPlan(frames, windows, self.transform, x, official_gain=self.official_gain)

    def _windows(self, frames: Frames, stride: float) -> Windows:
        if self._fixed_stride is None:
            value = self.stride_parameter.to(frames.dtype)
        elif frames.padded or torch.compiler.is_compiling():  # a graph keeps its constants itself
            value = double(stride, frames.device)
        else:
            table, ramp = fixed_windows(stride, frames.width, self._shape, frames.device)
            return Windows(table.expand(frames.batch, -1), ramp.expand(frames.batch, -1))
        return windows_of(value, frames.input_lengths, self._shape, stride, frames.width)


class DiffStride1d(LearntStride):
    """DiffStride along time: (B, C, T) → (B, C, L), L ≈ T / S + 2R, the stride S learnt by gradient descent.

    An item of T frames keeps the Fourier bins n with mask_n = clamp((R + T/2S + 1 − n) / R, 0, 1) > 0, K of them, and
    comes out with L = 2(K − 1) frames (L = T where nothing is cropped). Unit gain at DC.

    The stride has a gradient from items of at least 4 frames; shorter ones have no bin on the ramp. For each item S is
    clamped to a range that its bins allow, 1.33 … 8 for 16 frames, with the gradient straight through. The gradient
    of the batch is blocked where it would move S further out of 1 … half the longest item. So it is a property of the
    batch, not the sum of those that the items have alone; the outputs are the same alone and in a batch.

    Args:
        stride: S at the start, real, ≥ 1; input frames per output frame. One for all channels.
        smoothness: R, bins over which the mask falls from 1 to 0; at least 1 is used, at most T / 4.
        relative_smoothness: ρ; R = ρ·T / S instead, so that short items are shortened as much as long ones.
        learnable: False keeps S; with S = 1 the layer is then the identity.
        length_multiple: m; L is rounded up to a multiple of m (T at most), so that it changes rarely while S learns.
        narrowing: `seqstride.anneal`, called in training, has an effect: the soft edge starts as wide as the
            spectrum and narrows to R, so that a stride that starts too large sees what it cuts.
        gain: "unit" (a constant comes out as that constant), or "official", which multiplies by T / L as the official
            code does.

    Raises:
        ValueError: naming argument, value and rule.

    Source: Riad et al., ICLR 2022, "Learning strides in convolutional neural networks", §3 and the authors' code.
    Ours: the bounds 1 ≤ R ≤ T/4 and S ≤ T/2, clamping without a write to the parameter, L of odd T, unit gain, ρ, exact
    lengths.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> layer = ss.DiffStride1d(stride=2.0)
        >>> layer(torch.randn(1, 8, 64)).shape  # 64 / 2 frames, and 2 · 4 for the smooth edge
        torch.Size([1, 8, 40])
    """

    transform: Transform = "dft"

    def __init__(
        self,
        stride: float,
        *,
        smoothness: float = 4.0,
        relative_smoothness: float | None = None,
        learnable: bool = True,
        length_multiple: int = 1,
        narrowing: bool = False,
        gain: str = "unit",
    ) -> None:
        super().__init__(
            stride,
            smoothness=smoothness,
            relative_smoothness=relative_smoothness,
            learnable=learnable,
            length_multiple=length_multiple,
            narrowing=narrowing,
        )
        if gain not in ("unit", "official"):
            raise ValueError(f"`gain` (={gain!r}) must be 'unit' or 'official'")
        self.official_gain = gain == "official"


class DCTDiffStride1d(LearntStride):
    """DiffStride over the orthonormal DCT-II: (B, C, T) → (B, C, L), L ≈ T / S + R, the stride S learnt.

    An item of T frames keeps the coefficients k with mask_k = clamp((R + T/S − k) / R, 0, 1) > 0 and comes out with as
    many frames, times √(L / T): unit gain at DC. The soft edge costs R frames, half of DiffStride's 2R; a mirrored
    (not periodic) continuation leaves no jump between the last and the first frame. Its gradient as in `DiffStride1d`.

    Args:
        stride: S at the start, real, ≥ 1; input frames per output frame. One for all channels.
        smoothness: R, coefficients over which the mask falls from 1 to 0; at least 1 is used, at most T / 4.
        relative_smoothness: ρ; R = ρ·T / S instead.
        learnable: False keeps S; with S = 1 the layer is then the identity.
        length_multiple: m; L is rounded up to a multiple of m (T at most), so that it changes rarely while S learns.
        narrowing: as in `DiffStride1d`.

    Raises:
        ValueError: naming argument, value and rule.

    Source: ours after Riad et al., ICLR 2022; the published text on the cosine variant names the transform and no
    detail.
    """

    transform: Transform = "dct"
