"""Output folders that hold a run already: who may go on with it, who is refused, and what then stays as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
from layouts import write
from runs import assert_same, final

from recipes import words_for
from seqstride.brains import ClassificationBrain
from seqstride.cli import main
from seqstride.errors import InputError
from seqstride.experiments.processes import Children
from seqstride.experiments.provenance import (
    changed_settings,
    digest,
    item_differences,
    manifest_items,
    name_differences,
)
from seqstride.experiments.recipe import recipes_folder
from seqstride.experiments.run_folder import RunFolder, kept_files
from seqstride.experiments.settings import flat_settings

SMALL: dict[str, object] = {"number_of_epochs": 2, "width": 4, "device": "cpu"}
SPEECH: dict[str, object] = {
    **{"number_of_epochs": 1, "width": 8, "layers": 1, "feed_forward": 8, "average": 1, "device": "cpu"},
    **{"warmup_steps": 1, "dynamic_batching": "{max_batch_length: 3}"},
}
REST = re.escape(
    ". Choose another --output_folder to keep that run. --overwrite deletes the results and model here and starts again"
)
State = dict[Path, tuple[bytes, int]]


def argv(data: Path, output: Path, *flags: str, method: str = "average", **overrides: object) -> list[str]:
    """The command line of a small run on a folder of recordings."""
    options = {"data_folder": data, "output_folder": output, **SMALL, **overrides}
    words = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return ["train", *words_for("AudioFolder/classification", method), *words, "--noprogressbar", *flags]


def state(folder: Path) -> State:
    """Every file: what is in it, and since when."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def record(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def recordings(folder: Path, labels: tuple[str, ...] = ("high", "low")) -> Path:
    for place, label in enumerate(labels):
        for index in range(8):
            write(folder / label / f"{index}.wav", 1600 + 100 * place + index, 16000)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, `data`, and a run that was trained on them, `run`."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(argv(recordings(folder / "data"), folder / "run")) == 0
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], line: list[str], message: str, output: Path) -> str:
    """The command ends with one line, and every file of the folder is as it was; all that was said."""
    before = state(output)
    capsys.readouterr()
    assert main(line) == 2
    err = capsys.readouterr().err
    (said,) = [row for row in err.splitlines() if row.startswith("seqstride: ")]
    assert re.search(message, said), said
    assert state(output) == before
    return err


# The same again


def test_a_finished_run_says_so_and_is_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(place / "run")
    for words in (
        argv(place / "data", place / "run"),
        # what has no part in what is learnt
        argv(place / "data", place / "run", "--ckpt_interval_steps", "3", train_dataloader="{num_workers: 1}"),
    ):
        capsys.readouterr()
        assert main(words) == 0
        out = capsys.readouterr().out
        assert f"{place / 'run'} holds this run, and it is finished" in out
        assert f"its results are in {place / 'run' / 'results.json'}." in out
        assert state(place / "run") == before


def test_data_and_folders_that_moved_are_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "data", place / "elsewhere", copy_function=shutil.copy)  # at other times
    shutil.rmtree(place / "data")
    (place / "run").rename(place / "old_run")
    before = {path: content for path, (content, _) in state(place / "old_run").items() if "data" not in path.parts}
    assert main(argv(place / "elsewhere", place / "old_run")) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out
    after = {path: content for path, (content, _) in state(place / "old_run").items() if "data" not in path.parts}
    assert after == before


# Other settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": "[2, 2, 1]"}, r"holds another run: `strides` was \[2, 2, 2\], now \[2, 2, 1\]" + REST),
        ({"lr": 0.0001, "seed": 7}, r"`seed` was 1986, now 7; `lr` was 0\.002, now 0\.0001" + REST),
        ({"width": 8}, "`width` was 4, now 8"),
        ({"method": "max"}, '`downsampler` was "average", now "max"'),
        ({"number_of_epochs": 1}, r"`number_of_epochs` was 2, now 1 \(it may only grow\)"),
        ({"complexity": "{weight: 0.5}"}, r"`complexity\.weight` was 0\.0, now 0\.5"),
        ({"max_grad_norm": 1.0}, r"`max_grad_norm` was 5\.0, now 1\.0"),
        ({"grad_accumulation_factor": 2}, "`grad_accumulation_factor` was not there, now 2"),
        ({"fea_augment": "null"}, "`fea_augment` was !ref <spec_augment>, now null"),
        ({"score": "valid"}, r'`score` was "test", now "valid".*\. Use --test_only to score its model.*test_only/'),
    ],
    ids=str,
)
def test_another_run_is_refused(
    trained: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    refused(capsys, argv(trained / "data", trained / "run", **changes), message, trained / "run")


def test_an_interrupted_run_is_not_taken_for_another(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end_epoch = ClassificationBrain._end_epoch

    def stop(brain: ClassificationBrain, epoch: int, stats: dict) -> None:
        end_epoch(brain, epoch, stats)
        raise KeyboardInterrupt

    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ClassificationBrain, "_end_epoch", stop)
        assert main(argv(trained / "data", output)) == 130
    assert not (output / "results.json").exists()
    refused(capsys, argv(trained / "data", output, lr=0.1), r"`lr` was 0\.002, now 0\.1", output)
    assert main(argv(trained / "data", output)) == 0
    assert_same(final(output), final(trained / "run"))


def test_a_recipe_of_ones_own_does_not_go_on_with_that_which_it_was_copied_from(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = place / "recipe"
    shutil.copytree(recipes_folder() / "AudioFolder" / "classification", recipe)
    base = recipe / "hparams" / "train.yaml"
    base.write_text(
        base.read_text().replace("labels: [label]", "labels: [kind]").replace("features: 64", "features: 3")
    )
    line = argv(place / "data", place / "run", prepare="null")
    line[1] = str(recipe)
    message = r'`labels` was \["label"\], now \["kind"\]; `features` was 64, now 3'
    refused(capsys, line, message, place / "run")


# Other data


def rename(data: Path) -> None:
    (data / "high").rename(data / "mid")


def add_class(data: Path) -> None:
    shutil.copytree(data / "high", data / "other")


def lose_class(data: Path) -> None:
    shutil.copytree(data / "high", data / "other")
    shutil.rmtree(data / "low")
    shutil.rmtree(data / "high")
    shutil.copytree(data / "other", data / "mid")


def lose_item(data: Path) -> None:
    (data / "high" / "0.wav").unlink()


def add_item(data: Path) -> None:
    write(data / "high" / "new.wav", 1650, 16000)


def lengthen(data: Path) -> None:
    write(data / "high" / "0.wav", 1900, 16000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "holds another run: classes of `label`: 'high' went, 'mid' came; train, of 10 items: 7 went"),
        (add_class, "classes of `label`: 'other' came; "),
        (lose_class, "classes of `label`: 'high', 'low' went, 'mid', 'other' came; "),
        (lose_item, r"another run: train, of 10 items: \d went \('high/\d\.wav'"),
        (add_item, r"another run: train, of 10 items: .*\d came \('high/\w+\.wav'"),
        (lengthen, r"(train|valid|test), of \d+ items: 1 changed \('high/0\.wav'\)" + REST),
    ],
)
def test_other_data_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(place / "data", place / "kept")
    change(place / "data")
    refused(capsys, argv(place / "data", place / "run"), message, place / "run")
    if change is lengthen:  # as they were, the run is known again; and so it is without a preparation
        assert main(argv(place / "data", place / "run", prepare="null")) == 0
        assert main(argv(place / "kept", place / "run")) == 0


def test_manifests_of_ones_own_are_compared_by_their_content(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = place / "own"
    shutil.copytree(place / "run" / "save" / "data", own)
    names = "{" + ", ".join(f"{split}: {own / split}.json" for split in ("train", "valid", "test")) + "}"
    line = argv(place / "data", place / "run", prepare="null", manifests=names)
    assert main(line) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out
    items = json.loads((own / "train.json").read_text())
    changed = next(name for name, item in items.items() if item["label"] == "low")
    items[changed]["label"] = "high"
    (own / "train.json").write_text(json.dumps(items))
    refused(capsys, line, rf"train, of 10 items: 1 changed \('{changed}'\)" + REST, place / "run")
    # another split of the same items
    items[changed]["label"] = "low"
    valid = json.loads((own / "valid.json").read_text())
    valid[changed] = items.pop(changed)
    for split, content in (("train", items), ("valid", valid)):
        (own / f"{split}.json").write_text(json.dumps(content))
    refused(capsys, line, "train, of 10 items: 1 went .*; valid, of 2 items: 1 came", place / "run")


def test_what_a_killed_process_left_is_put_back(tmp_path: Path) -> None:
    save = tmp_path / "save"
    for name in ("data/train.json", "data/features/a.npy", "pieces.model", "checkpoints/CKPT"):
        (save / name).parent.mkdir(parents=True, exist_ok=True)
        (save / name).write_text("before")
    before = state(save)

    def prepare() -> None:
        (save / "data" / "train.json").write_text("in place")
        (save / "data" / "features" / "a.npy").unlink()
        (save / "data" / "more.json").write_text("new")
        (save / "new").write_text("new")

    killed = "import os, sys, pathlib; from seqstride.experiments.run_folder import kept_files\n"
    killed += "with kept_files(pathlib.Path(sys.argv[1]), True): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", killed, str(save)]).returncode == 9
    prepare()
    with kept_files(save, wanted=False):
        assert (save / "new").exists()
        (save / "new").unlink()
        assert state(save) == before
    with kept_files(save, wanted=True):
        prepare()
    assert state(save) == before
    with kept_files(save, wanted=True) as kept:
        prepare()
        kept.let_go()
    assert (save / "data" / "train.json").read_text() == "in place"
    assert sorted(path.name for path in save.iterdir()) == ["checkpoints", "data", "new", "pieces.model"]


# More epochs


def test_more_epochs_are_really_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = place / "run"
    earlier = record(output)
    kept = state(output)
    longer = argv(place / "data", output, number_of_epochs=4)
    end_epoch = ClassificationBrain._end_epoch

    def stop_after_the_third(brain: ClassificationBrain, epoch: int, stats: dict) -> None:
        end_epoch(brain, epoch, stats)
        if epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationBrain, "_end_epoch", stop_after_the_third)
        assert main(longer) == 130
    # until it is finished, the results, the model and the settings beside them are those of the shorter run
    for name in ("results.json", "train.yaml", "model.json", "model.safetensors", "hyperparams.yaml"):
        assert state(output)[Path(name)] == kept[Path(name)]
    refused(capsys, argv(place / "data", output), r"`number_of_epochs` was 4, now 2", output)

    assert main(longer) == 0
    now = record(output)
    assert (earlier["epochs"], earlier["number_of_epochs"]) == (2, 2)
    assert (now["epochs"], now["number_of_epochs"]) == (4, 4)
    assert now["extensions"] == [{"from": 2, "trained": 2}]
    assert now["seconds"] > earlier["seconds"]
    rates = [epoch["lr"] / 0.002 for epoch in final(output)["epochs"]]
    # half a cosine over 2 epochs, then what is left of one over 4
    np.testing.assert_allclose(rates, [1, 0.5, 0.5, 0.5 * (1 - np.sqrt(0.5))])
    assert "number_of_epochs: 4" in (output / "train.yaml").read_text()
    capsys.readouterr()
    assert main(longer) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out


def test_without_checkpoints_there_is_nothing_to_extend(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place / "run" / "save")
    assert main(argv(place / "data", place / "run")) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out
    shutil.rmtree(place / "run" / "save")
    line = argv(place / "data", place / "run", number_of_epochs=3)
    assert main(line) == 2
    assert "holds a finished run of 2 epochs, but no checkpoint to resume from" in capsys.readouterr().err


# Anew


def test_overwriting_is_a_fresh_run_and_touches_nothing_else(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = place / "run"
    for name in ("notes.txt", "save/mine", "model.onnx", "test_only/results.json"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text("mine")
    rename(place / "data")
    line = argv(place / "data", output, "--overwrite", method="max")
    # what is found wrong before training begins leaves everything
    refused(capsys, [*line, "--score", "dev"], "`score` .*'dev'.* must be one of the splits", output)
    refused(capsys, [*line, "--csv", str(place / "none.csv")], "must be a file", output)
    refused(capsys, [*line, "--test_only"], "`--overwrite` deletes the run: it must not be given together", output)

    assert main(line) == 0
    assert main(argv(place / "data", place / "fresh", method="max")) == 0
    assert_same(final(output), final(place / "fresh"))
    assert len((output / "train_log.txt").read_text().splitlines()) == 3
    assert json.loads((output / "model.json").read_text())["labels"] == {"label": ["low", "mid"]}
    left = {path for path in state(output) if "CKPT" not in str(path)}
    fresh = {path for path in state(place / "fresh") if "CKPT" not in str(path)}
    assert left - fresh == {Path("notes.txt"), Path("save/mine")}
    assert fresh <= left
    # without the flag, the folder is now that of the new run
    refused(capsys, argv(place / "data", output), '`downsampler` was "max", now "average"', output)


# Runs that do not train, or only a little


def test_scoring_again_leaves_the_record_of_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = place / "run"
    before = state(output)
    again = argv(place / "data", output, "--test_only", score="valid")
    assert main(again) == 0
    assert record(output / "test_only")["scored"] == "valid"
    assert record(output / "test_only")["test_loss"] == pytest.approx(record(output)["valid_loss"])
    assert {path: kept for path, kept in state(output).items() if "test_only" not in path.parts} == before
    refused(capsys, [*again, "--lr", "0.1"], r"`lr` was 0\.002, now 0\.1", output)
    assert main(["table", str(place)]) == 0
    assert "| `average` |" in capsys.readouterr().out

    # another test part is no reason to refuse, other training data are
    shutil.rmtree(output / "test_only")
    own = place / "own"
    shutil.copytree(output / "save" / "data", own)
    names = "{" + ", ".join(f"{split}: {own / split}.json" for split in ("train", "valid", "test")) + "}"
    line = argv(place / "data", output, "--test_only", prepare="null", manifests=names)
    items = json.loads((own / "test.json").read_text())
    del items[next(iter(items))]
    (own / "test.json").write_text(json.dumps(items))
    assert main(line) == 0
    assert sum(record(output / "test_only")["test_items_per_class"].values()) == len(items)
    assert {path: kept for path, kept in state(output).items() if "test_only" not in path.parts} == before
    shutil.copy(own / "test.json", own / "train.json")
    refused(capsys, line, "train, of 10 items: 10 went", output)


def test_trying_out_leaves_everything_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(place / "run")
    rename(place / "data")
    assert main(argv(place / "data", place / "run", method="max", width=8, debug_batches=1)) == 0
    assert record(place / "run" / "debug")["method"] == "max"
    assert record(place / "run" / "debug")["debug"] is True
    assert "\nNOT REAL (a debug run of a few batches): " in capsys.readouterr().out
    assert {path: kept for path, kept in state(place / "run").items() if "debug" not in path.parts} == before


# Folders of versions that did not say what a run was made from


def test_an_older_run_is_compared_with_its_settings_and_manifests(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = place / "run"
    (output / "made_from.json").unlink()
    results = record(output)
    del results["number_of_epochs"]
    (output / "results.json").write_text(json.dumps(results))
    err = refused(capsys, argv(place / "data", output, lr=0.1), r"`lr` was 0\.002, now 0\.1" + REST, output)
    assert "comes from an older version without made_from.json" in err
    before = state(output)
    assert main(argv(place / "data", output)) == 0
    assert "holds this run, and it is finished" in capsys.readouterr().out
    assert state(output) == before
    rename(place / "data")
    refused(capsys, argv(place / "data", output), "7 went .*, 7 came", output)
    (place / "data" / "mid").rename(place / "data" / "high")
    (output / "train.yaml").unlink()
    refused(capsys, argv(place / "data", output), r"neither made_from\.json nor train\.yaml, which say how", output)


# Several processes


def test_ranks_stop_together_with_one_message(place: Path) -> None:
    before = state(place / "run")
    rename(place / "data")
    for changes, message in (({"lr": 0.1}, "`lr` was 0.002, now 0.1"), ({}, "classes of `label`: 'high' went")):
        start = time.monotonic()
        words = argv(place / "data", place / "run", **changes)
        assert ranks.run(ranks.print_to_file, place, *words) == [2, 2]
        assert time.monotonic() - start < 60
        printed = (place / "printed_0").read_text() + (place / "printed_1").read_text()
        assert printed.count(message) == 1
        assert "Traceback" not in printed
        assert state(place / "run") == before


# Recognisers


def spoken(data: Path, texts: list[str]) -> Path:
    for index, _ in enumerate(texts):
        write(data / "wavs" / f"s-{index:02d}.wav", 9000 + index, 16000)
    lines = [f"s-{index:02d}|{text}" for index, text in enumerate(texts)]
    (data / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data


def recogniser(data: Path, output: Path, **changes: object) -> list[str]:
    options = {"data_folder": data, "output_folder": output, **SPEECH, **changes}
    words = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return ["train", *words_for("LJSpeechFormat/ASR", "average"), *words, "--noprogressbar"]


def test_texts_of_another_alphabet_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latin = [f"AB{'AB' * (index % 3)} BA" for index in range(10)]
    data, output = spoken(tmp_path / "data", latin), tmp_path / "out"
    assert main(recogniser(data, output)) == 0
    weights = (output / "model.safetensors").read_bytes()
    spoken(data, [text.replace("A", "Ж").replace("B", "Щ") for text in latin])
    message = "units: 'A', 'B' went, 'Ж', 'Щ' came; train, of 3 items: 3 changed"
    refused(capsys, recogniser(data, output), message, output)
    # with the same letters
    spoken(data, [text[::-1] for text in latin])
    refused(capsys, recogniser(data, output), r"another run: train, of 3 items: \d changed", output)
    spoken(data, latin)
    assert main(recogniser(data, output, number_of_epochs=2)) == 0
    assert record(output)["epochs"] == 2
    assert (output / "model.safetensors").read_bytes() != weights


def test_pieces_are_learnt_anew_where_the_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = {"units": "pieces", "pieces": "{vocab_size: 8, model_type: bpe}"}
    latin = [f"AB{'AB' * (index % 3)} BA" for index in range(10)]
    data, output = spoken(tmp_path / "data", latin), tmp_path / "out"
    assert main(recogniser(data, output, **pieces)) == 0
    spoken(data, [text.replace("A", "C") for text in latin])
    refused(capsys, recogniser(data, output, **pieces), "train, of 3 items: 3 changed", output)
    assert main([*recogniser(data, output, **pieces), "--overwrite"]) == 0
    assert "C" in "".join(json.loads((output / "model.json").read_text())["units"]["names"])


# Comparisons


@pytest.mark.long  # several whole runs
def test_a_comparison_notices_that_its_data_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = recordings(tmp_path / "data"), tmp_path / "out"
    lost = ["max"]

    def run(children: Children, command: list[str], log: Path, environment: dict[str, str]) -> int:
        """In this process, which is quicker; a lost run dies before it begins."""
        if any(name in command for name in lost):
            log.write_text("lost\n")
            return 1
        with monkeypatch.context() as patch, open(log, "a") as file, redirect_stderr(file):
            patch.setattr(os, "environ", environment)
            return main(command[3:])

    monkeypatch.setattr(Children, "run", run)
    options = ["--methods", "average,max", "--seeds", "0,1", "-o", str(output), *argv(data, output)[4:-1]]
    del options[options.index("--output_folder") : options.index("--output_folder") + 2]
    words = ["compare", "recipes/AudioFolder/classification", *options]
    assert main(words) == 2
    assert "max, seed 0: lost" in capsys.readouterr().err
    finished = state(output / "runs" / "average")
    assert {path.parts[0] for path in finished} == {"0", "1"}

    lost.clear()
    rename(data)
    assert main([*words, "--resume"]) == 2
    said = capsys.readouterr().err
    expected = "seqstride: the data have changed since the finished runs of the comparison: train, of 10 items: 7 went"
    for seed in (0, 1):
        assert f"max, seed {seed}: {expected}" in said
        assert not (output / "runs" / "max" / str(seed) / "made_from.json").exists()
    assert state(output / "runs" / "average") == finished

    (data / "mid").rename(data / "high")
    assert main([*words, "--resume"]) == 0
    assert [run["label"] for run in json.loads((output / "runs.json").read_text())["runs"]] == ["average", "max"] * 2
    assert state(output / "runs" / "average") == finished
    for word in ("--overwrite", "--test_only"):
        assert main([*words, "--resume", word]) == 2
        assert f"must not have {word}" in capsys.readouterr().err


# Estimators


def table(file: Path, changes: dict[str, str] | None = None) -> Path:
    rows = {str(index): "yes" if index % 2 else "no" for index in range(40)} | (changes or {})
    lines = [f"{index},{(37 * int(index)) % 11},{label}" for index, label in rows.items()]
    file.write_text("\n".join(["a,b,label", *lines]) + "\n")
    return file


def estimator(file: Path, output: Path, *flags: str, method: str = "average", **changes: object) -> list[str]:
    small = {"n_epochs": 1, "channels": 4, "strides": "[2]"}
    options = {"data_file": file, "fold": "own", "output_folder": output, **small, **changes}
    words = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return ["train", *words_for("Tabular/classification", method), *words, *flags, "--noprogressbar"]


def test_estimators_follow_the_same_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = table(tmp_path / "own.csv"), tmp_path / "out"
    assert main(estimator(file, output)) == 0
    before = state(output)
    capsys.readouterr()
    moved = tmp_path / "moved.csv"
    shutil.copy(file, moved)
    assert main(estimator(moved, output, threads=2)) == 0
    out = capsys.readouterr().out
    assert f"{output} holds this run, and it is finished: its results are in {output / 'results.json'}." in out
    assert "Nothing was done; --overwrite" in out
    assert state(output) == before
    refused(capsys, estimator(file, output, lr=0.1), r"`lr` was 0\.002, now 0\.1" + REST, output)
    refused(capsys, estimator(file, output, n_epochs=2), "`n_epochs` was 1, now 2" + REST, output)
    refused(capsys, estimator(file, output, method="max"), '`downsampler` was "average", now "max"', output)
    table(file, {"3": "no"})
    refused(capsys, estimator(file, output), r"another run: (train|test), of \d+ items: ", output)
    table(file, {"3": "other", "5": "other", "7": "other", "9": "other"})
    refused(capsys, estimator(file, output), "classes: 'other' came; ", output)
    refused(capsys, estimator(file, output, "--overwrite", label="kind"), "`label` .*'kind'", output)

    (output / "notes.txt").write_text("mine")
    assert main(estimator(file, output, "--overwrite", n_epochs=2)) == 0
    assert record(output)["epochs"] == 2
    assert set(record(output)["test_items_per_class"]) == {"no", "other", "yes"}
    assert (output / "notes.txt").exists()

    # of a version that kept settings only
    (output / "made_from.json").unlink()
    refused(capsys, estimator(file, output, n_epochs=3), "`n_epochs` was 2, now 3", output)
    assert main(estimator(file, output, n_epochs=2)) == 0


# In words


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("data_folder: !PLACEHOLDER\noutput_folder: out", "`--data_folder` must be given"),
        ("output_folder: null", "`output_folder` must be given in train.yaml and must not be null"),
        ("output_folder: out\nsave_folder:", "`save_folder` must be given in train.yaml"),
        ("output_folder: 2024", "`output_folder` (=2024) must be the path of a folder"),
        ("lr: 1", "must have the key `output_folder`"),
    ],
)
def test_a_recipe_says_where_its_runs_go(recipe: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        RunFolder.of(recipe, "average.yaml")


def test_settings_differ_where_they_were_changed_and_nowhere_else() -> None:
    text = "lr: 0.002\nrate: !ref <lr>\nmap: {a: 1, b: [1, 2]}\nnet: !new:a.B\n    width: 3\nthreads: 1\n"
    before = flat_settings(text, "x")
    assert before["net"] == "!new:a.B"
    assert before["map.b"] == [1, 2]

    def changed(old: str, new: str) -> list[str]:
        return changed_settings(before, flat_settings(text.replace(old, new), "x"))

    assert changed("0.002", "2.0e-3") == []
    assert changed("0.002", "0.02") == ["lr"]
    assert changed("[1, 2]", "[1, 3]") == ["map.b"]
    assert changed("a.B", "a.C") == ["net"]
    assert changed("width: 3", "depth: null") == ["net.width", "net.depth"]
    assert changed("threads: 1", "threads: 4") == []


def test_differences_are_counted_with_examples() -> None:
    before = {"train": {str(n): "x" for n in range(9)}, "test": {"t": "x"}}
    now = {"train": {**{str(n): "x" for n in range(2, 9)}, "8": "y", "new": "x"}, "test": {"t": "x"}}
    assert item_differences(before, now) == ["train, of 9 items: 2 went ('0', …), 1 came ('new'), 1 changed ('8')"]
    assert item_differences(before, before) == []
    assert name_differences({"units": list("abcdef")}, {"units": list("f")}) == ["units: 'a', 'b', 'c' and 2 more went"]
    assert name_differences({"units": ["a", "b"]}, {"units": ["b", "a"]}) == ["units: they are in another order"]


def test_paths_count_by_what_stands_behind_the_root(tmp_path: Path) -> None:
    def items(wav: str, text: str = "A") -> dict[str, dict[str, str]]:
        (tmp_path / "m.json").write_text(json.dumps({"a": {"wav": wav, "text": text, "duration": 1.0}}))
        return manifest_items({"train": tmp_path / "m.json"})

    assert items("{data_root}/x/a.wav") != items("{data_root}/y/a.wav")
    assert items("/here/x/a.wav") == items("/there/x/a.wav") != items("/here/x/b.wav")
    assert items("/here/a.wav") != items("/here/a.wav", "B")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
