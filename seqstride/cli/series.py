"""The commands for time series in files: fit-series and classify-series."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seqstride.cli.parser import Command, add_model, add_spreadsheet
from seqstride.errors import InputError
from seqstride.experiments.screen import command_line, where

FIT_SERIES_HELP = """\
Fits a classifier to the time series of one file, labels the series of another file, and reports the accuracy:

  seqstride fit-series train.csv test.csv -o results/mine

Files are .ts (the format of the UCR and UEA archives) or tables: .parquet, or .csv with a header and commas. A table
has one of two forms:
  - A row for every series: its values in order, and a column `label`.
  - A row for every frame: a column `series` with the id of the series, a column `label`, and a column for every
    channel; a column `time` may order the frames.
A table with a column `series` but without `time`, in which no id comes twice, has the first form; the id names the row.

Labels and ids are text as written: 001 is not 1. Spaces around them do not count. Empty cells are missing values;
labels, ids and times must not be empty. Times are numbers or ISO 8601 dates. The columns of the second file are found
by name, and it may lack labels. The output folder gets predictions.csv, report.md, strides.png,
series.safetensors and series.json; `seqstride classify-series` labels further files with it."""

CLASSIFY_SERIES_HELP = """\
Labels the time series of a file with a classifier of fit-series or of a run of the recipe UCR/classification, and
writes a table like its predictions.csv:

  seqstride classify-series new.csv --model results/mine -o predictions.csv

FILE has any format that fit-series reads. Its columns of labels, ids and times have the names given to fit-series, and
channels are found by name."""


def _add_fit_series(command: argparse.ArgumentParser) -> None:
    command.add_argument("train", metavar="TRAIN", help="a file of series with labels")
    command.add_argument("test", metavar="TEST", help="a file of series, with labels or without")
    command.add_argument("-o", "--output", default="results/fit_series", metavar="FOLDER", help="default: %(default)s")
    command.add_argument("--label", default="label", metavar="COLUMN", help="column of labels (default %(default)s)")
    command.add_argument("--series", default="series", metavar="COLUMN", help="column of ids (default %(default)s)")
    command.add_argument("--time", default="time", metavar="COLUMN", help="column of times (default %(default)s)")
    command.add_argument("--downsampler", default="adastride", help="method (default %(default)s)")
    command.add_argument("--strides", default="2,2,2", help="strides of the blocks (default %(default)s)")
    command.add_argument("--epochs", type=int, default=None, help="passes over the training series")
    command.add_argument("--seed", type=int, default=0, help="seed of the training (default %(default)s)")
    command.add_argument("--overwrite", action="store_true", help="replace the classifier in FOLDER")
    command.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU if there is one")


def _fit_series(arguments: argparse.Namespace) -> None:
    from seqstride.estimators.classifier import SeqStrideClassifier
    from seqstride.estimators.labelling import fit_series
    from seqstride.estimators.series_files import Columns

    try:
        strides = [float(stride) for stride in arguments.strides.split(",")]
    except ValueError:
        raise InputError(f"`--strides` (={arguments.strides!r}) must be numbers between commas") from None
    folder = Path(arguments.output)
    if (folder / "series.json").exists() and not arguments.overwrite:
        raise InputError(f"`--output` (={arguments.output!r}) must not hold a classifier; --overwrite replaces it")
    classifier = SeqStrideClassifier(
        arguments.downsampler,
        strides=[int(stride) if stride.is_integer() else stride for stride in strides],
        random_state=arguments.seed,
        n_threads=arguments.threads,
        device=arguments.device,
        verbose=sys.stderr.isatty(),
    )
    if arguments.epochs is not None:
        classifier.set_params(n_epochs=arguments.epochs)
    columns = Columns(arguments.label, arguments.series, arguments.time)
    print(fit_series(arguments.train, arguments.test, arguments.output, classifier, columns), end="\n\n")
    again = command_line("classify-series", arguments.test, "--model", folder, "-o", folder / "again.csv")
    print(where(folder, again))


def _add_classify_series(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="a file of series, with labels or without")
    add_model(command, "the output folder of fit-series, or of a run on series")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the table of labels and probabilities")
    add_spreadsheet(command)
    command.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU if there is one")


def _classify_series(arguments: argparse.Namespace) -> None:
    from seqstride.estimators.labelling import classify_series, fitted_files
    from seqstride.files.outputs import check_output

    check_output("--output", arguments.output, [arguments.file, *fitted_files(arguments.model)], table=True)
    print(
        classify_series(
            arguments.file, arguments.model, arguments.output, arguments.device, spreadsheet=arguments.spreadsheet
        )
    )


COMMANDS = (
    Command(
        "fit-series",
        "fit a classifier to time series in a file, and label those in another",
        _fit_series,
        _add_fit_series,
        FIT_SERIES_HELP,
    ),
    Command(
        "classify-series",
        "label time series with a fitted classifier",
        _classify_series,
        _add_classify_series,
        CLASSIFY_SERIES_HELP,
    ),
    Command(
        "predict-series",
        "the former name of classify-series, in this version only",
        _classify_series,
        _add_classify_series,
        CLASSIFY_SERIES_HELP,
    ),
)
