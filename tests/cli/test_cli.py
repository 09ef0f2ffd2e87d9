"""The `seqstride` command: what it lists, and how it fails."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seqstride as ss
from seqstride.cli import main
from seqstride.experiments.recipe import find_recipe_file, list_recipes, recipes_folder

RECIPE = "JapaneseVowels/speaker_id"


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line of a command that must fail with exit code 2."""
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("seqstride: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("train", "recipes", "table"):
        assert command in text


def test_recipes_lists_names_that_can_be_pasted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    taken, _, recipes = printed.partition("recipes, and what `seqstride compare` runs without --methods:\n")
    assert " ".join(taken.split()) == f"--downsampler takes, in every recipe: {', '.join(ss.DOWNSAMPLERS)}"
    monkeypatch.chdir(tmp_path)
    listed = {}
    for text in re.split(r"\n(?=recipes/)", recipes):
        recipe, methods = text.split(maxsplit=1)
        names = " ".join(methods.split()).replace("all methods", ", ".join(ss.DOWNSAMPLERS)).split(", ")
        folder = find_recipe_file(recipe)
        assert all((folder / name).is_file() for name in names if name.endswith(".yaml"))
        names = [Path(name).stem for name in names]
        listed[folder.relative_to(recipes_folder()).as_posix()] = sorted(names)
    assert listed == list_recipes()
    assert set(listed[RECIPE]) == set(ss.DOWNSAMPLERS)


def test_a_missing_data_folder_is_called_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["train", "recipes/ESC/classification", "--data_folder", str(tmp_path / "no"), "--device", "cpu"]
    said = failure(capsys, *words, "--output_folder", str(tmp_path / "out"))
    assert "/no') is missing: there is no such folder; `--download true` downloads the data into it" in said


def test_table_prints_the_committed_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", f"recipes/{RECIPE}"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len({len(row.split("|")) for row in rows}) == 1
    assert rows[2].startswith("| `")


def test_an_unknown_recipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no recipe 'nowhere/hparams/max.yaml'" in failure(capsys, "train", "nowhere/hparams/max.yaml")


def test_a_file_outside_a_recipe_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("seed: 1\n")
    assert "must be a recipe, or a file of its hparams/" in failure(capsys, "train", str(file))


def test_an_unknown_key_names_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    message = failure(capsys, "train", RECIPE, "--number_of_epoch", "3")
    assert "`number_of_epoch` is not a key of train.yaml; near matches: number_of_epochs" in message


def test_an_empty_folder_has_no_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there are none" in failure(capsys, "table", str(tmp_path))


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="no recipe"):
        main(["--debug", "train", "nowhere.yaml"])


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["recipes", "--nonsense"]])
def test_wrong_usage_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: seqstride" in capsys.readouterr().err


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "seqstride", "recipes"], capture_output=True, text=True, check=True)
    assert RECIPE in done.stdout


def test_a_torchaudio_that_does_not_load_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is with a CPU-only torch: torchaudio's library needs one that this torch does not have."""
    really_import = importlib.import_module

    def broken(name: str, package: str | None = None) -> object:
        if name == "torchaudio":
            raise OSError("libc10_cuda.so: cannot open shared object file: No such file or directory")
        return really_import(name, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.delitem(sys.modules, "seqstride.brains.run", raising=False)
    monkeypatch.delitem(sys.modules, "seqstride.brains", raising=False)
    monkeypatch.delitem(sys.modules, "seqstride.brains.classification", raising=False)
    message = failure(capsys, "train", RECIPE)
    assert "torchaudio cannot be imported (libc10_cuda.so" in message
    assert "Installed: torch 2." in message
    assert "pip install" in message
