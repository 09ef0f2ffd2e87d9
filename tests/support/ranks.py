"""Runs a function on several ranks, as `torchrun` starts them, in processes that need not import everything anew."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from seqstride.cli import main
from seqstride.distributed import rank

TIMEOUT = 300.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["seqstride.brains.run", "seqstride.brains.asr", "seqstride.models.classifier"])


def start(work: Callable[..., Any], *arguments: Any, count: int = 2) -> list[tuple[Any, Connection]]:
    """Starts `work(*arguments)` on `count` ranks: the processes, and where their results come from.

    As under `torchrun`, whoever started the ranks holds the store by which they find one another.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    started = []
    for number in range(count):
        environment = {
            **{"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"},
        }
        receiver, sender = _context.Pipe(duplex=False)
        process = _context.Process(target=_child, args=(environment, sender, work, arguments))
        process.start()
        process.store = store  # for as long as the process is known
        sender.close()
        started.append((process, receiver))
    return started


def results(started: list[tuple[Any, Connection]]) -> list[Any]:
    """What the ranks return, in their order. One that raises takes the others down, as under `torchrun`."""
    waiting, values = dict(enumerate(started)), {}
    try:
        while waiting:
            ready = wait([pipe for _, pipe in waiting.values()], TIMEOUT)
            assert ready, f"ranks {list(waiting)} do not answer"
            for rank, (_, pipe) in list(waiting.items()):
                if pipe in ready:
                    good, value = pickle.loads(pipe.recv_bytes())
                    assert good, f"rank {rank}: {value}"
                    values[rank] = value
                    del waiting[rank]
    finally:
        for process, _ in started:
            if waiting:
                process.kill()
            process.join()
    return [values[rank] for rank in range(len(started))]


def run(work: Callable[..., Any], *arguments: Any, count: int = 2) -> list[Any]:
    """`work(*arguments)` on every rank: the results in the order of the ranks."""
    return results(start(work, *arguments, count=count))


def _child(environment: dict[str, str], sender: Connection, work: Callable[..., Any], arguments: tuple) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(environment)
    try:
        answer = True, work(*arguments)
    except BaseException:
        answer = False, traceback.format_exc()
    sender.send_bytes(pickle.dumps(answer))  # send would hand out tensors as files of a process that ends


def print_to_file(folder: Path, *words: object) -> int:
    """`seqstride …`; each rank prints into a file of its own."""
    with open(folder / f"printed_{rank()}", "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        return main([str(word) for word in words])
