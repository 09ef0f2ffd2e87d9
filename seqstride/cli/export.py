"""The command that writes models for other runtimes: export."""

from __future__ import annotations

import argparse
from pathlib import Path

from seqstride.cli.parser import Command, add_model
from seqstride.models.folder import check_model_folder, model_files

EXPORT_HELP = """\
Writes a trained classifier, recogniser or VQ-VAE, or a fitted classifier of series, as a graph for other runtimes. The
file is written only if the graph gives the same results as the model:

  seqstride export --model results/spoken_digits_adastride/official/1986 --format onnx

The graph has two inputs: `signal`, waveforms (batch, samples) or features (batch, frames, channels), and `lengths`
(batch,), int64. Batch and time are dynamic. The file also holds the names of classes or units, and the rates."""


def _add_export(command: argparse.ArgumentParser) -> None:
    from seqstride.export.write import FORMATS, default_name

    first, *others = FORMATS
    add_model(command)
    command.add_argument("--format", default=first, help=f"{first} (default) or {' or '.join(others)}")
    names = " or ".join(map(default_name, FORMATS))
    command.add_argument("-o", "--output", metavar="FILE", help=f"default: {names} in RESULTS_FOLDER")


def _export(arguments: argparse.Namespace) -> None:
    from seqstride.export.write import default_name, export_model, load_trained
    from seqstride.files.outputs import check_output

    file = arguments.output or Path(arguments.model) / default_name(arguments.format)
    series = [Path(arguments.model, name) for name in ("series.json", "series.safetensors")]
    if not series[0].is_file():
        check_model_folder(arguments.model, "--model")
    check_output("--output", file, [*model_files(arguments.model), *series])
    written = export_model(load_trained(arguments.model), file, arguments.format)
    print(
        f"{written.file}: {written.size / 1e6:.2f} MB, largest difference to the model {written.difference:.1e} "
        f"in {written.batches} random batches"
    )


COMMANDS = (
    Command(
        "export",
        "write a trained model as a graph for other runtimes",
        _export,
        _add_export,
        EXPORT_HELP,
    ),
)
