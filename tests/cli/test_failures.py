"""How commands end: one line for mistakes of users, a log for errors in the program, quiet where nobody reads."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import seqstride
from seqstride.cli import main
from seqstride.errors import DownloadError, FileError, InputError, MissingExtraError, made_as_asked
from seqstride.experiments.recipe import list_recipes, recipes_folder
from seqstride.failures import log_errors_in, run_command


def raising(error: BaseException) -> Callable[[Sequence[str]], int]:
    def run(argv: Sequence[str]) -> int:
        raise error

    return run


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("kind", [InputError, FileError, MissingExtraError, DownloadError])
def test_what_users_can_mend_is_one_line(
    kind: type[Exception], capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    assert run_command(raising(kind("`x` (=3)\n   must be 4")), []) == 2
    assert capsys.readouterr().err == "seqstride: `x` (=3) must be 4\n"
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("error", [ValueError("a"), RuntimeError("a"), KeyError("a"), ImportError("a"), OSError("a")])
def test_errors_in_the_program_keep_their_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    assert run_command(raising(error), []) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"seqstride: {type(error).__name__}: ")
    assert printed.count("\n") == 1
    assert "Traceback" not in printed
    [log] = temporary.iterdir()
    assert str(log) in printed
    text = log.read_text()
    assert "Traceback" in text
    assert "in run" in text

    # a second one has a log of its own
    assert run_command(raising(error), []) == 1
    assert len(list(temporary.iterdir())) == 2
    assert log.read_text() == text


def test_the_log_goes_to_the_folder_of_the_run(
    capsys: pytest.CaptureFixture[str], temporary: Path, tmp_path: Path
) -> None:
    def run(argv: Sequence[str]) -> int:
        log_errors_in(tmp_path / "run")
        raise AssertionError

    (tmp_path / "run").mkdir()
    assert run_command(run, []) == 1
    [log] = (tmp_path / "run").iterdir()
    assert f"its traceback is in {log}" in capsys.readouterr().err
    # and only of that run
    assert run_command(raising(AssertionError()), []) == 1
    assert len(list((tmp_path / "run").iterdir())) == len(list(temporary.iterdir())) == 1


def test_without_a_place_for_the_log_the_traceback_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "none")
    assert run_command(raising(ValueError("a")), []) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "seqstride: ValueError: a" in printed


@pytest.mark.parametrize("error", [InputError("a"), KeyError("a")])
def test_debug_lets_the_error_through(error: Exception, temporary: Path) -> None:
    with pytest.raises(type(error)):
        run_command(raising(error), ["--debug"])
    assert not list(temporary.iterdir())
    seen: list[str] = []
    assert run_command(seen.extend, ["a", "--debug", "b"]) == 0
    assert seen == ["a", "b"]


@pytest.mark.parametrize("words", [["recipes", "--debug"], ["--debug", "recipes"]])
def test_debug_stands_anywhere(words: list[str]) -> None:
    assert main(words) == 0


def test_a_full_disk_or_a_locked_folder_is_no_error_in_the_program(
    capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    locked = PermissionError(errno.EACCES, "Permission denied", "/lock/x")
    assert [run_command(raising(error), []) for error in (full, locked)] == [2, 2]
    assert capsys.readouterr().err == ("seqstride: No space left on device\nseqstride: '/lock/x': Permission denied\n")
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_too_little_memory_says_what_to_do(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(error), []) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("seqstride: out of memory: use smaller batches")
    assert "--device cpu" in printed


def test_real_memory_ends_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda argv: torch.empty(1 << 60, dtype=torch.uint8).numel(), []) == 2
    assert "out of memory" in capsys.readouterr().err


PRINTER = """
import sys
from seqstride.failures import run_command

def run(argv):
    for number in range(int(argv[0])):
        print(number)

sys.exit(run_command(run, sys.argv[1:]))
"""


@pytest.mark.parametrize(("lines", "unbuffered"), [(2, ""), (100_000, "1")])
def test_nobody_reads_on(lines: int, unbuffered: str) -> None:
    """As with `| head -1`: the pipe breaks while printing, or at the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", PRINTER, str(lines)]
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=environment) as running:
        os.close(writer)
        os.close(reader)
        assert running.communicate(timeout=60)[1] == b""
    assert running.returncode == 141


@pytest.mark.parametrize("start", [["-m", "seqstride"], ["{bin}/seqstride"], ["-m", "seqstride.cli.leash"]])
def test_ctrl_c_while_torch_is_imported_is_one_line(start: list[str], tmp_path: Path) -> None:
    root = Path(seqstride.__file__).parents[1]
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    (tmp_path / "seqstride").write_text("import sys\nfrom seqstride.cli import main\nsys.exit(main())\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}

    def stopped(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, cwd=tmp_path)

    done = stopped(*(word.format(bin=tmp_path) for word in start), "recipes")
    assert (done.stdout, done.stderr) == ("", "seqstride: stopped\n")
    assert done.returncode == -signal.SIGINT
    # other programs that import the package are left alone
    assert "Traceback" in stopped("-c", "import seqstride").stderr


def test_a_pipe_inside_the_program_is_an_error(capsys: pytest.CaptureFixture[str], temporary: Path) -> None:
    assert run_command(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")), []) == 1
    assert "its traceback is in" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted(list_recipes()))
def test_every_recipe_fails_as_the_command_does(recipe: str) -> None:
    text = (recipes_folder() / recipe / "train.py").read_text(encoding="utf-8")
    assert re.search(r'if __name__ == "__main__":\n    sys\.exit\(run_command\(main, sys\.argv\[1:\]\)\)\n$', text)


def test_a_recipe_run_as_a_script_says_one_line(tmp_path: Path) -> None:
    folder = recipes_folder() / "JapaneseVowels" / "speaker_id"
    command = [sys.executable, "train.py", "hparams/train.yaml", "--widht", "3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "`widht` is not a key of train.yaml; near matches: width" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [TypeError("no such argument"), ValueError("too many"), OSError("not there")])
def test_what_the_user_asked_for_and_is_refused_names_the_key(error: Exception) -> None:
    with pytest.raises(InputError, match=f"`opt_class` cannot be used: {error}"), made_as_asked("opt_class"):
        raise error
    with pytest.raises(KeyError), made_as_asked("opt_class"):
        raise KeyError
