"""Recipes: where they are, and how their YAML files become one.

A recipe `<set>/<task>` has `train.py` and `hparams/`: a complete `train.yaml`, and one file of a few lines per method
that overrides it. The three layers, base ← method ← command line, are merged as YAML trees *before* HyperPyYAML reads
them, because its `!include:` works neither at the root nor under overrides.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from seqstride.errors import FileError, InputError, require
from seqstride.experiments.values import check_values, is_text, tag_of
from seqstride.files.text_files import read_text
from seqstride.files.yaml_text import load_recipe, quoted, round_trip_yaml
from seqstride.nearest import near_matches, near_paths

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


def find_recipe_file(name: str | os.PathLike[str], wanted: str = "recipe file") -> Path:
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
    known = [path.relative_to(recipes_folder()) for path in recipes_folder().glob("*/*/**/*") if _is_method(path)]
    places = {place.as_posix() for path in known for place in (path, path.parents[1])}
    near = near_matches(Path(*parts).as_posix(), places) or near_paths(path)
    raise InputError(
        f"no {wanted} {os.fspath(name)!r}, here or among the recipes; `seqstride recipes` lists those{near}"
    )


def method_file(name: str | os.PathLike[str]) -> Path:
    """The file of a recipe's method, or its train.yaml, as `find_recipe_file` finds it.

    Raises:
        InputError: there is none, or it is a folder; of a recipe's the methods are named.
    """
    file = find_recipe_file(name)
    if file.is_dir():
        folder = file if file.name == "hparams" else file / "hparams"
        methods = [path.stem for path in sorted(folder.glob("*.yaml")) if _is_method(path)]
        if not methods:
            raise InputError(f"`file` (={os.fspath(name)!r}) must be hparams/<method>.yaml of a recipe; it is a folder")
        raise InputError(
            f"`file` (={os.fspath(name)!r}) must be the file of a method; this folder has "
            f"{os.path.join(name, os.path.relpath(folder, file), '')}<method>.yaml for the methods {', '.join(methods)}"
        )
    return file


def _is_method(path: Path) -> bool:
    return path.suffix == ".yaml" and path.parent.name == "hparams" and path.name != BASE


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
        InputError: a file is missing or is no YAML mapping; an override names a key that `train.yaml` does not have, or
            gives a plain value where it has a mapping; a value is of another kind than in `train.yaml`.
    """
    path = Path(path)
    base = base_of(path)
    if not path.is_file():
        raise InputError(f"recipe file {os.fspath(path)!r} does not exist{near_paths(path)}")
    tree = copy.deepcopy(base)
    check_values(base, base, str(path.with_name(BASE)))
    method = [] if path.name == BASE else [(_read_text(path), str(path))]
    for text, origin in [*method, (overrides, "the command line")]:
        changes = _read_yaml(text, origin)
        _override(tree, changes, _texts(text), base, origin)
        check_values(base, {key: tree[key] for key in changes}, origin)
    merged = StringIO()
    round_trip_yaml().dump(tree, merged)
    return merged.getvalue()


def overrides_as_yaml(base: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """What a command line changes, as the YAML text that `merge_recipe` takes.

    The values of keys that are texts in `train.yaml` are taken as they are; an empty one is null, or none at all where
    one must be given. All others are read as YAML.

    Args:
        base: what `base_of` gives.
        options: key → value, as it was typed.

    Raises:
        InputError: a value is no YAML.
    """
    changes: dict[str, Any] = {}
    for key, value in options.items():
        if is_text(key, base):
            if value or tag_of(base[key]) != "!PLACEHOLDER":
                changes[key] = quoted(value) if value else None
            continue
        origin = f"the command line: `--{key}` (={value!r})"
        tree = _read_yaml(f"{key}: {value}", origin)
        if list(tree) != [key]:
            raise InputError(f"{origin} must be one value")
        changes[key] = tree[key]
    if not changes:
        return ""
    text = StringIO()
    round_trip_yaml().dump(changes, text)
    return text.getvalue()


def build_recipe(text: str, file: str | os.PathLike[str]) -> dict[str, Any]:
    """The hyperparameters of a merged recipe, with the objects that it names.

    Args:
        text: what `merge_recipe` gives.
        file: the method's file, for errors.

    Raises:
        InputError: a key has no value yet; a reference, a class or an argument is wrong.
        FileError: a file or folder that it names cannot be used.
    """
    check_given(text, file)
    try:
        return load_recipe(text)
    except OSError as error:
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        raise FileError(f"{place}{error.strerror or error}") from error
    except Exception as error:  # of HyperPyYAML, and of whatever the recipe builds
        reason = ": ".join(str(part) for part in error.args if part is not None) or type(error).__name__
        raise InputError(f"the recipe {os.fspath(file)!r} cannot be built: {reason}") from error


def check_given(text: str, file: str | os.PathLike[str]) -> None:
    """Checks that every key of a merged recipe has a value.

    Raises:
        InputError: one is a `!PLACEHOLDER` still; with what its comment in `train.yaml` says.
    """
    for key, value in _read_yaml(text, os.fspath(file)).items():
        if tag_of(value) == "!PLACEHOLDER":
            base = Path(file).with_name(BASE)
            comment = _comment_on(str(key), _read_text(base) if base.is_file() else text)
            raise InputError(f"`--{key}` must be given{f': {comment}' if comment else ''}")


def check_parts(hparams: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Checks that a recipe has what a run cannot do without.

    Raises:
        InputError: a key is missing, or null.
    """
    for key in keys:
        if hparams.get(key) is None:
            raise InputError(f"`{key}` must be given in {BASE}, and must not be null")


def _comment_on(key: str, text: str) -> str:
    """What the comment above a key, or behind it, says about it."""
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


def base_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tree of the `train.yaml` beside a method's file.

    Raises:
        InputError: there is none, or it is no YAML mapping.
    """
    base = Path(path).with_name(BASE)
    if not base.is_file():
        raise InputError(f"recipe file {os.fspath(base)!r} does not exist{near_paths(base)}")
    text = _read_text(base)
    tree, letters = _read_yaml(text, str(base)), _texts(text)
    for key, value in tree.items():
        if is_text(str(key), tree):
            tree[key] = _as_text(value, letters[key])
    return tree


def _read_text(file: Path) -> str:
    try:
        return read_text(file)
    except InputError as error:
        raise InputError(f"{file} is not valid YAML: {error}") from error


def _read_yaml(text: str, origin: str) -> dict[str, Any]:
    YAMLError = require("ruamel.yaml.error", "speech").YAMLError

    try:
        _check_size(text, origin)
        tree = round_trip_yaml().load(text)
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
                raise InputError(f"{origin}: `*{event.anchor}` must not stand inside of what it refers to")
            add(sizes.get(event.anchor, 1))


def _texts(text: str) -> Any:
    """The letters of every scalar in the mappings of a YAML text, whatever they stand for."""

    def letters(node: Any) -> Any:
        if isinstance(node.value, list):
            pairs = [pair for pair in node.value if isinstance(pair, tuple)]
            return {key.value: letters(value) for key, value in pairs if isinstance(key.value, str)}
        return node.value

    node = round_trip_yaml().compose(text)
    return {} if node is None else letters(node)


def _override(
    tree: dict[str, Any], changes: dict[str, Any], letters: Mapping[str, Any], base: Mapping[str, Any], origin: str
) -> None:
    """Puts `changes` into `tree`: top-level keys must exist; mappings are merged key by key, all else is replaced.

    A mapping with a tag of its own, such as `!new:another.Encoder`, replaces what was there, and so does null.

    Args:
        tree: what is changed.
        changes: key → value.
        letters: what `_texts` gives for them.
        base: the tree of `train.yaml`, which says what is a text.
        origin: of the changes, for errors.
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
            tree[key] = _as_text(value, letters.get(key))
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
            node[key] = _as_text(value, letters.get(key)) if is_text(str(key), base, model) else value


def _as_text(value: Any, letters: Any) -> Any:
    """A scalar without a tag as its letters, whatever they look like; null, and all else, as it is."""
    plain = value is not None and tag_of(value) is None and isinstance(letters, str)
    return quoted(letters) if plain else value
