"""A weighted mean of the frames of each window, with weights that are learnt: one for each phase."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.lengths import Frames, double, length_mask
from seqstride.core.plan import Plan, UniformPlan
from seqstride.layers.pooling import WholeStride, real_frames


def weighted_windows(x: Tensor, weights: Tensor, lengths: Tensor | None, width: int) -> Tensor:
    """Σ_j w_j x_(l·s + j), where the last real frame of an item stands for those behind it.

    Args:
        x: (B, C, T).
        weights: (s,), with sum 1.
        lengths: (B,) int64; None: all frames are real.
        width: L.

    Returns:
        (B, C, L), with anything behind an item's last window.
    """
    stride, frames = len(weights), x.shape[2]
    # an exported graph is for any T
    if lengths is not None or torch.compiler.is_exporting() or frames % stride:
        ends = x.new_full((1,), frames, dtype=torch.int64) if lengths is None else lengths
        last = x.gather(2, (ends - 1)[:, None, None].expand(x.shape[0], x.shape[1], 1))
        x = F.pad(x, (0, width * stride - frames))
        x = torch.where(length_mask(ends, width * stride)[:, None], x, last)
    return torch.matmul(x.unflatten(2, (width, stride)), weights.to(x.dtype))


class PhasePlan(UniformPlan):
    """Windows of s frames, weighted by phase. Output frame l stands on its centre of mass, l·s + Σ_j j·w_j.

    Args:
        weights: (s,), with sum 1.
    """

    def __init__(self, frames: Frames, weights: Tensor, like: Tensor) -> None:
        super().__init__(frames, like)
        self.weights = weights

    def line(self) -> tuple[Tensor, Tensor]:
        stride = len(self.weights)
        weights = self.weights.to(self.frames.dtype)
        centre = (weights * torch.arange(stride, device=weights.device)).sum() / weights.sum()
        return double(1.0 / stride, self.frames.device), -centre / stride

    def resample(self, x: Tensor) -> Tensor:
        frames = self.frames
        if not frames.padded:
            return weighted_windows(x, self.weights, None, frames.output_width)
        x = real_frames(x, frames, len(self.weights))
        y = weighted_windows(x, self.weights, frames.input_lengths, frames.output_width)
        return y.masked_fill(~frames.real_output[:, None], 0.0)


class PhasePool1d(WholeStride):
    """A mean of the s frames of a window with s learnt weights: (B, C, T) → (B, C, ceil(T / s)).

    z_l = Σ_j softmax(b)_j · x_(l·s + j), one b (s,) for all channels, which starts at 0: average pooling. Where an item
    ends inside its last window, its last frame stands for those that are missing.

    Args:
        stride: integer ≥ 1.

    Raises:
        ValueError: any other stride.

    Source: Yao et al. 2024, "Zipformer", §3.1, `SimpleDownsample` of the official code. There the last frame of the
    padded batch is repeated, here that of the item: the two agree on an item alone.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.PhasePool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 7.0, 9.0]]])).tolist()
        [[[2.0, 6.0, 9.0]]]
    """

    half_under_autocast = True

    def __init__(self, stride: float) -> None:
        super().__init__(stride)
        # a single phase has nothing to learn
        self.phases = nn.Parameter(torch.zeros(self.stride)) if self.stride > 1 else None

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        if self.phases is None:
            return super()._plan(x, frames, stride)
        # in float32 at least: half precision would round the gradient of weights that are nearly equal
        logits = self.phases.to(torch.promote_types(self.phases.dtype, torch.float32))
        return PhasePlan(frames, logits.softmax(0), x)

    @staticmethod
    def pool_frames(x: Tensor, stride: int, lengths: Tensor | None, width: int) -> Tensor:
        """Stride 1: the frames as they are."""
        return x

    def _reach(self) -> tuple[int, int]:
        return 0, self.stride - 1
