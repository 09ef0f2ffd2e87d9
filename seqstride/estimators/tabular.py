"""Classification for scikit-learn: rows of numbers, read as sequences of their columns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from seqstride.encoders.encoded import Encoded
from seqstride.encoders.heads import FeatureNorm
from seqstride.errors import InputError
from seqstride.estimators.base import NetworkEstimator
from seqstride.estimators.network import Model, resolve_device
from seqstride.estimators.panels import other_than_numbers, warn_of_other_order
from seqstride.estimators.randomness import DrawnFrom, own_generator
from seqstride.estimators.settings import Settings
from seqstride.estimators.targets import check_labels, class_weights, one_hot

ORDERS = ("given", "correlation")


class ColumnEmbedding(nn.Module):
    """Embeds each column's value on a line of its own in C dimensions: (B, 1, T) → (B, C, T).

    Source: the feature tokenizer of Gorishniy et al., "Revisiting deep learning models for tabular data", NeurIPS 2021.
    """

    def __init__(self, columns: int, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.empty(channels, columns))
        self.offset = nn.Parameter(torch.empty(channels, columns))
        for parameter in (self.slope, self.offset):
            nn.init.uniform_(parameter, -1.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Embeds a batch of rows."""
        return self.slope * x + self.offset


class RowNorm(nn.Module):
    """Normalises rows (1, T) to zero mean and unit variance in every column, and orders the columns.

    Rows come in double precision. A missing value (NaN) becomes 0, the mean of its column.

    Args:
        columns: the number of columns T.
        order: "given" or "correlation".

    Raises:
        InputError: `order` is neither.
    """

    positions: Tensor

    def __init__(self, columns: int, order: str) -> None:
        super().__init__()
        if order not in ORDERS:
            raise InputError(f"`column_order` (={order!r}) must be one of {', '.join(ORDERS)}")
        self.order = order
        self.training_set = FeatureNorm(columns).double()
        self.register_buffer("positions", torch.arange(columns))

    def fit(self, items: Sequence[Tensor]) -> None:
        """Computes the statistics of the columns, and their order, from the training rows."""
        rows = torch.cat(list(items))
        rows = torch.where(rows.isnan(), rows.nanmean(0).nan_to_num(0.0), rows)
        try:
            self.training_set.fit([rows.T])
        except ValueError as error:
            raise InputError(str(error).replace("`items`", "`X`")) from error
        if self.order == "correlation":
            self.positions.copy_(torch.from_numpy(correlation_order(rows.numpy())))

    def forward(self, item: Tensor) -> Tensor:
        """(1, T) → (1, T), single precision."""
        normalised = (item - self.training_set.mean) / self.training_set.std
        return normalised.nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf)[:, self.positions].float()


def correlation_order(rows: np.ndarray) -> np.ndarray:
    """Orders the columns of (N, T) so that neighbours correlate, with either sign, and returns their indices (T,).

    The order is that of the leaves of a clustering by average linkage over 1 − |correlation|, turned so that neighbours
    are as close as possible (Bar-Joseph et al., "Fast optimal leaf ordering for hierarchical clustering", 2001).
    Constant columns correlate with no other.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if rows.shape[1] < 3 or len(rows) < 2:
        return np.arange(rows.shape[1])
    centred = rows - rows.mean(0)
    norms = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(norms > 0, norms, 1.0)
    distances = squareform(np.clip(1 - np.abs(unit.T @ unit), 0.0, None), checks=False)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances)).astype(np.int64)


class SeqStrideTabularClassifier(
    NetworkEstimator, ClassifierMixin, TransformerMixin, ClassNamePrefixFeaturesOutMixin, BaseEstimator
):
    """Classifies rows of numbers with a residual network that downsamples along the columns.

    Every column becomes a frame: its normalised value is embedded on a line of its own, and the frames go through the
    same encoder as a time series. **The order of the columns matters**: the network sees neighbouring columns together
    and merges them. Give them in a meaningful order (a spectrum, hours, pixels of a row), or let
    `column_order="correlation"` place correlated columns side by side. For columns without any order, try other models
    of tables first.

    A missing value counts as the mean of its column; infinite values are refused. The columns of a data frame must have
    the names and the order of the fit. With an integer `random_state`, two fits on the same machine give the same
    predictions.

    Args:
        column_order: "given", or "correlation": neighbours correlate in the training rows.
        downsampler, strides, channels, kernel_size, downsampler_options, dropout: arguments of the network, as in
            `SeqStrideClassifier`.
        n_epochs, batch_size, lr, stride_lr, weight_decay, mixup_alpha, complexity_weight: arguments of the training, as
            in `SeqStrideClassifier`.
        validation_fraction, patience, class_weight: as in `SeqStrideClassifier`.
        warm_start: whether `fit` continues from the weights of the last fit.
        n_threads, device, random_state, verbose: as in `SeqStrideClassifier`.

    Attributes:
        classes_: (K,) the labels, sorted, in the order of the probabilities.
        strides_, initial_strides_: stride of every block after and before training, in columns per output frame.
        column_order_: (T,) the indices of the columns in the order in which the network reads them.
        history_: one record per epoch: losses, accuracies, strides, learning rate, seconds.
        n_features_in_, feature_names_in_: number and names of the training columns, as everywhere in scikit-learn.
        model_: the normalisation and the network.

    Examples:
        >>> from sklearn.datasets import load_wine
        >>> from seqstride import SeqStrideTabularClassifier
        >>> X, y = load_wine(return_X_y=True)
        >>> classifier = SeqStrideTabularClassifier(channels=16, n_epochs=5, random_state=0)
        >>> classifier.fit(X, y).predict_proba(X).shape
        (178, 3)
    """

    def __init__(
        self,
        downsampler: str = "adastride",
        strides: Sequence[float] = (2, 2),
        channels: int | Sequence[int] = 64,
        kernel_size: int = 3,
        downsampler_options: dict[str, Any] | None = None,
        dropout: float = 0.2,
        column_order: str = "given",
        n_epochs: int = 60,
        batch_size: int = 64,
        lr: float = 0.002,
        stride_lr: float = 0.02,
        weight_decay: float = 0.01,
        mixup_alpha: float = 0.2,
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

    def __sklearn_tags__(self) -> Any:
        """Says that missing values are accepted, and that `transform` returns single precision."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any) -> SeqStrideTabularClassifier:
        """Trains the network.

        Args:
            X: (N, T) numbers; NaN where one is missing.
            y: (N,) labels.

        Returns:
            The estimator.

        Raises:
            ValueError: arguments or data are wrong; the message names them.
        """
        with self._fitting() as before:
            warn_of_other_order(X, y)
            self._train(X, y, before if self.warm_start and "model_" in before else None)
        return self

    def _train(self, X: Any, y: Any, earlier: Mapping[str, Any] | None) -> None:
        settings, device, generator = Settings.of(self), resolve_device(self.device), own_generator(self.random_state)
        _check_columns(X)
        y = None if y is None else check_labels(y)  # scikit-learn has words of its own for None
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", reset=earlier is None)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        targets = one_hot(y, self.classes_, earlier)
        weight = class_weights(self.class_weight, self.classes_, y)
        items = _items(X)
        if earlier is None:
            norm = RowNorm(X.shape[1], self.column_order)
            norm.fit(items)
            with DrawnFrom(generator):
                embedding = ColumnEmbedding(X.shape[1], settings.channels[0])
            network = settings.network([settings.channels[0]], len(self.classes_), generator, embedding)
            model = Model(norm, [network])
        else:
            # a copy, so that a training that fails leaves the earlier weights
            model = copy.deepcopy(earlier["model_"])
        self._train_model(
            model, items, targets, settings, classes=True, generator=generator, device=device, weight=weight
        )
        self.column_order_ = model.norm.positions.numpy()  # type: ignore[operator]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the probabilities of the classes: (N, K), in the order of `classes_`."""
        with self._cpu_threads():
            items = self._read(X)
            return self.model_.predict(items, resolve_device(self.device)).double().softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Returns the most probable label of every row: (N,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def transform(self, X: Any) -> np.ndarray:
        """Returns the pooled features of every row, which the last layer reads: (N, C)."""
        with self._cpu_threads():
            items = self._read(X)
            return self.model_.embed(items, resolve_device(self.device)).numpy()

    def plan(self, X: Any) -> Encoded:
        """Returns the encoder's output for all rows as one batch: features, positions and local strides.

        The input frames are the columns in the order of `column_order_`.
        """
        with self._cpu_threads():
            items = self._read(X)
            return self.model_.encode(items)

    @property
    def _n_features_out(self) -> int:
        """The number of columns that `transform` returns; scikit-learn names them."""
        return self.model_.network.encoder.out_channels

    def _read(self, X: Any) -> list[Tensor]:
        check_is_fitted(self)
        _check_columns(X)
        return _items(validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False))


def _items(X: np.ndarray) -> list[Tensor]:
    """Rows (N, T) → N items (1, T)."""
    return list(torch.tensor(X)[:, None])


def _check_columns(X: Any) -> None:
    """Checks that the columns of a data frame hold numbers: scikit-learn would convert text and dates to numbers.

    Raises:
        InputError: a column holds something else; the message names it.
    """
    for name, column in X.items() if isinstance(X, pd.DataFrame) else ():
        other = other_than_numbers(column)
        if other is not None:
            raise InputError(
                f"`X` (column {name!r}, {other}) must hold numbers: encode it, such as by "
                "sklearn.preprocessing.OneHotEncoder, or leave it out"
            )
