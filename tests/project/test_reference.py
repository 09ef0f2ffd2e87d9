"""The reference of the public names is built without warnings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from readmes import blocks, commands

import seqstride

NAMED_TUPLES = "ignore:Error parsing type annotation ForwardRef"
"""pdoc does not find the names in the fields of a `NamedTuple`, and shows them as they are written."""


def test_the_command_of_the_readme_builds_it(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="pdoc is part of the extra dev")
    readme = "seqstride/README.md"
    [block] = [block for block in blocks(readme) if block.text.startswith("pdoc ")]
    [command] = commands(block, tmp_path / "shell")
    output = tmp_path / "reference"
    python = [sys.executable, "-W", "error", "-W", NAMED_TUPLES, "-m"]
    done = subprocess.run([*python, *command.argv[:-1], str(output)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    page = (output / "seqstride.html").read_text(encoding="utf-8")
    assert [name for name in seqstride.__all__ if f'id="{name}"' not in page] == ["functional"]
    assert (output / "seqstride" / "functional.html").is_file()
    for room in (
        "layers/adastride",
        "lobes",
        "encoders",
        "estimators/classifier",
        "plots",
        "export",
        "errors",
    ):
        assert (output / "seqstride" / f"{room}.html").is_file(), room
