"""Regression of time series for sktime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sktime.regression.base import BaseRegressor

from seqstride.errors import InputError
from seqstride.estimators.series import SeriesEstimator
from seqstride.estimators.targets import check_numbers


class SeqStrideRegressor(SeriesEstimator, BaseRegressor):
    """Predicts a number from a time series with a residual network that downsamples, and MiniRocket features.

    Network, features and training are those of `SeqStrideClassifier`; the loss is the squared error of the standardised
    values. What is said there about series, missing values and the seed holds here, too. Some defaults differ: the
    series are seen whole, and their features are averaged over time.

    Args:
        downsampler, strides, channels, kernel_size, input_kernel_size, pool, downsampler_options, dropout, normalise,
            harmonics: arguments of the network, as in `SeqStrideClassifier`.
        n_members, n_rocket_features: as in `SeqStrideClassifier`; the result is the mean of the networks' values and of
            those of the ridge regressions, which count three times as much. A single training series has no ridge
            regressions.
        n_epochs, batch_size, lr, stride_lr, weight_decay, crop, mixup_alpha, complexity_weight: arguments of the
            training, as in `SeqStrideClassifier`.
        validation_fraction: share of the series that is held out to find the best epoch. 0: train on everything and
            keep the last epoch.
        patience, warm_start, n_threads, n_jobs, device, random_state, verbose: as in `SeqStrideClassifier`.

    Attributes:
        strides_, initial_strides_: stride of every block after and before training, in input frames per output frame.
        history_: one record per epoch: losses, strides, learning rate, seconds.
        channel_names_: the channels of the training series.
        model_: the normalisation, the networks and the MiniRocket features.

    Examples:
        >>> import numpy as np
        >>> from seqstride import SeqStrideRegressor
        >>> X = np.random.default_rng(0).normal(size=(20, 1, 30))
        >>> y = X.mean(axis=(1, 2))
        >>> SeqStrideRegressor(channels=8, n_epochs=5, random_state=0).fit(X, y).predict(X).shape
        (20,)
    """

    def __init__(
        self,
        downsampler: str = "adastride",
        strides: Sequence[float] = (2, 2, 2),
        channels: int | Sequence[int] = 64,
        kernel_size: int = 9,
        input_kernel_size: int = 1,
        pool: str = "mean",
        downsampler_options: dict[str, Any] | None = None,
        dropout: float = 0.0,
        normalise: str = "both",
        harmonics: int = 0,
        n_members: int = 1,
        n_rocket_features: int = 10_000,
        n_epochs: int = 100,
        batch_size: int = 16,
        lr: float = 0.002,
        stride_lr: float = 0.02,
        weight_decay: float = 0.01,
        crop: float = 1.0,
        mixup_alpha: float = 0.0,
        complexity_weight: float = 0.0,
        validation_fraction: float = 0.0,
        patience: int = 30,
        warm_start: bool = False,
        n_threads: int = 1,
        n_jobs: int | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self._keep(locals())
        super().__init__()

    def __sklearn_tags__(self) -> Any:
        """Adds the kind of estimator to the tags that scikit-learn reads."""
        from sklearn.utils import RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        return tags

    def _check_targets(self, y: Any) -> Any:
        return check_numbers(y)

    def _fit(self, X: Sequence[Any], y: np.ndarray) -> SeqStrideRegressor:
        values = torch.from_numpy(np.asarray(y, dtype=np.float64))
        earlier = self._earlier_fit()
        if earlier is None:
            self._mean, self._std = float(values.mean()), float(values.std(unbiased=False)) or 1.0
            if not (math.isfinite(self._mean) and math.isfinite(self._std)):
                raise InputError("`y` must not have values so large that their variance is not finite")
        else:  # the weights of a warm start were trained on this scale
            self._mean, self._std = earlier["_mean"], earlier["_std"]
        self._train(X, ((values - self._mean) / self._std).float()[:, None], classes=False)
        return self

    def _predict(self, X: Sequence[Any]) -> np.ndarray:
        return (self._outputs(X)[:, 0].double() * self._std + self._mean).numpy()
