"""A softmax-weighted mean in the place of the mean: what stands out in the frames of a window comes through."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_channels
from seqstride.core.plan import Plan, autocast_dtype
from seqstride.layers.pooling import AvgPool1d

#: β, the bound of α·x: a frame weighs e^−β to e^β times what it weighs in the mean
BOUND = 5.0


Pooling = Literal["mean", "softmax"]


def softmax_pool(x: Tensor, plan: Plan, sharpness: Tensor | None) -> Tensor:
    """Output frames that read large values more than small ones: (B, C, T) → (B, C, L).

    A linear plan makes z_l = Σ_t w_lt x_t with weights that sum to 1. Here every channel weighs its frames once more:

        z_l = Σ_t w_lt e^(a_t) x_t / Σ_t w_lt e^(a_t),    a_t = α x_t, at least −β and at most β,

    which is two resamplings by the plan. α = 0 is the mean; with a large α the largest frames of a window hold up to
    e^(2β) = 22026 times the weight of the smallest, nearly the maximum. A frame's weight depends on that frame alone,
    so neither padding nor the rest of the signal tells, and a stream has the same.

    The bound β is there for the plan, which leaves out frames that weigh less than e^−22 of the nearest one in float32
    (`seqstride.core.align`): here that is e^(2β − 22) = 6e-6 of it at most. Numbers stay far from the
    limits of float32, in which all this is computed at least.

    Args:
        x: of the plan's B and T.
        plan: linear, without negative weights.
        sharpness: α (C',), where each stands for C / C' channels that follow one another; None is the mean.

    Source: softmax-weighted windows are SoftPool (Stergiou et al., ICCV 2021), α is the learnt one of auto-pool (McFee
    et al. 2018, "Adaptive pooling operators for weakly labeled sound event detection"); behind any plan: ours.
    """
    if sharpness is None:
        return plan(x)
    dtype = autocast_dtype(x)
    with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if plan.frames.padded:  # NaN there would come back with the gradient of α
            x = x.masked_fill(~plan.frames.real[:, None], 0.0)
        alpha = sharpness.to(x.dtype).repeat_interleave(x.shape[1] // sharpness.shape[0])
        weights = (alpha[:, None] * x).clamp(-BOUND, BOUND).exp()
        sums, weight = plan(torch.cat([x * weights, weights], 1)).chunk(2, 1)
        # behind an item's own output frames, and where the scatter method leaves one empty, both are 0
        return (sums / weight.masked_fill(weight == 0, 1.0)).to(dtype)


def new_sharpness(channels: int, pooling: Pooling) -> nn.Parameter | None:
    """α (C,) of `softmax_pool` at its start: 1, SoftPool, between the mean and the maximum; None for means."""
    if pooling not in ("mean", "softmax"):
        raise ValueError(f"`pooling` (={pooling!r}) must be 'mean' or 'softmax'")
    return nn.Parameter(torch.ones(channels)) if pooling == "softmax" else None


class SoftPool1d(AvgPool1d):
    """SoftPool with a learnt sharpness: (B, C, T) → (B, C, ceil(T / s)), windows as those of average pooling.

    z_l = Σ_j e^(α x_(l·s + j)) x_(l·s + j) / Σ_j e^(α x_(l·s + j)), with an α for every channel, which starts at 1. The
    plan is that of average pooling: the shortcut of a residual block is a mean.

    Args:
        channels: C of the input.
        stride: integer ≥ 1.

    Raises:
        ValueError: any other number of channels or stride.

    Source: Stergiou et al., ICCV 2021, "Refining activation downsampling with SoftPool" (α = 1), and the learnt α of
    auto-pool (McFee et al. 2018). Ours: |α x| counts up to 5.

    Example:
        >>> import torch
        >>> import seqstride as ss
        >>> ss.SoftPool1d(1, stride=2)(torch.tensor([[[1.0, 3.0, 4.0, 4.0, 9.0]]])).detach()
        tensor([[[2.7616, 4.0000, 9.0000]]])
    """

    beyond_plan = True
    half_under_autocast = True
    channels: int

    def __init__(self, channels: int, stride: float) -> None:
        super().__init__(stride)
        self.channels = check_channels(channels)
        # in a window of one frame all weights are the same
        self.sharpness = new_sharpness(channels, "softmax" if self.stride > 1 else "mean")

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        """As `Downsampler.pool`."""
        return softmax_pool(x, plan, self.sharpness)

    def extra_repr(self) -> str:
        return f"{self.channels}, {super().extra_repr()}"
