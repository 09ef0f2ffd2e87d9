"""Room on a disk: what is held, what is refused, and what the error says."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from full_disks import files_of_at_most

from seqstride.errors import FileError
from seqstride.files import room
from seqstride.files.room import ROOM, check_room, room_kept, write_reason


def unsupported(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize("reserves", [True, False], ids=["reserved", "written"])
def test_a_folder_without_room_is_refused_and_one_with_it_is_held(
    reserves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reserves:
        monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    words = rf"^'{tmp_path}' must have room for 16 MB: File too large$"
    with files_of_at_most(ROOM - 1), pytest.raises(FileError, match=words):
        check_room(tmp_path)
    with room._filled(tmp_path, ROOM) as file:
        assert os.fstat(file.fileno()).st_blocks * 512 >= ROOM
    with room_kept(tmp_path, 10):
        assert os.listdir(tmp_path) == [], "a file that a kill would leave"


def test_errors_of_the_work_pass_through(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space") as raised, room_kept(tmp_path, 10):
        raise full
    assert raised.value is full


def test_a_full_disk_is_told_with_its_folder_and_room(tmp_path: Path) -> None:
    full, below = OSError(errno.ENOSPC, "No space left on device"), tmp_path / "not" / "there"
    words = rf"No space left on device \(\d+\.\d MB are free in '{below}'\)"
    assert re.fullmatch(words, write_reason(full, below))
    assert write_reason(OSError(errno.EROFS, "Read-only file system"), tmp_path) == "Read-only file system"
    assert write_reason(RuntimeError("x"), tmp_path) == "x"
