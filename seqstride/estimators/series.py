"""The sktime edge: what classification and regression of time series share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sktime.base import BasePanelMixin
from torch import Tensor

from seqstride.encoders.encoded import Encoded
from seqstride.errors import InputError
from seqstride.estimators.network import Model, resolve_device, strides
from seqstride.estimators.preparation import SeriesNorm, interpolate
from seqstride.estimators.trainer import Settings, seeded, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SeriesEstimator(BasePanelMixin):
    """What classification and regression of series share."""

    _tags = {
        "X_inner_mtype": "df-list",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "capability:random_state": True,
        "capability:categorical_in_X": False,
        "property:randomness": "derandomized",
        "authors": "seqstride",
        "maintainers": "seqstride",
        "python_dependencies": "torch",
    }

    def fit(self, X: Any, y: Any) -> Any:
        """Trains the network.

        Args:
            X: series, in any of sktime's panel types.
            y: (N,), their labels, or their values.

        Returns:
            The estimator.

        Raises:
            ValueError: arguments or data are wrong; the message names them.
        """
        # sktime's `fit` forgets everything but hyperparameters and what has two underscores in its name
        self.__earlier = vars(self).copy() if self.warm_start and hasattr(self, "model_") else None
        searched = vars(self).get("_parent_callback_ctx")
        try:
            return super().fit(X, y)
        finally:
            del self.__earlier
            if searched is not None:  # scikit-learn's searches put it there, and delete it themselves
                self._parent_callback_ctx = searched

    def _train(self, frames: Sequence[Any], targets: Tensor, *, classes: bool, weight: Tensor | None = None) -> None:
        settings, device, earlier = Settings.of(self), resolve_device(self.device), self.__earlier
        self.channel_names_ = [str(name) for name in frames[0].columns]
        items = self._items(frames)
        with seeded(int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))):
            if earlier is None:
                norm = SeriesNorm(len(self.channel_names_), self.normalise, self.harmonics)
                norm.fit(items)
                model = Model(norm, settings.network(norm.groups, targets.shape[1]))
            else:
                model = earlier["model_"]
                self._check_earlier(earlier)
            self.initial_strides_ = strides(model.network)
            self.history_ = train(
                model.network,
                model.prepare(items),
                targets,
                settings,
                classes=classes,
                weight=weight,
                device=device,
                verbose=self.verbose,
            )
        self.model_ = model
        self.strides_ = strides(model.network)

    def _check_earlier(self, earlier: Mapping[str, Any]) -> None:
        before, now = len(earlier["channel_names_"]), len(self.channel_names_)
        if before != now:
            raise InputError(f"`X` (with {now} channels) must have {before} channels, as before, for a warm start")

    def _items(self, frames: Sequence[Any]) -> list[Tensor]:
        """Data frames (T, C) → series (C, T), gaps interpolated."""
        return [torch.from_numpy(interpolate(values)) for values in self._values(frames)]

    def _values(self, frames: Sequence[Any]) -> list[np.ndarray]:
        """Data frames (T, C) → arrays (C, T), channels in the order of the training series where they have its names.

        Raises:
            ValueError: a series has no frames, another number of channels, or infinite values.
        """
        arrays = []
        for index, frame in enumerate(frames):
            names = [str(name) for name in frame.columns]
            if len(names) != len(self.channel_names_):
                raise InputError(
                    f"`X` (series {index} with channels {', '.join(names)}) must have the channels of the fitted "
                    f"series: {', '.join(self.channel_names_)}"
                )
            values = frame.to_numpy(dtype=np.float64).T
            if names != self.channel_names_ and set(names) == set(self.channel_names_):
                values = values[[names.index(name) for name in self.channel_names_]]
            if values.shape[1] == 0:
                raise InputError(f"`X` (series {index} without frames) must have at least one frame in every series")
            if np.isinf(values).any():
                raise InputError(f"`X` (series {index} with an infinite value) must have finite or missing values")
            arrays.append(values)
        return arrays

    def _network(self) -> Model:
        self.check_is_fitted()
        if not hasattr(self, "model_"):
            raise InputError(
                f"this {type(self).__name__} has no network: `y` must have one column, of two classes or more"
            )
        return self.model_

    def plan(self, X: Any) -> Encoded:
        """Where the frames of every series went: the encoder's features, positions, local strides and times.

        Args:
            X: series, in any of sktime's panel types.

        Returns:
            What the encoder returned for all of them as one batch, in their order; `.strides()` (N, T) are the local
            strides, `.times()` (N, L) the input frames that the output frames stand for.
        """
        model = self._network()
        return model.encode(self._items(self._check_convert_X_for_predict(X)))

    def plot_strides(self, X: Any, *, titles: Sequence[str] | None = None, frame_rate: float | None = None) -> Figure:
        """Draws series with the bounds of the output frames, and below them the local stride at every frame.

        Args:
            X: a few series, in any of sktime's panel types.
            titles: one name for each; None: what is predicted for it.
            frame_rate: frames per second; with it the time axis is in seconds or milliseconds, else in frames.

        Returns:
            A `matplotlib.figure.Figure`; save it with `figure.savefig("strides.png")`.
        """
        from seqstride.plot import plot_series

        model = self._network()
        frames = self._check_convert_X_for_predict(X)
        encoded = model.encode(self._items(frames))
        if titles is None:
            titles = [f"series {index}, predicted: {label}" for index, label in enumerate(self._predict(frames))]
        return plot_series(
            self._values(frames), encoded, titles=titles, channel_names=self.channel_names_, frame_rate=frame_rate
        )

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for sktime's tests."""
        tiny = {"channels": 4, "kernel_size": 3, "n_epochs": 2, "batch_size": 8, "random_state": 0}
        return [
            {**tiny, "strides": (2,)},
            {**tiny, "downsampler": "diffstride", "strides": (2, 1.5), "normalise": "series", "mixup_alpha": 0.0},
        ]
