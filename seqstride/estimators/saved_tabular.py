"""Fitted classifiers of rows as a description and weights: reading them runs no code, as `joblib`'s files do."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seqstride.errors import InputError
from seqstride.estimators.network import Model, Network, strides
from seqstride.estimators.randomness import own_generator
from seqstride.estimators.settings import Settings
from seqstride.estimators.tabular import ColumnEmbedding, RowNorm, SeqStrideTabularClassifier
from seqstride.experiments.records import write_record
from seqstride.files.text_files import read_json
from seqstride.models.folder import ENDING
from seqstride.models.untrusted import check_shapes, outline, rising_tone
from seqstride.models.weights import read_weights, write_weights

FORMAT = 1
DESCRIPTION, WEIGHTS = "rows.json", "rows" + ENDING
_TABLES = {"input_kernel_size", "pool", "crop"}
"""Settings that the estimator of tables does not have."""


def save_tabular(folder: str | os.PathLike[str], classifier: SeqStrideTabularClassifier) -> None:
    """Writes a fitted classifier whose labels are texts: `rows.json` and `rows.safetensors`.

    Raises:
        FileError: a file cannot be written.
    """
    folder = Path(folder)
    model = classifier.model_
    (folder / DESCRIPTION).unlink(missing_ok=True)  # that of an earlier classifier would not be that of the weights
    write_weights(folder / WEIGHTS, nn.ModuleDict({"norm": model.norm, "network": model.network}))
    settings = {name: value for name, value in asdict(Settings.of(classifier)).items() if name not in _TABLES}
    whole = [int(stride) if float(stride).is_integer() else stride for stride in classifier.initial_strides_]
    names = getattr(classifier, "feature_names_in_", None)
    described = {
        "format": FORMAT,
        "arguments": {
            **{**settings, "strides": whole},  # as they were drawn, if they were random
            "column_order": classifier.column_order,
            "n_threads": int(classifier.n_threads),
            "random_state": classifier.random_state if isinstance(classifier.random_state, int) else None,
        },
        "classes_": [str(name) for name in classifier.classes_],
        "n_features_in_": int(classifier.n_features_in_),
        "feature_names_in_": None if names is None else [str(name) for name in names],
        "initial_strides_": classifier.initial_strides_,
        "history_": classifier.history_,
    }
    write_record(folder / DESCRIPTION, described)


def load_tabular(folder: str | os.PathLike[str]) -> SeqStrideTabularClassifier:
    """Returns the fitted classifier of rows in a folder of `save_tabular`, such as that of a run.

    Raises:
        InputError: the folder has none, or files of it are damaged.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"`folder` (={os.fspath(folder)!r}) must hold a classifier of rows; {name} is missing")
    where = os.fspath(folder / DESCRIPTION)
    try:
        described = read_json(folder / DESCRIPTION)
        if described["format"] != FORMAT:
            raise InputError(f"its format (={described['format']!r}) must be {FORMAT}")
        classifier = SeqStrideTabularClassifier(**described["arguments"])
        classes, columns, names = (described[key] for key in ("classes_", "n_features_in_", "feature_names_in_"))
        if len(classes) < 2 or not all(isinstance(name, str) for name in classes):
            raise InputError("`classes_` must be texts, at least two")
        if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
            raise InputError(f"`n_features_in_` (={columns!r}) must be a whole number of at least 1")
        if names is not None and (len(names) != columns or not all(isinstance(name, str) for name in names)):
            raise InputError("`feature_names_in_` must be texts, one for every column")
        make = partial(_network, classifier, columns, len(classes))
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"{where!r} does not describe a fitted classifier of rows: {error}") from error
    try:
        weights = read_weights(folder / WEIGHTS)
        check_shapes(outline(make, len(weights)), weights)
        parts = make()
        parts.load_state_dict(weights)
        norm, network = parts["norm"], parts["network"]
        assert isinstance(norm, RowNorm)
        assert isinstance(network, Network)
        if sorted(norm.positions.tolist()) != list(range(columns)):
            raise InputError("`norm.positions` must have every column once")
        model = Model(norm, [network])
        model.try_out(rising_tone(1, columns))
    except Exception as error:  # torch and safetensors raise many kinds for files that they did not write
        reason = " ".join(str(error).split())
        raise InputError(f"{os.fspath(folder / WEIGHTS)!r} does not hold the classifier's weights: {reason}") from error
    _set_fitted(classifier, described, model)
    return classifier


def _network(classifier: SeqStrideTabularClassifier, columns: int, classes: int) -> nn.ModuleDict:
    settings = Settings.of(classifier)
    embedding = ColumnEmbedding(columns, settings.channels[0])
    network = settings.network([settings.channels[0]], classes, own_generator(0), embedding)
    return nn.ModuleDict({"norm": RowNorm(columns, classifier.column_order), "network": network})


def _set_fitted(classifier: SeqStrideTabularClassifier, described: dict[str, Any], model: Model) -> None:
    """Sets what a fit leaves."""
    classifier.model_ = model
    classifier.strides_ = strides(model.network)
    norm: Any = model.norm
    classifier.column_order_ = norm.positions.numpy()
    classifier.classes_ = np.array(described["classes_"])
    for name in ("n_features_in_", "initial_strides_", "history_"):
        setattr(classifier, name, described[name])
    if described["feature_names_in_"] is not None:
        classifier.feature_names_in_ = np.array(described["feature_names_in_"], dtype=object)
