"""The objects of a merged recipe: what it must give before they are built, and the errors of building them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seqstride.errors import FileError, InputError
from seqstride.experiments.values import tag_of
from seqstride.experiments.yaml_trees import BASE, read_file, read_tree
from seqstride.files.yaml_text import load_recipe
from seqstride.nearest import near_paths


def build_recipe(text: str, file: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the hyperparameters of a merged recipe, with the objects that it names.

    Args:
        text: what `merge_recipe` returns.
        file: the method's file, for errors.

    Raises:
        InputError: a key has no value yet, or a reference, a class or an argument is wrong.
        FileError: a file or folder of the recipe cannot be used.
    """
    check_given(text, file)
    try:
        return load_recipe(text)
    except OSError as error:
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        raise FileError(f"{place}{error.strerror or error}") from error
    except Exception as error:  # of HyperPyYAML and of the classes that the recipe builds
        reason = ": ".join(str(part) for part in error.args if part is not None) or type(error).__name__
        raise InputError(f"the recipe {os.fspath(file)!r} cannot be built: {reason}") from error


def check_given(text: str, file: str | os.PathLike[str]) -> None:
    """Checks that every key of a merged recipe has a value.

    Raises:
        InputError: a value is still a `!PLACEHOLDER`. The message has the comment of the key in `train.yaml`.
    """
    for key, value in read_tree(text, os.fspath(file)).items():
        if tag_of(value) == "!PLACEHOLDER":
            base = Path(file).with_name(BASE)
            comment = _comment_on(str(key), read_file(base) if base.is_file() else text)
            raise InputError(f"`--{key}` must be given{f': {comment}' if comment else ''}")


def check_parts(hparams: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Checks that a recipe has the keys that every run needs.

    Raises:
        InputError: a key is missing, or null.
    """
    for key in keys:
        if hparams.get(key) is None:
            raise InputError(f"`{key}` must be given in {BASE}, and must not be null")


def _comment_on(key: str, text: str) -> str:
    """Returns the comment above or behind a key."""
    lines = text.split("\n")
    place = next((number for number, line in enumerate(lines) if line.startswith(f"{key}:")), None)
    if place is None:
        return ""
    above = place
    while above and lines[above - 1].startswith("#"):
        above -= 1
    block = " ".join(line.lstrip("# ").strip() for line in lines[above:place])
    _, named, about = block.partition(f"{key}:")
    behind = lines[place].partition(" #")[2]
    return about.strip() if named else behind.strip()


def prepare_data(hparams: dict[str, Any]) -> None:
    """Prepares the manifests.

    Raises:
        InputError: the data are wrong. If the cause is that their folder is missing, the error says that.
    """
    try:
        hparams["prepare"]()
    except InputError as error:
        folder, download = hparams.get("data_folder"), hparams.get("download")
        if not folder or download or Path(folder).exists():
            raise
        way = f": {error}" if download is None else "; `--download true` downloads the data into it"
        missing = f"`data_folder` (={str(folder)!r}) is missing: there is no such folder{near_paths(folder)}"
        raise InputError(missing + way) from error
