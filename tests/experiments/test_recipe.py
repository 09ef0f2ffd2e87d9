"""Recipes: merging of their files, and short real runs of every method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from quick import few_vowels
from runs import RECIPE, command, train

import seqstride as ss
from seqstride.cli import main
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.options import read_command_line
from seqstride.experiments.recipe import find_recipe_file, list_recipes, method_file, recipe_methods, recipes_folder
from seqstride.experiments.records import read_records
from seqstride.experiments.settings import flat_settings
from seqstride.experiments.tables import results_table
from seqstride.files.yaml_text import round_trip_yaml


def load(path: Path, overrides: str = "") -> dict[str, Any]:
    """The hyperparameters as a run sees them."""
    return load_hyperpyyaml(merge_recipe(path, overrides))


# Files


@pytest.fixture
def recipe_files(tmp_path: Path) -> Path:
    (tmp_path / "train.yaml").write_text(
        "a: 1\nb: !ref <a> + 1\nlist: [1, 2]\nmap:\n    x: 1\n    y: 2\n"
        "made: !new:collections.Counter\n    z: !ref <a>\n"
    )
    (tmp_path / "method.yaml").write_text("a: 5\nmap:\n    y: 7\n")
    return tmp_path / "method.yaml"


def test_base_method_and_command_line_in_this_order(recipe_files: Path) -> None:
    hparams = load(recipe_files)
    assert (hparams["a"], hparams["b"], hparams["map"], hparams["made"]["z"]) == (5, 6, {"x": 1, "y": 7}, 5)
    hparams = load(recipe_files, "a: 9\nlist: [3]\nmap: {x: 0}\nmade: {z: 4}")
    assert (hparams["b"], hparams["list"], hparams["map"]) == (10, [3], {"x": 0, "y": 7})
    assert hparams["made"] == {"z": 4}
    assert load(recipe_files, "map: null")["map"] is None
    assert load(recipe_files.with_name("train.yaml"))["b"] == 2


def test_merged_text_keeps_tags_and_order(recipe_files: Path) -> None:
    text = merge_recipe(recipe_files)
    assert "b: !ref <a> + 1" in text
    assert "!new:collections.Counter" in text
    assert [line.split(":")[0] for line in text.splitlines() if line[0] != " "] == ["a", "b", "list", "map", "made"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("aa: 1", r"the command line: `aa` is not a key of train\.yaml; near matches: a"),
        ("map: 3", r"`map` \(=3\) must be a mapping, as it is in train\.yaml"),
        ("just words", "must be a YAML mapping"),
        ("a: [1", "the command line is not valid YAML"),
    ],
)
def test_wrong_overrides_are_explained(recipe_files: Path, overrides: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(recipe_files, overrides)


def test_a_method_cannot_add_keys(recipe_files: Path) -> None:
    recipe_files.write_text("lists: [1]\n")
    with pytest.raises(ValueError, match=r"method\.yaml: `lists` is not a key of train.yaml; near matches: list"):
        load(recipe_files)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.yaml' does not exist"):
        load(tmp_path / "method.yaml")
    with pytest.raises(ValueError, match=r"no recipe 'nothing\.yaml'"):
        find_recipe_file("nothing.yaml")


def test_a_recipe_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = RECIPE / "hparams" / "diffstride.yaml"
    assert find_recipe_file("recipes/JapaneseVowels/speaker_id/hparams/diffstride.yaml") == wanted
    assert find_recipe_file("JapaneseVowels/speaker_id/hparams/diffstride.yaml") == wanted
    assert find_recipe_file(wanted) == wanted


@pytest.mark.parametrize("recipe", list_recipes())
def test_a_key_is_all_that_most_methods_need(recipe: str) -> None:
    """`--downsampler KEY` takes the file of the method where there is one, and else changes nothing but the key."""
    folder = recipes_folder() / recipe
    base = flat_settings(merge_recipe(folder / "hparams" / "train.yaml"), recipe)
    merged: set[Path] = set()
    for method, own in recipe_methods(folder).items():
        if base["downsampler"] == method or method not in ss.DOWNSAMPLERS:
            continue
        for place in (folder, folder / "hparams", folder / "hparams" / "train.yaml"):
            assert method_file(place, method) == own
        if own not in merged:  # all methods of a file are merged alike, and that takes a quarter of a second
            file, _, overrides = read_command_line([str(folder), "--downsampler", method])
            assert Path(file) == own
            settings = flat_settings(merge_recipe(file, overrides), file)
            expected = base if own.name == "train.yaml" else flat_settings(merge_recipe(own), str(own))
            assert settings == {**expected, "downsampler": method}
            merged.add(own)


def test_a_file_of_a_method_differs_by_more_than_its_key() -> None:
    for file in recipes_folder().glob("*/*/hparams/*.yaml"):
        assert set(round_trip_yaml().load(file)) - {"downsampler"} if file.name != "train.yaml" else True, file


def test_a_variant_keeps_its_file_when_another_method_is_chosen() -> None:
    file, _, overrides = read_command_line(["SpokenDigits/VQVAE/hparams/waveform.yaml", "--downsampler", "diffstride"])
    assert Path(file).name == "waveform.yaml"
    settings = flat_settings(merge_recipe(file, overrides), file)
    assert (settings["downsampler"], settings["encoder"]) == (
        "diffstride",
        "!new:seqstride.encoders.waveform.WaveEncoder",
    )


def test_the_methods_of_a_recipe() -> None:
    assert list_recipes()["JapaneseVowels/speaker_id"] == sorted(ss.DOWNSAMPLERS)
    assert list(recipe_methods(recipes_folder() / "AN4" / "ASR")) == [
        *("strided", "average", "diffstride", "dct_diffstride", "adastride", "adastride_f")
    ]
    assert list(recipe_methods(recipes_folder() / "UCR" / "classification")) == [
        *ss.DOWNSAMPLERS,
        *("hybrid", "hybrid_adastride", "minirocket", "multirocket", "multirocket_hydra", "rocket"),
    ]


# Runs


LIKE_ANOTHER = {"max", "blur", "softpool", "spectral", "dct", "adastride_f", "adastride_context"}
LIKE_ANOTHER |= {"diffstride_narrowing", "dct_diffstride_narrowing"}
"""Methods that nothing in a run can tell from another one whose run is short."""


@pytest.mark.parametrize(
    "method", [pytest.param(key, marks=pytest.mark.long) if key in LIKE_ANOTHER else key for key in ss.DOWNSAMPLERS]
)
def test_every_method_trains(method: str, tmp_path: Path) -> None:
    record = train(method, tmp_path, number_of_epochs=1, data_folder=few_vowels(tmp_path / "data"))
    assert record["method"] == method
    assert record["epoch"] == record["epochs"] == 1
    assert 0 <= record["test_accuracy"] <= 1
    assert sum(record["test_items_per_class"].values()) == 27
    errors = sum(
        record["test_error_per_class"][label] * count for label, count in record["test_items_per_class"].items()
    )
    assert errors == pytest.approx(27 * (1 - record["test_accuracy"]), abs=1e-3)
    assert record["parameters"] > 10_000
    assert record["macs"] > 10_000
    assert len(record["strides"]) == len(record["initial_strides"]) == len(record["local_strides"])
    assert record["seconds"] > 0
    assert record["versions"]["torch"] == torch.__version__
    if "diffstride" in method:
        assert record["strides"] != record["initial_strides"], "a learnt stride must move"
    if method == "adastride":
        low, high = record["local_strides"][0]
        assert low < record["strides"][0] < high, "local strides must spread around the overall one"

    from matplotlib.image import imread

    for name in ("strides.png", "training.png"):
        pixels = imread(tmp_path / name)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.05, f"{name} shows nothing"
    for name in ("hyperparams.yaml", "train.yaml", "model.json", "model.safetensors", "log.txt", "train_log.txt"):
        assert (tmp_path / name).stat().st_size > 0
    assert list((tmp_path / "save" / "checkpoints").glob("*/encoder.ckpt"))
    log = (tmp_path / "train_log.txt").read_text()
    assert "stride_1: " in log


@pytest.mark.long
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train("diffstride", tmp_path / "whole", number_of_epochs=3)

    from seqstride.brains import ClassificationBrain

    end_epoch = ClassificationBrain._end_epoch

    def stop_after_the_first(brain: ClassificationBrain, epoch: int, stats: dict) -> None:
        end_epoch(brain, epoch, stats)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationBrain, "_end_epoch", stop_after_the_first)
        assert main(command("diffstride", tmp_path / "resumed", number_of_epochs=3)) == 130
    resumed = train("diffstride", tmp_path / "resumed", number_of_epochs=3)

    assert resumed["epochs"] == whole["epochs"] == 3
    for key in ("test_accuracy", "test_loss", "valid_loss", "epoch", "strides", "initial_strides", "local_strides"):
        assert resumed[key] == whole[key], key

    # a finished run only scores again, and its options still count
    again = train("diffstride", tmp_path / "resumed", number_of_epochs=3)
    assert again["test_loss"] == whole["test_loss"]
    assert again["seconds"] == resumed["seconds"]


@pytest.mark.long
def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    first, second = (train("adastride", tmp_path / name, number_of_epochs=1) for name in ("first", "second"))
    other = train("adastride", tmp_path / "other", number_of_epochs=1, seed=7)
    assert first["test_loss"] == second["test_loss"] != other["test_loss"]


def test_a_debug_run_leaves_real_results_alone(tmp_path: Path) -> None:
    data = few_vowels(tmp_path / "data")
    before = train("average", tmp_path, number_of_epochs=1, data_folder=data)
    assert main(command("average", tmp_path, debug_batches=1, data_folder=data)) == 0
    assert json.loads((tmp_path / "results.json").read_text()) == before
    assert json.loads((tmp_path / "debug" / "results.json").read_text())["epochs"] == 2


def test_test_only_needs_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("max", tmp_path, "--test_only")) == 2
    assert "must hold a checkpoint for --test_only" in capsys.readouterr().err
    data = few_vowels(tmp_path / "data")
    trained = train("max", tmp_path, number_of_epochs=1, data_folder=data)
    assert main(command("max", tmp_path, "--test_only", data_folder=data)) == 0
    assert json.loads((tmp_path / "results.json").read_text())["test_loss"] == trained["test_loss"]


def test_wrong_data_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("max", tmp_path, data_folder=tmp_path / "none")) == 2
    assert "JapaneseVowels_TRAIN.ts is missing" in capsys.readouterr().err


def launch(command: list[str], folder: Path) -> None:
    """Runs a command in the recipe's folder, as SpeechBrain users do."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_train_py_works_in_its_folder(tmp_path: Path) -> None:
    options = ["--number_of_epochs=1", f"--output_folder={tmp_path}", "--device=cpu", "--noprogressbar"]
    options.append(f"--data_folder={few_vowels(tmp_path / 'data')}")
    launch([sys.executable, "train.py", "hparams/train.yaml", "--downsampler", "adastride", *options], RECIPE)
    assert (tmp_path / "results.json").is_file()


@pytest.mark.long
def test_torchrun_trains_on_two_processes(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    options = ["--number_of_epochs=1", f"--output_folder={tmp_path}", "--device=cpu", "--noprogressbar"]
    launch([*torchrun, "-m", "seqstride", "train", "hparams/diffstride.yaml", *options], RECIPE)
    record = json.loads((tmp_path / "results.json").read_text())
    assert sum(record["test_items_per_class"].values()) == 370
    assert record["processes"] == 2


# Results


def test_the_readme_shows_the_committed_records() -> None:
    table = results_table(read_records(RECIPE), order=ss.DOWNSAMPLERS)
    assert table in (RECIPE / "README.md").read_text(encoding="utf-8")


def test_the_table_averages_over_seeds() -> None:
    run = {"method": "m", "parameters": 5000, "macs": 2e6, "initial_strides": [2.0, 2.0], "seconds": 10.0}
    records = [
        {**run, "seed": 1, "test_accuracy": 0.97, "strides": [2.0, 2.5]},
        {**run, "seed": 2, "test_accuracy": 0.99, "strides": [2.0, 3.0]},
    ]
    row = results_table(records).splitlines()[2]
    assert row == "| `m` | 98.0 ± 1.4 | 2 | 2, 2 → 2, 2.75 | 2.00 M | 5 k | 10 |"


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"method": "x"}')
    with pytest.raises(ValueError, match=r"results\.json' is not a record: it lacks recipe, seed"):
        read_records(tmp_path)


def test_a_run_of_an_older_version_is_the_same_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its settings name modules as they were called then, and the method had a file of its own."""
    data = few_vowels(tmp_path / "data")
    train("adastride", tmp_path, number_of_epochs=1, data_folder=data)
    for name in ("made_from.json", "train.yaml"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "seqstride.brains.checkpoints" in text
        (tmp_path / name).write_text(text.replace("seqstride.brains.checkpoints", "seqstride.checkpoints"))
    assert main(command("adastride", tmp_path, number_of_epochs=1, data_folder=data)) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out
    assert main(command("adastride", tmp_path, "--test_only", number_of_epochs=1, data_folder=data)) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert json.loads((tmp_path / "test_only" / "results.json").read_text())["test_loss"] == record["test_loss"]
    (tmp_path / "made_from.json").unlink()  # a still older one, of which train.yaml alone says how it was made
    assert main(command("adastride", tmp_path, number_of_epochs=1, data_folder=data)) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out
    assert main(command("average", tmp_path, number_of_epochs=1, data_folder=data)) == 2
    assert "`downsampler` was" in capsys.readouterr().err
