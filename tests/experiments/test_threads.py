"""CPU threads: one, for every recipe and command, unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from quick import few_vowels
from runs import train

from seqstride.cli import main
from seqstride.experiments.recipe import recipes_folder

RECIPES = sorted(recipes_folder().glob("*/*/hparams/train.yaml"))


@pytest.fixture(autouse=True)
def many() -> Iterator[None]:
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.parts[-4])
def test_every_recipe_has_the_key(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [yaml.safe_load(line)["threads"] for line in lines if line.startswith("threads:")] == [1]


@pytest.mark.parametrize("asked", [None, 2])
def test_a_run_uses_one_thread_or_what_it_is_told(asked: int | None, tmp_path: Path) -> None:
    options: dict[str, object] = {} if asked is None else {"threads": asked}
    options["data_folder"] = few_vowels(tmp_path / "data")
    assert train("average", tmp_path, number_of_epochs=1, **options)["threads"] == (asked or 1)


@pytest.mark.parametrize("asked", [None, 2])
def test_a_command_uses_one_thread_or_what_it_is_told(asked: int | None) -> None:
    assert main(["recipes", *([] if asked is None else ["--threads", str(asked)])]) == 0
    assert torch.get_num_threads() == (asked or 1)


def test_no_thread_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--threads", "0"]) == 2
    assert "`--threads` (=0) must be a whole number of at least 1" in capsys.readouterr().err
