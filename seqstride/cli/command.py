"""The `seqstride` command: the table of all commands, and how one of them runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from seqstride.cli import bench, export, recordings, series, strides, training
from seqstride.cli.parser import make_parser
from seqstride.errors import InputError
from seqstride.experiments.options import joined, separated
from seqstride.experiments.screen import without_noise
from seqstride.failures import run_command

COMMANDS = (
    *training.COMMANDS,
    *bench.COMMANDS,
    *strides.COMMANDS,
    *series.COMMANDS,
    *recordings.COMMANDS,
    *export.COMMANDS,
)
"""All commands, in the order of `seqstride --help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; `seqstride.failures` lists the codes.

    Args:
        argv: the command and its arguments; None: those of the process.
    """
    return run_command(_run, sys.argv[1:] if argv is None else argv)


def _run(argv: Sequence[str]) -> int | None:
    arguments = _parsed(argv)
    with without_noise():
        code: int | None = arguments.run(arguments)
    return code


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; `rest` has the words that follow those of a command that takes a recipe's keys."""
    chosen = next(iter(argv), "")
    parser = make_parser(COMMANDS, chosen)
    with_keys = {command.name for command in COMMANDS if command.usage is not None}
    takes_keys = chosen in with_keys and not {"-h", "--help"} & set(argv)
    arguments, rest = parser.parse_known_args(joined(argv) if takes_keys else argv)
    if rest and not takes_keys:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    arguments.rest = separated(rest) if takes_keys else []
    if not takes_keys:
        _use_threads(arguments.threads)
    return arguments


def _use_threads(count: int) -> None:
    import torch

    if count < 1:
        raise InputError(f"`--threads` (={count}) must be a whole number of at least 1")
    torch.set_num_threads(count)


if __name__ == "__main__":
    sys.exit(main())
