"""Classification of time series for sktime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sktime.classification.base import BaseClassifier

from seqstride.estimators.network import resolve_device
from seqstride.estimators.series import SeriesEstimator
from seqstride.estimators.targets import check_labels, class_weights, one_hot


class SeqStrideClassifier(SeriesEstimator, BaseClassifier):
    """Classifies time series with a residual network that downsamples by a method of choice, and MiniRocket features.

    The series may be multivariate, of unequal lengths, and as short as one frame. The network reads the values and
    their ranks among the training values. Every block of its encoder downsamples, the features are pooled over time,
    and linear layers turn them into class probabilities. Beside it, ridge regressions predict from MiniRocket features:
    one regression from those of the values, one each from those of their differences from frame to frame, of the values
    normalised by series and of the ranks, and one from level and range of each channel. How much each counts follows
    from its leave-one-out predictions of the training series. The result is the normalised geometric mean of network
    and regressions, in which the regressions count three times as much: filters that are learnt and filters that are
    fixed err on different series.

    Missing values inside a series are interpolated linearly; those at its ends take the nearest value. A channel that
    is missing from a series takes its mean over the training series. The time index orders the frames and aligns the
    channels of a series; otherwise frames count as evenly spaced. Channels with names are found by their names, in any
    order. Series and labels are matched by position.

    The prediction for a series does not depend on the other series. With an integer `random_state`, two fits on the
    same machine give the same predictions, also in parallel threads and processes: the estimator draws from its own
    generator and neither reads nor changes torch's global one.

    Args:
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        strides: the stride of each block; the initial one where strides are learnt. "strided", "average", "max",
            "blur" and "phase" need whole numbers.
        channels: output channels of the blocks: one number for all, or one per block. They must be even if `harmonics`
            is not 0.
        kernel_size: taps of the convolutions in the blocks, odd.
        input_kernel_size: taps of the convolution before the blocks, odd.
        pool: pooling over time: "mean", "max", or "softmax", which each feature learns to place between the two.
        downsampler_options: further arguments of the downsampling layers.
        dropout: probability with which a pooled channel is dropped in training.
        normalise: "training" (zero mean and unit variance over the training series), "series" (over each series), or
            "both" side by side.
        harmonics: number of rank curves per channel: cos(πku), k = 1 … harmonics, for the rank u of each value among
            the normalised training values. They separate values that lie close together. The curves form a second
            group of channels with half of `channels` and a loss of its own; the probabilities are the normalised
            geometric mean of both groups. 0: no curves, and a single group.
        n_members: number of networks, which differ in their random numbers. Their outputs are averaged; `strides_` and
            `plan` are those of the first one. The time grows with their number.
        n_rocket_features: number of MiniRocket features. Values, differences, values normalised by series (with
            `normalise="both"`) and ranks (with `harmonics`) have equal shares of them, rounded down to multiples of 84,
            but 84 at least. 0: the networks alone.
        n_epochs: passes over the training series.
        batch_size: series per batch at most. Small sets get smaller batches (8 at least), so that an epoch has 6.
        lr: initial learning rate; it falls to 0 along half a cosine.
        stride_lr: initial learning rate of learnt strides.
        weight_decay: of all parameters but learnt strides.
        crop: each training batch sees a window of its series. The window's share of the series is drawn between `crop`
            and 1; with 1 the series are seen whole.
        mixup_alpha: parameter of mixup in training; 0: no mixup.
        complexity_weight: weight of `seqstride.complexity` in the loss, which makes learnt strides larger.
        validation_fraction: share of every class that is held out to find the best epoch. 0: train on everything and
            keep the last epoch.
        patience: training ends after this many epochs without a lower validation loss.
        class_weight: weight of each class in the loss (label → weight), or "balanced": inverse to the class sizes.
        warm_start: whether `fit` continues from the weights of the last fit; the MiniRocket features are made anew.
            `n_members`, `normalise` and `harmonics` must be as before.
            `set_params` discards the weights, as in every estimator of sktime; set attributes instead
            (`classifier.n_epochs = 10`).
        n_threads: CPU threads of `fit` and of predictions. Networks of this size are slower with more than one:
            20 epochs on BasicMotions took 3.8 s with one thread and 5.1 s with two on two free cores, and 9 s and more
            than 60 s on cores that other processes used.
        n_jobs: processes that train several networks side by side, as joblib takes their number: -1 for one per core,
            None for one unless a `joblib.parallel_config` says otherwise. Predictions are the same, bit for bit.
        device: a device of torch, such as "cuda"; "auto": a GPU if there is one. A fitted estimator lies on the CPU.
        random_state: seed of all random numbers.
        verbose: whether to show a progress bar.

    Attributes:
        classes_: (K,) the labels, sorted, in the order of the probabilities.
        strides_, initial_strides_: stride of every block after and before training, in input frames per output frame.
        history_: one record per epoch of every network: losses, accuracies, strides, learning rate, seconds.
        channel_names_: the channels of the training series.
        model_: the normalisation, the networks and the MiniRocket features.

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
        channels: int | Sequence[int] = 64,
        kernel_size: int = 9,
        input_kernel_size: int = 25,
        pool: str = "softmax",
        downsampler_options: dict[str, Any] | None = None,
        dropout: float = 0.2,
        normalise: str = "both",
        harmonics: int = 4,
        n_members: int = 1,
        n_rocket_features: int = 10_000,
        n_epochs: int = 120,
        batch_size: int = 16,
        lr: float = 0.001,
        stride_lr: float = 0.02,
        weight_decay: float = 0.01,
        crop: float = 0.6,
        mixup_alpha: float = 0.0,
        complexity_weight: float = 0.0,
        validation_fraction: float = 0.0,
        patience: int = 30,
        class_weight: Mapping[Any, float] | str | None = None,
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
        from sklearn.utils import ClassifierTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

    def _check_targets(self, y: Any) -> Any:
        return check_labels(y)

    def _fit(self, X: Sequence[Any], y: np.ndarray) -> SeqStrideClassifier:
        targets = one_hot(y, self.classes_, self._earlier_fit())
        self._train(X, targets, classes=True, weight=class_weights(self.class_weight, self.classes_, y))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Returns the pooled features of every series, which the last layers of the networks read: (N, C').

        Args:
            X: N series, in any of sktime's panel types.
        """
        model = self._network()
        with self._cpu_threads():
            items = self._items(self._check_convert_X_for_predict(X))
            return model.embed(items, resolve_device(self.device)).numpy()

    def _predict_proba(self, X: Sequence[Any]) -> np.ndarray:
        return self._outputs(X).double().softmax(1).numpy()
