"""MiniRocket features with ridge regression, which predict beside the networks.

A network learns its filters and needs many series for it; these filters are fixed and need few. Both err on different
series, so that together they are better than either on most sets.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from seqstride.estimators.minirocket import FRAMES, MiniRocket

ALPHAS = np.logspace(-1, 6, 22)
"""Strengths of the ridge penalty that are tried, by leave-one-out error."""
INVERSE_TEMPERATURES = np.logspace(-1, 2, 100)


class Rocket(nn.Module):
    """Predicts from MiniRocket features by ridge regression.

    For classes, the outputs are log-probabilities: the regression onto ±1 is divided by the temperature at which its
    leave-one-out predictions of the training series are most likely.

    Args:
        channels: the number of channels C.
        steps: pairs (dilation, features per kernel) of `MiniRocket`.
        outputs: number of outputs K.
        classes: whether the outputs are classes.

    Raises:
        InputError: `steps` is wrong.
    """

    floor: Tensor

    def __init__(self, channels: int, steps: Sequence[tuple[int, int]], outputs: int, classes: bool) -> None:
        super().__init__()
        self.classes = classes
        self.transform = MiniRocket(channels, steps)
        # without initial values, which would be drawn from the global generator; torch would make it on the CPU
        place = torch.get_default_device()
        head = skip_init(nn.Linear, self.transform.features, outputs, dtype=torch.float64, device=place)
        self.head = head.requires_grad_(False)
        self.register_buffer("floor", torch.zeros((), dtype=torch.float64))  # least share of a probability

    @torch.no_grad()
    def fit(
        self, items: Sequence[Tensor], targets: Tensor, generator: torch.Generator, weight: Tensor | None = None
    ) -> None:
        """Fits features and regression.

        Args:
            items: the training series (C, T), finite.
            targets: (N, K): one-hot rows for classes, or numbers.
            generator: on the CPU.
            weight: (K,), the weight of each class, or None.
        """
        targets = targets.double()
        weights = torch.ones(len(items)).double() if weight is None else targets @ weight.double()
        weights = weights / weights.mean()  # only their ratios count, as in the networks' loss
        self.transform.fit(items, generator)
        features = self._features(items)
        factor, bias, held_out = _ridge(features, 2 * targets - 1 if self.classes else targets, weights)
        inverse = _inverse_temperature(held_out, targets, weights) if self.classes else 1.0
        self.head.weight.copy_(inverse * factor)
        self.head.bias.copy_(inverse * bias)
        # no class is surer than one more training series, of another class, would leave it
        self.floor.fill_(1 / (len(items) + 1))

    @torch.no_grad()
    def predict(self, items: Sequence[Tensor]) -> Tensor:
        """Predicts series (C, T): returns (N, K), double precision."""
        return self.outputs(self._features(items))

    def outputs(self, features: Tensor) -> Tensor:
        """Predicts from features: (…, F) → (…, K)."""
        outputs: Tensor = self.head(features)
        if not self.classes:
            return outputs
        shares = (1 - self.floor) * outputs.softmax(-1) + self.floor / outputs.shape[-1]
        return shares.log()

    def _features(self, items: Sequence[Tensor]) -> Tensor:
        """Computes the features of series (C, T), batches of equal lengths at once: (N, F)."""
        features = torch.empty(len(items), self.transform.features, dtype=torch.float64)
        alike: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            alike.setdefault(item.shape[1], []).append(index)
        for length, indices in alike.items():
            size = max(1, FRAMES // length)
            for batch in (indices[start : start + size] for start in range(0, len(indices), size)):
                features[batch] = self.transform(torch.stack([items[index] for index in batch]))
        return features


def _ridge(features: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ridge regression on features (N, F) of unit variance, with the penalty of the lowest leave-one-out error.

    Returns:
        Weights (K, F) and bias (K,) for the features as they are, and the leave-one-out predictions (N, K).
    """
    from sklearn.linear_model import RidgeCV

    std = features.std(0, unbiased=False)
    scale = torch.where(std > 0, 1 / std, 0.0)
    ridge = RidgeCV(ALPHAS, scoring="neg_mean_squared_error", store_cv_results=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that are constant
        ridge.fit((features * scale).numpy(), targets.numpy(), sample_weight=weights.numpy())
    best = int(np.flatnonzero(ridge.alpha_ == ALPHAS)[0])
    held_out = torch.from_numpy(ridge.cv_results_[:, :, best])
    weight = torch.from_numpy(np.atleast_2d(ridge.coef_)) * scale
    return weight, torch.from_numpy(np.atleast_1d(ridge.intercept_)), held_out


def _inverse_temperature(held_out: Tensor, targets: Tensor, weights: Tensor) -> float:
    """Returns the factor that makes softmax(factor · held_out) most likely for the weighted targets: all (N, …)."""
    factors = torch.from_numpy(INVERSE_TEMPERATURES)
    likely = (targets * (factors[:, None, None] * held_out).log_softmax(2)).sum(2) @ weights
    return float(factors[likely.argmax()])
