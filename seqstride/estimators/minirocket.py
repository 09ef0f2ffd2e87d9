"""MiniRocket features: how often the outputs of fixed convolutions exceed fixed thresholds.

Source: A. Dempster, D. Schmidt, G. Webb, "MiniRocket: a very fast (almost) deterministic transform for time series
classification", KDD 2021, <https://arxiv.org/abs/2012.08791>. sktime's `MiniRocketMultivariateVariable` computes the
same features from the same dilations, channels and thresholds (tested). This one draws from the estimator's own
generator, keeps what it has fitted in tensors, which a model folder can hold, and does not depend on the order of sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqstride.errors import InputError

TAPS = 9
RAISED = list(combinations(range(TAPS), 3))
"""The taps of every kernel that are 2."""
KERNELS = len(RAISED)
MOST_DILATIONS = 32
MOST_CHANNELS = 9
"""Most channels that one convolution reads."""
MOST_DILATION = 1 << 20
"""Largest dilation: an exported graph pads series by it, so that a folder of a stranger must not choose it freely."""
STEP, BOUND = 2.0**-36, 512.0
"""Values are rounded to multiples of `STEP` and bounded. A sum of nine taps of nine channels is then exact in double
precision (9 · 12 · 2⁹ / 2⁻³⁶ < 2⁵³), so that no order of sums decides on which side of a threshold one lies."""


def kernels() -> Tensor:
    """The 84 kernels: (84, 9). Three taps are 2 and six are −1, so that each sums to 0."""
    return torch.full((KERNELS, TAPS), -1.0, dtype=torch.float64).scatter_(1, torch.tensor(RAISED), 2.0)


ALL = slice(None)
FRAMES = 2048
"""Frames whose outputs are held at the same time."""


def convolve(padded: Tensor, weights: Tensor, dilation: int) -> Tensor:
    """Convolves series, that have 4 · dilation more frames at either end: (…, C, T'), (K, 9 C) → (…, K, T)."""
    frames = padded.shape[-1] - (TAPS - 1) * dilation
    taps = torch.stack([padded[..., tap * dilation :][..., :frames] for tap in range(TAPS)], -2)
    return weights @ taps.flatten(-3, -2)


def dilations(length: int, features: int) -> list[tuple[int, int]]:
    """Returns pairs (dilation, features per kernel), spaced evenly on a log scale up to the length of the series.

    Args:
        length: frames of the longest training series.
        features: number of features; each of the 84 kernels gets an equal share, rounded down, and at least one.
    """
    per_kernel = max(1, features // KERNELS)
    count = min(per_kernel, MOST_DILATIONS)
    last = math.log2((max(length, TAPS) - 1) / (TAPS - 1))
    found, repeats = np.unique(np.logspace(0, last, count, base=2).astype(int), return_counts=True)
    shares = [int(times * per_kernel / count) for times in repeats]
    for index in range(per_kernel - sum(shares)):  # the remainder goes to the smallest dilations
        shares[index % len(shares)] += 1
    return list(zip(found.tolist(), shares, strict=True))


class MiniRocket(nn.Module):
    """MiniRocket features of series of C channels: (C, T) → (F,).

    Args:
        channels: the number of channels C.
        steps: pairs (dilation, features per kernel), as `dilations` returns them; F is 84 times the sum of the latter.

    Raises:
        InputError: `steps` does not list pairs of positive integers.
    """

    scale: Tensor
    mixes: Tensor
    thresholds: Tensor

    def __init__(self, channels: int, steps: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.steps = [(dilation, count) for dilation, count in steps]
        whole = all(type(number) is int and number >= 1 for step in self.steps for number in step)
        if not self.steps or not whole or max(dilation for dilation, _ in self.steps) > MOST_DILATION:
            rule = f"list pairs of integers of at least 1, the dilations at most {MOST_DILATION}"
            raise InputError(f"`steps` (={self.steps!r}) must {rule}")
        self.features = KERNELS * sum(count for _, count in self.steps)
        self.register_buffer("scale", torch.ones(channels).double())
        self.register_buffer("mixes", torch.ones(len(self.steps), KERNELS, channels).double())
        self.register_buffer("thresholds", torch.zeros(self.features).double())

    def fit(self, items: Sequence[Tensor], generator: torch.Generator) -> None:
        """Draws the channels of every convolution, and takes thresholds from the outputs for random training series.

        Args:
            items: (C, T) each, finite. Channels are scaled to unit variance, since a convolution adds several of them.
            generator: on the CPU.
        """
        std = torch.cat(list(items), 1).double().std(1, unbiased=False)
        self.scale.copy_(torch.where(std > 0, 1 / std, 0.0))
        exact = [self._exact(item) for item in items]
        most = min(len(self.scale), MOST_CHANNELS)
        for mix in self.mixes.flatten(0, 1):
            count = int(2 ** (float(torch.rand((), generator=generator)) * math.log2(most + 1)))
            mix.zero_()[torch.randperm(len(mix), generator=generator)[:count]] = 1
        # the golden ratio spreads quantiles evenly over the kernels
        quantiles = torch.arange(1, self.features + 1).double() * (math.sqrt(5) + 1) / 2 % 1
        for step, (levels, thresholds) in enumerate(
            zip(self.split(quantiles), self.split(self.thresholds), strict=True)
        ):
            chosen = torch.randint(len(exact), (KERNELS,), generator=generator)
            for index in chosen.unique().tolist():
                kernels = (chosen == index).nonzero().flatten()
                outputs = torch.cat(list(self._outputs(exact[index], step, kernels)), -1)
                for kernel, output in zip(kernels.tolist(), outputs, strict=True):
                    thresholds[kernel] = torch.quantile(output, levels[kernel])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Computes the features, shares from 0 to 1: (…, C, T) → (…, F), double precision."""
        x = self._exact(x)
        shares = []
        for step, thresholds in enumerate(self.split(self.thresholds)):
            above = sum(
                (outputs[..., None, :] > thresholds[:, :, None]).sum(-1) for outputs in self._outputs(x, step, ALL)
            )
            shares.append(above.double().flatten(-2) / x.shape[-1])  # type: ignore[union-attr]
        return torch.cat(shares, -1)

    def weights(self, step: int) -> Tensor:
        """The weights of the convolutions of one dilation, over channels and taps: (84, 9 C)."""
        return (self.mixes[step][:, :, None] * kernels()[:, None]).flatten(1)

    def split(self, values: Tensor) -> list[Tensor]:
        """Views of one number per feature: (84, features per kernel) for each dilation."""
        parts = values.split([KERNELS * count for _, count in self.steps])
        return [part.view(KERNELS, -1) for part in parts]

    def _exact(self, x: Tensor) -> Tensor:
        """Scales series and rounds them to multiples of `STEP`; zeros follow one that is shorter than a kernel."""
        x = (x.double() * self.scale[:, None]).clamp(-BOUND, BOUND)
        x = (x / STEP).round() * STEP
        return F.pad(x, (0, max(0, TAPS - x.shape[-1])))

    def _outputs(self, x: Tensor, step: int, chosen: Tensor | slice) -> Iterator[Tensor]:
        """Yields the outputs of chosen kernels of one dilation: (…, C, T) → (…, K, T'), of `FRAMES` frames at most."""
        frames = x.shape[-1]
        dilation = min(self.steps[step][0], frames)  # beyond the series there are zeros alone
        reach = dilation * (TAPS // 2)
        padded, weights = F.pad(x, (reach, reach)), self.weights(step)[chosen]
        for start in range(0, frames, FRAMES):
            yield convolve(padded[..., start : start + FRAMES + 2 * reach], weights, dilation)
