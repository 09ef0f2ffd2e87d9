"""The `seqstride` command."""

from seqstride.cli.command import main

__all__ = ["main"]
