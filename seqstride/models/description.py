"""The description and the weights of a trained model: read, checked and written.

`model.json` names classes of this package and their arguments. `model.ckpt` is a plain state dict. Only the classes of
an allow-list can be named, and the weights are loaded with torch's `weights_only=True`, so a folder from a stranger is
only data.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from seqstride.encoders.spectrogram import Spectrogram2d
from seqstride.errors import InputError
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import whole_file
from seqstride.models.folder import COMMANDS, check_model_folder

FORMAT = 1
CLASSIFICATION = "classification"


def with_drawn_strides(description: Mapping[str, Any], encoder: Any) -> Mapping[str, Any]:
    """The encoder's strides instead of the word `random`: whoever loads the model would draw others."""
    description = copy.deepcopy(dict(description))
    arguments = description["modules"]["encoder"]["arguments"]
    if arguments.get("strides") == "random":
        axes = [encoder.downsamplers]
        if isinstance(encoder, Spectrogram2d):
            axes.append(encoder.frequency_downsamplers)
        strides = [[torch.as_tensor(layer.stride).item() for layer in layers] for layers in axes]
        arguments["strides"] = strides[0] if len(axes) == 1 else [list(pair) for pair in zip(*strides, strict=True)]
    return description


def write_model(folder: Path, description: Mapping[str, Any], modules: nn.Module) -> None:
    """Writes `model.json` and `model.ckpt`, the state of `modules`."""
    weights = {name: tensor.detach().cpu() for name, tensor in modules.state_dict().items()}
    with whole_file(folder / "model.ckpt") as part:
        torch.save(weights, part)
    with whole_file(folder / "model.json") as part:
        part.write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


Model = TypeVar("Model", bound=nn.Module)


def read_model(folder: str | os.PathLike[str], make: Callable[[Mapping[str, Any]], Model]) -> Model:
    """What `make` builds from the description in a folder, with the weights in it; errors as in `load_model`."""
    check_model_folder(folder)
    folder = Path(folder)
    try:
        description = read_json(folder / "model.json")
        model = make(description)
    except _OtherTaskError as error:
        raise InputError(f"{os.fspath(folder / 'model.json')!r} is {error}") from None
    except Exception as error:  # wrong keys, types and sizes fail in many ways
        reason = error if isinstance(error, ValueError) else repr(error)
        raise InputError(f"{os.fspath(folder / 'model.json')!r} is no description of a model: {reason}") from error
    try:
        weights = torch.load(folder / "model.ckpt", map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
    except Exception as error:  # torch raises pickle, runtime, zip and type errors for files that are none of its own
        summary = " ".join(str(error).split())[:300]
        raise InputError(
            f"{os.fspath(folder / 'model.ckpt')!r} does not hold the model's weights: {summary}"
        ) from error
    return model


def check_description(description: Mapping[str, Any], task: str) -> None:
    """Checks format and task of a description.

    Raises:
        ValueError: another format, or a model for another task.
    """
    if description.get("format") != FORMAT:
        raise InputError(f"`description` (format {description.get('format')!r}) must have format {FORMAT}")
    rate = description["sample_rate"]
    if rate is not None and not 1 <= rate < math.inf:
        raise InputError(f"`sample_rate` (={rate}) must be at least 1 Hz, or null for features")
    found = description.get("task", CLASSIFICATION)
    if found != task:
        how = f"; `seqstride {COMMANDS[found]}` applies it" if found in COMMANDS else ""
        raise _OtherTaskError(f"a model for {found}, where one for {task} is needed{how}")


class _OtherTaskError(InputError):
    pass


def module_entry(node: Any) -> dict[str, Any]:
    """`!new:a.b.C` or `!name:a.b.C` with its keyword arguments → {"class": "a.b.C", "arguments": {…}}."""
    tag = str(node.tag.value or "")
    return {"class": tag.partition(":")[2], "arguments": _plain(node)}


def _plain(node: Any) -> Any:
    """ruamel's containers and scalars to Python's."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def build_module(name: str, entry: Mapping[str, Any], classes: Mapping[str, Callable[..., nn.Module]]) -> nn.Module:
    """The module that an entry of a description stands for.

    Raises:
        ValueError: its class is not one of `classes`.
    """
    if entry["class"] not in classes:
        raise InputError(f"module `{name}` (={entry['class']!r}) must be one of {', '.join(classes)}")
    return classes[entry["class"]](**entry["arguments"])
