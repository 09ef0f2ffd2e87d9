#!/usr/bin/env python3
"""Mboshi, a Bantu language of Congo, with CTC.

python train.py hparams/train.yaml --downsampler adastride [--device cpu] [--any_key_of_train.yaml value ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seqstride.brains.asr import CTCBrain
from seqstride.brains.run import run_recipe
from seqstride.failures import run_command


def main(argv: Sequence[str]) -> None:
    """Runs the recipe with the arguments of the command line."""
    run_recipe(CTCBrain, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
