"""Trained classifiers of single frames in results folders: saved, loaded, and applied to features.

    model = load_frame_labeller("results/mitbih_framewise_adastride/16/1")
    [decisions] = model.decide(signal, lengths, [[120, 431, 760]])  # of one item at three frames

The folder holds `model.json` and `model.safetensors`, which are safe to load: see `seqstride.models.description`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqstride.errors import InputError
from seqstride.files.yaml_text import resolved
from seqstride.models.classifier import Decision, checked_labels
from seqstride.models.description import (
    FRAMES,
    TrainedModel,
    build_module,
    check_finite,
    describe_model,
    module_entry,
    read_model,
)


class FrameLabeller(TrainedModel):
    """A trained classifier from features to the class of any input frame, in evaluation mode.

    Args:
        description: as `describe_frames` returns it.

    Attributes:
        classes: their names, in the order of the scores.
        frame_rate: frames per second of the features.
        classifier: the head that scores every output frame.

    Raises:
        ValueError: the description names a class that is not allowed, or is not one of such a classifier.
    """

    task = FRAMES

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__(description)
        if self.sample_rate is not None:
            raise InputError(f"`sample_rate` (={self.sample_rate}) must be null: it reads features")
        labels = checked_labels(description["labels"])
        if len(labels) > 1:
            raise InputError(f"`labels` (={', '.join(labels)}) must be one label")
        [self.classes] = labels.values()
        self.frame_rate = float(description["frame_rate"])
        head = description["head"]
        entry = {**head, "arguments": {**head["arguments"], "classes": len(self.classes)}}
        self.classifier: Any = build_module("head", entry, self.task)
        self.eval()

    def forward(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Returns the logits (B, classes, T) of every input frame; in the padding they have no meaning.

        Args:
            signal: features (B, T, C).
            lengths: (B,) int64.
        """
        encoded = self.encoder(*self.features(signal, lengths))
        logits: Tensor = encoded.expand(self.classifier(encoded.features))
        return logits

    @torch.no_grad()
    def decide(self, signal: Tensor, lengths: Tensor, frames: Sequence[Sequence[int]]) -> list[list[Decision]]:
        """Returns the most probable class of some frames of every item.

        Args:
            signal, lengths: as in `forward`.
            frames: for every item the frames to classify, from 0 to before its length.

        Raises:
            ValueError: there are not as many lists as items, or a frame lies outside of its item.
        """
        if len(frames) != len(signal):
            raise InputError(f"`frames` (with {len(frames)} lists) must have one for each of {len(signal)} items")
        for item, (places, length) in enumerate(zip(frames, lengths.tolist(), strict=True)):
            if not all(0 <= place < length for place in places):
                raise InputError(f"`frames` (of item {item}) must lie in 0 … {length - 1}")
        logits = self(signal, lengths)
        check_finite(*(item[:, :length] for item, length in zip(logits, lengths.tolist(), strict=True)))
        probabilities, indices = logits.softmax(1).max(1)
        return [
            [Decision(self.classes[int(indices[item, at])], float(probabilities[item, at])) for at in places]
            for item, places in enumerate(frames)
        ]

    def _tried(self, signal: Tensor, lengths: Tensor) -> Iterable[Tensor]:
        return [self(signal, lengths)]


def describe_frames(
    recipe: str, *, label: str, classes: Sequence[str], frame_rate: float, feature_name: str
) -> dict[str, Any]:
    """Returns the description of a recipe's classifier of frames: plain JSON values.

    Args:
        recipe: the merged HyperPyYAML text, with `classifier` and `modules` (`normalize`, `encoder`).
        label: what is labelled.
        classes: names of the classes.
        frame_rate: frames per second of the features.
        feature_name: a name for the channels of the features, such as "lead".
    """
    tree = resolved(recipe)
    fields = {
        "labels": {label: list(classes)},
        "sample_rate": None,
        "frame_rate": frame_rate,
        "feature_name": feature_name,
    }
    return {**describe_model(FRAMES, fields, tree["modules"]), "head": module_entry(tree["classifier"])}


def load_frame_labeller(folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> FrameLabeller:
    """Loads the classifier of frames of a results folder, in evaluation mode.

    Raises:
        ValueError: the folder has none, or its files are damaged or name a class that is not allowed.
    """
    return read_model(folder, FrameLabeller, device)
