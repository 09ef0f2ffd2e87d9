"""The interface to sktime that classification and regression of time series share."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sktime.base import BasePanelMixin
from torch import Tensor

from seqstride.encoders.encoded import Encoded
from seqstride.errors import InputError
from seqstride.estimators.base import NetworkEstimator
from seqstride.estimators.minirocket import dilations
from seqstride.estimators.network import Model, resolve_device
from seqstride.estimators.panels import as_frames, nameless, numbers, warn_of_other_order
from seqstride.estimators.preparation import SeriesNorm, interpolate
from seqstride.estimators.randomness import own_generator
from seqstride.estimators.rocket import Rocket
from seqstride.estimators.settings import Settings, integer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SeriesEstimator(NetworkEstimator, BasePanelMixin):
    """Base class of the classifier and the regressor of time series."""

    n_jobs: int | None

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

    def __sklearn_tags__(self) -> Any:
        """The tags that scikit-learn's searches and cross-validation read; sktime 1.2 defines none."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False, three_d_array=True, allow_nan=True),
        )

    def fit(self, X: Any, y: Any) -> Any:
        """Trains the network.

        Args:
            X: series, in any of sktime's panel types.
            y: (N,) labels, or values to predict.

        Returns:
            The estimator.

        Raises:
            InputError: an argument or the data is wrong; the message names it.
        """
        if y is None:
            raise InputError("`y` (=None) must have a label or a value for every series")
        with self._fitting() as before:
            warn_of_other_order(X, y)
            y = self._check_targets(y)
            # sktime's `fit` deletes all attributes but hyperparameters and those with two underscores in their names
            self.__earlier = before if self.warm_start and "model_" in before else None
            super().fit(X, y)
            if self.__earlier is not None and not hasattr(self, "model_"):
                raise InputError("`y` (of one class, or with several columns) must be as before, for a warm start")
            del self.__earlier
        if "_parent_callback_ctx" in before:  # scikit-learn's searches put it there, and delete it themselves
            self._parent_callback_ctx = before["_parent_callback_ctx"]
        return self

    def _check_targets(self, y: Any) -> Any:
        """Checks and returns `y`.

        Raises:
            InputError: an entry is missing or of the wrong kind.
        """
        raise NotImplementedError

    def _earlier_fit(self) -> Mapping[str, Any] | None:
        """Returns the attributes of the fit that a warm start continues; None for a cold start."""
        return self.__earlier

    def _internal_convert(self, X: Any, y: Any = None) -> Any:
        """Converts containers of pandas before sktime does: sktime calls this for every container of series."""
        if isinstance(X, list | tuple) and len(X) == 0:
            raise InputError("`X` (with no series) must have at least one")
        return super()._internal_convert(as_frames(X), y)

    def _train(self, frames: Sequence[Any], targets: Tensor, *, classes: bool, weight: Tensor | None = None) -> None:
        settings, device, earlier = Settings.of(self), resolve_device(self.device), self.__earlier
        harmonics = integer("harmonics", self.harmonics, least=0)
        n_members = integer("n_members", self.n_members)
        n_features = integer("n_rocket_features", self.n_rocket_features, 0)
        # a warm start finds the channels by their names, as a prediction does
        self.channel_names_ = earlier["channel_names_"] if earlier else [str(name) for name in frames[0].columns]
        if not self.channel_names_ or len(set(self.channel_names_)) < len(self.channel_names_):
            shown = ", ".join(self.channel_names_) or "no channels"
            raise InputError(f"`X` (with {shown}) must have channels, whose names all differ")
        generator = own_generator(self.random_state)
        items = self._items(frames)
        norm = SeriesNorm(len(self.channel_names_), self.normalise, harmonics)
        if earlier is None:
            norm.fit(items)
            model = Model(norm, [settings.network(norm.groups, targets.shape[1], generator) for _ in range(n_members)])
        else:
            # a copy, so that a failed training leaves the earlier weights unchanged
            model = copy.deepcopy(earlier["model_"])
            self._check_unchanged(model)
        # made anew even in a warm start: a regression has nothing to go on from
        model.rocket = None
        if n_features > 0 and len(items) > 1:  # leave-one-out predictions need another series
            steps = dilations(max(item.shape[1] for item in items), n_features // norm.n_views)
            model.rocket = Rocket(len(self.channel_names_), norm.n_views, steps, targets.shape[1], classes)
        self._train_model(
            *(model, items, targets, settings),
            classes=classes,
            generator=generator,
            device=device,
            weight=weight,
            n_jobs=_jobs(self.n_jobs),
        )

    def _check_unchanged(self, model: Model) -> None:
        """Raises an InputError if arguments ask for other members or views than the model of a warm start has."""
        norm: Any = model.norm
        fitted = {"n_members": len(model.members), "normalise": norm.kind, "harmonics": norm.ranks.harmonics}
        for name, value in fitted.items():
            if getattr(self, name) != value:
                raise InputError(f"`{name}` (={getattr(self, name)!r}) must be as before, for a warm start")

    def _items(self, frames: Sequence[Any]) -> list[Tensor]:
        """Converts data frames (T, C) to tensors (C, T) and interpolates gaps."""
        return [torch.from_numpy(interpolate(values)) for values in self._values(frames)]

    def _values(self, frames: Sequence[Any]) -> list[np.ndarray]:
        """Converts data frames (T, C) to arrays (C, T), with the channels in the order of the training series.

        Channels in containers of pandas are found by their names. Channels of arrays have no names and must come in the
        order of the training series.

        Raises:
            InputError: a series has no frames, other channels, or values that are infinite or no numbers.
        """
        wanted = self.channel_names_
        arrays = []
        for index, frame in enumerate(frames):
            names = [str(name) for name in frame.columns]
            by_position = nameless(names) or nameless(wanted)
            if len(names) != len(wanted) or (set(names) != set(wanted) and not by_position):
                raise InputError(
                    f"`X` (series {index} with channels {', '.join(names)}) must have the channels of the fitted "
                    f"series: {', '.join(wanted)}"
                )
            values = numbers(frame, index).T
            if names != wanted and set(names) == set(wanted):
                values = values[[names.index(name) for name in wanted]]
            if values.shape[1] == 0:
                raise InputError(f"`X` (series {index} without frames) must have at least one frame in every series")
            if np.isinf(values).any():
                raise InputError(f"`X` (series {index} with an infinite value) must have finite or missing values")
            arrays.append(values)
        return arrays

    def _outputs(self, frames: Sequence[Any]) -> Tensor:
        """Returns the network's outputs for every series: (N, K)."""
        with self._cpu_threads():
            return self.model_.predict(self._items(frames), resolve_device(self.device))

    def _network(self) -> Model:
        self.check_is_fitted()
        if not hasattr(self, "model_"):
            raise InputError(
                f"this {type(self).__name__} has no network: `y` must have one column, of two classes or more"
            )
        return self.model_

    def plan(self, X: Any) -> Encoded:
        """Shows where the fitted encoder downsamples each series.

        Args:
            X: N series, in any of sktime's panel types.

        Returns:
            The encoder's output for all series as one batch, in their order. `.strides()` (N, T) are the local strides
            in input frames per output frame, `.times()` (N, L) the input frames that the output frames stand for.
        """
        model = self._network()
        with self._cpu_threads():
            return model.encode(self._items(self._check_convert_X_for_predict(X)))

    def plot_strides(self, X: Any, *, titles: Sequence[str] | None = None, frame_rate: float | None = None) -> Figure:
        """Draws series with the bounds of the output frames, and below them the local stride at every frame.

        Args:
            X: a few series, in any of sktime's panel types.
            titles: one title per series; None: the predictions.
            frame_rate: frames per second, for a time axis in seconds or milliseconds; None: an axis in frames.

        Returns:
            A `matplotlib.figure.Figure`; save it with `figure.savefig("strides.png")`.
        """
        from seqstride.plots.strides import plot_series

        self._network()
        frames = self._check_convert_X_for_predict(X)
        encoded = self.plan(frames)
        if titles is None:
            titles = [f"series {index}, predicted: {label}" for index, label in enumerate(self._predict(frames))]
        return plot_series(
            self._values(frames), encoded, titles=titles, channel_names=self.channel_names_, frame_rate=frame_rate
        )

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Returns small settings for sktime's own tests."""
        tiny = {
            "channels": 4,
            "strides": (1.5,),
            "kernel_size": 3,
            "n_epochs": 1,
            "random_state": 0,
        }
        return [
            {**tiny, "n_rocket_features": 84},
            {**tiny, "downsampler": "diffstride", "normalise": "series", "n_rocket_features": 0},
        ]


def _jobs(value: Any) -> int | None:
    """Checks a number of processes as joblib takes it, and returns it as Python's.

    Raises:
        InputError: it is not one.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value == 0:
        raise InputError(f"`n_jobs` (={value!r}) must be None, or an integer other than 0")
    return int(value)
