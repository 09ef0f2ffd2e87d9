"""Long lists, worked through by one process or several (`torchrun`): each its share, resumable, one ordered output.

A list is cut into chunks. What comes of a chunk is a file of its own in the folder `<output>.parts`, whole or not
there; at the end they are put one behind the other. Whoever was killed loses the chunk that he was at: the same command
goes on with those that are missing, with as many processes as it likes. Where the list is cut does not depend on them,
so that the output is the same file however it came about. Several nodes need a folder that all of them see.

The parts belong to their job. Another one that is to write the same file leaves them alone and has a folder of its own,
`<output>.<digest>.parts`: it is not stopped by what was begun and left, and that can still be gone on with.
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
from pathlib import Path
from typing import Any, TypeVar, cast

import torch.distributed as dist

from seqstride.distributed import leave_group, rank, world_size
from seqstride.errors import FileError, require
from seqstride.files.whole_files import whole_file

logger = logging.getLogger(__name__)

LARGEST_CHUNK = 256
CHUNKS = 64
"""At least that many, as long as there are as many items: so that the processes finish together."""
PATIENCE = timedelta(days=30)
"""How long the first process to finish waits for the last."""
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
    """Writes `header` and the texts of all items, in their order, to a file; all processes must call it.

    Only the list itself and the texts of one chunk are held in memory.

    Args:
        items: what the job is made of; their `repr` tells them apart.
        work: gives the text of every item of a chunk, in order; one call per chunk.
        output: the file; its folder is made if missing.
        header: what it begins with.
        job: all else that the texts depend on, such as a digest of the model.

    Raises:
        FileError: the output or a part cannot be written. Errors of `work` come through as they are.
    """
    output = Path(output)
    if output.is_dir():
        raise FileError(f"{os.fspath(output)!r} must be a file; it is a folder")
    size = max(1, min(LARGEST_CHUNK, len(items) // CHUNKS))
    described = {**job, "items": _digest(repr(item).encode() for item in items), "chunk": str(size)}
    with _together():
        opened = [_open(output, described, range(0, len(items), size)) if rank() == 0 else None]
        if world_size() > 1:
            dist.broadcast_object_list(opened)
        parts, missing = cast(tuple[Path, list[int]], opened[0])
        mine = missing[rank() :: world_size()]
        for start in _progress(mine, size, len(items)):
            texts = list(work(items[start : start + size]))  # before the file: its errors are none of writing
            _write(_part(parts, start), texts)
        if world_size() > 1:
            dist.barrier()
        if rank() == 0:
            with whole_file(output) as whole, open(whole, "wb") as file:
                file.write(header.encode("utf-8"))
                for start in range(0, len(items), size):
                    with open(_part(parts, start), "rb") as part:
                        shutil.copyfileobj(part, file)
            shutil.rmtree(parts)


def digest_of_files(*paths: str | os.PathLike[str]) -> str:
    """A digest of what is in the files."""

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
    """A process group for the time of the job."""
    if world_size() == 1:
        yield
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        leave_group()


def _open(output: Path, job: Mapping[str, str], starts: range) -> tuple[Path, list[int]]:
    """Opens the folder of the parts of a job: where it is, and where the chunks begin that are not there."""
    usual = output.with_name(f"{output.name}.parts")
    digest = _digest(f"{key}={job[key]}".encode() for key in sorted(job))
    own = output.with_name(f"{output.name}.{digest}.parts")
    other = _job_of(usual) not in (None, dict(job))
    if other:
        logger.warning("%r is of another job, whose command goes on with it; it stays as it is", os.fspath(usual))
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
    """What a folder of parts was made from; None where it is not there yet, or empty, False where nobody can say."""
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
    # surrogateescape: a file name that is no text comes out as the bytes it is
    with whole_file(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.writelines(texts)


def _progress(starts: Sequence[int], size: int, count: int) -> Iterator[int]:
    """The chunks of this process; rank 0 shows how far it is with its own."""
    tqdm = require("tqdm", "speech").tqdm

    total = sum(min(size, count - start) for start in starts)
    with tqdm(total=total, unit="file", leave=False, disable=None if rank() == 0 else True) as bar:
        for start in starts:
            yield start
            bar.update(min(size, count - start))
