#!/usr/bin/env python3
"""Classification of rows of numbers, read as sequences of their columns.

python train.py hparams/train.yaml --downsampler adastride [--fold wine] [--any_key_of_train.yaml value ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seqstride.estimators.run import run_estimator
from seqstride.failures import run_command


def main(argv: Sequence[str]) -> None:
    """Runs the recipe with the arguments of the command line."""
    run_estimator(argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
