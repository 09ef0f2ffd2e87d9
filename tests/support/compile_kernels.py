"""Compiles the kernels for sm_90 on a machine without a GPU, and prints a line for each: name, dtype, constants.

    python compile_kernels.py CACHE [all]

CACHE: folder for Triton's cache. "all": every variant of the layer; otherwise one of each kernel.
"""

import os
import sys

os.environ.pop("TRITON_INTERPRET", None)
os.environ["TRITON_CACHE_DIR"] = sys.argv[1]

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver


class NoDevice:
    """What Triton asks a driver while it compiles."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")


driver.set_active(NoDevice())

# after the driver: kernels are compiled for what it names
from seqstride.core.kernels import (  # noqa: E402
    align,
    align_backward,
    bins,
    layer,
    norm,
    pool,
    positions,
    scores,
    spectral,
    spread,
    windows,
)

seen = set()


def compile_only(kernel, grid, arguments, constants, warps=4, stages=1):
    """Stands in for `seqstride.core.kernels.launch.launch`."""
    dtypes = tuple(a.dtype for a in arguments if isinstance(a, torch.Tensor))
    if (kernel, constants, dtypes) in seen:
        return
    seen.add((kernel, constants, dtypes))
    compiled = kernel.run(*arguments, *constants, grid=grid, warmup=True, num_warps=warps, num_stages=stages)
    print(kernel.fn.__name__, dtypes[0], constants, compiled.metadata.shared, "bytes of shared memory", flush=True)


for module in (align, align_backward, bins, norm, pool, positions, scores, spread, windows):
    module.launch = compile_only

all_variants = len(sys.argv) > 2
weight, lengths = torch.zeros(256), torch.tensor([64, 32])
for dtype, empty in [
    (torch.float32, None),
    (torch.bfloat16, "nearest"),
    (torch.bfloat16, None),
    (torch.float32, "zero"),
]:
    x = torch.zeros(2, 256, 64, dtype=dtype)
    result = layer.adastride_forward(x, weight, lengths, 2.0, 32, 5.0, empty, keep_rest=True)
    layer.adastride_backward(result.z, None, result.penalty, x, weight, lengths, result, 5.0, empty)
    if not all_variants:
        break
scores.score_moments(result.saved.scores, lengths)
positions.sum_positions(result.positions, result.positions, lengths)

channels = torch.ones(256)
for dtype, relu in [(torch.float32, True), (torch.bfloat16, False)]:
    x = torch.zeros(2, 256, 64, dtype=dtype)
    statistics = norm.batch_statistics(x, lengths, channels, channels, torch.tensor(0), 0.1, 1e-5)
    for kind in (statistics, statistics._replace(given=True)):
        norm.normalise(x, lengths, kind, channels, channels, 1e-5, relu)
        norm.normalise_backward(x, x, lengths, kind, channels, channels, 1e-5, relu)
        if not all_variants:
            break
    if not all_variants:
        break

for dtype, transform in [
    (torch.float32, "dct"),
    (torch.bfloat16, "dct"),
    (torch.float32, "dft"),
    (torch.bfloat16, "dft"),
]:
    x, ramp = torch.zeros(2, 256, 64, dtype=dtype), torch.ones(2, 5, dtype=torch.float64)
    table = torch.tensor([[64, 12, 17, 32], [32, 6, 11, 16]])
    y, tops = spectral.crop_forward(x, ramp, table, 32, transform, False, True)
    spectral.crop_backward(y, tops, ramp, table, 64, transform, False)
    settings = windows.Settings(transform == "dct", 4.0, None if dtype == torch.float32 else 0.1, 1)
    stride = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    windows.make_windows(stride, lengths, settings, 4, lambda stride: stride)[1].sum().backward()
    if not all_variants:
        break

window = pool.Window.of(torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64), 1)
for dtype in (torch.float32, torch.bfloat16)[: 1 + all_variants]:
    x = torch.zeros(2, 256, 64, dtype=dtype)
    z = pool.mean_windows(x, window, 2, lengths, 32, dtype)
    pool.mean_windows_backward(z, window, 2, lengths, 64, dtype)
    z, offsets = pool.largest_of_windows(x, 2, lengths, 32)
    pool.largest_of_windows_backward(z, offsets, 2, lengths, 64)
