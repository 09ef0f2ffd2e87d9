"""The version of the package, from its metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("seqstride")
except PackageNotFoundError:  # a bare checkout is not installed
    VERSION = "checkout"
