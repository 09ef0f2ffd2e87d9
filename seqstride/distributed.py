"""Several processes that work together (`torchrun`): ranks, sums over ranks, and one error message for all.

`rank` and `world_size` read the environment that `torchrun` sets for the processes it starts. `ranks` counts the
processes that have joined torch's default process group.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from seqstride.errors import InputError


def rank() -> int:
    """Index of this process among those that were started together, from 0."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes that were started together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def ranks() -> int:
    """Number of processes in torch's default group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def local_rank() -> int:
    """Index of this process among those on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0))


def device_of_rank(device: str) -> str:
    """Returns the GPU of this process, such as `cuda:1`, for `cuda`; returns every other device unchanged.

    Raises:
        InputError: torch does not know the device, or this machine does not have it.
    """
    own = f"cuda:{local_rank()}" if device == "cuda" else device
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        found = torch.device(own)
        other = torch.accelerator.current_accelerator()  # such as mps
        kinds = ("cpu", None if other is None else other.type)
        usable = (found.index or 0) < gpus if found.type == "cuda" else found.type in kinds
    except RuntimeError:  # torch knows no device of this name
        usable = False
    if not usable:
        there = f"cpu, or cuda:0 to cuda:{gpus - 1}" if gpus > 1 else "cpu, or cuda" if gpus else "cpu"
        why = f"torch finds {gpus or 'no'} GPU{'s' if gpus > 1 else ''}"
        build = " and was built without CUDA" if torch.version.cuda is None and not gpus else ""
        raise InputError(f"`device` (={device!r}) must be {there}; {why}{build}")
    return own


class _Sum(torch.autograd.Function):
    """y = Σ_r x_r on every rank. Training minimises Σ_r loss_r, so dx_r = Σ_q dy_q: the same sum.

    `torch.distributed.nn.functional.all_reduce` computes the same, but torch has deprecated it and warns; its successor
    is private.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clone()
        dist.all_reduce(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient


def sum_over_ranks(x: Tensor) -> Tensor:
    """Returns the sum of the tensors of all ranks, differentiable. All ranks must call it.

    Args:
        x: has the same shape on all ranks, and is on the device of the group.
    """
    return x if ranks() == 1 else _Sum.apply(x)


def share_of_rank(count: float, device: torch.device | str) -> Tensor | float:
    """Returns the weight of this rank's mean over `count` items, or over items whose weights have this sum.

    Distributed training averages the gradients of the ranks. With these weights the average over ranks is the mean over
    all items, so every item counts the same.
    """
    if ranks() == 1:
        return 1.0
    own = torch.tensor(float(count), device=device)
    return own * ranks() / sum_over_ranks(own).clamp(min=1)


def of_all_ranks(value: Any) -> list[Any]:
    """Returns the values of all ranks, in the order of the ranks. All ranks must call it."""
    values = [value] * ranks()
    if ranks() > 1:
        dist.all_gather_object(values, value)
    return values


def as_first_rank(tensors: Iterable[Tensor]) -> None:
    """Sets the tensors of every rank to those of the first one. All ranks must call it, with tensors of its device."""
    if ranks() == 1:
        return
    for tensor in tensors:
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, 0)
        tensor.detach().copy_(sent)


def leave_group() -> None:
    """Ends the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def first_to_fail() -> bool:
    """Whether this process is the first of its group to fail, and therefore prints the error.

    Wrong arguments fail on all ranks at once, and when one rank ends, the others lose their connection. The processes
    count failures in the store through which `torchrun` connected them; the first to count prints.
    """
    if world_size() == 1:
        return True
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=5)
        )
        return store.add(f"seqstride/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", 1) == 1
    except (KeyError, RuntimeError):  # no store answers: an error printed twice is better than none
        return True
