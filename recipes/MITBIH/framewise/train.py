#!/usr/bin/env python3
"""Types of the beats of an electrocardiogram, beat by beat.

python train.py hparams/train.yaml --data_folder mitdb [--downsampler adastride] [--ratio 16] [--any_key value ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seqstride.brains.frames import FrameClassificationBrain
from seqstride.brains.run import run_recipe
from seqstride.failures import run_command


def main(argv: Sequence[str]) -> None:
    """Runs the recipe with the arguments of the command line."""
    run_recipe(FrameClassificationBrain, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
