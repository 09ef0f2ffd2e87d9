"""Trained models: built from a description, written to a results folder, and read from it.

`model.json` names classes of this package and their arguments; `model.safetensors` holds the weights. A description may
name only the classes of `ALLOWED`, and safetensors are plain numbers: a model folder cannot run code, so folders from
strangers can be loaded safely.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from seqstride.encoders.frontend import LogMel
from seqstride.encoders.spectrogram import Spectrogram2d
from seqstride.errors import InputError, MissingExtraError
from seqstride.files.signal_reader import SignalReader
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import whole_file
from seqstride.models.folder import ENDING, MODEL, WEIGHTS, check_model_folder, weights_file
from seqstride.models.untrusted import check_shapes, outline, rising_tone
from seqstride.models.weights import read_weights, write_weights

FORMAT = 1
FASTEST = 10_000_000
CLASSIFICATION, TRANSCRIPTION, CODING, FRAMES = "classification", "transcription", "coding", "frame classification"
USES = {
    CLASSIFICATION: "`seqstride classify` applies it",
    TRANSCRIPTION: "`seqstride transcribe` applies it",
    CODING: "`seqstride units` applies it",
    FRAMES: "`seqstride.models.frames.load_frame_labeller` loads it in Python",
}
"""Task of a model → how it is used."""

ALLOWED: dict[str, tuple[str, ...]] = {
    CLASSIFICATION: (
        "seqstride.ResNet1d",
        "seqstride.Spectrogram2d",
        "seqstride.encoders.leading.LeadingResNet1d",
        "seqstride.encoders.frontend.LogMel",
        "seqstride.encoders.heads.FeatureNorm",
        "seqstride.encoders.heads.PooledClassifier",
    ),
    TRANSCRIPTION: (
        "seqstride.encoders.conformer.ConformerEncoder",
        "seqstride.encoders.frontend.LogMel",
        "seqstride.encoders.heads.FeatureNorm",
    ),
    CODING: (
        "seqstride.ResNet1d",
        "seqstride.encoders.frontend.LogMel",
        "seqstride.encoders.heads.FeatureNorm",
        "seqstride.encoders.vqvae.ExpandDecoder",
        "seqstride.encoders.vqvae.Quantizer",
        "seqstride.encoders.vqvae.TransposedDecoder",
        "seqstride.encoders.waveform.Samples",
        "seqstride.encoders.waveform.WaveDecoder",
        "seqstride.encoders.waveform.WaveEncoder",
    ),
    FRAMES: (
        "seqstride.ResNet1d",
        "seqstride.encoders.heads.FeatureNorm",
        "seqstride.encoders.heads.FrameClassifier",
    ),
}
"""Task → the classes that its descriptions may name. A class is imported when a description names it."""


# Descriptions


def describe_model(
    task: str, fields: Mapping[str, Any], nodes: Mapping[str, Any], names: Iterable[str] | None = None
) -> dict[str, Any]:
    """The description of a model: plain JSON values.

    Args:
        task: a key of `ALLOWED`.
        fields: entries for this task, such as `sample_rate`.
        nodes: name of a module → its YAML node, as `resolved` of `seqstride.files.yaml_text` gives it.
        names: of the modules to describe; None: all of `nodes`.
    """
    return {
        "format": FORMAT,
        **({} if task == CLASSIFICATION else {"task": task}),
        **fields,
        "modules": {name: module_entry(nodes[name]) for name in (nodes if names is None else names)},
    }


def module_entry(node: Any) -> dict[str, Any]:
    """`!new:a.b.C` or `!name:a.b.C` with its keyword arguments → {"class": "a.b.C", "arguments": {…}}."""
    tag = str(node.tag.value or "")
    return {"class": tag.partition(":")[2], "arguments": _plain(node)}


def _plain(node: Any) -> Any:
    """ruamel's containers and scalars as Python's own."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def check_description(description: Mapping[str, Any], task: str) -> None:
    """Checks format, rates and task of a description.

    Raises:
        ValueError: another format, impossible rates, or a model for another task.
    """
    if description.get("format") != FORMAT:
        raise InputError(f"`description` (format {description.get('format')!r}) must have format {FORMAT}")
    rate = description["sample_rate"]
    if rate is not None and not 1 <= rate <= FASTEST:
        raise InputError(f"`sample_rate` (={rate}) must lie in 1 … {FASTEST} Hz, or be null for features")
    frames = description.get("frame_rate", 1)
    if isinstance(frames, bool) or not isinstance(frames, int | float) or not 0 < frames <= FASTEST:
        raise InputError(f"`frame_rate` (={frames!r}) must lie above 0 and be at most {FASTEST} per second")
    found = description.get("task", CLASSIFICATION)
    if found != task:
        how = f"; {USES[found]}" if found in USES else ""
        raise OtherTaskError(f"a model for {found}, where one for {task} is needed{how}")


class OtherTaskError(InputError):
    """A model of which something else is asked than what it was trained for; the text begins with what it is."""


class NotFiniteError(InputError):
    """An answer that is not finite: a model may overflow on some recordings only. The text follows their name."""


def check_finite(*answers: Tensor) -> None:
    """Checks the numbers behind a model's answer.

    Raises:
        NotFiniteError: some are infinite or NaN.
    """
    if not all(numbers.isfinite().all() for numbers in answers):
        raise NotFiniteError("the model's answer must be finite; its numbers overflow on this recording")


def build_module(name: str, entry: Mapping[str, Any], task: str) -> Any:
    """Builds the module that an entry of a description names.

    Args:
        name: of the module, for errors.
        entry: as `module_entry` gives it.
        task: of the model.

    Raises:
        ValueError: the class is not allowed for this task.
    """
    path = entry["class"]
    if path not in ALLOWED[task]:
        raise InputError(f"module `{name}` (={path!r}) must be one of {', '.join(ALLOWED[task])}")
    module, _, kind = path.rpartition(".")
    return getattr(import_module(module), kind)(**entry["arguments"])


# Models


class TrainedModel(nn.Module):
    """A trained model in evaluation mode.

    Args:
        description: the content of `model.json`.

    Attributes:
        description: the argument.
        sample_rate: of the waveforms, Hz; None where the model reads features.
        frontend: from waveforms to features; None where the model reads features.
        normalize, encoder: further modules of the description.

    Raises:
        ValueError: the description names a class that is not allowed, or is not one for this task.
    """

    task: ClassVar[str]

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        check_description(description, self.task)
        self.description = dict(description)
        self.sample_rate: int | None = description["sample_rate"]
        self.frontend: Any = None if description["modules"].get("frontend") is None else self._built("frontend")
        self.normalize: Any = self._built("normalize")
        self.encoder: Any = self._built("encoder")

    def _built(self, name: str) -> Any:
        return build_module(name, self.description["modules"][name], self.task)

    def features(self, signal: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the input of the encoder.

        Args:
            signal: waveforms (B, S) at `sample_rate`, or features (B, T, C) for a model without front end.
            lengths: (B,) int64.

        Returns:
            Normalised features (B, C, T) with 0 in the padding, and their lengths (B,).
        """
        x, lengths = (signal.transpose(1, 2), lengths) if self.frontend is None else self.frontend(signal, lengths)
        return self.normalize(x, lengths), lengths

    def features_read(self, signal: SignalReader) -> tuple[Tensor, Tensor]:
        """`features` of one signal (S,) or (T, C) that is read as it is needed: for a log-mel front end, the samples
        are never in memory together."""
        device = self._device()
        if isinstance(self.frontend, LogMel):
            x, lengths = self.frontend.of_reader(signal)
            return self.normalize(x, lengths), lengths
        return self.features(signal.whole().to(device)[None], torch.tensor([len(signal)], device=device))

    @torch.no_grad()
    def try_out(self) -> None:
        """Applies the model to a short sound: parts that do not fit together raise their errors now.

        Raises:
            InputError: finite weights gave an answer that is not.
        """
        if self.sample_rate is None:
            shape: tuple[int, ...] = (1, 8, len(self.normalize.mean))
        else:
            shape = (1, max(1, self.sample_rate // 20))
        signal = rising_tone(*shape).float()
        try:
            check_finite(*self._tried(signal, torch.tensor([signal.shape[1]])))
        except NotFiniteError as error:
            raise InputError("its answer to a short sound must be finite") from error

    def _tried(self, signal: Tensor, lengths: Tensor) -> Iterable[Tensor]:
        """Does all that the model is for, and returns the numbers behind its answers; arguments as in `features`."""
        raise NotImplementedError

    def _device(self) -> torch.device:
        return next(self.parameters()).device


# Folders


def write_model(folder: Path, description: Mapping[str, Any], modules: nn.ModuleDict) -> Mapping[str, Any]:
    """Writes `model.json` and `model.safetensors` into a results folder.

    Args:
        folder: where.
        description: of the model.
        modules: the trained modules, `encoder` among them.

    Returns:
        The description as written: with the strides that the encoder has, where it asked for random ones.
    """
    description = _with_drawn_strides(description, modules["encoder"])
    (folder / MODEL).unlink(missing_ok=True)  # that of an earlier model would not be that of the weights
    write_weights(folder / (WEIGHTS + ENDING), modules)
    with whole_file(folder / MODEL) as part:
        part.write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return description


def _with_drawn_strides(description: Mapping[str, Any], encoder: Any) -> Mapping[str, Any]:
    """The description with the encoder's strides instead of the word `random`, which would draw others at loading."""
    description = copy.deepcopy(dict(description))
    arguments = description["modules"]["encoder"]["arguments"]
    if arguments.get("strides") == "random":
        axes = [encoder.downsamplers]
        if isinstance(encoder, Spectrogram2d):
            axes.append(encoder.frequency_downsamplers)
        strides = [[torch.as_tensor(layer.stride).item() for layer in layers] for layers in axes]
        arguments["strides"] = strides[0] if len(axes) == 1 else [list(pair) for pair in zip(*strides, strict=True)]
    return description


Model = TypeVar("Model", bound=TrainedModel)


def read_model(
    folder: str | os.PathLike[str], make: Callable[[Mapping[str, Any]], Model], device: str | torch.device = "cpu"
) -> Model:
    """Builds the model of a results folder and loads its weights.

    Args:
        folder: has `model.json` and `model.safetensors`, or `model.ckpt` of an older version.
        make: builds a model from its description, such as the model's class.
        device: where the model computes.

    Raises:
        ValueError: the folder has no model, its description is wrong or names a class that is not allowed, or the
            weights do not fit.
    """
    check_model_folder(folder)
    folder = Path(folder)
    file = weights_file(folder, WEIGHTS)
    with _named(folder / MODEL, "does not describe a model"):
        description = read_json(folder / MODEL)
    with _named(file, "does not hold the model's weights"):
        weights = read_weights(file)
    with _named(folder / MODEL, "does not describe a model"):
        shapes = outline(partial(make, description), len(weights))
    with _named(file, "does not hold the model's weights"):
        check_shapes(shapes, weights)
        model = make(description)
        model.load_state_dict(weights)
    with _named(folder / MODEL, "does not describe a model"):
        model.try_out()
    return model.to(device)


@contextmanager
def _named(file: Path, what: str) -> Iterator[None]:
    """Errors inside are errors of a file: wrong keys, types and sizes fail in many ways, as do files of others."""
    try:
        yield
    except (MissingExtraError, torch.OutOfMemoryError):  # no faults of the file
        raise
    except OtherTaskError as error:
        raise InputError(f"{os.fspath(file)!r} is {error}") from None
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise InputError(f"{os.fspath(file)!r} {what}: {' '.join(reason.split())[:500]}") from error
