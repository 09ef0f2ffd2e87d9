"""Milliseconds of AdaStride1d(C, 2.0) on a GPU, forward and backward, beside torch's avg_pool1d (`bench.md`).

Every layer is measured with its kernels and on the path of plain torch, which machines without Triton take.

python .assets/bench_gpu.py
"""

import statistics
import time

import torch
from torch.profiler import ProfilerActivity, profile

from seqstride import AdaStride1d
from seqstride.core.kernels import dispatch

F32, BF16 = torch.float32, torch.bfloat16
#: batch, channels, frames, whether lengths differ, standard deviation of the scores, dtype
CASES = [
    (8, 256, 4000, False, 0.1, F32),
    (8, 256, 4000, True, 0.1, F32),
    (32, 256, 1000, True, 0.1, F32),
    (64, 512, 1600, True, 0.1, F32),
    (64, 512, 1600, True, 3.0, F32),
    (64, 512, 1600, True, 0.1, BF16),
    (16, 256, 200, False, 0.1, F32),
]


def per_call(step, repeats=20):
    """Median time of a call that is waited for, in ms."""
    for _ in range(4):
        step()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def on_device(step, repeats=3):
    """Time of the kernels of a step in ms, their number, and how often the step waits for the device."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            step()
    events = profiler.key_averages()
    kernels = [event for event in events if event.device_time_total and not event.cpu_time_total]
    waits = sum(event.count for event in events if "StreamSynchronize" in event.key)
    milliseconds = sum(event.self_device_time_total for event in kernels) / 1e3
    return milliseconds / repeats, sum(event.count for event in kernels) / repeats, waits / repeats


def main():
    """Prints a line per shape and layer."""
    print(torch.__version__, torch.cuda.get_device_name(0))
    for batch, channels, frames, varied, std, dtype in CASES:
        x = torch.randn(batch, channels, frames, device="cuda").to(dtype).requires_grad_()
        host = [frames - item * frames // (3 * batch) for item in range(batch)]
        lengths = torch.tensor(host, device="cuda") if varied else None
        dz = torch.randn(batch, channels, -(-frames // 2), device="cuda").to(dtype)

        def pool(x=x, dz=dz):
            torch.autograd.grad(torch.nn.functional.avg_pool1d(x, 2, 2, ceil_mode=True), x, dz)

        steps = {"avg_pool1d": pool}
        for method in ("matrix", "scatter"):
            layer = AdaStride1d(channels, 2.0, method=method).to("cuda", dtype)
            torch.nn.init.normal_(layer.score.weight, std=std / channels**0.5)

            def adastride(layer=layer, x=x, dz=dz, lengths=lengths):
                plan = layer.plan(x, lengths)
                one = torch.ones_like(plan.penalty)
                torch.autograd.grad([plan(x), plan.penalty], [x, layer.score.weight], [dz, one])

            steps[f"adastride, {method}"] = steps[f"adastride, {method}, plain torch"] = adastride
        for name, step in steps.items():
            dispatch.DEVICES = () if name.endswith("plain torch") else ("cuda",)
            case = f"{(batch, channels, frames)}{' v' * varied} std {std} {dtype}"
            call, (device, kernels, waits) = per_call(step), on_device(step)
            print(f"{case} {name}: call {call:.2f}, GPU {device:.2f}, {kernels:.0f} kernels, {waits:.0f} waits")


if __name__ == "__main__":
    main()
