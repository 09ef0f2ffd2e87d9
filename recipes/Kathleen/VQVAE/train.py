#!/usr/bin/env python3
"""Discrete units of prompts that one woman reads, with a VQ-VAE.

python train.py hparams/train.yaml --downsampler adastride [--device cpu] [--any_key_of_train.yaml value ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seqstride.brains.run import run_recipe
from seqstride.brains.vqvae import VQVAEBrain
from seqstride.failures import run_command


def main(argv: Sequence[str]) -> None:
    """Runs the recipe with the arguments of the command line."""
    run_recipe(VQVAEBrain, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
