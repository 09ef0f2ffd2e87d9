"""Fitted estimators of series as a description and weights: reading them runs no code, as `joblib` and sktime's do."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from seqstride.errors import InputError
from seqstride.estimators.classifier import SeqStrideClassifier
from seqstride.estimators.network import Model, strides
from seqstride.estimators.preparation import SeriesNorm
from seqstride.estimators.randomness import own_generator
from seqstride.estimators.rocket import Rocket
from seqstride.estimators.series import SeriesEstimator
from seqstride.estimators.settings import Settings, integer
from seqstride.models.folder import ENDING, weights_file
from seqstride.models.untrusted import check_shapes, outline, rising_tone
from seqstride.models.weights import read_weights, write_weights

FORMAT = 2
DESCRIPTION = "series.json"
"""The file of the description, beside that of the weights."""
WEIGHTS = "series"
"""The stem of the file of weights."""
_FITTED = ("channel_names_", "initial_strides_", "history_")
"""What a fit leaves besides the network: lists."""

Estimator = TypeVar("Estimator", bound=SeriesEstimator)


def save_parts(folder: Path, estimator: SeriesEstimator) -> dict[str, Any]:
    """Writes the weights of a fitted estimator.

    Returns:
        What classifiers and regressors have in common in their descriptions, plain JSON values.
    """
    model = estimator.model_
    (folder / DESCRIPTION).unlink(missing_ok=True)  # that of an earlier estimator would not be that of the weights
    write_weights(folder / (WEIGHTS + ENDING), _parts(model))
    given: Any = estimator
    settings = asdict(Settings.of(estimator))
    whole = [int(stride) if float(stride).is_integer() else stride for stride in given.initial_strides_]
    return {
        "arguments": {
            **{**settings, "strides": whole},  # as they were drawn, if they were random
            "normalise": given.normalise,
            "harmonics": int(given.harmonics),
            "n_members": len(model.members),
            "n_rocket_features": int(given.n_rocket_features),
            "n_threads": int(given.n_threads),
            "random_state": given.random_state if isinstance(given.random_state, int) else None,
        },
        "rocket_steps": None if model.rocket is None else model.rocket.steps,
        # features of the first version have no levels
        "rocket_views": None if model.rocket is None or not model.rocket.levels else model.rocket.views,
        **{name: getattr(estimator, name) for name in _FITTED},
    }


@contextmanager
def describing(folder: Path, what: str) -> Iterator[None]:
    """Inside, a description in a folder that lacks something is an error of the user."""
    try:
        yield
    except (KeyError, TypeError, InputError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        where = os.fspath(folder / DESCRIPTION)
        raise InputError(f"{where!r} does not describe a fitted {what}: {reason}") from error


def unfitted(kind: type[Estimator], description: Mapping[str, Any]) -> Estimator:
    """Makes an estimator of the arguments of a description.

    Raises:
        KeyError, TypeError, InputError: the description is none.
    """
    estimator = kind(**{"n_rocket_features": 0, **description["arguments"]})
    for name in _FITTED:
        if not isinstance(description[name], list):
            raise InputError(f"`{name}` must be a list")
    channels = description["channel_names_"]
    if not channels or not all(isinstance(name, str) for name in channels) or len(set(channels)) < len(channels):
        raise InputError("`channel_names_` must be texts, at least one, and all differ")
    if not all(_is_number(stride) and stride >= 1 for stride in description["initial_strides_"]):
        raise InputError("`initial_strides_` must be numbers of at least 1")
    if not all(map(_is_record, description["history_"])):
        raise InputError("`history_` must have a record for every epoch, with `epoch`, `train` and `seconds`")
    return estimator


def _is_record(epoch: Any) -> bool:
    return (
        isinstance(epoch, dict)
        and type(epoch.get("epoch")) is int
        and isinstance(epoch.get("train"), dict)
        and _is_number(epoch.get("seconds"))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def load_parts(
    folder: Path, estimator: SeriesEstimator, description: Mapping[str, Any], outputs: int, *, classes: bool
) -> None:
    """Gives an unfitted estimator its weights in the folder, and what a fit leaves.

    Args:
        folder: has the weights.
        estimator: of `unfitted`.
        description: as `save_parts` returned it.
        outputs: number of outputs of its networks.
        classes: whether the outputs are classes.

    Raises:
        InputError: the description is not that of the weights.
    """
    channels = len(description["channel_names_"])
    rocket = description.get("rocket_steps"), description.get("rocket_views")
    make = partial(_model, estimator, channels, outputs, classes, *rocket)
    what = "classifier" if classes else "regressor"
    file = weights_file(folder, WEIGHTS)
    try:
        weights = _renamed(read_weights(file))
        check_shapes(outline(lambda: _parts(make()), len(weights)), weights)
        model = make()
        _parts(model).load_state_dict(weights)
        model.try_out(rising_tone(channels, 32))
    except Exception as error:  # torch raises pickle, runtime, zip and type errors for files that it did not write
        reason = " ".join(str(error).split())
        raise InputError(f"{os.fspath(file)!r} does not hold the {what}'s weights: {reason}") from error
    fitted: Any = estimator
    fitted.model_, fitted.strides_ = model, strides(model.network)
    for name in _FITTED:
        setattr(fitted, name, description[name])
    fitted._y_metadata, fitted._y_inner_mtype = {"is_univariate": True}, "numpy1D"  # for sktime: one column
    fitted._is_vectorized, fitted._is_fitted = False, True


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives weights of older folders, of one network and of features of the values alone, their present names.

    The features counted as much as the networks then.
    """
    names = {"network.": "members.0.", "rocket.transform.": "rocket.transforms.0."}
    pattern = re.compile("^(" + "|".join(map(re.escape, names)) + ")")
    found = {pattern.sub(lambda match: names[match[0]], name): tensor for name, tensor in weights.items()}
    if "rocket.floor" in found:
        found.setdefault("rocket.share", torch.tensor(0.5, dtype=torch.float64))
    return found


def _model(estimator: Any, channels: int, outputs: int, classes: bool, steps: Any, views: Any) -> Model:
    """Makes the model of an estimator's arguments, and of the steps and views of its MiniRocket features."""
    norm = SeriesNorm(channels, estimator.normalise, estimator.harmonics)
    generator, settings = own_generator(0), Settings.of(estimator)
    members = [
        settings.network(norm.groups, outputs, generator) for _ in range(integer("n_members", estimator.n_members))
    ]
    if steps is None:
        return Model(norm, members)
    if views is None:  # the first version: features of the values alone
        return Model(norm, members, Rocket(channels, 1, steps, outputs, classes, levels=False))
    if type(views) is not int or not 1 <= views <= norm.n_views:
        raise InputError(f"`rocket_views` (={views!r}) must be an integer from 1 to {norm.n_views}")
    return Model(norm, members, Rocket(channels, views, steps, outputs, classes))


def _parts(model: Model) -> nn.ModuleDict:
    """All modules of a model under one roof."""
    parts = nn.ModuleDict({"norm": model.norm, "members": nn.ModuleList(model.members)})
    if model.rocket is not None:
        parts["rocket"] = model.rocket
    return parts


# Classifiers


def save_classifier(folder: Path, classifier: SeqStrideClassifier) -> dict[str, Any]:
    """Writes the weights of a fitted classifier whose labels are texts.

    Returns:
        Its description, plain JSON values, for `load_classifier`.
    """
    return {**save_parts(folder, classifier), "classes_": [str(name) for name in classifier.classes_]}


def load_classifier(folder: Path, description: Mapping[str, Any]) -> SeqStrideClassifier:
    """Makes the classifier of a description, with the weights in the folder.

    Args:
        folder: has the weights.
        description: as `save_classifier` returned it.

    Raises:
        InputError: the description is none, or is not that of the weights.
    """
    with describing(folder, "classifier"):
        classifier = unfitted(SeqStrideClassifier, description)
        names = description["classes_"]
        if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
            raise InputError("`classes_` must be texts, at least two classes")
        if len(set(names)) < len(names):
            raise InputError("`classes_` must differ; one comes twice")
    load_parts(folder, classifier, description, len(names), classes=True)
    classes = np.array(names)
    classifier.classes_, classifier.n_classes_ = classes, len(classes)
    classifier._class_dictionary = {name: index for index, name in enumerate(classes)}
    return classifier
