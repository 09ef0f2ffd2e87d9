"""Finds recipes, their methods, and their folds and ratios.

A recipe `<set>/<task>` has `train.py` and `hparams/` with a complete `train.yaml`. `--downsampler KEY` takes any key of
`seqstride.DOWNSAMPLERS`. The methods of a recipe are those that a comparison runs: the keys that its list `methods`
names, or all keys without that list, and the files beside `train.yaml`.
If a method needs other settings, `hparams/<method>.yaml` holds the lines that differ from `train.yaml`.
"""

from __future__ import annotations

import math
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.experiments.yaml_trees import BASE, read_file, read_tree
from seqstride.layers import DOWNSAMPLERS
from seqstride.nearest import near_matches, near_paths


def recipes_folder() -> Path:
    """Returns the folder of the recipes that come with the package."""
    found = find_spec("seqstride.recipes")
    assert found is not None
    return Path(next(iter(found.submodule_search_locations or [])))


def list_recipes() -> dict[str, list[str]]:
    """Returns the recipes and their methods as `{"<set>/<task>": [method, …]}`, both sorted."""
    root = recipes_folder()
    folders = [base.parents[1] for base in sorted(root.glob(f"*/*/hparams/{BASE}"))]
    return {folder.relative_to(root).as_posix(): sorted(recipe_methods(folder)) for folder in folders}


def recipe_methods(folder: Path) -> dict[str, Path]:
    """Returns method → the YAML file that trains it: first the layers in their usual order, then variants.

    A layer without a file of its own has `train.yaml`. `method_words` returns the words of the command line.
    """
    hparams = folder / "hparams"
    files = {path.stem: path for path in sorted(hparams.glob("*.yaml")) if path.name != BASE}
    layers = _layers(hparams / BASE)
    usual = [key for key in DOWNSAMPLERS if key in layers or key in files]
    return {method: files.get(method, hparams / BASE) for method in dict.fromkeys([*usual, *layers, *files])}


def _layers(base: Path) -> list[str]:
    """Returns the keys of `DOWNSAMPLERS` that `train.yaml` lists. It uses no YAML reader, which would need an extra."""
    text = read_file(base)
    listed = re.search(r"^methods:(.*)$", text, re.MULTILINE)
    if listed is None:
        return list(DOWNSAMPLERS) if re.search(r"^downsampler:", text, re.MULTILINE) else []
    keys = re.match(r" *\[([\w, ]*)\]", listed[1])
    if keys is None:
        raise InputError(f"{base}: `methods` (={listed[1].strip()!r}) must be a list in one line: [average, max]")
    return [key.strip() for key in keys[1].split(",")]


def method_words(method: str, file: Path) -> list[str]:
    """Returns the words after `seqstride train` for a method and its file, as `recipe_methods` returns them."""
    return [str(file)] if file.name != BASE else [str(file), "--downsampler", method]


def recipe_folds(folder: Path) -> list[str]:
    """Returns the list `folds` of a recipe's `train.yaml`: the possible values of its key `fold`.

    Raises:
        InputError: `train.yaml` lacks the list or the key `fold`.
    """
    return [str(fold) for fold in _listed(folder, "fold", "[a, b, …]")]


def recipe_more_folds(folder: Path) -> dict[str, str]:
    """Returns the mapping `more_folds` of a recipe's `train.yaml`, empty if it has none.

    It has folds beyond the list `folds`: fold → the optional package that holds its data.
    """
    more = _tree(folder / "hparams" / BASE).get("more_folds") or {}
    return {str(fold): str(package) for fold, package in more.items()}


def recipe_ratios(folder: Path) -> list[float]:
    """Returns the list `ratios` of a recipe's `train.yaml`: the usual values of its key `ratio`.

    A ratio is the number of input frames for one output frame that the strides of a run stand for.

    Raises:
        InputError: `train.yaml` lacks the list or the key `ratio`, or a ratio is no number.
    """
    return [ratio_of(ratio) for ratio in _listed(folder, "ratio", "[4, 8, …]")]


def ratio_of(value: object) -> float:
    """Reads a ratio; whole numbers become int.

    Raises:
        InputError: it is not a positive number.
    """
    try:
        ratio = float(str(value))
    except ValueError:
        ratio = math.nan
    if not 0 < ratio < math.inf:
        raise InputError(f"`ratios` (={value}) must be positive numbers")
    return int(ratio) if ratio.is_integer() else ratio


def _listed(folder: Path, key: str, example: str) -> list[Any]:
    """Returns the list of the possible values of a key, which has the key's name with an s."""
    base = folder / "hparams" / BASE
    tree = _tree(base)
    values = tree.get(f"{key}s")
    if not isinstance(values, list) or not values or key not in tree:
        raise InputError(f"{base} has no {key}s: it must have the keys `{key}s: {example}` and `{key}`")
    return values


def _tree(file: Path) -> dict[str, Any]:
    return read_tree(read_file(file), str(file))


# From a name to a file


def find_recipe_file(name: str | os.PathLike[str], wanted: str = "recipe") -> Path:
    """Returns the file or folder at the path `name`, relative to the working folder or to the package's recipes.

    A leading `recipes/` is optional, so that `recipes/<set>/<task>` works from anywhere.

    Raises:
        InputError: there is no such file.
    """
    found = _existing(Path(name))
    if found is None:
        raise InputError(f"no {wanted} {os.fspath(name)!r}, here or among the recipes{_hint(Path(name))}")
    return found


def _existing(path: Path) -> Path | None:
    places = (path, recipes_folder() / _without_root(path))
    return next((place for place in places if place.exists()), None)


def _without_root(path: Path) -> Path:
    return Path(*path.parts[1:]) if path.parts[:1] == ("recipes",) else path


def _hint(path: Path) -> str:
    """Returns the command for a method without a file of its own, or the nearest names."""
    base = _existing(path.with_name(BASE)) if path.suffix == ".yaml" and path.parent.name == "hparams" else None
    if base is not None:
        methods = recipe_methods(base.parents[1])
        if path.stem in methods:
            command = f"seqstride train {path.parent.parent} --downsampler {path.stem}"
            return f". This method has no file of its own. Run: {command}"
        return f"; the methods of this recipe are {', '.join(methods)}{near_matches(path.stem, methods)}"
    root = recipes_folder()
    folders = [Path(recipe) for recipe in list_recipes()]
    files = [file.relative_to(root) for file in root.glob("*/*/hparams/*.yaml")]
    missing = _without_root(path)
    if missing.parent.name == "hparams" and missing not in files:
        missing, files = missing.parent.parent, []  # the folder is wrong, not the file
    near = near_matches(missing.as_posix(), [place.as_posix() for place in (*folders, *files)])
    return f"; `seqstride recipes` lists those{near or near_paths(path)}"


def method_file(name: str | os.PathLike[str], downsampler: str | None = None) -> Path:
    """Returns the YAML file that a run starts from.

    Args:
        name: a recipe's folder, its `hparams/`, or a file in there. `find_recipe_file` looks it up.
        downsampler: the method that the command line chooses. If `name` leads to `train.yaml` and the method has a file
            of its own beside it, that file is returned.

    Raises:
        InputError: there is no such file, or the folder is not that of a recipe.
    """
    file = find_recipe_file(name)
    if file.is_dir():
        file = next((folder / BASE for folder in (file / "hparams", file) if (folder / BASE).is_file()), file)
    if file.is_dir():
        raise InputError(
            f"`recipe` (={os.fspath(name)!r}) must be a folder with hparams/{BASE}, or a file of that hparams/"
        )
    if file.name != BASE or downsampler is None or Path(downsampler).name != downsampler:
        return file
    own = file.with_name(f"{downsampler}.yaml")
    return own if own.is_file() and _tree(own).get("downsampler") == downsampler else file
