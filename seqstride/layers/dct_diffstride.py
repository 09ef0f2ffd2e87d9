"""DCT-DiffStride: the stride learnt through a soft low-pass over a real transform."""

from __future__ import annotations

from seqstride.layers.learnt_stride import LearntStride
from seqstride.masks import Transform


class DCTDiffStride1d(LearntStride):
    """DiffStride over the orthonormal DCT-II: (B, C, T) → (B, C, L), L ≈ T / S + R, the stride S learnt.

    An item of T frames keeps the coefficients k with mask_k = clamp((R + T/S − k) / R, 0, 1) > 0 and comes out with as
    many frames, times √(L / T): unit gain at DC. The soft edge costs R frames, half of DiffStride's 2R; a mirrored
    (not periodic) continuation leaves no jump between the last and the first frame.

    Args:
        stride: S at the start, real, ≥ 1; input frames per output frame. One for all channels.
        smoothness: R, coefficients over which the mask falls from 1 to 0; at most T / 4 is used.
        relative_smoothness: ρ; R = max(½, ρ·T / S) instead.
        learnable: False keeps S; with S = 1 the layer is then the identity.
        length_multiple: m; L is rounded up to a multiple of m (T at most), so that it changes rarely while S learns.

    Raises:
        ValueError: naming argument, value and rule.

    Source: ours after Riad et al., ICLR 2022; the published text on the cosine variant names the transform and no
    detail.
    """

    transform: Transform = "dct"
