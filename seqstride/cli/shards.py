"""Long lists, worked through by one process or by several (`torchrun`): jobs can be resumed, their output is ordered.

The list is cut into chunks. The result of each chunk is written to a file of its own in the folder `<output>.parts`; a
file is complete or absent. At the end the files are joined. To resume an interrupted job, run the same command again,
with any number of processes: it computes the missing chunks. The cuts do not depend on the number of processes, so the
output is always the same. Several nodes need a folder that all of them can see.

The parts belong to one job. If another job is to write the same output, it leaves these parts alone and uses a folder
of its own, `<output>.<digest>.parts`. So an abandoned job does not block the output, and it can still be resumed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch.distributed as dist

from seqstride.distributed import leave_group, rank, world_size
from seqstride.errors import FileError, UserError, require
from seqstride.failures import resumable
from seqstride.files.folder_lock import FolderLock
from seqstride.files.whole_files import forget_parts, whole_file

logger = logging.getLogger(__name__)

LARGEST_CHUNK = 256
CHUNKS = 64
"""Least number of chunks, if there are as many items: small chunks let the processes finish together."""
PATIENCE = timedelta(days=30)
"""Longest time that the first process to finish waits for the last."""
_JOB = "job.json"

Item = TypeVar("Item")


def write_in_shards(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Iterable[str]],
    output: str | os.PathLike[str],
    *,
    header: str = "",
    job: Mapping[str, str],
) -> None:
    """Writes `header` and the texts of all items, in order, to a file; all processes must call it.

    Memory holds the list and the texts of one chunk.

    Args:
        items: the list; items with the same `repr` are the same.
        work: yields the text of every item of a chunk, in order; it is called once per chunk.
        output: the file to write; its folder is made if missing.
        header: first text of the file.
        job: everything else that the texts depend on, such as a digest of the model.

    Raises:
        FileError: the output or a part cannot be written. Errors of `work` pass through unchanged.
        InputError: another process writes the output.
    """
    output = Path(output)
    if output.is_dir():
        raise FileError(f"{os.fspath(output)!r} must be a file, not a folder")
    size = max(1, min(LARGEST_CHUNK, len(items) // CHUNKS))
    described = {**job, "items": _digest(repr(item).encode() for item in items), "chunk": str(size)}
    lock = FolderLock(_usual_parts(output))
    with _together(), resumable():
        try:
            parts, missing = _of_first_rank(partial(_open, output, described, range(0, len(items), size), lock))
            mine = missing[rank() :: world_size()]
            for start in _progress(mine, size, len(items)):
                # computed before the file is opened, so that an error of `work` is not taken for one of writing
                texts = list(work(items[start : start + size]))
                _write(_part(parts, start), texts)
            if world_size() > 1:
                dist.barrier()
            if rank() == 0:
                _join(output, header, [_part(parts, start) for start in range(0, len(items), size)])
                shutil.rmtree(parts)
        finally:
            lock.release()


def _join(output: Path, header: str, parts: Sequence[Path]) -> None:
    forget_parts(output.parent, output.name)
    with whole_file(output) as whole, open(whole, "wb") as file:
        file.write(header.encode("utf-8"))
        for path in parts:
            with open(path, "rb") as part:
                shutil.copyfileobj(part, file)


def digest_of_files(*paths: str | os.PathLike[str]) -> str:
    """A digest of the content of files."""

    def blocks() -> Iterator[bytes]:
        for path in paths:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    yield block

    return _digest(blocks())


def _digest(blocks: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for block in blocks:
        total.update(block + b"\n")
    return total.hexdigest()[:16]


@contextmanager
def _together() -> Iterator[None]:
    """Inside, the processes form a group."""
    if world_size() == 1:
        yield
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        leave_group()


def _of_first_rank(make: Callable[[], tuple[Path, list[int]]]) -> tuple[Path, list[int]]:
    """What `make` returns on the first rank, or the error that it raises there, on all ranks."""
    found: list[Any] = [None, None]
    if rank() == 0:
        try:
            found[0] = make()
        except UserError as error:
            found[1] = error
    if world_size() > 1:
        dist.broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return cast(tuple[Path, list[int]], found[0])


def _usual_parts(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def _open(output: Path, job: Mapping[str, str], starts: range, lock: FolderLock) -> tuple[Path, list[int]]:
    """Opens the folder of the parts of a job; returns it with the starts of the missing chunks.

    The lock is that of the usual folder, as two jobs must not write one output at a time either.
    """
    lock.take()
    usual = _usual_parts(output)
    digest = _digest(f"{key}={job[key]}".encode() for key in sorted(job))
    own = output.with_name(f"{output.name}.{digest}.parts")
    other = _job_of(usual) not in (None, dict(job))
    if other:
        logger.warning(
            "%r belongs to another job and is left alone; the command of that job can resume it", os.fspath(usual)
        )
    parts = own if other or own.is_dir() else usual
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{os.fspath(parts)!r} cannot be made: {error.strerror}") from error
    with whole_file(parts / _JOB) as part:
        part.write_text(json.dumps(dict(job), indent=1) + "\n", encoding="utf-8")
    there = {entry.name for entry in os.scandir(parts)}
    return parts, [start for start in starts if _part(parts, start).name not in there]


def _job_of(parts: Path) -> Any:
    """The job of a folder of parts; None where the folder is absent or empty, False where it cannot be told."""
    if not parts.exists():
        return None
    try:
        return json.loads((parts / _JOB).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, NotADirectoryError):
        return False


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:012d}"


def _write(path: Path, texts: Iterable[str]) -> None:
    # surrogateescape keeps the bytes of file names that are not UTF-8
    with whole_file(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.writelines(texts)


def _progress(starts: Sequence[int], size: int, count: int) -> Iterator[int]:
    """Yields the chunks of this process; rank 0 shows its own progress."""
    tqdm = require("tqdm", "speech").tqdm

    total = sum(min(size, count - start) for start in starts)
    with tqdm(total=total, unit="file", leave=False, disable=None if rank() == 0 else True) as bar:
        for start in starts:
            yield start
            bar.update(min(size, count - start))
