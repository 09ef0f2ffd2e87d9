"""The rooms of the package: imports run one way, and test modules stand alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from import_graph import circle, import_graph, imports_between_tests, upward_arrows

from seqstride._moved import MOVED

ROOT = Path(__file__).parents[2]
LOOSE_FILES = 14
ORDER = [
    "seqstride.errors seqstride.nearest seqstride.distributed seqstride.failures seqstride._compat seqstride._version "
    "seqstride._moved seqstride._interrupt",
    "seqstride.files",
    "seqstride.core",
    "seqstride.layers",
    "seqstride.functional seqstride.lobes",
    "seqstride.encoders",
    "seqstride.models",
    "seqstride.plots",
    "seqstride.experiments",
    "seqstride.brains",
    "seqstride.estimators",
    "seqstride.export",
    "seqstride.cli",
    "seqstride",
    "data_prep recipes",
]
"""From the lowest room to the highest; a module may import from its own room and from lower ones."""


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    installed = {"seqstride.data_prep": "data_prep", "seqstride.recipes": "recipes"}
    return import_graph([ROOT / "seqstride", ROOT / "data_prep", ROOT / "recipes"], {**MOVED, **installed})


def test_no_import_leads_to_a_higher_room(graph: dict[str, set[str]]) -> None:
    assert upward_arrows(graph, ORDER) == []


def test_no_imports_form_a_circle(graph: dict[str, set[str]]) -> None:
    assert circle(graph) == []


def test_few_modules_stand_outside_the_rooms() -> None:
    assert len(list((ROOT / "seqstride").glob("*.py"))) <= LOOSE_FILES


def test_no_test_module_imports_another() -> None:
    assert imports_between_tests(ROOT / "tests") == []


# The checks themselves, on a small tree

TREE = {
    "house/__init__.py": "from house.upper.roof import tiles",
    "house/lower/__init__.py": "",
    "house/lower/cellar.py": "import os",
    "house/lower/stairs.py": "from house.lower import cellar",
    "house/upper/__init__.py": "",
    "house/upper/roof.py": "from ..lower.stairs import steps",
}
HOUSE = ["house.lower", "house.upper", "house"]


def tree(folder: Path, changes: dict[str, str]) -> dict[str, set[str]]:
    for name, text in {**TREE, **changes}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return import_graph([folder / "house"], {"attic": "house.upper"})


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    graph = tree(tmp_path, {})
    assert graph["house.upper.roof"] == {"house.lower.stairs"}
    assert graph["house.lower.stairs"] == {"house.lower.cellar"}
    assert upward_arrows(graph, HOUSE) == []
    assert circle(graph) == []


@pytest.mark.parametrize(
    "text",
    [
        "from house.upper.roof import tiles",
        "from house.upper import roof",
        "import house.upper.roof as roof",
        "from ..upper import roof",
        "def f():\n    from house.upper.roof import tiles",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.upper.roof import tiles",
        "from importlib import import_module\nimport_module('house.upper.roof')",
        "import importlib\nimportlib.import_module(name='house.upper.roof')",
        "__import__('house.upper.roof')",
        "import attic.roof",
        "from attic import roof",
    ],
)
def test_an_upward_arrow_is_found(text: str, tmp_path: Path) -> None:
    graph = tree(tmp_path, {"house/lower/cellar.py": text})
    assert upward_arrows(graph, HOUSE) == ["house.lower.cellar imports house.upper.roof"]
    assert set(circle(graph)) == {"house.lower.cellar", "house.lower.stairs", "house.upper.roof"}


def test_an_import_of_the_package_itself_is_upward(tmp_path: Path) -> None:
    graph = tree(tmp_path, {"house/lower/cellar.py": "import house"})
    assert upward_arrows(graph, HOUSE) == ["house.lower.cellar imports house"]


def test_a_circle_inside_a_room_is_found(tmp_path: Path) -> None:
    graph = tree(tmp_path, {"house/lower/cellar.py": "def f():\n    from house.lower.stairs import steps"})
    assert upward_arrows(graph, HOUSE) == []
    assert set(circle(graph)) == {"house.lower.cellar", "house.lower.stairs"}


def test_a_module_without_a_room_is_found(tmp_path: Path) -> None:
    graph = tree(tmp_path, {"shed/__init__.py": "", "shed/tools.py": "from house.lower import cellar"})
    graph |= {"shed.tools": {"house.lower.cellar"}}
    with pytest.raises(AssertionError, match="is in no room"):
        upward_arrows(graph, HOUSE)


@pytest.mark.parametrize("text", ["import test_a", "from test_a import x", "from tests.lower.test_a import x"])
def test_an_import_between_tests_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower" / "test_a.py").write_text("from helpers import x")
    assert imports_between_tests(tmp_path) == []
    (tmp_path / "test_b.py").write_text(text)
    assert imports_between_tests(tmp_path) == ["test_b.py imports test_a"]
