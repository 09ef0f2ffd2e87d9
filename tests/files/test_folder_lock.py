"""One command at a time in an output folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from runs import command
from tiny_models import resnet, saved, tones

from seqstride.cli import main
from seqstride.errors import FileError, InputError
from seqstride.files.folder_lock import HOLDER, LOCK, FolderLock, locked
from seqstride.files.whole_files import forget_parts

HOLD = """
import sys
from seqstride.files.folder_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_the_first_is_and_may_begin_when_it_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    first = holder(folder)
    with pytest.raises(InputError, match=rf"/a/run' is in use: process {first.pid} on host '.+' \(since 20.+\) works"):
        FolderLock(folder).take()
    first.communicate("")
    with locked(folder):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    first = holder(tmp_path)
    first.kill()
    first.communicate()
    with locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} "):
        FolderLock(tmp_path).take()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    own = ["results.json", "results.json.part", "a.0123abc.part", "b.0123abcx.part", "save/c.0123abcd.part"]
    for name in (*own, "results.json.0123abcd.part", "line\nbreak.0123abcd.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {*own[:4], "save", LOCK, HOLDER}
    forget_parts(tmp_path, below=True)
    assert list((tmp_path / "save").iterdir()) == []
    for name in ("t.csv", "t.csv2"):
        (tmp_path / f"{name}.0123abcd.part").touch()
    forget_parts(tmp_path, "t.csv")
    assert [path.name for path in tmp_path.glob("t.csv*")] == ["t.csv2.0123abcd.part"]
    forget_parts(tmp_path / "none")


def test_a_folder_that_was_made_for_the_lock_goes_unless_it_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    with locked(folder):
        pass
    assert not folder.parent.exists()
    with locked(folder):
        (folder / "result").touch()
    assert (folder / "result").exists()


def test_several_processes_begin_at_the_same_moment(tmp_path: Path) -> None:
    """One of them gets the lock, each time; the others are refused."""
    code = HOLD.replace('print("held", flush=True)', 'open(f"{sys.argv[2]}/{__import__(\'os\').getpid()}", "x")')
    for trial in range(1):
        marks = tmp_path / f"marks{trial}"
        marks.mkdir()
        words = [sys.executable, "-c", code, str(tmp_path / f"run{trial}"), str(marks)]
        processes = [subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "123"]
        refused = 0
        while refused < 2:
            refused = sum(process.poll() is not None for process in processes)
        errors = [process.communicate("")[1] for process in processes]
        assert len(list(marks.iterdir())) == 1
        assert sum("is in use" in error for error in errors) == 2


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc").exists(), reason="a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(FileError, match="'/proc/run' cannot be written: "):
        FolderLock("/proc/run").take()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> None:
    """The command ends with one line that names this process."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    error = capsys.readouterr().err.strip()
    assert f"is in use: process {os.getpid()} " in error
    assert "\n" not in error


def test_commands_that_write_a_folder_are_refused_while_another_works_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "series.csv"
    pd.DataFrame({"label": ["a", "b"] * 4, **{f"t{step}": range(8) for step in range(8)}}).to_csv(series, index=False)
    recordings, model = tmp_path / "recordings", saved(resnet("average"), tmp_path / "model")
    recordings.mkdir()
    soundfile.write(recordings / "x.wav", tones(0.5).numpy(), 8000)
    out = tmp_path / "out"
    with locked(out):
        before = {path: path.read_bytes() for path in out.iterdir()}
        refused(capsys, *command("average", out))
        refused(capsys, "train", "recipes/Tabular/classification", "--output_folder", out)
        refused(capsys, "compare", "recipes/JapaneseVowels/speaker_id", "--methods", "average", "-o", out)
        refused(capsys, "fit-series", series, series, "-o", out)
        assert {path: path.read_bytes() for path in out.iterdir()} == before
    with locked(tmp_path / "labels.csv.parts"):
        refused(capsys, "classify", recordings, "--model", model, "--csv", tmp_path / "labels.csv")
