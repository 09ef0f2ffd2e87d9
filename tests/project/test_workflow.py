"""The workflow tests versions that the package supports, and runs what `.ci/run` runs."""

from __future__ import annotations

import re

from packaging.specifiers import SpecifierSet
from readmes import ROOT
from ruamel.yaml import YAML

JOBS = YAML(typ="safe").load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_its_versions_are_supported() -> None:
    matrix = JOBS["tests"]["strategy"]["matrix"]
    torch = [*matrix["torch"], *(pair["torch"] for pair in matrix["include"])]
    python = [*matrix["python"], *(pair["python"] for pair in matrix["include"])]
    supported = SpecifierSet(re.search(r'"torch(.+?)"', PYPROJECT)[1])
    assert all(f"{version}.0" in supported for version in torch)
    lowest = re.search(r'requires-python = ">=([\d.]+)"', PYPROJECT)[1]
    assert all(version in SpecifierSet(f">={lowest}") for version in python)
    assert lowest in python


def test_it_runs_the_checks_of_the_project() -> None:
    steps = [step.get("run", "") for job in JOBS.values() for step in job["steps"]]
    own = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    checks = [line for line in own if re.match(r"ruff|mypy|python -m pytest", line)]
    assert len(checks) == 4
    assert set(checks) <= set(steps)
