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
    """Classifies time series with a residual network that downsamples by a method of choice.

    A sequence network for sktime: multivariate series, of unequal lengths, also of a single frame. It reads values and
    their ranks among the training values. Every block of the encoder downsamples; linear layers read its features,
    pooled over time.

    Missing values inside a series are interpolated linearly, those at its ends take the nearest value, and a channel
    that a series lacks altogether takes its mean over the training series. The longest channel of a series decides its
    length. The time index tells in which order frames come and which of several channels belong together; apart from
    that they count as evenly spaced. Channels with names are found by them, in whatever order they come. Series and
    labels belong together by their positions.

    Batches hold series of similar lengths; what is predicted for a series depends on no other series. With an integer
    `random_state` two fits on the same machine give the same predictions, in threads and processes side by side, too:
    random numbers come from a generator of the estimator's own, and torch's global one is neither read nor moved.

    Args:
        downsampler: a key of `seqstride.DOWNSAMPLERS`.
        strides: stride of each block, its start where it is learnt; whole numbers for "strided", "average", "max" and
            "blur".
        channels: of the blocks: one number for all, or one for each; even where there are `harmonics`.
        kernel_size: odd, taps of the blocks' convolutions.
        input_kernel_size: odd, taps of the convolution before the blocks.
        pool: over time, "mean", "max", or "softmax": between both, as each feature learns it.
        downsampler_options: further arguments of the downsampling layers.
        dropout: probability of dropping a pooled channel in training.
        normalise: "training" (zero mean and unit variance over the training series), "series" (over each series), or
            "both" side by side.
        harmonics: curves for each channel besides: cos(πku), k = 1 … harmonics, of the rank u of each value among the
            normalised training values. They tell values apart that lie close together. They are a group of channels of
            their own through the whole network, with half of `channels` and a loss; probabilities are the normalised
            geometric mean of what both groups say. 0: no curves, and one group.
        n_epochs: passes over the training series.
        batch_size: series in a batch, at most; small sets get smaller ones, of 8 at least, so that an epoch has 6.
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
        n_threads: CPU threads of `fit` and of predictions, while they run. Networks of this size lose by more than one:
            20 epochs on BasicMotions took 3.8 s with one thread and 5.1 s with two on two free cores (8.9 s of CPU
            time), and 9 s and more than 60 s on cores that others used, too.
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
        channels: int | Sequence[int] = 64,
        kernel_size: int = 9,
        input_kernel_size: int = 25,
        pool: str = "softmax",
        downsampler_options: dict[str, Any] | None = None,
        dropout: float = 0.2,
        normalise: str = "both",
        harmonics: int = 4,
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
        """The encoder's features of every series, pooled over time: (N, C'), what the last layers read.

        Args:
            X: series, in any of sktime's panel types.
        """
        model = self._network()
        with self._cpu_threads():
            items = self._items(self._check_convert_X_for_predict(X))
            return model.embed(items, resolve_device(self.device)).numpy()

    def _predict_proba(self, X: Sequence[Any]) -> np.ndarray:
        return self._outputs(X).double().softmax(1).numpy()
