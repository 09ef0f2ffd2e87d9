"""The commands for time series in files: fit-series and predict-series."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seqstride.cli.parser import Command, add_model
from seqstride.errors import InputError
from seqstride.experiments.screen import command_line, where

FIT_SERIES_HELP = """\
Fits a classifier to the time series of one file, labels those of another, and reports how well that went:

  seqstride fit-series train.csv test.csv -o results/mine

Files are .ts (of the UCR and UEA archives), or tables, .csv with a header and commas, or .parquet: either a row for
every series, with its values in their order and a column `label`; or a row for every frame, with a column `series`
that says which series it belongs to, perhaps a column `time` that orders the frames, a column `label`, and all other
columns channels. Where no id of `series` comes twice and there is no `time`, a row is a whole series, and the id its
name. Labels and ids are text, as written (001 is not 1), without spaces around them. Empty cells are missing values;
labels, ids and times are never empty. Times are numbers or dates as ISO 8601 writes them. Columns of the second file
are found by their names, and it may lack labels. The folder gets predictions.csv, report.md, strides.png, model.zip and
series.json; `seqstride predict-series` labels further files with it."""

PREDICT_SERIES_HELP = """\
Labels the time series of a file with what fit-series has fitted, and writes a table like its predictions.csv:

  seqstride predict-series new.csv --model results/mine -o predictions.csv

FILE is of any kind that fit-series reads; its columns have the names that fit-series was told, and its channels are
found by their names. The model.zip of the folder is a pickle, which can run any code when it is loaded: only load
folders of your own."""


def _add_fit_series(command: argparse.ArgumentParser) -> None:
    command.add_argument("train", metavar="TRAIN", help="a file of series with labels")
    command.add_argument("test", metavar="TEST", help="a file of series, with labels or without")
    command.add_argument("-o", "--output", default="results/fit_series", metavar="FOLDER", help="default: %(default)s")
    command.add_argument("--label", default="label", metavar="COLUMN", help="of tables (default %(default)s)")
    command.add_argument("--series", default="series", metavar="COLUMN", help="of tables (default %(default)s)")
    command.add_argument("--time", default="time", metavar="COLUMN", help="of tables (default %(default)s)")
    command.add_argument("--downsampler", default="adastride", help="a method (default %(default)s)")
    command.add_argument("--strides", default="2,2,2", help="of the blocks, comma-separated (default %(default)s)")
    command.add_argument("--epochs", type=int, default=None, help="passes over the training series")
    command.add_argument("--seed", type=int, default=0, help="default %(default)s")
    command.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU where there is one")


def _fit_series(arguments: argparse.Namespace) -> None:
    from seqstride.estimators.classifier import SeqStrideClassifier
    from seqstride.estimators.files import Columns
    from seqstride.estimators.labelling import fit_series

    try:
        strides = [float(stride) for stride in arguments.strides.split(",")]
    except ValueError:
        raise InputError(f"`--strides` (={arguments.strides!r}) must be numbers between commas") from None
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
    folder = Path(arguments.output)
    again = command_line("predict-series", arguments.test, "--model", folder, "-o", folder / "again.csv")
    print(where(folder, again))


def _add_predict_series(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="a file of series, with labels or without")
    add_model(command, "the output folder of fit-series")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the table of labels and probabilities")
    command.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU where there is one")


def _predict_series(arguments: argparse.Namespace) -> None:
    from seqstride.estimators.labelling import predict_series

    print(predict_series(arguments.file, arguments.model, arguments.output, arguments.device))


COMMANDS = (
    Command(
        "fit-series",
        "fit a classifier to time series in a file, and label those of another",
        _fit_series,
        _add_fit_series,
        FIT_SERIES_HELP,
    ),
    Command(
        "predict-series",
        "label time series with what fit-series has fitted",
        _predict_series,
        _add_predict_series,
        PREDICT_SERIES_HELP,
    ),
)
