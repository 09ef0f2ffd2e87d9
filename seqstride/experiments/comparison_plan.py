"""The runs of a comparison: every method with every seed, on every fold, at every ratio; checked before any runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.distributed import world_size
from seqstride.errors import InputError
from seqstride.experiments.building import check_given
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.packages import check_packages
from seqstride.experiments.provenance import settings_digest
from seqstride.experiments.recipe import (
    find_recipe_file,
    method_file,
    method_words,
    ratio_of,
    recipe_folds,
    recipe_methods,
    recipe_more_folds,
    recipe_ratios,
)
from seqstride.experiments.settings import flat_settings
from seqstride.experiments.yaml_trees import BASE
from seqstride.layers import DOWNSAMPLERS
from seqstride.nearest import did_you_mean

OWN = {
    "seed": "--seeds lists them",
    "fold": "--folds lists them",
    "ratio": "--ratios lists them",
    "output_folder": "-o is the folder of all runs",
    "save_folder": "every run has its own",
    **dict.fromkeys(("debug_batches", "debug_epochs", "debug_persistently"), "a debug run leaves nothing to compare"),
    "test_only": "a comparison trains its runs",
    "overwrite": "choose another -o to start again",
}
"""Option of `seqstride train` that a comparison does not accept → the reason."""


class Run(NamedTuple):
    """One run of a comparison."""

    method: str
    """The label: a key of `DOWNSAMPLERS`, or the name of a file in `hparams/` without its extension."""
    file: Path
    """The YAML file that the run starts from."""
    fold: str | None
    ratio: float | None
    seed: int

    @property
    def folder(self) -> Path:
        """The run's folder, relative to that of the comparison."""
        parts = [str(part) for part in (self.fold, self.ratio) if part is not None]
        return Path("runs", self.method, *parts, str(self.seed))

    def words(self, output: Path, overrides: Sequence[str]) -> list[str]:
        """Returns the words after `seqstride train`.

        Args:
            output: the comparison's folder.
            overrides: further words of the command line.
        """
        fold = [] if self.fold is None else ["--fold", self.fold]
        ratio = [] if self.ratio is None else ["--ratio", str(self.ratio)]
        own = ["--seed", str(self.seed), *fold, *ratio, "--output_folder", str(output / self.folder), "--noprogressbar"]
        return [*method_words(self.method, self.file), *own, *overrides]

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        ratio = "" if self.ratio is None else f", ratio {self.ratio}"
        return f"{self.method}{fold}{ratio}, seed {self.seed}"


class Plan(NamedTuple):
    """The checked arguments of a comparison."""

    name: str
    """`<set>/<task>` of the recipe."""
    methods: dict[str, Path]
    """Label → the YAML file that the runs of this method start from."""
    seeds: list[int]
    folds: list[str] | None
    """None: the value of the recipe's key `fold`, if it has one."""
    ratios: list[float] | None
    """None: the value of the recipe's key `ratio`, if it has one."""
    overrides: list[str]

    def runs(self) -> list[Run]:
        """Returns all runs, seed by seed: a comparison that is stopped early has runs of every method."""
        folds: list[str | None] = [None] if self.folds is None else [*self.folds]
        ratios: list[float | None] = [None] if self.ratios is None else [*self.ratios]
        return [
            Run(method, file, fold, ratio, seed)
            for seed in self.seeds
            for fold in folds
            for ratio in ratios
            for method, file in self.methods.items()
        ]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments for `runs.json`, as plain JSON values.

        Raises:
            InputError: an override is wrong.
        """
        settings = {method: self._settings_digest(method, file) for method, file in self.methods.items()}
        return {
            "recipe": self.name,
            "methods": list(self.methods),
            "seeds": self.seeds,
            "folds": self.folds,
            "ratios": self.ratios,
            "overrides": self.overrides,
            "settings": settings,
        }

    def _settings_digest(self, method: str, file: Path) -> str:
        from seqstride.experiments.options import read_command_line

        path, _, changes = read_command_line([*method_words(method, file), *self.overrides])
        text = merge_recipe(path, changes)
        check_given(text, path)
        return settings_digest(flat_settings(text, path))


def plan_comparison(
    recipe: str,
    methods: Sequence[str] | None,
    seeds: Sequence[int],
    folds: Sequence[str] | None,
    ratios: Sequence[str | float] | None,
    overrides: Sequence[str],
) -> Plan:
    """Checks the arguments of `seqstride.experiments.compare.compare`, and returns the plan.

    Raises:
        InputError: an argument is wrong.
    """
    folder = find_recipe_file(recipe).resolve()
    if not (folder / "train.py").is_file() or not (folder / "hparams" / BASE).is_file():
        raise InputError(f"`recipe` (={recipe!r}) must be a folder with train.py and hparams/{BASE}")
    files = choose_methods(folder, methods)
    chosen = None if folds is None else _choose_folds(folder, folds)
    packages = {} if folds is None else recipe_more_folds(folder)
    strides = None if ratios is None else _choose_ratios(folder, ratios)
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"`seeds` (={list(seeds)}) must be one or more different whole numbers")
    if world_size() > 1:
        raise InputError("a comparison must be started as one process: it starts its runs itself, `--jobs` at a time")
    _check_overrides(overrides, files)
    check_packages(files.values(), {fold: package for fold, package in packages.items() if fold in (chosen or [])})
    return Plan(f"{folder.parent.name}/{folder.name}", files, list(seeds), chosen, strides, list(overrides))


def choose_methods(folder: Path, methods: Sequence[str] | None) -> dict[str, Path]:
    """Returns label → the file that the runs of this method start from.

    Args:
        folder: the recipe's folder.
        methods: keys of `DOWNSAMPLERS`, and names or paths of files in `hparams/`; None: all methods of the recipe.

    Raises:
        InputError: a method is unknown, or is given twice.
    """
    known = recipe_methods(folder)
    if methods is None:
        return known
    base = folder / "hparams" / BASE
    takes_keys = base in known.values()
    files: dict[str, Path] = {}
    for method in methods:
        label = method if method in known else _label_of_file(folder, method)
        if label is None and takes_keys and method in DOWNSAMPLERS:
            label = method
        if label is None:
            kinds = "keys of DOWNSAMPLERS, or files in" if takes_keys else "files in"
            raise InputError(
                f"`methods` (={method!r}) must be {kinds} {folder / 'hparams'}; this recipe has {', '.join(known)}"
                f"{did_you_mean(method, [*known, *(DOWNSAMPLERS if takes_keys else ())])}"
            )
        if label in files:
            raise InputError(f"`methods` (={method!r}) must be given once")
        files[label] = known.get(label, base)
    return files


def _label_of_file(folder: Path, name: str) -> str | None:
    """Returns the name of a file in the recipe's `hparams/` without extension; None if `name` is not such a file."""
    hparams = folder / "hparams"
    places = [hparams / name]
    with suppress(InputError):
        places.append(method_file(name))
    files = [place for place in places if place.is_file() and place.resolve().parent == hparams.resolve()]
    return next((file.stem for file in files if file.name != BASE), None)


def _choose_folds(folder: Path, folds: Sequence[str]) -> list[str]:
    """Returns the folds, with the lists that `all` and `more` stand for."""
    lists = {"all": recipe_folds(folder), "more": [*recipe_more_folds(folder)]}
    lists = {word: names for word, names in lists.items() if names}
    chosen = [fold for word in folds for fold in lists.get(word, [word])]
    known = [fold for names in lists.values() for fold in names]
    if not set(chosen) <= set(known) or len(set(chosen)) < len(chosen):
        words = ", ".join(lists)
        raise InputError(f"`folds` (={list(folds)}) must be {words}, or some of {', '.join(known)}, each once")
    return chosen


def _choose_ratios(folder: Path, ratios: Sequence[str | float]) -> list[float]:
    known = recipe_ratios(folder)
    if list(ratios) == ["all"]:
        return known
    chosen = [ratio_of(ratio) for ratio in ratios]
    if len(set(chosen)) < len(chosen):
        raise InputError(f"`ratios` (={chosen}) must be all, or different numbers")
    return chosen


def _check_overrides(overrides: Sequence[str], files: dict[str, Path]) -> None:
    """Checks that the overrides are pairs, and that the comparison does not set them itself.

    Raises:
        InputError: an override is not a pair, or is set by the comparison.
    """
    shown = shlex.join(overrides)
    if overrides and not overrides[0].startswith("--"):
        raise InputError(f"`overrides` (={shown}) must be pairs `--key value`")
    own = OWN
    if any(file.name == BASE for file in files.values()):
        own = {**OWN, "downsampler": "--methods lists them"}
    for option in overrides:
        key = option.removeprefix("--").split("=")[0]
        if option.startswith("--") and key in own:
            raise InputError(f"`overrides` (={shown}) must not have --{key}: {own[key]}")
