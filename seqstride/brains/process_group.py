"""The processes and the machine of a run: devices checked, and the process group that `torchrun` asks for joined."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch

from seqstride._compat import require_torchaudio
from seqstride.distributed import device_of_rank, local_rank, ranks, world_size
from seqstride.errors import InputError, UserError

require_torchaudio()

from speechbrain.utils.distributed import ddp_init_group, run_on_main  # noqa: E402

logger = logging.getLogger(__name__)


Result = TypeVar("Result")


def agreed(act: Callable[[], Result]) -> Result:
    """Does something on the first rank, and returns its result on all ranks.

    Raises:
        UserError, OSError: such as a full disk; it is raised on all ranks, so that none of them waits for the first.
    """

    def outcome() -> tuple[Any, UserError | OSError | None]:
        try:
            return act(), None
        except (UserError, OSError) as error:
            return None, error

    found, error = run_on_main(outcome)
    if error is not None:
        raise error
    return cast(Result, found)


def check_processes(began: int) -> None:
    """Checks that an epoch is ended by as many processes as have begun it.

    Raises:
        InputError: it is another number.
    """
    if began != ranks():
        raise InputError(
            f"the run stopped inside an epoch of {_processes(began)}, and {_processes(ranks())} cannot go on with it: "
            f"start the same command with {_start(began)}"
        )


def note_processes(before: int) -> None:
    """Warns where `before` processes have trained the epochs so far, and now it is another number."""
    if before != ranks():
        logger.warning(
            "%s trained so far; now it is %s, and steps have other numbers of items; for the result of an "
            "uninterrupted run start the same command with %s",
            *(_processes(before), _processes(ranks()), _start(before)),
        )


def _processes(count: int) -> str:
    return f"{count} process{'' if count == 1 else 'es'}"


def _start(count: int) -> str:
    """What starts a number of processes, if they are on one machine."""
    return f"`torchrun --nproc_per_node {count}`" if count > 1 else "a single process, without torchrun"


def join_group(run_opts: Any) -> Any:
    """Joins the other ranks, where `torchrun` has started several; over gloo unless the run is on GPUs.

    Returns:
        A copy of the options with device and backend; SpeechBrain's options cannot be changed.

    Raises:
        InputError: the machine lacks what the options need.
    """
    changes: dict[str, Any] = {}
    if run_opts.device is not None:
        changes["device"] = device_of_rank(run_opts.device)
    gpu = torch.cuda.is_available() and (run_opts.device is None or run_opts.device.startswith("cuda"))
    if not gpu and "distributed_backend" not in run_opts.overridden_args:
        changes["distributed_backend"] = "gloo"
    run_opts = replace(run_opts, **changes, overridden_args={*run_opts.overridden_args, *changes})
    _check_machine(run_opts, gpu)
    ddp_init_group(run_opts)
    return run_opts


def _check_machine(run_opts: Any, gpu: bool) -> None:
    """Checks device, precision and backend, which SpeechBrain would find out later.

    Raises:
        InputError: the machine lacks what the options need.
    """
    for name in ("precision", "eval_precision"):
        if run_opts[name] == "fp16" and not gpu:
            raise InputError(f"`--{name}` (='fp16') must be fp32 or bf16 on a CPU")
    if run_opts.data_parallel_backend and (not gpu or world_size() > 1):
        raise InputError("`--data_parallel_backend` must be for one process on a machine with GPUs; use torchrun")
    if world_size() == 1:
        return
    backend, gpus = run_opts.distributed_backend, torch.cuda.device_count()
    if backend == "nccl" and local_rank() >= gpus:
        raise InputError(
            f"`--distributed_backend` (='nccl') must have a GPU for every process, and torch finds {gpus}; "
            "on CPUs it is gloo, with --device cpu"
        )
    if backend == "mpi" and not torch.distributed.is_mpi_available():
        raise InputError("`--distributed_backend` (='mpi') must be nccl or gloo; this torch was built without MPI")
