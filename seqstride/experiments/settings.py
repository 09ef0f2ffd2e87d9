"""The settings of a merged recipe without building its objects: as a flat mapping, resolved, or changed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from seqstride.errors import InputError
from seqstride.experiments.values import tag_of
from seqstride.experiments.yaml_trees import read_tree
from seqstride.files.yaml_text import quoted, resolved, round_trip_yaml


def flat_settings(text: str, origin: str) -> dict[str, Any]:
    """Returns the keys and values of a merged recipe, with keys of mappings as `outer.inner`; plain JSON values.

    References stay as they are written, so that a value that others refer to is one setting. The tag of a mapping, such
    as `!new:seqstride.ResNet1d`, is the value of its own key and precedes the keys inside.

    Args:
        text: what `merge_recipe` returns.
        origin: where the text comes from, for errors.

    Raises:
        ValueError: it is no YAML mapping.
    """
    settings: dict[str, Any] = {}

    def add(key: str, value: Any) -> None:
        tag = _tag(value)
        if not isinstance(value, dict) or (not value and not tag):
            settings[key] = _plain(value)
            return
        if tag:
            settings[key] = tag
        for inner, content in value.items():
            add(f"{key}.{inner}", content)

    for key, value in read_tree(text, origin).items():
        add(str(key), value)
    return settings


def resolved_values(text: str, keys: Sequence[str], file: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the values of those of `keys` that a merged recipe has, with references followed; no object is built.

    Args:
        text: what `merge_recipe` returns.
        keys: keys of the top level.
        file: the method's file, for errors.

    Raises:
        ValueError: a reference is wrong.
    """
    try:
        tree = resolved(text)
    except Exception as error:  # of HyperPyYAML
        raise InputError(f"the recipe {os.fspath(file)!r} cannot be built: {error}") from error
    return {key: _plain(tree[key]) for key in keys if key in tree}


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Returns a merged recipe with other values of some keys. Texts are taken literally; unknown keys are ignored."""
    tree = read_tree(text, "the recipe")
    tree.update(
        {key: quoted(value) if isinstance(value, str) else value for key, value in values.items() if key in tree}
    )
    changed = StringIO()
    round_trip_yaml().dump(tree, changed)
    return changed.getvalue()


def _tag(value: Any) -> str:
    """Returns a tag such as `!new:seqstride.ResNet1d` or `!ref`; an empty text without one."""
    tag = tag_of(value) or ""
    return tag if tag.startswith("!") else ""


def _plain(value: Any) -> Any:
    """Returns a value of a YAML tree as plain JSON values; a tag precedes its value."""
    tag = _tag(value)
    if isinstance(value, dict):
        return {**({"!": tag} if tag else {}), **{str(key): _plain(content) for key, content in value.items()}}
    if isinstance(value, list):
        return [*([tag] if tag else []), *map(_plain, value)]
    if tag:  # a scalar, such as `!ref <seed>`
        return f"{tag} {value.value}".strip()
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
