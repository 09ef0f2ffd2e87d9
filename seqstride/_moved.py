"""Modules under the names that they had before: YAML files of older runs name them, and run on.

`seqstride.checkpoints.Checkpointer` in such a file is `seqstride.brains.checkpoints.Checkpointer`.
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
    "seqstride.model": "seqstride.models.classifier",
    "seqstride.plot": "seqstride.plots",
    "seqstride.reconstruction": "seqstride.models.reconstruction",
    "seqstride.training": "seqstride.brains.run",
}


class _Alias(Loader):
    """Gives the module that stands under the new name, as it is."""

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
