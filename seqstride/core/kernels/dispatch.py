"""Whether the kernels can be used; Triton is imported only where they can."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, NoReturn

import torch
from torch import Tensor

from seqstride.core.derivatives import in_forward_mode

#: types of devices that have kernels; callers look here first, as the rest of the question takes microseconds
DEVICES = ("cuda",)

#: dtypes of signals that have kernels; double precision takes the path of plain torch
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


class _Probe(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> NoReturn:
        raise AssertionError


def in_transform(x: Tensor) -> bool:
    """Whether a transform of `torch.func` is at work, or forward mode on `x`.

    torch tells nobody of the former, but refuses a node without its rules then.
    """
    try:
        _Probe.apply()
    except RuntimeError:
        return True
    return in_forward_mode((x,))


def can_launch(x: Tensor) -> bool:
    """Whether the kernels of this package can take tensors like `x`, of any shape and dtype, here and now.

    They need CUDA and Triton. They cannot be batched or differentiated twice, so the transforms of `torch.func` (vmap,
    jacrev, …) and forward mode take the plain path; so do `torch.compile` and `torch.export`, which need operators that
    they can keep whole.
    """
    return (
        not torch.compiler.is_compiling()
        and x.device.type in DEVICES
        and torch.version.hip is None
        and has_triton()
        and not in_transform(x)
    )


def has_kernels(x: Tensor) -> bool:
    """Whether the kernels of this package can resample `x` (B, C, T) and give its gradients.

    It has to be in single or half precision, and its items to have less than 2³¹ numbers; see also `can_launch`.
    """
    return x.dtype in DTYPES and 0 < x.shape[1] * x.shape[2] < 1 << 31 and can_launch(x)
