"""The three layers of a recipe as one YAML text: `train.yaml`, the file of a method, and the command line.

They are merged as YAML trees *before* HyperPyYAML reads them: its `!include:` works neither at the root of a file nor
under overrides.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.experiments.values import BOUNDS, check_values, is_text, tag_of
from seqstride.experiments.yaml_trees import (
    BASE,
    PLAIN_TAGS,
    as_text,
    base_of,
    read_file,
    read_tree,
    scalar_texts,
    tags_in,
)
from seqstride.files.yaml_text import quoted, round_trip_yaml
from seqstride.nearest import near_matches, near_paths


def merge_recipe(path: str | os.PathLike[str], overrides: str = "") -> str:
    """Merges `train.yaml` ← the method's file ← the command line, and returns one HyperPyYAML text.

    Args:
        path: a method's file with `train.yaml` beside it, or that `train.yaml`.
        overrides: the changes of the command line as YAML text, `key: value`.

    Raises:
        InputError: a file is missing or is no YAML mapping; an override names a key that `train.yaml` does not have, or
            gives a plain value where it has a mapping; a value is of another kind than in `train.yaml`.
    """
    path = Path(path)
    base = base_of(path)
    if not path.is_file():
        raise InputError(f"recipe file {os.fspath(path)!r} does not exist{near_paths(path)}")
    tree = copy.deepcopy(base)
    check_values(base, base, str(path.with_name(BASE)))
    method = [] if path.name == BASE else [(read_file(path), str(path))]
    for text, origin in [*method, (overrides, "the command line")]:
        changes = read_tree(text, origin)
        _override(tree, changes, scalar_texts(text), base, origin)
        check_values(base, {key: tree[key] for key in changes}, origin)
    merged = StringIO()
    round_trip_yaml().dump(tree, merged)
    return merged.getvalue()


def overrides_as_yaml(base: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """Returns the changes of a command line as the YAML text that `merge_recipe` takes.

    Values of keys that are texts in `train.yaml` are taken literally; an empty text means null, or no value for a key
    that must be given. All other values are read as YAML.

    Args:
        base: what `base_of` returns.
        options: key → value as it was typed.

    Raises:
        InputError: a value is no YAML, or names code (such as by `!new:`, `!apply:` or `!!python/…`) where `train.yaml`
            has none.
    """
    changes: dict[str, Any] = {}
    for key, value in options.items():
        if is_text(key, base):
            if value or tag_of(base[key]) != "!PLACEHOLDER":
                changes[key] = quoted(value) if value else None
            continue
        origin = f"the command line: `--{key}` (={value!r})"
        tree = read_tree(f"{key}: {value}", origin)
        if list(tree) != [key]:
            raise InputError(f"{origin} must be one value")
        code = [tag for tag in tags_in(f"{key}: {value}") if tag not in PLAIN_TAGS]
        if code and not _may_be_object(key, base):
            raise InputError(f"{origin} must be a plain value, as it is in {BASE}: it names code ({code[0]!r})")
        changes[key] = tree[key]
    if not changes:
        return ""
    text = StringIO()
    round_trip_yaml().dump(changes, text)
    return text.getvalue()


def _may_be_object(key: str, base: Mapping[str, Any]) -> bool:
    """Whether values of a key may name code: `train.yaml` does so there, or has null where no number belongs."""
    return _has_object(base[key]) or (base[key] is None and key not in BOUNDS)


def _has_object(node: Any) -> bool:
    """Whether a node, or one in it, names code for HyperPyYAML to run."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    tag = tag_of(node)
    return (tag is not None and tag not in PLAIN_TAGS) or any(map(_has_object, inside))


def _override(
    tree: dict[str, Any], changes: dict[str, Any], letters: Mapping[str, Any], base: Mapping[str, Any], origin: str
) -> None:
    """Puts `changes` into `tree`. Top-level keys must exist. Mappings are merged key by key, other values are replaced.

    A mapping with its own tag, such as `!new:another.Encoder`, and null replace the value that was there.

    Args:
        tree: is changed in place.
        changes: key → value.
        letters: what `scalar_texts` returns for them.
        base: the tree of `train.yaml`, which decides which values are texts.
        origin: where the changes come from, for errors.
    """
    for key, value in changes.items():
        if key not in tree:
            near = near_matches(str(key), [str(known) for known in tree if str(known)[:2] != "__"])
            raise InputError(f"{origin}: `{key}` is not a key of {BASE}{near}")
        if isinstance(tree[key], dict) and value is not None:
            if not isinstance(value, dict):
                raise InputError(f"{origin}: `{key}` (={value}) must be a mapping, as it is in {BASE}")
            if tag_of(value) is None:
                _merge(tree[key], value, letters.get(key) or {}, base.get(key), base)
            else:
                tree[key] = value
        elif is_text(str(key), base):
            tree[key] = as_text(value, letters.get(key))
        else:
            made = str(tag_of(base.get(key)))
            if made.startswith(("!new:", "!name:", "!apply:")) and value is not None and tag_of(value) is None:
                raise InputError(f"{origin}: `{key}` (={value}) must be {made}, with arguments or another one")
            tree[key] = value


def _merge(
    node: dict[str, Any], changes: dict[str, Any], letters: Mapping[str, Any], model: Any, base: Mapping[str, Any]
) -> None:
    model = model if isinstance(model, dict) else {}
    for key, value in changes.items():
        if isinstance(node.get(key), dict) and isinstance(value, dict):
            _merge(node[key], value, letters.get(key) or {}, model.get(key), base)
        else:
            node[key] = as_text(value, letters.get(key)) if is_text(str(key), base, model) else value
