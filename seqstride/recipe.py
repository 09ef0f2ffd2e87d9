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

from seqstride.errors import InputError
from seqstride.text_files import read_text

BASE = "train.yaml"
MOST_NODES = 100_000
"""Of a YAML file, with what aliases stand for; a recipe has a few hundred."""
DEEPEST = 50
"""Levels of a YAML file; a recipe has a handful."""


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
    raise InputError(f"no recipe file {os.fspath(name)!r}, here or among the recipes; `seqstride recipes` lists those")


def recipe_folds(folder: Path) -> list[str]:
    """The folds of a recipe: what the key `folds` of its `train.yaml` lists are the values of the key `fold`.

    Raises:
        ValueError: there is no such list, or no key `fold`.
    """
    base = folder / "hparams" / BASE
    tree = _read_yaml(_read_text(base), str(base))
    folds = tree.get("folds")
    if not isinstance(folds, list) or not folds or "fold" not in tree:
        raise InputError(f"{base} has no folds: it must have the keys `folds: [a, b, …]` and `fold`")
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
            raise InputError(f"recipe file {os.fspath(file)!r} does not exist")
    tree = _read_yaml(_read_text(base_path), str(base_path))
    layers = [(overrides, "the command line")]
    if path != base_path:
        layers.insert(0, (_read_text(path), str(path)))
    for text, origin in layers:
        _override(tree, _read_yaml(text, origin), origin)
    merged = StringIO()
    _yaml().dump(tree, merged)
    return merged.getvalue()


def build_recipe(text: str, file: str | os.PathLike[str]) -> dict[str, Any]:
    """The hyperparameters of a merged recipe, with the objects that it names.

    Args:
        text: what `merge_recipe` gives.
        file: the method's file, for errors.

    Raises:
        ValueError: a reference, a class or an argument is wrong.
    """
    from hyperpyyaml import load_hyperpyyaml

    try:
        hparams: dict[str, Any] = load_hyperpyyaml(text)
    except Exception as error:  # of HyperPyYAML, and of whatever the recipe builds
        reason = ": ".join(str(part) for part in error.args if part is not None) or type(error).__name__
        raise InputError(f"the recipe {os.fspath(file)!r} cannot be built: {reason}") from error
    return hparams


def _read_text(file: Path) -> str:
    try:
        return read_text(file)
    except InputError as error:
        raise InputError(f"{file} is not valid YAML: {error}") from error


def _yaml() -> Any:
    """A reader and writer that keeps `!new:`, `!ref` and the order of the keys."""
    from ruamel.yaml import YAML

    return YAML(typ="rt")


def _read_yaml(text: str, origin: str) -> dict[str, Any]:
    from ruamel.yaml.error import YAMLError

    try:
        _check_size(text, origin)
        tree = _yaml().load(text)
    except YAMLError as error:
        summary = " ".join(str(error).split())
        raise InputError(f"{origin} is not valid YAML: {summary}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{origin} (={text.strip()!r}) must be a YAML mapping, `key: value`")
    return tree


def _check_size(text: str, origin: str) -> None:
    """Refuses a file that is small and stands for very much, before anything is made of it.

    Raises:
        ValueError: with its aliases written out it has more than `MOST_NODES`, it is nested deeper than `DEEPEST`, or
            an alias stands inside of what it refers to.
    """
    sizes: dict[str, int] = {}  # of what has an anchor; not yet there while it is open
    levels: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of what is open

    def add(size: int) -> None:
        anchor, before = levels[-1]
        levels[-1] = anchor, before + size
        if before + size > MOST_NODES or len(levels) > DEEPEST:
            raise InputError(
                f"{origin} must have at most {MOST_NODES} values, aliases written out, in {DEEPEST} levels"
            )

    for event in _yaml().parse(text):
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
                raise InputError(f"{origin}: `*{event.anchor}` must not stand inside of what it refers to")
            add(sizes.get(event.anchor, 1))


def _override(tree: dict[str, Any], changes: dict[str, Any], origin: str) -> None:
    """Puts `changes` into `tree`: top-level keys must exist; mappings are merged key by key, all else is replaced.

    A mapping with a tag of its own, such as `!new:another.Encoder`, replaces what was there, and so does null.
    """
    for key, value in changes.items():
        if key not in tree:
            near = difflib.get_close_matches(
                str(key), [str(known) for known in tree if known[:2] != "__"], n=3, cutoff=0.5
            )
            hint = f"; near matches: {', '.join(near)}" if near else ""
            raise InputError(f"{origin}: `{key}` is not a key of {BASE}{hint}")
        if isinstance(tree[key], dict) and value is not None:
            if not isinstance(value, dict):
                raise InputError(f"{origin}: `{key}` (={value}) must be a mapping, as it is in {BASE}")
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
