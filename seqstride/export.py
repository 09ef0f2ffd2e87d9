"""Trained models, encoders and layers as files for other runtimes: ONNX, and torch's exported programs.

The graph is that of `seqstride.exportable`: real, with a dynamic batch and a dynamic time axis. Every file is run
against the model before it is written.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.fx.experimental._config
from torch import Tensor, nn

import seqstride as ss
from seqstride.codes import CODING, Coder
from seqstride.exportable import exportable
from seqstride.layers.base import Downsampler
from seqstride.lengths import length_mask
from seqstride.model import CLASSIFICATION, SequenceClassifier, read_model
from seqstride.positions import nearest_output
from seqstride.whole_files import whole_file

#: format → what the name of a file ends with
FORMATS = {"onnx": ".onnx", "exported-program": ".pt2"}

#: of an output between the file and the model
TOLERANCE = 1e-4

#: the key of the metadata in an ONNX file, and the name of its file in an exported program
METADATA = "seqstride.json"

CHANNELS = 3  # of the signals that a layer for any number of channels is checked with

Run = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


class Exported(NamedTuple):
    """What became of a model."""

    file: Path
    size: int
    """Bytes."""
    difference: float
    """The largest between outputs of the file and of the model."""
    batches: int
    """How many were compared."""


def export_model(
    model: nn.Module, file: str | os.PathLike[str] | None = None, format: str = "onnx", *, batches: int = 4
) -> Exported:
    """Writes a model as a graph with a dynamic batch and a dynamic time axis, once it gives what the model gives.

    Args:
        model: a `SequenceClassifier`, a `Transcriber`, a `Coder`, an encoder or a layer of this package; of learnt
            strides the present values stay.
        file: to write; None: `model.onnx` or `model.pt2` in the working folder.
        format: "onnx", or "exported-program" for `torch.export.load`.
        batches: random ones with lengths of their own that the file is run on.

    The inputs are `signal` and `lengths` (B,) int64. A signal is waveforms (B, S) or features (B, T, C), as the trained
    model reads them; of an encoder or layer (B, C, T). The padding has no influence. Outputs by name:

    - classifier: for every label `log_probs_<label>` (B, classes);
    - recogniser: `log_probs` (B, L, units), `output_lengths` (B,), `positions` (B, T) of the features' frames;
    - VQ-VAE: `codes` (B, L, Q), −1 in the padding; `durations` (B, L), features' frames of each; `output_lengths` (B,);
    - encoder, layer: `output` (B, C', L), `output_lengths` (B,), `positions` (B, T).

    L may be more than the longest item needs where all items are padded; `output_lengths` says what counts. Classes,
    units, rates and what the signal is are a JSON text in the file: in the ONNX metadata under `seqstride.json`, in an
    exported program the extra file of that name.

    Raises:
        ValueError: an unknown format, a model of another kind, or a file whose outputs differ by more than 1e-4.
        ImportError: the extra `onnx` is not installed.
    """
    path = Path(default_name(format) if file is None else file)
    if format == "onnx":
        _require_onnx()
    graph = graph_of(model)
    with torch.no_grad(), _quiet():
        program = _program(graph.exportable())
        content = _onnx(program, graph) if format == "onnx" else _saved(program, graph)
        try:
            difference = _largest_difference(
                graph, _run_onnx(content) if format == "onnx" else _run_saved(content), batches
            )
        except RuntimeError as error:
            raise ValueError(f"{os.fspath(path)!r} was not written, it does not run: {error}") from error
    if not difference <= TOLERANCE:  # NaN, too
        raise ValueError(
            f"{os.fspath(path)!r} was not written: its outputs differ from the model's by {difference:.1e}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(content)
    return Exported(path, len(content), difference, batches)


def default_name(format: str) -> str:
    """Of a file.

    Raises:
        ValueError: an unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"`format` (={format!r}) must be one of {', '.join(FORMATS)}")
    return f"model{FORMATS[format]}"


def load_trained(folder: str | os.PathLike[str]) -> nn.Module:
    """The trained classifier, recogniser or VQ-VAE of a results folder.

    Raises:
        ValueError: the folder has no model, its description is wrong, or names what it must not.
    """

    def make(description: Mapping[str, Any]) -> nn.Module:
        task = description.get("task", CLASSIFICATION)
        if task == CLASSIFICATION:
            return SequenceClassifier(description)
        if task == CODING:
            return Coder(description)
        from seqstride.transcribe import Transcriber

        return Transcriber(description)

    return read_model(folder, make)


# A model as a function of tensors


class Graph(nn.Module):
    """A model as a function from (signal, lengths) to outputs by name.

    Attributes:
        longest: the largest length that it is checked with.
    """

    longest = 150

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = copy.deepcopy(model).eval()

    def exportable(self) -> Graph:
        """The same on the exportable copy of the model."""
        return type(self)(exportable(self.model))

    def signal(self, batch: int, longest: int, generator: torch.Generator) -> Tensor:
        """A random signal: (B, C, T)."""
        channels = getattr(self.model, "bands", None) or getattr(self.model, "in_channels", None)
        return torch.randn(batch, channels or self.model.channels or CHANNELS, longest, generator=generator)

    def time_axis(self) -> int:
        """Of the signal."""
        return 2

    def spare_frames(self) -> int:
        """So many more leave every layer more than one frame."""
        encoder = getattr(self.model, "encoder", self.model)
        strides = [float(layer.stride) for layer in getattr(encoder, "downsamplers", [encoder])]
        return 2 * math.prod(math.ceil(stride) for stride in strides)

    def metadata(self) -> dict[str, Any]:
        """What a user of the file has to know, in plain JSON values."""
        return {"version": ss.__version__, "signal": "(batch, channels, frames)"}


class LayerGraph(Graph):
    """A downsampling layer."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        plan = self.model.plan(signal, lengths)
        output = self.model.pool(signal, plan)
        return {"output": output, "output_lengths": plan.lengths, "positions": plan.positions}


class EncoderGraph(Graph):
    """An encoder: what returns `Encoded`."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        encoded = self.model(signal, lengths)
        return {"output": encoded.features, "output_lengths": encoded.lengths, "positions": encoded.positions}


class TrainedGraph(Graph):
    """A trained model, with what stands before its encoder."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if self.model.frontend is not None:
            self.longest = round(1.5 * self.model.sample_rate)

    def signal(self, batch: int, longest: int, generator: torch.Generator) -> Tensor:
        """Noise (B, S), or features (B, T, C) as the training set had them."""
        if self.model.frontend is not None:
            return 0.1 * torch.randn(batch, longest, generator=generator)
        mean, std = self.model.normalize.mean, self.model.normalize.std
        return mean + std * torch.randn(batch, longest, len(mean), generator=generator)

    def time_axis(self) -> int:
        return 1

    def metadata(self) -> dict[str, Any]:
        description, rate = self.model.description, self.model.sample_rate
        channels = len(self.model.normalize.mean)
        features = f"{description['feature_name']} features (batch, frames, {channels})"
        return {
            "version": ss.__version__,
            "signal": features if rate is None else f"waveforms (batch, samples) at {rate} Hz",
            "sample_rate": rate,
            "frame_rate": self.model.frame_rate,
            **{key: description[key] for key in ("labels", "units") if key in description},
        }


class ClassifierGraph(TrainedGraph):
    """A trained classifier."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if self.model.window_size is not None:
            self.longest = 3 * self.model.window_size

    def spare_frames(self) -> int:
        """None for windows, which are of one width."""
        return super().spare_frames() if self.model.window_size is None else 0

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return {f"log_probs_{label}": logits.log_softmax(1) for label, logits in self.model(signal, lengths).items()}


class TranscriberGraph(TrainedGraph):
    """A trained recogniser."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        log_probs, encoded = self.model(signal, lengths)
        return {"log_probs": log_probs, "output_lengths": encoded.lengths, "positions": encoded.positions}


class CoderGraph(TrainedGraph):
    """A trained VQ-VAE, as far as its codes."""

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        x, frames = self.model.frontend(signal, lengths)
        encoded = self.model.encoder(self.model.normalize(x, frames), frames)
        codes = self.model.quantizer(encoded.features, encoded.lengths).codes
        units = nearest_output(encoded.positions, encoded.lengths)
        real = length_mask(frames, units.shape[1]).long()
        durations = codes.new_zeros(codes.shape[:2]).scatter_add(1, units, real)
        return {"codes": codes, "durations": durations, "output_lengths": encoded.lengths}

    def metadata(self) -> dict[str, Any]:
        rate, quantizer = self.model.sample_rate, self.model.quantizer
        return {
            "version": ss.__version__,
            "signal": f"waveforms (batch, samples) at {rate} Hz",
            "sample_rate": rate,
            "frame_rate": self.model.frame_rate,
            "codebooks": [quantizer.size] * quantizer.quantizers,
        }


def graph_of(model: nn.Module) -> Graph:
    """The model as a function of tensors.

    Raises:
        ValueError: it is none that can be exported.
    """
    if isinstance(model, Downsampler):
        return LayerGraph(model)
    if isinstance(model, SequenceClassifier):
        return ClassifierGraph(model)
    if isinstance(model, Coder):
        return CoderGraph(model)
    if hasattr(model, "units"):
        return TranscriberGraph(model)
    if hasattr(model, "downsamplers") and hasattr(model, "out_channels"):
        return EncoderGraph(model)
    raise ValueError(
        f"`model` (a {type(model).__name__}) must be a trained model, an encoder or a layer of this package; "
        "`seqstride.exportable.exportable` prepares any other module for an exporter"
    )


# Capture and formats


class _Wide(nn.Module):
    """A graph that widens its signals by some padding, which has no influence.

    A graph for any length must not ask whether a length is 1, but convolutions do. In a signal that is wide enough no
    layer has a single frame left, and there is nothing to be asked.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inner = graph
        self.axis, self.frames = graph.time_axis(), graph.spare_frames()
        self.width = self.frames * getattr(getattr(graph.model, "frontend", None), "hop", 1)

    def forward(self, signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        # said first, or else broadcasting asks whether one of the two is 1
        torch._check(lengths.shape[0] == signal.shape[0])
        spare = torch.zeros_like(signal.narrow(self.axis, 0, 1)).expand(
            [self.width if axis == self.axis else -1 for axis in range(signal.ndim)]
        )
        outputs: dict[str, Tensor] = self.inner(torch.cat([signal, spare], self.axis), lengths)
        if self.frames and "positions" in outputs:
            outputs["positions"] = outputs["positions"][:, : -self.frames]
        return outputs


def _program(graph: Graph) -> torch.export.ExportedProgram:
    lengths = torch.tensor([37, 50]) * graph.longest // 50
    signal = graph.signal(2, graph.longest, torch.Generator().manual_seed(0))
    batch, time = (torch.export.Dim(name, min=1) for name in ("batch", "time"))
    channels = {1: torch.export.Dim("channels", min=1)} if getattr(graph.model, "channels", 0) is None else {}
    # as torch.onnx captures: sizes of 1 are sizes like any other
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(
            _Wide(graph),
            (signal, lengths),
            dynamic_shapes={"signal": {0: batch, **channels, graph.time_axis(): time}, "lengths": {0: batch}},
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine
    return program


def _require_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f'export to ONNX needs {name}: pip install "seqstride[onnx]"') from error


def _onnx(program: torch.export.ExportedProgram, graph: Graph) -> bytes:
    outputs: Any = program.call_spec.out_spec
    converted = torch.onnx.export(
        program,
        input_names=["signal", "lengths"],
        output_names=outputs.context,  # the keys of a dict
        verbose=False,
        # runtimes simplify a graph themselves when they load it
        optimize=False,
    )
    assert converted is not None  # it is for `dynamo=False` only
    proto = converted.model_proto
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info):
        part.ClearField("metadata_props")  # lines of source code that every node came from: most of the file
    proto.metadata_props.add(key=METADATA, value=json.dumps(graph.metadata(), ensure_ascii=False))
    return bytes(proto.SerializeToString())


def _saved(program: torch.export.ExportedProgram, graph: Graph) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(graph.metadata(), ensure_ascii=False)})
    return buffer.getvalue()


def _run_onnx(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(signal: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        values = session.run(names, {"signal": signal.numpy(), "lengths": lengths.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    return run


def _run_saved(content: bytes) -> Run:
    module: Run = torch.export.load(io.BytesIO(content)).module()
    return module


def _largest_difference(graph: Graph, run: Run, batches: int) -> float:
    """Between the outputs for random signals and lengths, of items with anything in the padding."""
    generator = torch.Generator().manual_seed(1)
    differences = []
    for batch in range(1, batches + 1):
        lengths = torch.randint(1, graph.longest + 1, (batch,), generator=generator)
        signal = graph.signal(batch, int(lengths.max()) + batch % 2, generator)
        for item, length in enumerate(lengths):
            signal.movedim(graph.time_axis(), 1)[item, length:] = torch.nan
        found = run(signal, lengths)
        for name, expected in graph(signal, lengths).items():
            value = found[name][tuple(slice(size) for size in expected.shape)]
            differences.append((value - expected).abs().max().double())
    return float(torch.stack(differences).max())  # NaN, where any is


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about themselves."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
