"""The YAML files of recipes as trees: `train.yaml` and the files beside it, before anything is built."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from seqstride.errors import InputError, UserError, require
from seqstride.experiments.values import is_text, tag_of
from seqstride.files.text_files import read_text
from seqstride.files.yaml_text import quoted, round_trip_yaml
from seqstride.nearest import near_paths

BASE = "train.yaml"
MOST_NODES = 100_000
"""The most values that a YAML file may have, with aliases written out. A recipe has a few hundred."""
DEEPEST = 50
"""The most levels that a YAML file may have. A recipe has about five."""
_YAML = "tag:yaml.org,2002:"  # written as `!!`
PLAIN_TAGS = frozenset(
    {"!ref", "!copy", "!tuple", "!PLACEHOLDER"}
    | {f"{_YAML}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
)
"""The tags that name no code."""


def base_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the tree of the `train.yaml` beside a method's file.

    Raises:
        InputError: there is none, or it is no YAML mapping.
    """
    base = Path(path).with_name(BASE)
    if not base.is_file():
        raise InputError(f"recipe file {os.fspath(base)!r} does not exist{near_paths(base)}")
    text = read_file(base)
    tree, letters = read_tree(text, str(base)), scalar_texts(text)
    for key, value in tree.items():
        if is_text(str(key), tree):
            tree[key] = as_text(value, letters[key])
    return tree


def read_file(file: Path) -> str:
    """The text of a YAML file.

    Raises:
        InputError: it is no text.
        FileError: it cannot be read.
    """
    try:
        return read_text(file)
    except InputError as error:
        raise InputError(f"{file} is not valid YAML: {error}") from error


def read_tree(text: str, origin: str) -> dict[str, Any]:
    """The mapping in a YAML text, with tags, quotes and order kept; empty for an empty text.

    Args:
        text: YAML.
        origin: where the text comes from, for errors.

    Raises:
        InputError: it is not valid YAML, no mapping, too large with its aliases written out, or has a tag of YAML
            itself for other than plain values: `!!python/…` would run code, and `!!set` is nothing that a recipe has.
    """
    YAMLError = require("ruamel.yaml.error", "speech").YAMLError

    try:
        _check_size(text, origin)
        others = [tag for tag in tags_in(text) if tag.startswith(_YAML) and tag not in PLAIN_TAGS]
        if others:
            raise InputError(f"{origin} must have plain values; it has the tag `!!{others[0].removeprefix(_YAML)}`")
        tree = round_trip_yaml().load(text)
    except UserError:
        raise
    except Exception as error:  # besides its own errors ruamel raises many others for texts that it does not expect
        summary = " ".join((str(error) if isinstance(error, YAMLError) else repr(error)).split())
        raise InputError(f"{origin} is not valid YAML: {summary}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{origin} (={text.strip()!r}) must be a YAML mapping, `key: value`")
    return tree


def tags_in(text: str) -> list[str]:
    """Returns all tags that are written in a YAML text, also those of keys of mappings, which trees may have lost."""
    tags = (getattr(event, "tag", None) for event in round_trip_yaml().parse(text))
    return [str(tag) for tag in tags if tag is not None]


@lru_cache(maxsize=64)  # a command reads the same few files several times, and reading YAML is slow
def _check_size(text: str, origin: str) -> None:
    """Refuses a small text whose aliases expand to very much, before it is loaded.

    Raises:
        InputError: with aliases written out it has more than `MOST_NODES` values, it is nested deeper than `DEEPEST`,
            or an alias stands inside the value that it refers to.
    """
    sizes: dict[str, int] = {}  # of values with an anchor, once they are closed
    levels: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of open values

    def add(size: int) -> None:
        anchor, before = levels[-1]
        levels[-1] = anchor, before + size
        if before + size > MOST_NODES or len(levels) > DEEPEST:
            raise InputError(
                f"{origin} must have at most {MOST_NODES} values, aliases written out, in {DEEPEST} levels"
            )

    for event in round_trip_yaml().parse(text):
        kind = type(event).__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            levels.append((event.anchor, 1))
            add(0)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, size = levels.pop()
            add(size)
            if anchor is not None:
                sizes[anchor] = size
        elif kind == "ScalarEvent":
            add(1)
        elif kind == "AliasEvent":
            if event.anchor in (anchor for anchor, _ in levels):
                raise InputError(f"{origin}: `*{event.anchor}` must not stand inside the value that it refers to")
            add(sizes.get(event.anchor, 1))


@lru_cache(maxsize=64)
def scalar_texts(text: str) -> Any:
    """Returns every scalar in the mappings of a YAML text as it is written: YAML would make numbers and dates of it.

    The result must not be changed: it is kept for the next call.
    """

    def letters(node: Any) -> Any:
        if isinstance(node.value, list):
            pairs = [pair for pair in node.value if isinstance(pair, tuple)]
            return {key.value: letters(value) for key, value in pairs if isinstance(key.value, str)}
        return node.value

    node = round_trip_yaml().compose(text)
    return {} if node is None else letters(node)


def as_text(value: Any, letters: Any) -> Any:
    """Returns a scalar without a tag as the text that was written; null and all other values unchanged."""
    plain = value is not None and tag_of(value) is None and isinstance(letters, str)
    return quoted(letters) if plain else value
