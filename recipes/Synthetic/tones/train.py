#!/usr/bin/env python3
"""Tones in noise, which a large stride cuts.

python train.py hparams/train.yaml --downsampler diffstride [--ratio 6] [--any_key_of_train.yaml value ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seqstride.brains import ClassificationBrain
from seqstride.brains.run import run_recipe
from seqstride.failures import run_command


def main(argv: Sequence[str]) -> None:
    """Runs the recipe with the arguments of the command line."""
    run_recipe(ClassificationBrain, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
