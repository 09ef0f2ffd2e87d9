"""What runs and commands show: few lines, percent, where everything lies, what to do next, and no noise."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from speechbrain.utils.logger import setup_logging

import seqstride as ss
from seqstride.cli import main, recordings
from seqstride.experiments.screen import LOG_CONFIG, NOISE, EpochTable, closing, in_percent, is_best, without_noise
from seqstride.models import vqvae as codes

VOWELS = "recipes/JapaneseVowels/speaker_id"
FEW = 14
"""Lines of a run beside those of its epochs, at most."""


def argv(output: Path, *more: str, method: str = "adastride", epochs: int = 2) -> list[str]:
    """The command line of a short run."""
    options = ["--number_of_epochs", str(epochs), "--device", "cpu", "--output_folder", str(output)]
    return ["train", VOWELS, "--downsampler", method, *options, *more]


def check_summary(text: str, *kinds: str) -> str:
    """The end of a run tells the result in percent, and paths that exist; the next command."""
    _, _, summary = text.rpartition("\n\n")
    first, *lines = summary.splitlines()
    assert re.match(r"(test|validation) accuracy \d+\.\d %", first)
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert [*rows][-1] == "next"
    for kind in kinds:
        assert all(Path(path).is_file() for path in rows[kind].split("  ")), rows[kind]
    return rows["next"]


# A run


@pytest.fixture(scope="module")
def redirected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of a process of its own, whose output and errors go into one file."""
    output = tmp_path_factory.mktemp("run") / "a folder"
    command = [sys.executable, "-m", "seqstride", *argv(output)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return output, done.stdout


def test_a_run_is_a_few_lines_and_one_for_every_epoch(redirected: tuple[Path, str]) -> None:
    output, text = redirected
    assert len(text.splitlines()) <= FEW + 2
    assert "\r" not in text
    assert not re.search("speechbrain|torchvision|matplotlib|font|it/s|[Ww]arn", text)
    opening, table, _ = text.split("\n\n")
    assert "adastride of JapaneseVowels/speaker_id, seed 1986" in opening
    assert "216 training, 54 validation, 370 test" in opening
    assert str(output) in opening
    titles, *rows = table.splitlines()
    assert re.findall(r"\w+(?: \w+)*", titles)[:5] == ["epoch", "train loss", "valid loss", "valid accuracy", "seconds"]
    assert len(rows) == 2
    history = json.loads(next((output / "save" / "checkpoints").glob("*/history.ckpt")).read_text(encoding="utf-8"))
    for row, epoch in zip(rows, history, strict=True):
        number, train, valid, accuracy, percent, *_ = row.split()
        assert number == f"{epoch['epoch']}/2"
        assert float(train) == pytest.approx(epoch["train"]["loss"], abs=1e-4)
        assert float(valid) == pytest.approx(epoch["valid"]["loss"], abs=1e-4)
        assert float(accuracy) == pytest.approx(100 * epoch["valid"]["accuracy"], abs=0.05)
        assert percent == "%"
    assert rows[0].endswith(" *")


def test_a_run_ends_with_paths_and_a_command_that_works(
    redirected: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    output, text = redirected
    command = check_summary(text, "results", "model", "pictures", "log")
    record = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert f"test accuracy {100 * record['test_accuracy']:.1f} %" in text
    program, *words = shlex.split(command)
    assert program == "seqstride"
    assert main(words) == 0
    assert "`adastride`" in capsys.readouterr().out


def test_everything_else_is_in_the_logs_and_records_are_as_they_were(redirected: tuple[Path, str]) -> None:
    output, text = redirected
    log = (output / "log.txt").read_text(encoding="utf-8")
    for message in ("Beginning experiment!", "Saved an end-of-epoch checkpoint", "Total Number of Parameters"):
        assert message in log
    assert "DEBUG" not in log
    assert text.splitlines()[-1] in log
    *epochs, test = (output / "train_log.txt").read_text(encoding="utf-8").splitlines()
    assert len(epochs) == 2
    record = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert 0 < record["test_accuracy"] < 1
    percent = float(test.rpartition("test accuracy_percent: ")[2])
    assert percent == pytest.approx(100 * record["test_accuracy"], abs=0.01)
    for line in epochs:
        assert all(float(value) > 1 for value in re.findall(r"accuracy_percent: ([\d.e+-]+)", line))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def left_on_screen(text: str) -> list[str]:
    """The lines that stay, of a text that goes back to the beginning of a line."""
    rows = (row.split("\r") for row in text.split("\n"))
    return [kept[-1].rstrip() or "".join(kept[-2:-1]).strip() for kept in rows]


def test_bars_leave_nothing_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert main(argv(tmp_path, method="diffstride", epochs=1)) == 0
    assert re.search(r"\rtrain: +\d+%", screen.getvalue())
    assert not any(screen.getvalue().rpartition("\r")[2].strip())
    assert "\n" not in screen.getvalue()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= FEW + 1
    row = next(line for line in lines if line.strip().startswith("1/1"))
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert " ".join(f"{stride:.2f}" for stride in record["strides"]) in row  # learnt, so they are shown

    # what was stopped says where it goes on
    assert main(argv(tmp_path, "--noprogressbar", method="diffstride", epochs=2)) == 0
    text = capsys.readouterr().out
    assert "after epoch 1" in text
    assert re.search(r"^ +2/2 ", text, re.MULTILINE)
    assert not re.search(r"^ +1/2 ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("UCR/classification", "--downsampler adastride --fold GunPoint --n_epochs 3 --channels 4 --kernel_size 3"),
        ("Tabular/classification", "--downsampler diffstride --fold wine --n_epochs 3 --channels 4"),
        ("Tabular/classification/hparams/forest.yaml", "--fold wine"),
    ],
)
def test_recipes_of_estimators_show_the_same(
    recipe: str, options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"recipes/{recipe}", *options.split(), "--output_folder", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    rows = re.findall(r"^ +(\d)/3 .* %", captured.out, re.MULTILINE)
    assert rows == (["1", "2", "3"] if "n_epochs" in options else [])
    assert len(captured.out.splitlines()) <= FEW + len(rows)
    assert check_summary(captured.out, "results", "details", "log") == f"seqstride table {tmp_path}"
    assert ("strides" in captured.out.split("\n\n")[1]) == ("diffstride" in options)


# What lines say


def test_scores_have_their_units() -> None:
    scores = {"loss": 0.5, "accuracy": 1.0, "digit_accuracy": 0.12345, "usage": 0.0, "WER": 33.0, "unalignable": 3}
    named = in_percent(scores)
    assert named == {
        **{"loss": 0.5, "accuracy_percent": 100, "digit_accuracy_percent": 12.35, "usage_percent": 0},
        **{"WER": 33.0, "unalignable": 3},
    }
    assert type(named["accuracy_percent"]) is int  # SpeechBrain's logger writes 100.0 as 1.00e+02


def test_the_table_shows_every_tasks_scores(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    setup_logging(str(LOG_CONFIG), {"handlers": {"file_handler": {"filename": str(tmp_path / "log.txt")}}})
    table = EpochTable(12, ss.ResNet1d(2, channels=(4,), strides=(2,), downsampler="average").downsamplers)
    train = {"loss": 3.0, "L1": 9.0, "perplexity": 2.0, "usage": 0.25, "unalignable": 1}
    table.add({"epoch": 9, "train": train, "valid": {**train, "WER": 35.55}, "strides": [2.0], "seconds": 61.04}, True)
    titles, row = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:])
    assert titles == (
        "epoch train loss valid loss valid L1 valid perplexity valid usage valid WER seconds * best so far"
    )
    assert row == "9/12 3.0000 3.0000 9.00 dB 2 25.0 % 35.5 % 61.0 *"


@pytest.mark.parametrize(
    ("values", "best"),
    [([3.0], True), ([3.0, 2.0], True), ([2.0, 2.0], True), ([2.0, 3.0], False), ([2.0, float("inf")], False)],
)
def test_the_best_epoch_is_the_one_that_is_kept(values: list[float], best: bool) -> None:
    assert is_best([{"valid": {"loss": value}} for value in values], "loss") is best


def test_a_summary_has_what_a_task_measures(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    metric = {"name": "WER", "value": 35.55, "unit": "%", "lower_is_better": True}
    record = {
        **{"metric": metric, "scored": "valid", "epoch": 7, "epochs": 9, "averaged_epochs": 5},
        "figures": {"valid CER, %": 12.34, "output frames per s": 25.123},
    }
    lines = closing(record, tmp_path, "seqstride transcribe").splitlines()
    assert lines[1] == "validation WER 35.5 %, valid CER 12.3 %, output frames per s 25.1"
    assert lines[2].split(maxsplit=1) == [
        "epoch",
        "mean of the best 5, first of them 7 of 9, chosen on the validation part",
    ]
    assert lines[3:] == [f"results   {tmp_path / 'results.json'}", "next      seqstride transcribe"]


# Tables


def test_one_thing_has_one_name_in_all_tables() -> None:
    assert recordings.WORD_COLUMNS == ["start", "end", "word"]
    assert recordings.UNIT_COLUMNS == ["start", "end", "codes"]
    assert codes.Unit._fields[:2] == ("start", "end")  # of `units --json`


# Warnings


def test_warnings_stay_on_the_screen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    setup_logging(str(LOG_CONFIG), {"handlers": {"file_handler": {"filename": str(tmp_path / "log.txt")}}})
    for name in ("seqstride.brains.base", "speechbrain.core", "matplotlib.font_manager"):
        logging.getLogger(name).warning("of %s", name)
        logging.getLogger(name).info("remark of %s", name)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        *("WARNING: of seqstride.brains.base", "WARNING: of speechbrain.core", "WARNING: of matplotlib.font_manager")
    ]
    assert (tmp_path / "log.txt").read_text().count("remark of ") == 3


def test_noise_is_hidden_inside_only_and_nothing_else_is(caplog: pytest.LogCaptureFixture) -> None:
    noise = [(logging.getLogger(name), start) for name, starts in NOISE.items() for start in starts]
    with without_noise():
        for logger, start in noise:
            logger.warning("%s; this may take a moment.", start)
            logger.warning("another message")
    assert [record.getMessage() for record in caplog.records] == ["another message"] * len(noise)
    caplog.clear()
    for logger, start in noise:
        logger.warning(start)
    assert [record.getMessage() for record in caplog.records] == [start for _, start in noise]
    with without_noise():
        warnings.warn("X is univariate, consider using MiniRocket as Univariante for speedup", stacklevel=1)
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)


def test_importing_hides_nothing() -> None:
    code = (
        "import seqstride, logging, warnings; before = list(warnings.filters);"
        "import seqstride.experiments.screen, seqstride.plots.runs, seqstride.brains.run, seqstride.estimators.run;"
        "loggers = [logging.getLogger(name) for name in seqstride.experiments.screen.NOISE];"
        "assert not any(logger.filters for logger in loggers);"
        "assert not logging.getLogger().handlers, logging.getLogger().handlers;"
        "assert not any('MiniRocket' in str(each) for each in warnings.filters)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.long
def test_a_fresh_machine_is_not_told_about_fonts(tmp_path: Path) -> None:
    """In a home that is no folder, without a cache of fonts."""
    import soundfile
    from tiny_models import resnet, saved, tones

    model = saved(resnet("adastride"), tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", tones(0.3).numpy(), 8000)
    (tmp_path / "home").touch()
    words = ["strides", str(tmp_path / "a.wav"), "--model", str(model), "-o", str(tmp_path / "a.png")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "PYTHONPATH": ":".join(sys.path)}
    environment["TMPDIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "seqstride", *words], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
