"""Long lists, worked through by one process or several (`torchrun`): each its share, resumable, one ordered output.

A list is cut into chunks. What comes of a chunk is a file of its own in the folder `<output>.parts`, whole or not
there; at the end they are put one behind the other. Whoever was killed loses the chunk that he was at: the same command
goes on with those that are missing, with as many processes as it likes. Where the list is cut does not depend on them,
so that the output is the same file however it came about. Several nodes need a folder that all of them see.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from seqstride.distributed import leave_group, rank, world_size
from seqstride.errors import InputError
from seqstride.whole_files import whole_file

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

    Only the list itself and the texts of one item are held in memory.

    Args:
        items: what the job is made of; their `repr` tells them apart.
        work: gives the text of every item of a chunk, in order; one call per chunk.
        output: the file; its folder is made if missing.
        header: what it begins with.
        job: all else that the texts depend on, such as a digest of the model; in a folder with the parts of another
            job nothing is mixed.

    Raises:
        ValueError: the parts are those of another job.
    """
    output = Path(output)
    parts = output.with_name(f"{output.name}.parts")
    size = max(1, min(LARGEST_CHUNK, len(items) // CHUNKS))
    described = {**job, "items": _digest(repr(item).encode() for item in items), "chunk": str(size)}
    with _together():
        missing = [_missing(parts, described, range(0, len(items), size)) if rank() == 0 else []]
        if world_size() > 1:
            dist.broadcast_object_list(missing)
        mine = missing[0][rank() :: world_size()]
        for start in _progress(mine, size, len(items)):
            _write(_part(parts, start), work(items[start : start + size]))
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


def _missing(parts: Path, job: Mapping[str, str], starts: range) -> list[int]:
    """Opens the folder of the parts; where the chunks that are not there begin."""
    parts.mkdir(parents=True, exist_ok=True)
    file = parts / _JOB
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in job if before.get(key) != job[key]]
        if changed:
            raise InputError(
                f"`output` has begun as {str(parts)!r} with other {', '.join(changed)}: "
                "the same arguments go on with it, another name begins anew"
            )
    else:
        with whole_file(file) as part:
            part.write_text(json.dumps(dict(job), indent=1) + "\n", encoding="utf-8")
    there = {entry.name for entry in os.scandir(parts)}
    return [start for start in starts if _part(parts, start).name not in there]


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:012d}"


def _write(path: Path, texts: Iterable[str]) -> None:
    # surrogateescape: a file name that is no text comes out as the bytes it is
    with whole_file(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.writelines(texts)


def _progress(starts: Sequence[int], size: int, count: int) -> Iterator[int]:
    """The chunks of this process; rank 0 shows how far it is with its own."""
    from tqdm import tqdm

    total = sum(min(size, count - start) for start in starts)
    with tqdm(total=total, unit="file", leave=False, disable=None if rank() == 0 else True) as bar:
        for start in starts:
            yield start
            bar.update(min(size, count - start))
