"""DiffStride: the stride learnt through a soft low-pass in the Fourier domain."""

from __future__ import annotations

from seqstride.layers.learnt_stride import LearntStride
from seqstride.masks import Transform


class DiffStride1d(LearntStride):
    """DiffStride along time: (B, C, T) → (B, C, L), L ≈ T / S + 2R, the stride S learnt by gradient descent.

    An item of T frames keeps the Fourier bins n with mask_n = clamp((R + T/2S + 1 − n) / R, 0, 1) > 0, K of them, and
    comes out with L = 2(K − 1) frames (L = T where nothing is cropped). Unit gain at DC.

    Args:
        stride: S at the start, real, ≥ 1; input frames per output frame. One for all channels.
        smoothness: R, bins over which the mask falls from 1 to 0; at most T / 4 is used.
        relative_smoothness: ρ; R = max(½, ρ·T / S) instead, so that short items are shortened as much as long ones.
        learnable: False keeps S; with S = 1 the layer is then the identity.
        length_multiple: m; L is rounded up to a multiple of m (T at most), so that it changes rarely while S learns.
        gain: "unit" (a constant comes out as that constant), or "official", which multiplies by T / L as the official
            code does.

    Raises:
        ValueError: naming argument, value and rule.

    Source: Riad et al., ICLR 2022, "Learning strides in convolutional neural networks", §3 and the authors' code.
    Ours: the bounds R ≤ T/4 and S ≤ T/2, clamping without a write to the parameter, L of odd T, unit gain, ρ, exact
    lengths.
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
        gain: str = "unit",
    ) -> None:
        super().__init__(
            stride,
            smoothness=smoothness,
            relative_smoothness=relative_smoothness,
            learnable=learnable,
            length_multiple=length_multiple,
        )
        if gain not in ("unit", "official"):
            raise ValueError(f"`gain` (={gain!r}) must be 'unit' or 'official'")
        self.official_gain = gain == "official"
