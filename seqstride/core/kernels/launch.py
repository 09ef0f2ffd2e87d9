"""Starting kernels.

Triton looks at every argument of every call to find the compiled kernel that fits them: 20 to 50 µs a launch, as long
as the kernels run at small shapes. Here a compiled kernel is kept under the few things that decide which one it is, and
started as it stands.
"""

from __future__ import annotations

import struct
from typing import Any

import torch
import triton  # type: ignore[import-untyped]
from torch import Tensor

_compiled: dict[Any, Any] = {}


def launch(
    kernel: Any,
    grid: tuple[int, int, int],
    arguments: tuple[Any, ...],
    constants: tuple[Any, ...],
    warps: int = 4,
    stages: int = 1,
) -> None:
    """Starts a kernel on the current stream of its tensors' device.

    Args:
        kernel: of `triton.jit`, with constants behind all other arguments, and all its integers named in
            `do_not_specialize`.
        arguments: tensors (the first one on the device), integers below 2³¹ or of `double_bits`, floats.
        constants: of the arguments marked `tl.constexpr`.
    """
    device = arguments[0].device
    if isinstance(kernel, triton.JITFunction) and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            return launch(kernel, grid, arguments, constants, warps, stages)
    # Triton compiles for the dtypes of pointers, and for those that are multiples of 16
    key = (
        kernel, device.index, constants, warps, stages,
        *[(a.dtype, a.data_ptr() & 15) for a in arguments if isinstance(a, Tensor)],
    )  # fmt: skip
    found = _compiled.get(key)
    if found is None:
        # the compiled kernel; None in the interpreter
        _compiled[key] = kernel[grid](*arguments, *constants, num_warps=warps, num_stages=stages)
    else:
        found[grid](*arguments, *constants)
    return None


def double_bits(value: float) -> int:
    """A double as an integer: Triton passes floats of Python in single precision."""
    return int(struct.unpack("q", struct.pack("d", value))[0])


def aligned(size: int) -> int:
    """A power of 2, at most 8, that rows of `size` numbers start at multiples of: with 8 or 4, 16 bytes go at a time.

    Kernels take it as a constant: that a row's length is a multiple of 8 decides how wide their loads are.
    """
    return 8 if size % 8 == 0 else 4 if size % 4 == 0 else 1


def blocks(size: int, block: int) -> int:
    """How many blocks it takes to cover `size`."""
    return -(-size // block)


def narrow(most: int, size: int) -> int:
    """The smallest power of 2 that covers `size`, at least 16 and at most `most`."""
    return min(most, max(16, 1 << (size - 1).bit_length()))
