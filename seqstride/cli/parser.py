"""A command as one entry of the command table, and the parser that is made from the table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from seqstride.failures import DEBUG
from seqstride.nearest import near_matches


class Command(NamedTuple):
    """One command of `seqstride`."""

    name: str
    summary: str
    """One line for `seqstride --help`."""
    run: Callable[[argparse.Namespace], int | None]
    """Takes the parsed arguments and returns the exit code; None stands for 0. Heavy libraries are imported inside."""
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds the command's arguments to its parser; None: it has none."""
    description: str | None = None
    """Text for the command's own `--help`."""
    usage: str | None = None
    """Usage line of a command that also takes `--key value` for the keys of a recipe; None for all others."""


class _Parser(argparse.ArgumentParser):
    """Reports a misspelled option with its near matches before argparse reports that the right one is missing."""

    def __init__(self, *args: Any, takes_keys: bool = True, **kwargs: Any) -> None:
        self.takes_keys = takes_keys
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known = self._option_string_actions
        for word in [] if self.takes_keys else args:
            name = word.partition("=")[0]
            if name == "--":
                break
            if name.startswith("--") and name not in known:
                self.error(f"unknown option {name}{near_matches(name, known, most=1)}")
        return super().parse_known_args(args, namespace)


def make_parser(commands: Iterable[Command], chosen: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of `seqstride`; the arguments that it parses have the function of their command as `run`.

    Args:
        commands: the command table.
        chosen: name of the command to run; the others are listed, but their arguments are not added. None: all
            commands get their arguments.
    """
    parser = _Parser(
        prog="seqstride",
        description="Learnable and adaptive downsampling for audio and time series.",
    )
    parser.add_argument(DEBUG, action="store_true", help="show the traceback of an error; with every command")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in commands:
        own = subparsers.add_parser(
            command.name,
            help=command.summary,
            usage=command.usage,
            description=command.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            takes_keys=command.usage is not None,
        )
        if command.usage is None:
            own.add_argument("--threads", type=int, default=1, help="CPU threads (default 1; more rarely help)")
        if command.add_arguments is not None and chosen in (None, command.name):
            command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


def add_model(command: argparse.ArgumentParser, text: str = "the output folder of a run") -> None:
    """Adds `--model`, the folder of a trained model; `text` is its help."""
    command.add_argument("--model", required=True, metavar="RESULTS_FOLDER", help=text)


def add_spreadsheet(command: argparse.ArgumentParser) -> None:
    """Adds `--spreadsheet`, for tables that people open in a spreadsheet."""
    command.add_argument(
        "--spreadsheet",
        action="store_true",
        help="put an apostrophe before cells that begin with = + - or @, which a spreadsheet would take for formulas",
    )
