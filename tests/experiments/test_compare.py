"""Comparisons of methods: their runs, what is left when some fail or all are stopped, and the figures of the table."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from full_disks import files_of_at_most
from quick import few_vowels
from scipy.stats import ttest_rel

from seqstride import DOWNSAMPLERS
from seqstride.cli import main
from seqstride.errors import FileError
from seqstride.experiments.compare import _last_line
from seqstride.experiments.comparison_plan import choose_methods
from seqstride.experiments.comparison_report import read_comparison, report
from seqstride.experiments.items import unpack_items
from seqstride.experiments.pictures import plot_against_frames, plot_comparison
from seqstride.experiments.processes import one_interrupt
from seqstride.experiments.ranking import rankings
from seqstride.experiments.recipe import recipes_folder
from seqstride.experiments.records import (
    Summary,
    metric_of,
    paired_difference,
    read_record,
    spread_over,
    summarise,
    with_ratio,
)
from seqstride.experiments.score_tables import score_tables
from seqstride.experiments.tables import comparison_table, results_table

RECIPE = "recipes/JapaneseVowels/speaker_id"

# A recipe whose runs take no time, and do what files beside it say
TRAIN = """
import json, os, sys, time
from pathlib import Path
from ruamel.yaml import YAML
from seqstride.errors import FileError
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.records import write_record

HERE = Path(__file__).parent

def main(argv):
    file, *options = [option for option in argv if option != "--noprogressbar"]
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    text = merge_recipe(file, "\\n".join(f"{key[2:]}: {value}" for key, value in pairs.items()))
    hparams = YAML(typ="safe").load(text)
    folder = Path(hparams["output_folder"])
    with open(folder / "starts", "a") as starts:
        print(os.getpid(), file=starts)
    name = f"{Path(file).stem}-{hparams['fold']}-{hparams['seed']}"
    audio = Path(os.environ["SEQSTRIDE_AUDIO_CACHE"])
    audio.mkdir(exist_ok=True)
    (audio / name).touch()
    if (HERE / "pairs").exists():  # two methods must be there at the same time
        (HERE / "pairs" / name).touch()
        for _ in range(3600):
            if len(list((HERE / "pairs").glob(f"*-{hparams['fold']}-{hparams['seed']}"))) == 2:
                break
            time.sleep(0.05)
        else:
            raise ValueError("the other run never came")
    if (HERE / f"stall-{name}").exists():
        time.sleep(600)
    write_record(folder / "results.json", {
        "recipe": "Fake/task", "method": hparams["method"], "seed": hparams["seed"], "fold": hparams["fold"],
        "ratio": hparams["ratio"],
        "test_accuracy": hparams["base"] + 0.01 * hparams["seed"] - 0.1 * (hparams["fold"] == "y"),
        "parameters": 5000, "macs": 2e6, "initial_strides": [2.0], "strides": [2.5], "seconds": 6.0, "epochs": 4,
        "device": "cpu", "threads": int(os.environ["OMP_NUM_THREADS"]), "versions": {"torch": "2", "seqstride": "0"},
    })
    if (HERE / f"hold-{name}").exists():
        time.sleep(600)
    if (HERE / f"fail-{name}").exists():
        raise FileError("the disk is full")
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    folder = tmp_path / "Fake" / "task"
    (folder / "hparams").mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "hparams" / "train.yaml").write_text(
        "method: a\nbase: 0.5\nseed: 7\nfold: x\nfolds: [x, y]\nratio: 4\nratios: [4, 8]\noutput_folder: nowhere\n"
    )
    (folder / "hparams" / "a.yaml").write_text("# as it is\n")
    (folder / "hparams" / "a_better.yaml").write_text("base: 0.75\n")
    return folder


def starts(output: Path) -> dict[str, int]:
    """How often each run was started."""
    return {
        path.parent.relative_to(output / "runs").as_posix(): len(path.read_text().splitlines())
        for path in output.glob("runs/**/starts")
    }


def rows(table: str) -> dict[str, list[str]]:
    """First cell → the others."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


# The real recipe


@pytest.fixture(scope="module")
def vowels(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The command line of a comparison that has been run, and its folder."""
    output = tmp_path_factory.mktemp("compare") / "out"
    options = ["--methods", "average,diffstride", "--seeds", "3,4", "--jobs", "2", "-o", str(output)]
    data = few_vowels(output.parent / "data")
    options += ["--data_folder", str(data), "--device", "cpu", "--number_of_epochs", "1", "--width", "8"]
    argv = ["compare", RECIPE, *options]
    assert main(argv) == 0
    return argv, output


def test_the_table_says_what_the_runs_left(
    vowels: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, output = vowels
    table = (output / "table.md").read_text(encoding="utf-8")
    found = rows(table)
    assert sorted(found) == ["---", "average", "diffstride", "method"]
    accuracies = {}
    for method in ("average", "diffstride"):
        runs = [json.loads((output / f"runs/{method}/{seed}/results.json").read_text()) for seed in (3, 4)]
        assert [run["seed"] for run in runs] == [3, 4]
        assert [run["epochs"] for run in runs] == [1, 1]
        accuracies[method] = np.array([100 * run["test_accuracy"] for run in runs])
        mean = accuracies[method].mean()
        cells = dict(zip(found["method"], found[method], strict=True))
        assert cells["test accuracy, %"].startswith(f"{mean:.1f} ± ")
        assert cells["runs"] == "2"
        assert cells["M MACs per item"] == f"{np.mean([run['macs'] for run in runs]) / 1e6:.3g}"
        for key, title in (("seconds", "training, s"), ("cpu_seconds", "CPU, s")):
            assert cells[title] == f"{np.mean([run[key] for run in runs]):.3g}"
        assert float(cells["frames/s"]) == pytest.approx(runs[0]["output_frames_per_second"], rel=0.01)
        assert all(
            100 * run["test_accuracy"] == pytest.approx(100 * unpack_items(run["items"]).counts.mean()) for run in runs
        )
    difference = (accuracies["diffstride"] - accuracies["average"]).mean()
    assert found["diffstride"][0] == "learnt"
    assert found["diffstride"][2].startswith(f"{difference:+.1f} ± ")
    assert found["average"][:1] + found["average"][2:4] == ["fixed", "–", "–"]
    assert re.fullmatch(r"2, 2, 1 → 2\.\d+, 2\.\d+, 1\.\d+", found["diffstride"][-1])
    assert "mean ± half of its 95 % interval, 2 seeds" in table
    assert "--number_of_epochs 1 --width 8" in table

    # the comparison itself, and a recipe that keeps it among its results
    recipe = tmp_path / "recipe"
    (recipe / "results").mkdir(parents=True)
    shutil.copytree(output, recipe / "results" / "compare_two")
    for folder in (output, recipe):
        assert main(["table", str(folder)]) == 0
        assert capsys.readouterr().out == table


def test_what_is_not_done_is_told_with_what_was_asked_for(vowels: tuple[list[str], Path]) -> None:
    content = read_comparison(vowels[1])
    content["runs"].pop()
    told = "3 of 4 runs (2 methods × 2 seeds) are done; the column `runs` counts those of each method."
    assert told in report(content)


def test_all_records_are_in_one_file(vowels: tuple[list[str], Path]) -> None:
    _, output = vowels
    content = read_comparison(output)
    assert [(run["label"], run["seed"]) for run in content["runs"]] == [
        *(("average", 3), ("diffstride", 3)),
        *(("average", 4), ("diffstride", 4)),
    ]
    for run in content["runs"]:
        record = read_record(output / run["folder"] / "results.json")
        assert record.items() <= run.items()
        assert run["overrides"][-2:] == ["--width", "8"]
        assert run["jobs"] == 2
        assert run["machine"]["cores"] >= 1
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+\+00:00", run["date"])
    stored = json.loads((output / "runs.json").read_text())
    assert {run["items"]["part"] for run in stored["runs"]} == set(stored["parts"])
    assert len(stored["parts"]) == 1, "all runs scored the same items"


def test_the_picture_shows_something(vowels: tuple[list[str], Path]) -> None:
    from matplotlib.image import imread

    pixels = imread(vowels[1] / "comparison.png")
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.05


def test_a_finished_comparison_is_left_alone(
    vowels: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv, output = vowels
    records = sorted(output.glob("runs/**/results.json"))
    logs = sorted(output.glob("runs/**/output.log"))
    before = [path.stat().st_mtime_ns for path in records + logs]
    assert len(before) == 8
    table = (output / "table.md").read_text()

    assert main([*argv, "--resume"]) == 0
    assert main(argv) == 2
    assert "holds runs; add --resume to continue, or choose another -o" in capsys.readouterr().err
    some = ["4" if part == "3,4" else part for part in argv]
    assert main([*some, "--resume"]) == 0
    assert main([*argv, "--resume", "--lr", "0.1"]) == 2
    assert '"8"], now ["--data_folder", ' in capsys.readouterr().err

    assert [path.stat().st_mtime_ns for path in records + logs] == before
    assert (output / "table.md").read_text() == table


def test_a_comparison_goes_on_from_its_records(
    vowels: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv, output = vowels
    kept = tmp_path / "kept"
    kept.mkdir()
    content = json.loads((output / "runs.json").read_text())
    lacking = content["runs"].pop()
    (kept / "runs.json").write_text(json.dumps(content))
    argv = [str(kept) if part == str(output) else part for part in argv]
    assert main([*argv, "--resume"]) == 0
    assert [path.parent.relative_to(kept).as_posix() for path in kept.glob("runs/**/results.json")] == [
        lacking["folder"]
    ]
    runs = json.loads((kept / "runs.json").read_text())["runs"]
    assert runs[:-1] == content["runs"]
    assert [runs[-1][key] for key in ("label", "seed", "strides")] == [
        lacking[key] for key in ("label", "seed", "strides")
    ]
    assert (kept / "table.md").is_file()


# Runs that go wrong


@pytest.mark.long
def test_folds_failures_and_variants(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEQSTRIDE_AUDIO_CACHE", raising=False)
    (fake / "pairs").mkdir()
    (fake / "fail-a_better-y-1").touch()
    output = tmp_path / "out"
    variant = str(fake / "hparams" / "a_better.yaml")
    argv = ["compare", str(fake), "--methods", f"a,{variant}", "--seeds", "1", "--folds", "all", "--jobs", "2"]
    argv += ["-o", str(output)]
    assert main(argv) == 2
    printed = capsys.readouterr()
    log = output / "runs" / "a_better" / "y" / "1" / "output.log"
    assert f"a_better, fold y, seed 1: seqstride: the disk is full ({log})" in printed.err
    assert "1 of the runs failed" in printed.err
    assert "1 of 4 runs failed" in printed.out
    table = (output / "table.md").read_text()
    places = f"results   {output / 'table.md'}  {output / 'runs.json'}\npictures  {output}"
    assert printed.out.startswith(f"{table}\n{places}")
    assert printed.out.endswith(f"next      seqstride table {output}\n")
    # accuracies: a 0.51 and 0.41; a_better 0.76 alone, whose pair is a's 0.51
    found = rows(printed.out)
    assert found["a"][:4] == ["46.0 ± 7.1", "–", "–", "2"]
    assert found["a_better"][:4] == ["76.0", "+25.0", "–", "1"]
    assert "standard deviation over 2 folds" in printed.out
    assert starts(output) == {"a/x/1": 1, "a/y/1": 1, "a_better/x/1": 1, "a_better/y/1": 1}
    record = read_record(output / "runs" / "a" / "x" / "1" / "results.json")
    assert record["threads"] == 1
    # the runs share decoded recordings, which stay until all are finished
    assert len(os.listdir(output / "decoded")) == 4

    # what is finished stays; what failed runs again, though it had left a record
    (fake / "fail-a_better-y-1").unlink()
    assert main([*argv, "--resume"]) == 0
    printed = capsys.readouterr()
    assert not (output / "decoded").exists()
    assert "failed and are missing" not in printed.out
    assert rows(printed.out)["a_better"][:4] == ["71.0 ± 7.1", "+25.0", "–", "2"]
    assert starts(output) == {"a/x/1": 1, "a/y/1": 1, "a_better/x/1": 1, "a_better/y/1": 2}
    labels = [
        (run["label"], run["method"], run["fold"]) for run in json.loads((output / "runs.json").read_text())["runs"]
    ]
    assert labels == [("a", "a", "x"), ("a_better", "a", "x"), ("a", "a", "y"), ("a_better", "a", "y")]

    # a comparison grows: what is finished stays, and every method gets every fold and seed
    before = starts(output)
    more = ["compare", str(fake), "--methods", "a", "--jobs", "2", "-o", str(output), "--resume"]
    assert main([*more, "--seeds", "2", "--folds", "y"]) == 0
    assert starts(output) == {**before, "a/x/2": 1, "a/y/2": 1, "a_better/x/2": 1, "a_better/y/2": 1}
    assert [method for method, cells in rows(capsys.readouterr().out).items() if cells[3] == "4"] == ["a", "a_better"]
    assert main(more) == 2
    assert "other arguments: folds" in capsys.readouterr().err

    # the same command, other hyperparameters
    (fake / "hparams" / "a_better.yaml").write_text("base: 0.8\n")
    assert main([*argv, "--resume"]) == 2
    assert "other arguments: the settings of a_better have changed" in capsys.readouterr().err
    # a comparison of an older version has no digests of settings
    content = json.loads((output / "runs.json").read_text())
    del content["arguments"]["settings"]
    (output / "runs.json").write_text(json.dumps(content))
    assert main([*argv, "--resume"]) == 0


def test_a_full_disk_is_told_before_the_runs_and_before_each_of_them(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    argv = ["compare", str(fake), "--methods", "a", "--seeds", "1", "-o", str(output)]
    with files_of_at_most(100_000):
        assert main(argv) == 2
    assert capsys.readouterr().err == f"seqstride: '{output}' must have room for 16 MB: File too large\n"
    assert not output.exists()

    (tmp_path / "output.log").touch()
    assert _last_line(tmp_path / "output.log") == "it printed nothing"
    with files_of_at_most(100_000):
        assert _last_line(tmp_path / "output.log").startswith(f"'{tmp_path}' must have room for 16 MB")

    def fills_up(folder: Path) -> None:
        if folder != output:
            raise FileError(f"'{folder}' must have room")

    monkeypatch.setattr("seqstride.experiments.compare.check_room", fills_up)
    assert main(argv) == 2
    assert f"\na, seed 1: '{output / 'runs/a/1'}' must have room\n" in capsys.readouterr().err
    assert starts(output) == {}


@pytest.mark.long  # several whole runs
def test_ratios_are_a_dimension_of_their_own(fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    argv = ["compare", str(fake), "--methods", "a", "--seeds", "1", "--folds", "all", "-o", str(output)]
    assert main([*argv, "--ratios", "4"]) == 0
    assert starts(output) == {"a/x/4/1": 1, "a/y/4/1": 1}
    assert main([*argv, "--ratios", "all", "--resume"]) == 0
    assert starts(output) == {"a/x/4/1": 1, "a/y/4/1": 1, "a/x/8/1": 1, "a/y/8/1": 1}
    content = json.loads((output / "runs.json").read_text())
    assert content["arguments"]["ratios"] == [4, 8]
    found = [(run["fold"], run["ratio"]) for run in content["runs"]]
    assert found == [("x", 4), ("x", 8), ("y", 4), ("y", 8)]
    assert "| method | 4 | 8 |" in capsys.readouterr().out
    assert (output / "comparison.png").is_file(), "these records have no frames per second"
    assert main([*argv, "--resume"]) == 2
    assert "other arguments: ratios [4, 8], now null" in capsys.readouterr().err


@pytest.mark.long  # several whole runs
def test_a_comparison_whose_folds_were_ratios_grows(fake: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    argv = ["compare", str(fake), "--methods", "a", "--seeds", "1", "-o", str(output)]
    assert main([*argv, "--ratios", "4"]) == 0
    content = json.loads((output / "runs.json").read_text())
    (run,) = content["runs"]
    del run["ratio"], content["arguments"]["ratios"]
    run |= {"fold": "4", "folds_are": "overall strides"}
    content["arguments"] |= {"folds": ["4"], "settings": {"a": "of other names"}}
    (output / "runs.json").write_text(json.dumps(content))
    assert main([*argv, "--ratios", "8", "--resume"]) == 0
    assert starts(output) == {"a/4/1": 1, "a/8/1": 1}
    runs = json.loads((output / "runs.json").read_text())["runs"]
    assert [(run["fold"], run["ratio"]) for run in runs] == [(None, 4), ("x", 8)]


@pytest.mark.long
def test_a_stopped_comparison_goes_on(fake: Path, tmp_path: Path) -> None:
    hold = fake / "hold-a_better-x-0"
    hold.touch()
    output = tmp_path / "out"
    argv = ["compare", str(fake), "--methods", "a,a_better", "--seeds", "0", "-o", str(output)]
    command = [sys.executable, "-m", "seqstride", *argv]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    held = output / "runs" / "a_better" / "0"
    errors = tmp_path / "errors"
    with open(errors, "w") as file, subprocess.Popen(command, env=environment, stderr=file) as running:
        until = time.monotonic() + 180
        while not (held / "results.json").is_file():
            assert running.poll() is None, errors.read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        running.terminate()  # as Ctrl-C, which processes in the background of a script do not hear
        assert running.wait(30) == 130
    assert "seqstride: stopped; run the same command with --resume to resume" in errors.read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int((held / "starts").read_text()), 0)
    assert not (held / "results.json").exists(), "its process did not end by itself"

    finished = output / "runs" / "a" / "0" / "results.json"
    before = finished.stat().st_mtime_ns
    hold.unlink()
    assert main([*argv, "--resume"]) == 0
    assert finished.stat().st_mtime_ns == before
    assert starts(output) == {"a/0": 1, "a_better/0": 2}
    assert rows((output / "table.md").read_text())["a_better"][:2] == ["75.0", "+25.0"]


def alive(process: int) -> bool:
    """Whether a process runs; one that is dead but not yet buried does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(") ")[2][0] != "Z"


@pytest.mark.long
def test_a_killed_comparison_takes_its_runs_along(fake: Path, tmp_path: Path) -> None:
    stalls = [fake / f"stall-{method}-x-0" for method in ("a", "a_better")]
    for stall in stalls:
        stall.touch()
    output = tmp_path / "out"
    argv = ["compare", str(fake), "--methods", "a,a_better", "--seeds", "0", "--jobs", "2", "-o", str(output)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-m", "seqstride", *argv], env=environment) as running:
        until = time.monotonic() + 180
        while len(starts(output)) < 2:
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        processes = [int(path.read_text()) for path in output.glob("runs/**/starts")]
        assert all(alive(process) for process in processes)
        running.kill()
    until = time.monotonic() + 20
    while any(alive(process) for process in processes):
        assert time.monotonic() < until, "the runs go on without the comparison"
        time.sleep(0.05)

    for stall in stalls:
        stall.unlink()
    assert main([*argv, "--resume"]) == 0
    assert starts(output) == {"a/0": 2, "a_better/0": 2}
    assert rows((output / "table.md").read_text())["a_better"][:2] == ["75.0", "+25.0"]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_the_next_ones_do_not_break_the_ending(first: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ended = False

    def work() -> None:
        nonlocal ended
        try:
            signal.raise_signal(first)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            ended = True

    with pytest.raises(KeyboardInterrupt), one_interrupt():
        work()
    assert ended
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_no_run_succeeds(fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fake / "train.py").write_text("def main(argv):\n    raise SystemExit\n")
    assert main(["compare", str(fake), "--methods", "a", "--seeds", "0", "-o", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert "a, seed 0: left no record" in printed.err
    assert printed.out == ""
    assert not (tmp_path / "out" / "table.md").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "a,b"], r"`methods` \(='b'\) must be files in .*; this recipe has a, a_better"),
        (["--methods", "train"], r"`methods` \(='train'\) must be files in"),
        (["--methods", f"{RECIPE}/hparams/diffstride.yaml"], "this recipe has a, a_better"),
        (["--methods", "a,a.yaml"], r"`methods` \(='a.yaml'\) must be given once"),
        (["--folds", "x,z"], r"`folds` \(=\['x', 'z'\]\) must be all, or some of x, y, each once"),
        (["--ratios", "4,x"], r"`ratios` \(=x\) must be positive numbers"),
        (["--ratios", "4,4.0"], r"`ratios` \(=\[4, 4\]\) must be all, or different numbers"),
        (["--ratio", "4"], "must not have --ratio: --ratios lists them"),
        (["--seeds", "1,x"], r"`--seeds` \(='1,x'\) must be whole numbers"),
        (["--seeds", "1,1"], "must be one or more different whole numbers"),
        (["--jobs", "0"], r"`jobs` \(=0\) must be at least 1"),
        (["--bass", "1"], "`bass` is not a key of train.yaml; near matches: base"),
        (["--seed", "1"], "must not have --seed: --seeds lists them"),
        (["--output_folder=here"], "must not have --output_folder: -o is the folder of all runs"),
        (["--debug_epochs", "1"], "must not have --debug_epochs: a debug run leaves nothing to compare"),
        (["more"], r"`overrides` \(=more\) must be pairs"),
    ],
)
def test_wrong_arguments_are_named_before_anything_runs(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    output = tmp_path / "out"
    argv = ["compare", str(fake), "-o", str(output), *options]
    assert main(argv) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()


def test_a_comparison_is_one_process(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["compare", str(fake), "-o", str(tmp_path / "out")]) == 2
    assert "must be started as one process" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_recipe_without_folds_and_what_is_no_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compare", RECIPE, "--folds", "all", "-o", str(tmp_path / "out")]) == 2
    assert "has no folds: it must have the keys `folds: [a, b, …]` and `fold`" in capsys.readouterr().err
    assert main(["compare", RECIPE, "--ratios", "4", "-o", str(tmp_path / "out")]) == 2
    assert "has no ratios: it must have the keys `ratios: [4, 8, …]` and `ratio`" in capsys.readouterr().err
    assert main(["compare", f"{RECIPE}/hparams", "-o", str(tmp_path / "out")]) == 2
    assert "must be a folder with train.py and hparams/train.yaml" in capsys.readouterr().err


def test_runs_of_unknown_origin_are_left_alone(fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "runs").mkdir(parents=True)
    assert main(["compare", str(fake), "-o", str(tmp_path / "out"), "--resume"]) == 2
    assert "holds runs, but no runs.json" in capsys.readouterr().err


def test_all_methods_of_the_package_are_the_default() -> None:
    files = choose_methods(recipes_folder() / "JapaneseVowels" / "speaker_id", None)
    assert list(files)[: len(DOWNSAMPLERS)] == list(DOWNSAMPLERS)
    assert "train" not in files


# Figures


def runs(method: str, values: dict[tuple[int, str | None], float], **more: Any) -> list[dict[str, Any]]:
    """Records of constructed accuracies: (seed, fold) → per cent."""
    rest = {"parameters": 5000, "macs": 2e6, "initial_strides": [2.0], "strides": [2.0], "seconds": 6.0, "epochs": 4}
    return [
        {"method": method, "seed": seed, "fold": fold, "test_accuracy": value / 100, **rest, **more}
        for (seed, fold), value in values.items()
    ]


FIRST = {(1, "x"): 90.0, (1, "y"): 80.0, (2, "x"): 92.5, (2, "y"): 83.0, (3, "x"): 91.0, (3, "y"): 82.0}
SECOND = {(3, "y"): 84.5, (1, "y"): 80.5, (1, "x"): 91.0, (2, "x"): 92.0, (2, "y"): 86.0, (4, "x"): 10.0}


def test_pairs_are_runs_of_the_same_seed_and_fold() -> None:
    found = paired_difference(runs("b", SECOND), runs("a", FIRST))
    keys = [(1, "x"), (1, "y"), (2, "x"), (2, "y"), (3, "y")]
    mine, theirs = ([values[key] for key in keys] for values in (SECOND, FIRST))
    assert found is not None
    assert found.pairs == 5
    assert found.mean == pytest.approx(np.mean(mine) - np.mean(theirs))
    assert found.p == pytest.approx(ttest_rel(mine, theirs).pvalue)
    row = rows(comparison_table([*runs("b", SECOND), *runs("a", FIRST)], ["a", "b"]))["b"]
    assert row[1:3] == [f"{found.mean:+.1f}", f"{ttest_rel(mine, theirs).pvalue:.3f}"]


def test_no_p_without_enough_pairs_or_spread() -> None:
    base = {(seed, None): 90.0 + seed for seed in range(4)}
    two = paired_difference(runs("b", {(0, None): 91.0, (1, None): 93.0}), runs("a", base))
    assert (two.mean, two.p, two.pairs) == (pytest.approx(1.5), None, 2)
    same = paired_difference(runs("b", {key: value + 0.3 for key, value in base.items()}), runs("a", base))
    assert (same.mean, same.p, same.pairs) == (pytest.approx(0.3), None, 4)
    assert paired_difference(runs("b", {(9, None): 91.0}), runs("a", base)) is None


def test_what_the_spread_is_over() -> None:
    both = runs("a", FIRST)
    assert spread_over(both) == "seeds of the mean over folds"
    (summary,) = summarise(both)
    means = [85.0, 87.75, 86.5]
    assert summary.mean == pytest.approx(statistics.mean(means))
    assert summary.spread == pytest.approx(statistics.stdev(means))
    assert summary.values == pytest.approx(list(FIRST.values()))
    assert "over 3 seeds of the mean over 2 folds" in comparison_table(both, ["a"])
    assert rows(results_table(both))["a"][:2] == ["86.4 ± 1.4", "3 × 2 folds"]

    folds = runs("a", {key: value for key, value in FIRST.items() if key[0] == 2})
    assert spread_over(folds) == "folds"
    assert summarise(folds)[0].spread == pytest.approx(statistics.stdev([92.5, 83.0]))

    seeds = runs("a", {key: value for key, value in FIRST.items() if key[1] == "x"})
    assert spread_over(seeds) == "seeds"
    assert summarise(seeds)[0].spread == pytest.approx(statistics.stdev([90.0, 92.5, 91.0]))
    assert summarise(seeds[:1])[0].spread is None
    assert "one run" in comparison_table(seeds[:1], ["a"])


def test_other_metrics_and_parts() -> None:
    word_errors = {"name": "WER", "unit": "%", "lower_is_better": True}
    records = [
        {**record, "metric": {**word_errors, "value": value}}
        for record, value in zip(runs("a", {(1, None): 0, (2, None): 0}), (12.0, 14.0), strict=True)
    ]
    table = comparison_table(records, ["a"])
    assert rows(table)["method"][0] == "test WER, %"
    assert rows(table)["a"][0] == "13.0 ± 1.4"
    assert "Test WER, %: mean ± standard deviation over 2 seeds; lower is better." in table
    metres = [{**record, "metric": {**record["metric"], "unit": "", "value": 0.01234}} for record in records]
    assert rows(results_table(metres))["a"][0] == "0.0123 ± 0"

    valid = runs("a", {(1, None): 90.0, (2, None): 91.0}, scored="valid")
    assert rows(results_table(valid))["method"][0] == "validation accuracy, %"
    assert "The test part was not touched." in comparison_table(valid, ["a"])
    for other in (valid, records):
        with pytest.raises(ValueError, match="must all have the same metric and scored part"):
            metric_of([*runs("b", FIRST), *other])
    with pytest.raises(ValueError, match="test accuracy, %; validation accuracy, %"):
        results_table([*runs("b", FIRST), *valid])


def test_a_record_needs_a_value(tmp_path: Path) -> None:
    record = {**runs("a", {(1, None): 90.0})[0], "recipe": "r", "device": "cpu", "versions": {}}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(record))
    assert read_record(path) == record
    del record["test_accuracy"]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="it lacks test_accuracy"):
        read_record(path)
    path.write_text(json.dumps({**record, "metric": {"value": 1.0}}))
    assert read_record(path)["metric"]["value"] == 1.0


def test_the_picture_has_every_run_and_the_means() -> None:
    records = [*runs("a", FIRST), *runs("b", SECOND, macs=3e6)]
    summaries = summarise(records, ["a", "b"])
    figure = plot_comparison(summaries, title="test accuracy, %", over="seeds")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["a", "b"]
    assert left.get_ylabel() == "test accuracy, %"
    drawn = [line.get_ydata() for line in left.lines if len(line.get_ydata()) == 6]
    np.testing.assert_allclose(drawn, [list(FIRST.values()), list(SECOND.values())])
    for container, summary in zip(left.containers, summaries, strict=True):
        (bar,) = container[2][0].get_segments()
        np.testing.assert_allclose(bar[:, 1], [summary.mean - summary.spread, summary.mean + summary.spread])
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in right.lines]
    np.testing.assert_allclose(points, [(2.0, summaries[0].mean), (3.0, summaries[1].mean)])
    assert "mean ± standard deviation" in left.get_title()
    single = plot_comparison(summarise(records[:1]), title="test accuracy, %", over="seeds").axes[0]
    assert single.get_title() == "one run of each"
    with pytest.raises(ValueError, match="`summaries`"):
        plot_comparison([], title="", over="")


def test_costs_that_are_nearly_equal_have_numbers_apart() -> None:
    names = ("merge", "adastride_context_with_a_long_name")
    summaries = [Summary(name, [0.5], 0.5, None, 124_656_000.0 + 1e5 * place) for place, name in enumerate(names)]
    figure = plot_comparison(summaries, title="", over="")
    figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in figure.axes[1].get_xticklabels() if tick.get_text()]
    assert len(boxes) > 2
    assert all(left.x1 + 5 < right.x0 for left, right in pairwise(boxes))


STRIDES = {(seed, fold): float(value + seed) for fold, value in (("16", 40), ("8", 60)) for seed in (1, 2, 3)}


def at_ratios(method: str, values: dict[tuple[int, str | None], float], share: float) -> list[dict[str, Any]]:
    """Records whose folds are ratios; the stride at the end is `share` of it."""
    records = [run | {"folds_are": "overall strides"} for run in runs(method, values)]
    return [with_ratio(run | {"strides": [share * float(run["fold"]), 1.0]}) for run in records]


def test_ratios_have_intervals() -> None:
    records = [*at_ratios("a", STRIDES, 1), *at_ratios("b", {**STRIDES, (1, "4"): 70.0}, 0.5)]
    title, table, *_ = score_tables(records, ["a", "b"]).split("\n\n")
    assert title == "Test accuracy, %, by the ratio of input frames to output frames:"
    half = 4.303 / 3**0.5  # the quantile of two degrees of freedom, and a deviation of 1
    assert table.splitlines()[0] == "| method | 4 | 8 | 16 |"
    assert table.splitlines()[2:] == [
        f"| `b` | 70.0 | 62.0 ± {half:.1f} | 42.0 ± {half:.1f} |",
        f"| `a` | – | 62.0 ± {half:.1f} | 42.0 ± {half:.1f} |",
    ]


def test_the_picture_against_frames_shows_learnt_strides_where_they_end() -> None:
    records = [*at_ratios("average", STRIDES, 1), *at_ratios("diffstride", STRIDES, 0.5)]
    with pytest.raises(ValueError, match="output frames per second; there are none"):
        plot_against_frames(rankings(records), ["average", "diffstride"])
    records = [run | {"output_frames_per_second": 100 / run["strides"][0]} for run in records]
    (axis,) = plot_against_frames(rankings(records), ["average", "diffstride"]).axes
    found = {line.get_label(): [line.get_xdata().tolist(), line.get_ydata().tolist()] for line in axis.lines}
    assert found == {
        "average (fixed)": [[6.25, 12.5], [42.0, 62.0]],
        "diffstride (learnt)": [[12.5, 25.0], [42.0, 62.0]],
    }
    edges = axis.collections[0].get_paths()[0].vertices[:, 1]
    half = 4.303 / 3**0.5
    assert (edges.min(), edges.max()) == pytest.approx((42 - half, 62 + half), abs=1e-3)
    assert axis.get_ylabel() == "test accuracy, %"
    assert axis.get_xscale() == "log"
    assert axis.get_xlabel() == "output frames per second, at the end of training"

    # runs of units spend bits
    records = [run | {"bits_per_second": 7 * run["output_frames_per_second"]} for run in records]
    (axis,) = plot_against_frames(rankings(records), ["average", "diffstride"]).axes
    assert axis.get_xlabel() == "bits per second, durations included"
    assert axis.lines[0].get_xdata().tolist() == [7 * 6.25, 7 * 12.5]


def test_many_methods_can_be_told_apart() -> None:
    summaries = summarise([run for n in range(20) for run in runs(f"m{n}", FIRST)])
    right = plot_comparison(summaries, title="", over="seeds").axes[1]
    assert len({(line.get_color(), line.get_marker()) for line in right.lines}) == 20
