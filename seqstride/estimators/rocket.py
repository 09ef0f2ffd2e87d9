"""MiniRocket features with ridge regressions, which predict beside the networks.

A network learns its filters and needs many series for it; these filters are fixed and need few. Both err on different
series, so that for classes they are better together on average.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from seqstride.estimators.levels import Levels
from seqstride.estimators.minirocket import FRAMES, MiniRocket

T = TypeVar("T")

ALPHAS = np.logspace(-1, 6, 22)
"""Strengths of the ridge penalty that are tried, by leave-one-out error."""
PENALTY = 1.0
"""The penalty where no leave-one-out error counts, and the weight of every view is 1."""
SHARE = 0.75
"""Share of the features in the mean with the networks."""


class Rocket(nn.Module):
    """Predicts from MiniRocket features of several views of a series, such as its values and their differences.

    Every view has features and a ridge regression of its own, and so have the `Levels` of the first view. The
    predictions are added with weights of at least 0, those with which the leave-one-out predictions of the training
    series are best: a view that tells nothing about a set can get the weight 0. Where no such prediction counts, all
    weights are 1. For classes, the regressions are onto ±1, their weighted sum is a logit, the best weights are the
    most likely ones, and the outputs are log-probabilities. For numbers, the best weights have the lowest squared
    error.

    Source: the weights, for numbers: L. Breiman, "Stacked regressions", Machine Learning 24, 1996; views, and weights
    by likelihood: ours.

    Args:
        channels: the number of channels of every view.
        views: the number of views V.
        steps: pairs (dilation, features per kernel) of `MiniRocket`, for every view.
        outputs: number of outputs K.
        classes: whether the outputs are classes.
        levels: whether there are `Levels`.

    Raises:
        InputError: `steps` is wrong.
    """

    floor: Tensor
    share: Tensor

    def __init__(
        self,
        channels: int,
        views: int,
        steps: Sequence[tuple[int, int]],
        outputs: int,
        classes: bool,
        levels: bool = True,
    ) -> None:
        super().__init__()
        self.classes, self.steps = classes, [(dilation, count) for dilation, count in steps]
        self.views, self.levels = views, levels
        self.transforms = nn.ModuleList(MiniRocket(channels, steps) for _ in range(views))
        if levels:
            self.transforms.append(Levels(channels))
        # without initial values, which would be drawn from the global generator; torch would make it on the CPU
        place = torch.get_default_device()
        head = skip_init(nn.Linear, sum(self._widths), outputs, dtype=torch.float64, device=place)
        self.head = head.requires_grad_(False)
        self.register_buffer("floor", torch.zeros((), dtype=torch.float64))  # least share of a probability
        self.register_buffer("share", torch.full((), SHARE, dtype=torch.float64))

    @torch.no_grad()
    def fit(
        self,
        items: Sequence[Sequence[Tensor]],
        targets: Tensor,
        generator: torch.Generator,
        weight: Tensor | None = None,
    ) -> None:
        """Fits features and regressions.

        Args:
            items: the V views (C, T) of every training series, finite.
            targets: (N, K): one-hot rows for classes, or numbers of mean 0; N is 2 at least.
            generator: on the CPU.
            weight: (K,), the weight of each class, or None.
        """
        targets = targets.double()
        weights = torch.ones(len(items)).double() if weight is None else targets @ weight.double()
        weights = weights / weights.mean()  # only their ratios count, as in the networks' loss
        for transform, view in self.pairs(list(zip(*items, strict=True))):
            transform.fit(view, generator)
        # without its only series, a class cannot be told: such held-out predictions do not count
        counted = weights * (targets @ targets.sum(0) > 1) if self.classes else weights
        goal = 2 * targets - 1 if self.classes else targets
        parts = self._features(items).split(self._widths, 1)
        factors, biases, held_out = zip(*(_ridge(features, goal, weights, counted) for features in parts), strict=True)
        find = _likeliest if self.classes else _closest
        mix = find(torch.stack(held_out), targets, counted) if bool(counted.any()) else torch.ones(len(parts)).double()
        self.head.weight.copy_(torch.cat([each * factor for each, factor in zip(mix, factors, strict=True)], 1))
        self.head.bias.copy_(mix @ torch.stack(biases))
        # as if one more series, of unknown class, were spread over the classes: no probability is 0
        self.floor.fill_(1 / (len(items) + 1))

    @torch.no_grad()
    def predict(self, items: Sequence[Sequence[Tensor]]) -> Tensor:
        """Predicts from the views (C, T) of every series: returns (N, K), double precision."""
        return self.outputs(self._features(items))

    def outputs(self, features: Tensor) -> Tensor:
        """Predicts from features, in the order of `transforms`: (…, F) → (…, K)."""
        outputs: Tensor = self.head(features)
        if not self.classes:
            return outputs
        shares = (1 - self.floor) * outputs.softmax(-1) + self.floor / outputs.shape[-1]
        return shares.log()

    def mean(self, networks: Tensor, features: Tensor) -> Tensor:
        """Returns the weighted mean of the networks' outputs and the features': (…, K) each, single precision."""
        share = self.share.float()
        return (1 - share) * networks + share * features.float()

    def pairs(self, views: Sequence[T]) -> list[tuple[Any, T]]:
        """Pairs the transforms with the views that they read; further views are left out."""
        return list(zip(self.transforms, [*views[: self.views], views[0]], strict=False))

    @property
    def _widths(self) -> list[int]:
        """The number of features of every transform."""
        return [transform.features for transform in self.transforms]  # type: ignore[misc]

    def _features(self, items: Sequence[Sequence[Tensor]]) -> Tensor:
        """Computes the features of every series, batches of equal lengths at once: (N, F)."""
        features = torch.empty(len(items), sum(self._widths), dtype=torch.float64)
        alike: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            alike.setdefault(item[0].shape[1], []).append(index)
        for length, indices in alike.items():
            size = max(1, FRAMES // length)
            for batch in (indices[start : start + size] for start in range(0, len(indices), size)):
                views = [torch.stack(view) for view in zip(*(items[index] for index in batch), strict=True)]
                features[batch] = torch.cat([transform(view) for transform, view in self.pairs(views)], 1)
        return features


def _ridge(features: Tensor, targets: Tensor, weights: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ridge regression on features of unit variance, with the penalty of the lowest leave-one-out error.

    Args:
        features: (N, F).
        targets: (N, K).
        weights: (N,), of the items in the regression.
        counted: (N,), of the items in the error; the penalty is `PENALTY` if all are 0.

    Returns:
        Weights (K, F) and bias (K,) for the features as they are, and the leave-one-out predictions (N, K).
    """
    from sklearn.linear_model import Ridge, RidgeCV

    std = features.std(0, unbiased=False)
    scale = torch.where(std > 0, 1 / std, 0.0)
    ridge = RidgeCV(ALPHAS, scoring="neg_mean_squared_error", store_cv_results=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that are constant
        ridge.fit((features * scale).numpy(), targets.numpy(), sample_weight=weights.numpy())
        held_out = torch.from_numpy(ridge.cv_results_)
        errors = (counted @ (held_out - targets[:, :, None]).square().mean(1)).numpy()
        best = errors.argmin() if bool(counted.any()) else np.abs(ALPHAS - PENALTY).argmin()
        found = ridge if ridge.alpha_ == ALPHAS[best] else Ridge(ALPHAS[best])
        if found is not ridge:
            found.fit((features * scale).numpy(), targets.numpy(), sample_weight=weights.numpy())
    weight = torch.from_numpy(np.atleast_2d(found.coef_)) * scale
    return weight, torch.from_numpy(np.atleast_1d(found.intercept_)), held_out[:, :, best]


def _closest(held_out: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The weights (V,) of at least 0 with the lowest squared error.

    Args:
        held_out: (V, N, K), the V regressions' predictions of items that were left out.
        targets: (N, K).
        weights: (N,), of the items.
    """
    from scipy.optimize import nnls

    root = weights.sqrt()[:, None]
    found, _ = nnls((held_out * root).flatten(1).T.numpy(), (targets * root).flatten().numpy())
    return torch.from_numpy(found)


def _likeliest(held_out: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The weights (V,) of at least 0 whose logits make the targets most likely; arguments as in `_closest`.

    One more item of unknown class counts, as a share of every target. Without it the likelihood would have no maximum
    where all held-out predictions are right.
    """
    from scipy.optimize import minimize

    count, unknown = len(held_out), 1 / (len(targets) + 1)
    goal = (1 - unknown) * targets + unknown / targets.shape[1]

    def loss(mix: np.ndarray) -> tuple[float, np.ndarray]:
        logits = torch.tensordot(torch.from_numpy(mix), held_out, 1)
        likely = (goal * logits.log_softmax(1)).sum(1) @ weights
        slope = ((logits.softmax(1) - goal) * held_out).sum(2) @ weights
        return -float(likely) / len(targets), slope.numpy() / len(targets)

    # the problem is convex, so that the start does not matter
    exact = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(loss, np.full(count, 1 / count), jac=True, bounds=[(0.0, None)] * count, options=exact)
    return torch.from_numpy(found.x)
