"""Parameterised hypercomplex convolution: a convolution with about 1/n of the parameters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqstride.core.checks import check_channels


class PHConv1d(nn.Module):
    """Parameterised hypercomplex convolution: (B, C_in, T) → (B, C_out, T').

    This is an extra: no encoder and no recipe of the package uses it. It replaces a `torch.nn.Conv1d` in a network of
    yours, and does not know about lengths.

    The weight is Σ_{i=1..n} A_i ⊗ F_i (Kronecker product over the channel axes) with A_i (n, n) and F_i (C_out/n,
    C_in/n, k).

    Args:
        in_channels, out_channels: multiples of `n`.
        kernel_size: taps k ≥ 1.
        n: number of terms; 1 is an ordinary convolution up to a scale, 4 spans the quaternions.
        stride, padding, dilation: as in `torch.nn.Conv1d`, in frames.
        bias: whether to add a bias (C_out,).

    Raises:
        ValueError: channels that `n` does not divide, or sizes below 1.

    Source: Zhang et al. 2021, "Beyond fully-connected layers with quaternions", §3; Grassucci et al. 2022 for
        convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        n: int = 4,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("n", n), ("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
            if value < 1:
                raise ValueError(f"`{name}` (={value}) must be at least 1")
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if check_channels(value) % n:
                raise ValueError(f"`{name}` (={value}) must be a multiple of `n` (={n})")
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.rules = nn.Parameter(torch.empty(n, n, n))
        self.filters = nn.Parameter(torch.empty(n, out_channels // n, in_channels // n, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters so that the weight has the variance 1/(3·fan_in) of `torch.nn.Conv1d`.

        An element of the weight sums n products of independent a ~ U(±√(3/n)) (variance 1/n) and f: its variance is
        that of f.
        """
        n = self.rules.shape[0]
        fan_in = n * self.filters.shape[2] * self.filters.shape[3]
        nn.init.uniform_(self.rules, -math.sqrt(3.0 / n), math.sqrt(3.0 / n))
        bound = 1.0 / math.sqrt(fan_in)
        nn.init.uniform_(self.filters, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def weight(self) -> Tensor:
        """The convolution's weight, (C_out, C_in, k)."""
        n, out_part, in_part, taps = self.filters.shape
        return torch.einsum("iab,iock->aobck", self.rules, self.filters).reshape(n * out_part, n * in_part, taps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) → (B, C_out, T'), T' as `torch.nn.Conv1d`."""
        return F.conv1d(x, self.weight(), self.bias, self.stride, self.padding, self.dilation)
