"""Files are whole or not there: full disks, several writers, interrupts, errors of the work, modes and links."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from full_disks import files_of_at_most

from seqstride.brains.checkpoints import Checkpointer
from seqstride.errors import FileError, InputError
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.plots.runs import plot_training


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file that is there already, and that nothing else may stand beside at the end."""
    path = tmp_path / "file"
    path.write_text("before")
    yield path
    assert os.listdir(tmp_path) == ["file"]


def test_file_and_folder_are_on_the_disk_before_and_after_the_file_takes_its_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(stat.S_ISDIR(os.fstat(fd).st_mode)), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths))[1])
    with whole_file(file) as part:
        part.write_text("after")
    assert calls == [False, "replace", True]
    assert file.read_text() == "after"


def test_two_writers_have_files_of_their_own(file: Path) -> None:
    with whole_file(file) as first:
        first.write_text("first")
        with whole_file(file) as second:
            second.write_text("second")
        assert file.read_text() == "second"
    assert file.read_text() == "first"


def test_many_threads_leave_one_whole_file(file: Path) -> None:
    errors = []

    def write(letter: str) -> None:
        try:
            for _ in range(10):
                with whole_file(file) as part, open(part, "w") as opened:
                    opened.writelines([letter] * 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert file.read_text() in {letter * 1000 for letter in "abcd"}


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("shapes cannot be multiplied"),
        ValueError("a wrong value"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a recording.wav"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        InputError("`x` must be y"),
        FileError("'another file' cannot be read"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_work_comes_through_as_it_is_and_leaves_nothing(file: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, whole_file(file) as part:  # noqa: PT012
        part.write_text("half of")
        raise error
    assert raised.value is error
    assert file.read_text() == "before"


def python_writes(part: Path) -> None:
    part.write_bytes(bytes(100_000))


def torch_writes(part: Path) -> None:
    torch.save({"weight": torch.zeros(100_000)}, part)


def torch_writes_to_an_open_file(part: Path) -> None:
    with open(part, "wb") as opened:
        torch.save({"weight": torch.zeros(100_000)}, opened)


# in the middle, and at the last byte: torch's writer says something else there
@pytest.mark.parametrize("missing", [50_000, 1])
@pytest.mark.parametrize("write", [python_writes, torch_writes, torch_writes_to_an_open_file])
def test_a_full_disk_is_an_error_of_writing(file: Path, write, missing: int) -> None:
    with whole_file(file) as part:
        write(part)
        size = part.stat().st_size
        part.write_text("before")
    with (
        files_of_at_most(size - missing),
        pytest.raises(FileError, match=rf"^'{file}' could not be written: "),
        whole_file(file) as part,
    ):
        write(part)
    assert file.read_text() == "before"


def test_the_message_names_the_file_and_the_reason_only(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(FileError) as raised, whole_file(path) as part:
        part.write_text("x")
    assert str(raised.value) == f"{str(path)!r} could not be written: No such file or directory"
    with pytest.raises(FileError) as raised, whole_file(tmp_path) as part:
        part.write_text("x")
    assert str(raised.value) == f"{str(tmp_path)!r} could not be written: Is a directory"
    assert os.listdir(tmp_path) == []
    assert not [name for name in os.listdir(tmp_path.parent) if name.endswith(".part")]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_every_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with whole_file(tmp_path / "file") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_file_keeps_its_mode(file: Path, mode: int) -> None:
    file.chmod(mode)
    with whole_file(file) as part:
        part.write_text("after")
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert file.read_text() == "after"


def test_a_link_stays_and_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "file")
    with whole_file(tmp_path / "link") as part:
        part.write_text("after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "store" / "file").read_text() == "after"
    with whole_file(os.devnull) as part:
        part.write_text("x")
    assert not Path(os.devnull).is_file()
    assert sorted(os.listdir(tmp_path)) == ["link", "store"]


def test_a_long_name_is_no_longer_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("ß" * 125)
    with whole_file(path) as part:
        part.write_text("x")
    assert path.read_text() == "x"


def test_pictures_are_whole_and_of_a_known_kind(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_training(
        [{"epoch": 1, "train": {"loss": 1.0}, "valid": {"loss": 1.0}, "strides": [2.0], "local_strides": [[1.0, 2.0]]}]
    )
    (tmp_path / "a.PNG").write_text("before")
    with files_of_at_most(1000), pytest.raises(FileError, match="could not be written"):
        save_figure(figure, tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_text() == "before"
    save_figure(figure, tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes()[1:4] == b"PNG"
    (tmp_path / "a.PNG").unlink()
    with pytest.raises(InputError, match=r"a.sound' must have the extension of a picture: .*\.png"):
        save_figure(figure, tmp_path / "a.sound")


def test_a_checkpoint_says_that_it_cannot_be_written_only_where_that_is_so(tmp_path: Path) -> None:
    class Broken(torch.nn.Linear):
        def state_dict(self, *args, **kwargs):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    keeper = Checkpointer(tmp_path, {"layer": torch.nn.Linear(100, 100)})
    keeper.save_checkpoint()
    before = os.listdir(tmp_path)
    with files_of_at_most(1000), pytest.raises(FileError, match="no checkpoint could be written"):
        keeper.save_checkpoint()
    with pytest.raises(RuntimeError, match=r"^CUDA error"):
        Checkpointer(tmp_path, {"layer": Broken(1, 1)}).save_checkpoint()
    assert os.listdir(tmp_path) == before
