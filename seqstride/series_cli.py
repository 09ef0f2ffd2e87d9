"""The commands for time series in files: fit-series."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from seqstride.errors import InputError

SERIES_HELP = """\
Fits a classifier to the time series of one file, labels those of another, and reports how well that went:

  seqstride fit-series train.csv test.csv -o results/mine

Files are .ts (of the UCR and UEA archives), or tables, .csv with a header or .parquet: either a row for every series,
with its values in their order and a column `label`; or a row for every frame, with a column `series` that says which
series it belongs to, perhaps a column `time` that orders the frames, a column `label`, and all other columns channels.
Empty cells are missing values. The second file may lack labels. The folder gets predictions.csv, report.md,
strides.png and model.zip."""


def add_series_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands; `add` takes name, function, a line and a text of help."""
    series = add(
        "fit-series", _fit_series, "fit a classifier to time series in a file, and label those of another", SERIES_HELP
    )
    series.add_argument("train", metavar="TRAIN", help="a file of series with labels")
    series.add_argument("test", metavar="TEST", help="a file of series, with labels or without")
    series.add_argument("-o", "--output", default="results/fit_series", metavar="FOLDER", help="default: %(default)s")
    series.add_argument("--label", default="label", metavar="COLUMN", help="of tables (default %(default)s)")
    series.add_argument("--series", default="series", metavar="COLUMN", help="of tables (default %(default)s)")
    series.add_argument("--time", default="time", metavar="COLUMN", help="of tables (default %(default)s)")
    series.add_argument("--downsampler", default="adastride", help="a method (default %(default)s)")
    series.add_argument("--strides", default="2,2,2", help="of the blocks, comma-separated (default %(default)s)")
    series.add_argument("--epochs", type=int, default=None, help="passes over the training series")
    series.add_argument("--seed", type=int, default=0, help="default %(default)s")
    series.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU where there is one")


def _fit_series(arguments: argparse.Namespace) -> None:
    from seqstride import SeqStrideClassifier
    from seqstride.estimators.files import Columns, fit_series

    try:
        strides = [float(stride) for stride in arguments.strides.split(",")]
    except ValueError:
        raise InputError(f"`--strides` (={arguments.strides!r}) must be numbers between commas") from None
    classifier = SeqStrideClassifier(
        arguments.downsampler,
        strides=[int(stride) if stride.is_integer() else stride for stride in strides],
        random_state=arguments.seed,
        device=arguments.device,
        verbose=sys.stderr.isatty(),
    )
    if arguments.epochs is not None:
        classifier.set_params(n_epochs=arguments.epochs)
    columns = Columns(arguments.label, arguments.series, arguments.time)
    print(fit_series(arguments.train, arguments.test, arguments.output, classifier, columns))
