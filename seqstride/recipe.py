"""Recipes: where they are, and how their YAML files become one.

A recipe `<set>/<task>` has `train.py` and `hparams/`: a complete `train.yaml`, and one file of a few lines per method
that overrides it. The three layers, base ← method ← command line, are merged as YAML trees *before* HyperPyYAML reads
them, because its `!include:` works neither at the root nor under overrides.
"""

from __future__ import annotations

import difflib
import os
from io import StringIO
from pathlib import Path
from typing import Any

BASE = "train.yaml"


def recipes_folder() -> Path:
    """The folder of the recipes that come with the package."""
    import importlib

    return Path(next(iter(importlib.import_module("seqstride.recipes").__path__)))


def list_recipes() -> dict[str, list[str]]:
    """The recipes and their methods: `{"<set>/<task>": [method, …]}`, both sorted."""
    folder = recipes_folder()
    return {
        base.parents[1].relative_to(folder).as_posix(): sorted(
            path.stem for path in base.parent.glob("*.yaml") if path.name != BASE
        )
        for base in sorted(folder.glob(f"*/*/hparams/{BASE}"))
    }


def find_recipe_file(name: str | os.PathLike[str]) -> Path:
    """The file or folder that `name` stands for: a path as it is, or one relative to the recipes of the package.

    A leading `recipes/` is optional, so that `recipes/<set>/<task>/hparams/<method>.yaml` works from anywhere.

    Raises:
        ValueError: there is no such file.
    """
    path = Path(name)
    parts = path.parts[1:] if path.parts[:1] == ("recipes",) else path.parts
    for candidate in (path, recipes_folder().joinpath(*parts)):
        if candidate.exists():
            return candidate
    raise ValueError(f"no recipe file {os.fspath(name)!r}, here or among the recipes; `seqstride recipes` lists those")


def recipe_folds(folder: Path) -> list[str]:
    """The folds of a recipe: what the key `folds` of its `train.yaml` lists are the values of the key `fold`.

    Raises:
        ValueError: there is no such list, or no key `fold`.
    """
    base = folder / "hparams" / BASE
    tree = _read_yaml(base.read_text(encoding="utf-8"), str(base))
    folds = tree.get("folds")
    if not isinstance(folds, list) or not folds or "fold" not in tree:
        raise ValueError(f"{base} has no folds: it must have the keys `folds: [a, b, …]` and `fold`")
    return [str(fold) for fold in folds]


def merge_recipe(path: str | os.PathLike[str], overrides: str = "") -> str:
    """Merges `train.yaml` ← the method's file ← the command line into one HyperPyYAML text.

    Args:
        path: a method's file, with `train.yaml` beside it; or that `train.yaml`.
        overrides: YAML text of what the command line changes, `key: value`.

    Raises:
        ValueError: a file is missing or is no YAML mapping; an override names a key that `train.yaml` does not have, or
            gives a plain value where it has a mapping.
    """
    path = Path(path)
    base_path = path.with_name(BASE)
    for file in (base_path, path):
        if not file.is_file():
            raise ValueError(f"recipe file {os.fspath(file)!r} does not exist")
    tree = _read_yaml(base_path.read_text(encoding="utf-8"), str(base_path))
    layers = [(overrides, "the command line")]
    if path != base_path:
        layers.insert(0, (path.read_text(encoding="utf-8"), str(path)))
    for text, origin in layers:
        _override(tree, _read_yaml(text, origin), origin)
    merged = StringIO()
    _yaml().dump(tree, merged)
    return merged.getvalue()


def _yaml() -> Any:
    """A reader and writer that keeps `!new:`, `!ref` and the order of the keys."""
    from ruamel.yaml import YAML

    return YAML(typ="rt")


def _read_yaml(text: str, origin: str) -> dict[str, Any]:
    from ruamel.yaml.error import YAMLError

    try:
        tree = _yaml().load(text)
    except YAMLError as error:
        summary = " ".join(str(error).split())
        raise ValueError(f"{origin} is not valid YAML: {summary}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{origin} (={text.strip()!r}) must be a YAML mapping, `key: value`")
    return tree


def _override(tree: dict[str, Any], changes: dict[str, Any], origin: str) -> None:
    """Puts `changes` into `tree`: top-level keys must exist; mappings are merged key by key, all else is replaced.

    A mapping with a tag of its own, such as `!new:another.Encoder`, replaces what was there.
    """
    for key, value in changes.items():
        if key not in tree:
            near = difflib.get_close_matches(
                str(key), [str(known) for known in tree if known[:2] != "__"], n=3, cutoff=0.5
            )
            hint = f"; near matches: {', '.join(near)}" if near else ""
            raise ValueError(f"{origin}: `{key}` is not a key of {BASE}{hint}")
        if isinstance(tree[key], dict):
            if not isinstance(value, dict):
                raise ValueError(f"{origin}: `{key}` (={value}) must be a mapping, as it is in {BASE}")
            if value.tag.value is None:  # type: ignore[attr-defined]
                _merge(tree[key], value)
            else:
                tree[key] = value
        else:
            tree[key] = value


def _merge(node: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(node.get(key), dict) and isinstance(value, dict):
            _merge(node[key], value)
        else:
            node[key] = value
