"""Older names of modules, for the YAML files and `train.py` files of older runs, and for copies of recipes.

For example, `seqstride.checkpoints.Checkpointer` in such a file is `seqstride.brains.checkpoints.Checkpointer`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "seqstride.augment": "seqstride.brains.augment",
    "seqstride.checkpoints": "seqstride.brains.checkpoints",
    "seqstride.estimators.recipe": "seqstride.estimators.run",
    "seqstride.model": "seqstride.models.classifier",
    "seqstride.plot": "seqstride.plots",
    "seqstride.reconstruction": "seqstride.brains.losses",
    "seqstride.training": "seqstride.brains.run",
}


def current_name(name: str) -> str:
    """The name of a class or function where it is now, such as `seqstride.brains.checkpoints.Checkpointer`."""
    module, _, rest = name.rpartition(".")
    return f"{MOVED[module]}.{rest}" if module in MOVED else name


class _Alias(Loader):
    """Loads the module of the new name, unchanged."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(MOVED[spec.name])
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # the import system has put the alias there


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Alias()) if name in MOVED else None


def alias_moved_modules() -> None:
    """Makes the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
