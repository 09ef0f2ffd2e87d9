"""The sktime edge: classification and regression of time series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils import check_random_state, compute_class_weight
from sktime.base import BasePanelMixin
from sktime.classification.base import BaseClassifier
from sktime.regression.base import BaseRegressor
from torch import Tensor, nn

from seqstride.encoders.encoded import Encoded
from seqstride.estimators.network import Model, resolve_device, strides
from seqstride.estimators.preparation import SeriesNorm, interpolate
from seqstride.estimators.trainer import Settings, seeded, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _SeriesEstimator(BasePanelMixin):
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
                norm = SeriesNorm(len(self.channel_names_), self.normalise)
                norm.fit(items)
                model = Model(norm, settings.network(norm.outputs, targets.shape[1]))
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
            raise ValueError(f"`X` (with {now} channels) must have {before} channels, as before, for a warm start")

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
                raise ValueError(
                    f"`X` (series {index} with channels {', '.join(names)}) must have the channels of the fitted "
                    f"series: {', '.join(self.channel_names_)}"
                )
            values = frame.to_numpy(dtype=np.float64).T
            if names != self.channel_names_ and set(names) == set(self.channel_names_):
                values = values[[names.index(name) for name in self.channel_names_]]
            if values.shape[1] == 0:
                raise ValueError(f"`X` (series {index} without frames) must have at least one frame in every series")
            if np.isinf(values).any():
                raise ValueError(f"`X` (series {index} with an infinite value) must have finite or missing values")
            arrays.append(values)
        return arrays

    def _network(self) -> Model:
        self.check_is_fitted()
        if not hasattr(self, "model_"):
            raise ValueError(
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


class SeqStrideClassifier(_SeriesEstimator, BaseClassifier):
    """Classifies time series with a residual network that downsamples by a method of choice.

    A sequence network for sktime: multivariate series, of unequal lengths, also of a single frame. Every block of the
    encoder downsamples; a linear layer reads mean and maximum of its features over time. Missing values inside a series
    are interpolated linearly, those at its ends take the nearest value, and a channel that a series lacks altogether
    takes its mean over the training series. The time index is not read: frames count as evenly spaced.

    Batches hold series of similar lengths; what is predicted for a series depends on no other series. With an integer
    `random_state` two fits on the same machine give the same predictions.

    Args:
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        strides: stride of each block, its start where it is learnt; whole numbers for "strided", "average", "max" and
            "blur".
        channels: of the blocks: one number for all, or one for each.
        kernel_size: odd, taps of the blocks' convolutions.
        input_kernel_size: odd, taps of the convolution before the blocks.
        pool: over time, "mean", "max" or "mean_max", both.
        downsampler_options: further arguments of the downsampling layers.
        dropout: probability of dropping a pooled channel in training.
        normalise: "training" (zero mean and unit variance over the training series), "series" (over each series), or
            "both" side by side.
        n_epochs: passes over the training series.
        batch_size: series in a batch, at most; small sets get smaller ones, of 4 at least, so that an epoch has 8.
        lr: initial learning rate; it falls to 0 along half a cosine.
        stride_lr: that of learnt strides.
        weight_decay: of everything but learnt strides.
        crop: in training a series is seen through a window anywhere in it, whose share is drawn anew for every batch,
            between this one and 1; 1: series are seen whole.
        mixup_alpha: parameter of mixup in training; 0 for none.
        complexity_weight: weight in the loss of `seqstride.complexity`, which pushes learnt strides up.
        validation_fraction: share of every class that is held out of the training to find the best epoch; 0: train on
            everything, and keep the last epoch.
        patience: epochs without a lower validation loss after which training ends.
        class_weight: weights of the classes in the loss, label → weight; "balanced": inverse to their numbers.
        warm_start: whether `fit` goes on from the weights of the last one. `set_params` forgets them, as it does with
            every estimator of sktime; set attributes instead (`classifier.n_epochs = 10`).
        device: of torch, such as "cuda"; "auto": a GPU where there is one. A fitted estimator lies on the CPU.
        random_state: seed.
        verbose: whether to show a progress bar.

    Attributes:
        classes_: labels, sorted, in the order of the probabilities.
        strides_, initial_strides_: stride of every block after training, and before.
        history_: one record for each epoch: losses, accuracies, strides, seconds.
        channel_names_: of the training series.
        model_: the normalisation and the network.

    Examples:
        >>> from sktime.datasets import load_unit_test
        >>> from seqstride import SeqStrideClassifier
        >>> X_train, y_train = load_unit_test(split="train")
        >>> classifier = SeqStrideClassifier(channels=8, n_epochs=5, random_state=0)
        >>> classifier.fit(X_train, y_train).predict_proba(X_train).shape
        (20, 2)
        >>> classifier.plan(X_train).strides().shape
        torch.Size([20, 24])
    """

    _tags = {"capability:predict_proba": True, "capability:class_weight": True}

    def __init__(
        self,
        downsampler: str = "adastride",
        strides: Sequence[float] = (2, 2, 2),
        channels: int | Sequence[int] = 48,
        kernel_size: int = 5,
        input_kernel_size: int = 25,
        pool: str = "mean_max",
        downsampler_options: dict[str, Any] | None = None,
        dropout: float = 0.2,
        normalise: str = "both",
        n_epochs: int = 150,
        batch_size: int = 8,
        lr: float = 0.002,
        stride_lr: float = 0.02,
        weight_decay: float = 0.01,
        crop: float = 0.6,
        mixup_alpha: float = 0.0,
        complexity_weight: float = 0.0,
        validation_fraction: float = 0.0,
        patience: int = 30,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.downsampler = downsampler
        self.strides = strides
        self.channels = channels
        self.kernel_size = kernel_size
        self.input_kernel_size = input_kernel_size
        self.pool = pool
        self.downsampler_options = downsampler_options
        self.dropout = dropout
        self.normalise = normalise
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.stride_lr = stride_lr
        self.weight_decay = weight_decay
        self.crop = crop
        self.mixup_alpha = mixup_alpha
        self.complexity_weight = complexity_weight
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's searches and cross-validation ask for; sktime 1.2 has no answer of its own."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True, allow_nan=True),
        )

    def _fit(self, X: Sequence[Any], y: np.ndarray) -> SeqStrideClassifier:
        indices = torch.from_numpy(np.searchsorted(self.classes_, y))
        targets = nn.functional.one_hot(indices, len(self.classes_)).float()
        weight = None
        if self.class_weight is not None:
            weight = torch.from_numpy(compute_class_weight(self.class_weight, classes=self.classes_, y=y)).float()
        self._train(X, targets, classes=True, weight=weight)
        return self

    def _check_earlier(self, earlier: Mapping[str, Any]) -> None:
        super()._check_earlier(earlier)
        if not np.array_equal(earlier["classes_"], self.classes_):
            raise ValueError(
                f"`y` (classes {self.classes_.tolist()}) must have the classes {earlier['classes_'].tolist()}, as "
                "before, for a warm start"
            )

    def transform(self, X: Any) -> np.ndarray:
        """The encoder's features of every series, pooled over time: (N, C'), what the last layer reads.

        Args:
            X: series, in any of sktime's panel types.
        """
        model = self._network()
        items = self._items(self._check_convert_X_for_predict(X))
        return model.embed(items, resolve_device(self.device)).numpy()

    def _predict_proba(self, X: Sequence[Any]) -> np.ndarray:
        outputs = self.model_.predict(self._items(X), resolve_device(self.device))
        return outputs.double().softmax(1).numpy()


class SeqStrideRegressor(_SeriesEstimator, BaseRegressor):
    """Predicts a number from a time series with a residual network that downsamples by a method of choice.

    The same kind of network and training as `SeqStrideClassifier`, with the squared error of the standardised values as
    loss; what is said there about series, missing values and the seed holds here, too. The defaults differ: series
    are seen whole, and their features are averaged over time.

    Args:
        downsampler, strides, channels, kernel_size, input_kernel_size, pool, downsampler_options, dropout, normalise:
            the network, as there.
        n_epochs, batch_size, lr, stride_lr, weight_decay, crop, mixup_alpha, complexity_weight: its training, as there.
        validation_fraction: share of the series that is held out of the training, as there.
        patience, warm_start, device, random_state, verbose: as there.

    Attributes:
        strides_, initial_strides_: stride of every block after training, and before.
        history_: one record for each epoch: losses, strides, seconds.
        channel_names_: of the training series.
        model_: the normalisation and the network.

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
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.downsampler = downsampler
        self.strides = strides
        self.channels = channels
        self.kernel_size = kernel_size
        self.input_kernel_size = input_kernel_size
        self.pool = pool
        self.downsampler_options = downsampler_options
        self.dropout = dropout
        self.normalise = normalise
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.stride_lr = stride_lr
        self.weight_decay = weight_decay
        self.crop = crop
        self.mixup_alpha = mixup_alpha
        self.complexity_weight = complexity_weight
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's searches and cross-validation ask for; sktime 1.2 has no answer of its own."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True, allow_nan=True),
        )

    def _fit(self, X: Sequence[Any], y: np.ndarray) -> SeqStrideRegressor:
        values = torch.from_numpy(np.asarray(y, dtype=np.float64))
        if not bool(values.isfinite().all()):
            raise ValueError("`y` (with a value that is missing or infinite) must be finite")
        self._mean, self._std = float(values.mean()), float(values.std(unbiased=False)) or 1.0
        self._train(X, ((values - self._mean) / self._std).float()[:, None], classes=False)
        return self

    def _predict(self, X: Sequence[Any]) -> np.ndarray:
        outputs = self.model_.predict(self._items(X), resolve_device(self.device))[:, 0].double()
        return (outputs * self._std + self._mean).numpy()
