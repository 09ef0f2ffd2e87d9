"""Whether the kernels can be used; Triton is imported only where they can."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

#: dtypes of signals that have kernels; double precision takes the path of plain torch
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def has_kernels(x: Tensor) -> bool:
    """Whether the kernels of this package can resample `x` (B, C, T) and give its gradients.

    They need CUDA, Triton, and a signal in single or half precision whose items have less than 2³¹ numbers. They cannot
    be batched or differentiated twice, so the transforms of `torch.func` (vmap, jacrev, …) take the plain path.
    """
    return (
        x.is_cuda
        and x.dtype in DTYPES
        and 0 < x.shape[1] * x.shape[2] < 1 << 31
        and torch.version.hip is None
        and has_triton()
        and not torch._C._are_functorch_transforms_active()
    )
