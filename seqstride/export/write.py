"""Trained models, encoders and layers as files for other runtimes: ONNX, and torch's exported programs.

The graph is real, with a dynamic batch and a dynamic time axis. Every file is run against the model before it is
written.
"""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqstride.errors import InputError, require
from seqstride.export.graphs import Graph, WideGraph, graph_of
from seqstride.files.whole_files import whole_file
from seqstride.models.classifier import SequenceClassifier
from seqstride.models.description import CLASSIFICATION, CODING, FRAMES, OtherTaskError, TrainedModel, read_model

#: of an output between the file and the model
TOLERANCE = 1e-4

#: the key of the metadata in an ONNX file, and the name of its file in an exported program
METADATA = "seqstride.json"

Run = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


class Format(NamedTuple):
    """A kind of file that models are exported to."""

    ending: str
    """Of the file's name."""
    write: Callable[[torch.export.ExportedProgram, Graph], bytes]
    """Makes the content of the file from the captured graph; the metadata are in `Graph.metadata`."""
    load: Callable[[bytes], Run]
    """Makes a function (signal, lengths) → outputs by name from the content, to compare it with the model."""
    packages: tuple[str, ...] = ()
    """Packages of the extra `export` that the format needs."""


class Exported(NamedTuple):
    """The result of `export_model`."""

    file: Path
    size: int
    """Bytes."""
    difference: float
    """The largest between outputs of the file and of the model."""
    batches: int
    """How many were compared."""


def export_model(
    model: Any, file: str | os.PathLike[str] | None = None, format: str = "onnx", *, batches: int = 4
) -> Exported:
    """Writes a model as a graph with a dynamic batch and a dynamic time axis, once it gives what the model gives.

    Args:
        model: a `SequenceClassifier`, a `Transcriber`, a `Coder`, a fitted `SeqStrideClassifier` or
            `SeqStrideRegressor`, an encoder or a layer of this package; learnt strides are frozen at their current
            values.
        file: to write; None: `default_name` in the working folder.
        format: a key of `FORMATS`: "onnx", or "exported-program" for `torch.export.load`.
        batches: number of random batches for the check.

    The inputs are `signal` and `lengths` (B,) int64. A signal is waveforms (B, S) or features (B, T, C), as the trained
    model reads them; of an encoder or layer (B, C, T). The padding has no influence. Outputs by name:

    - classifier: for every label `log_probs_<label>` (B, classes); of series `log_probs_label`;
    - regressor of series: `value` (B,);
    - recogniser: `log_probs` (B, L, units), `output_lengths` (B,), `positions` (B, T) of the features' frames;
    - VQ-VAE: `codes` (B, L, Q), −1 in the padding; `durations` (B, L), features' frames of each; `output_lengths` (B,);
    - encoder, layer: `output` (B, C', L), `output_lengths` (B,), `positions` (B, T).

    L may be more than the longest item needs, because the graph widens its signals by some padding; `output_lengths`
    says what counts. Classes, units, rates and what the signal is are a JSON text in the file: in the ONNX metadata
    under `seqstride.json`, in an exported program the extra file of that name.

    Raises:
        ValueError: an unknown format, a model of another kind, one that the exporter cannot write, or a file whose
            outputs differ by more than 1e-4.
        ImportError: the extra `export` is not installed.
    """
    path = Path(default_name(format) if file is None else file)
    chosen = _format(format)
    for package in chosen.packages:
        require(package, "export")
    graph = _graph(model)
    step = "its model has no graph for every batch and duration"
    try:
        with torch.no_grad(), _quiet():
            program = _program(graph)
            step = "its graph cannot be converted"
            content = chosen.write(program, graph)
            step = "it does not run"
            run = chosen.load(content)
            difference = _largest_difference(graph, run, batches)
    except RuntimeError as error:  # exporters' and runtimes' errors are such
        raise InputError(f"{os.fspath(path)!r} was not written, {step}: {error}") from error
    if not difference <= TOLERANCE:  # NaN, too
        raise InputError(
            f"{os.fspath(path)!r} was not written: its outputs differ from the model's by {difference:.1e}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(content)
    return Exported(path, len(content), difference, batches)


def _graph(model: Any) -> Graph:
    """Returns the graph of a model, or of a fitted estimator of series."""
    if hasattr(model, "channel_names_"):
        # estimators take seconds to import
        from seqstride.export.series import SeriesClassifierGraph, SeriesRegressorGraph

        return SeriesClassifierGraph(model) if hasattr(model, "classes_") else SeriesRegressorGraph(model)
    return graph_of(model)


def default_name(format: str) -> str:
    """The file name of a format when none is given, such as model.onnx.

    Raises:
        ValueError: an unknown format.
    """
    return f"model{_format(format).ending}"


def _format(format: str) -> Format:
    if format not in FORMATS:
        raise InputError(f"`format` (={format!r}) must be one of {', '.join(FORMATS)}")
    return FORMATS[format]


def load_trained(folder: str | os.PathLike[str]) -> Any:
    """The trained classifier, recogniser or VQ-VAE of a results folder, or the fitted estimator of series.

    Raises:
        ValueError: the folder has no model, its description is wrong, or names what it must not.
    """

    def make(description: Mapping[str, Any]) -> TrainedModel:
        task = description.get("task", CLASSIFICATION)
        if task == CLASSIFICATION:
            return SequenceClassifier(description)
        if task == FRAMES:
            raise OtherTaskError(f"a model for {task}, which cannot be exported")
        # what these import takes seconds to load
        from seqstride.models.recogniser import Transcriber
        from seqstride.models.vqvae import Coder

        if task == CODING:
            return Coder(description)

        return Transcriber(description)

    if Path(folder, "series.json").is_file():
        from seqstride.estimators.labelling import load_fitted
        from seqstride.estimators.saved_regressor import holds_regressor, load_regressor

        return load_regressor(folder) if holds_regressor(folder) else load_fitted(folder)
    return read_model(folder, make)


# Capture and formats


def _program(graph: Graph) -> torch.export.ExportedProgram:
    lengths = torch.tensor([37, 50]) * graph.longest // 50
    signal = graph.signal(2, graph.longest, torch.Generator().manual_seed(0))
    batch, time = (torch.export.Dim(name, min=1) for name in ("batch", "time"))
    channels = {1: torch.export.Dim("channels", min=1)} if getattr(graph.model, "channels", 0) is None else {}
    program = torch.export.export(
        WideGraph(graph),
        (signal, lengths),
        dynamic_shapes={"signal": {0: batch, **channels, graph.time_axis(): time}, "lengths": {0: batch}},
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine
    return program


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


FORMATS = {
    "onnx": Format(".onnx", _onnx, _run_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "exported-program": Format(".pt2", _saved, _run_saved),
}
"""The formats by name; the first one is the default."""


def _largest_difference(graph: Graph, run: Run, batches: int) -> float:
    """Between the outputs for random signals and lengths, of items with anything in the padding.

    Every other batch is short: shorter than one window, where a model has windows.
    """
    generator = torch.Generator().manual_seed(1)
    differences = []
    for batch in range(1, batches + 1):
        longest = graph.longest // 4 if batch % 2 else graph.longest
        lengths = torch.randint(1, longest + 1, (batch,), generator=generator)
        signal = graph.signal(batch, int(lengths.max()) + batch % 2, generator)
        for item, length in enumerate(lengths):
            signal.movedim(graph.time_axis(), 1)[item, length:] = torch.nan
        differences.append(graph.difference(run(signal, lengths), signal, lengths))
    return float(torch.stack(differences).max())  # NaN, where any is


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters' own log and warnings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
