"""Fitted classifiers of series as a description and weights: reading them runs no code, as `joblib` and sktime's do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seqstride.errors import InputError
from seqstride.estimators.classifier import SeqStrideClassifier
from seqstride.estimators.network import Model, strides
from seqstride.estimators.preparation import SeriesNorm
from seqstride.estimators.randomness import own_generator
from seqstride.estimators.rocket import Rocket
from seqstride.estimators.settings import Settings, integer
from seqstride.models.folder import ENDING, weights_file
from seqstride.models.untrusted import check_shapes, outline
from seqstride.models.weights import read_weights, write_weights

WEIGHTS = "series"
"""The stem of the file of weights."""
_FITTED = {"classes_": list, "channel_names_": list, "initial_strides_": list, "history_": list}
"""What a fit leaves besides the network, as kinds of JSON values."""


def save_classifier(folder: Path, classifier: SeqStrideClassifier) -> dict[str, Any]:
    """Writes the weights of a fitted classifier whose labels are texts.

    Returns:
        Its description, plain JSON values, for `load_classifier`.
    """
    model = classifier.model_
    write_weights(folder / (WEIGHTS + ENDING), _parts(model))
    settings = asdict(Settings.of(classifier))
    whole = [int(stride) if float(stride).is_integer() else stride for stride in classifier.initial_strides_]
    seed = classifier.random_state if isinstance(classifier.random_state, int) else None
    return {
        "arguments": {
            **{**settings, "strides": whole},  # as they were drawn, if they were random
            "normalise": classifier.normalise,
            "harmonics": int(classifier.harmonics),
            "n_members": len(model.members),
            "n_rocket_features": int(classifier.n_rocket_features),
            "n_threads": int(classifier.n_threads),
            "random_state": seed,
        },
        "rocket_steps": None if model.rocket is None else model.rocket.transform.steps,
        "classes_": [str(name) for name in classifier.classes_],
        "channel_names_": classifier.channel_names_,
        "initial_strides_": classifier.initial_strides_,
        "history_": classifier.history_,
    }


def load_classifier(folder: Path, description: Mapping[str, Any]) -> SeqStrideClassifier:
    """Makes the classifier of a description, with the weights in the folder.

    Args:
        folder: has the weights.
        description: as `save_classifier` returned it.

    Raises:
        InputError: the description is none, or is not that of the weights.
    """
    try:
        classifier = SeqStrideClassifier(**{"n_rocket_features": 0, **description["arguments"]})
        for name, kind in _FITTED.items():
            if not isinstance(description[name], kind):
                raise InputError(f"`{name}` must be a {kind.__name__}")
        names = description["classes_"]
        if len(names) < 2 or not all(isinstance(name, str) for name in (*names, *description["channel_names_"])):
            raise InputError("`classes_` and `channel_names_` must be texts, at least two classes")
        make = partial(
            _unfitted, classifier, len(description["channel_names_"]), len(names), description.get("rocket_steps")
        )
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"it does not describe a fitted classifier: {error}") from error
    file = weights_file(folder, WEIGHTS)
    try:
        # folders of the first version have one network under another name
        weights = {re.sub("^network", "members.0", name): tensor for name, tensor in read_weights(file).items()}
        check_shapes(outline(lambda: _parts(make()), len(weights)), weights)
        model = make()
        _parts(model).load_state_dict(weights)
    except Exception as error:  # torch raises pickle, runtime, zip and type errors for files that it did not write
        reason = " ".join(str(error).split())
        raise InputError(f"{os.fspath(file)!r} does not hold the classifier's weights: {reason}") from error
    _set_fitted(classifier, description, model)
    return classifier


def _unfitted(classifier: SeqStrideClassifier, channels: int, classes: int, steps: Any) -> Model:
    """Makes the model of the classifier's arguments and of the steps of its MiniRocket features."""
    norm = SeriesNorm(channels, classifier.normalise, classifier.harmonics)
    generator, settings = own_generator(0), Settings.of(classifier)
    members = [
        settings.network(norm.groups, classes, generator) for _ in range(integer("n_members", classifier.n_members))
    ]
    return Model(norm, members, None if steps is None else Rocket(channels, steps, classes, classes=True))


def _parts(model: Model) -> nn.ModuleDict:
    """All modules of a model under one roof."""
    parts = nn.ModuleDict({"norm": model.norm, "members": nn.ModuleList(model.members)})
    if model.rocket is not None:
        parts["rocket"] = model.rocket
    return parts


def _set_fitted(classifier: SeqStrideClassifier, description: Mapping[str, Any], model: Model) -> None:
    """Sets what a fit leaves, also for sktime: texts as labels, one column of them."""
    classifier.model_ = model
    classifier.strides_ = strides(model.network)
    for name in ("channel_names_", "initial_strides_", "history_"):
        setattr(classifier, name, description[name])
    classes = np.array(description["classes_"])
    classifier.classes_, classifier.n_classes_ = classes, len(classes)
    classifier._class_dictionary = {name: index for index, name in enumerate(classes)}
    classifier._y_metadata, classifier._y_inner_mtype = {"is_univariate": True}, "numpy1D"
    classifier._is_vectorized, classifier._is_fitted = False, True
