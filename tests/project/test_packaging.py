"""What is installed, and what an import loads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from quick import few_vowels

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, *, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_torch_only(tmp_path: Path) -> None:
    code = """
import sys, torch
import time
start = time.process_time()
import seqstride
seconds = time.process_time() - start
heavy = {"speechbrain", "torchaudio", "sktime", "matplotlib", "librosa", "scipy", "pandas", "sklearn", "hyperpyyaml"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(seconds)
"""
    python(code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert float(python(code, cwd=tmp_path, PYTHONPATH=str(ROOT))) < 0.2


def test_the_readmes_example_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    output = python(example, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert "torch.Size([1, 4, 25])" in output


LIST = """
from seqstride.experiments.recipe import list_recipes
import seqstride.data_prep.japanese_vowels
print(list_recipes())
"""


def test_a_bare_checkout_has_recipes_and_preparation(tmp_path: Path) -> None:
    output = python(LIST, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert "JapaneseVowels/speaker_id" in output


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a checkout holds, in a folder of the name that a clone gets."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("runs in a checkout")
    folder = tmp_path_factory.mktemp("above") / "seqstride"
    for name in ("seqstride", "recipes", "data_prep"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder


PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(clone: Path) -> Path:
    """The project's wheel, with a run of somebody in the recipe's folder beside it."""
    run = clone / "recipes" / "JapaneseVowels" / "speaker_id" / "results" / "mine"
    run.mkdir()
    (run / "results.json").write_text("{}")
    folder = clone.parent / "wheel"
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(clone)], check=True)
    shutil.rmtree(run)
    return next(folder.glob("*.whl"))


@pytest.mark.long
def test_an_editable_install_wins_over_the_folder_above_the_clone(clone: Path) -> None:
    """There, `seqstride` is the name of the clone, too, which is a namespace package without any files."""
    above = clone.parent
    venv.create(above / "venv", with_pip=False, symlinks=True)
    own = above / "venv" / "bin" / "python"
    [site] = (above / "venv").glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(str(Path(torch.__file__).parents[1]))
    subprocess.run([*PIP, "--python", str(own), "install", "--no-deps", "--editable", str(clone)], check=True)

    def said(*command: str | Path) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=above, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output = said(own, "-c", "import seqstride; print(seqstride.AdaStride1d, seqstride.__file__)" + LIST)
    assert str(clone / "seqstride" / "__init__.py") in output
    assert "adastride_f" in output
    assert said(own, "-m", "seqstride", "--help") == said(above / "venv" / "bin" / "seqstride", "--help")


def test_the_wheel_holds_every_module_recipe_and_record(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "seqstride").rglob("*.py")}
    for name in ("recipes", "data_prep"):
        for pattern in ("*.py", "*.yaml", "*.md", "results/*.json", "results/*.png"):
            paths = [path for path in (ROOT / name).rglob(pattern) if not path.parent.name.isdigit()]
            expected |= {f"seqstride/{path.relative_to(ROOT).as_posix()}" for path in paths}
    expected.add("seqstride/py.typed")
    assert expected <= inside, expected - inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    assert wheel.stat().st_size < 5_000_000
    allowed = (".py", "/py.typed", ".yaml", ".md", ".json", ".png", "/LICENSE", ".dist-info/", "/metadata.csv")
    strange = [name for name in inside if not any(part in name[-30:] for part in allowed) and ".dist-info/" not in name]
    assert not strange
    assert not [name for name in inside if name.startswith("tests/") or "/tests/" in name or "__pycache__" in name]
    assert {name.split("/")[0] for name in inside} == {"seqstride", f"seqstride-{wheel.name.split('-')[1]}.dist-info"}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip makes of the wheel."""
    site = tmp_path_factory.mktemp("installed") / "site"
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(site)]
    subprocess.run([*PIP, "install", *options, str(wheel)], check=True, capture_output=True)
    return site


def test_the_wheel_works_on_its_own(installed: Path, tmp_path: Path) -> None:
    output = python("import seqstride; print(seqstride.__file__)" + LIST, cwd=tmp_path, PYTHONPATH=str(installed))
    assert str(installed) in output
    assert "adastride_f" in output


def test_the_installed_command_trains_the_readmes_recipe(installed: Path, tmp_path: Path) -> None:
    """The first command of the README, an epoch of it, from a folder without a checkout."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [words] = re.findall(r"pip install -e \S+ && seqstride (train .+)", readme)
    data = few_vowels(tmp_path.parent / "data")
    options = ["--number_of_epochs", "1", "--device", "cpu", "--noprogressbar", "--data_folder", str(data)]
    done = subprocess.run(
        [sys.executable, str(installed / "bin" / "seqstride"), *words.split(), *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    output = tmp_path / "results" / "japanese_vowels_adastride" / "1986"
    assert {"results.json", "strides.png", "training.png", "model.json"} <= {path.name for path in output.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
