"""Layers on a GPU, forward and backward, beside torch's avg_pool1d (`bench.md`).

Every layer is measured with its kernels and on the path of plain torch, which machines without Triton take. The
spectral layers are first compared with double precision on the CPU.

python .assets/bench_gpu.py [check | spectral | adastride]
"""

import statistics
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

import seqstride
from seqstride.core.kernels import dispatch
from seqstride.layers.base import read_once

F32, BF16 = torch.float32, torch.bfloat16
#: batch, channels, frames, whether lengths differ, dtype
SHAPES = [
    (8, 256, 4000, False, F32),
    (8, 256, 4000, True, F32),
    (32, 256, 1000, True, F32),
    (64, 512, 1600, True, F32),
    (64, 512, 1600, True, BF16),
    (16, 256, 200, False, F32),
    (1, 64, 100000, False, F32),
]
SPECTRAL = ("spectral", "dct", "diffstride", "dct_diffstride")
#: standard deviations of AdaStride's scores; the high one at one shape only
STANDARD_DEVIATIONS = (0.1, 3.0)


def lengths_of(batch, frames, varied):
    """Lengths that all differ, from a third less on; None where they do not."""
    if not varied:
        return None
    return torch.tensor([frames - item * frames // (3 * batch) for item in range(batch)], device="cuda")


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


def in_graph(step, repeats=20):
    """Time of a step in ms without what Python costs; None for a step that waits for the device."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            step()
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    graph.replay()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        graph.replay()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / repeats


def report(case, name, call, checked):
    """Prints a line.

    Args:
        call: the step as users write it.
        checked: the same with lengths that were checked and a stride that was read, as an encoder does it once.
    """
    plain = name.endswith("plain torch")
    dispatch.DEVICES = () if plain else ("cuda",)
    milliseconds, (device, kernels, waits) = per_call(call), on_device(call)
    graph = None if plain else in_graph(checked)
    gpu = f"{device:.3f} (kernels)" if graph is None else f"{graph:.3f} (graph)"
    print(f"{case} {name}: call {milliseconds:.3f}, GPU {gpu}, {kernels:.0f} kernels, {waits:.0f} waits", flush=True)
    dispatch.DEVICES = ("cuda",)


def pool(x):
    """Forward and backward of avg_pool1d."""
    dz = torch.randn(*x.shape[:2], -(-x.shape[2] // 2), device="cuda", dtype=x.dtype)

    def step():
        torch.autograd.grad(torch.nn.functional.avg_pool1d(x, 2, 2, ceil_mode=True), x, dz)

    return step, step


def steps(layer, x, lengths):
    """Forward and backward of a layer: as users write it, and in an encoder."""
    wanted = [x, *(p for p in layer.parameters() if p.requires_grad)]
    given = read_once(x, lengths, x.shape[1], [layer])

    def backward(plan):
        outputs = [plan(x), plan.penalty] if plan.penalty.requires_grad else [plan(x)]
        torch.autograd.grad(outputs, wanted, [torch.ones_like(output) for output in outputs])

    return (
        lambda: backward(layer.plan(x, lengths)),
        lambda: backward(layer.plan_checked(x, given.lengths, given.strides[0])),
    )


def measure(kind):
    """Prints a line per shape and layer."""
    for batch, channels, frames, varied, dtype in SHAPES:
        x = torch.randn(batch, channels, frames, device="cuda").to(dtype).requires_grad_()
        lengths = lengths_of(batch, frames, varied)
        case = f"{(batch, channels, frames)}{' v' * varied} {str(dtype)[6:]}"
        report(case, "avg_pool1d", *pool(x))
        layers = {}
        if kind == "spectral":
            layers = {name: seqstride.make_downsampler(name, channels, 2.0) for name in SPECTRAL}
        else:
            for std in STANDARD_DEVIATIONS if (batch, dtype) == (64, F32) else STANDARD_DEVIATIONS[:1]:
                for method in ("matrix", "scatter"):
                    layer = seqstride.AdaStride1d(channels, 2.0, method=method)
                    torch.nn.init.normal_(layer.score.weight, std=std / channels**0.5)
                    layers[f"adastride, {method}, std {std}"] = layer
        for name, layer in layers.items():
            layer.to("cuda", F32 if kind == "spectral" else dtype)
            for path in ("", ", plain torch"):
                report(case, name + path, *steps(layer, x, lengths))


def outcome(layer, x, lengths, dy):
    """Output, and gradients for the signal and a learnt stride."""
    x = x.requires_grad_()
    y = layer(x, lengths)
    width = min(y.shape[2], dy.shape[2])  # a GPU does not read how long the longest item comes out
    wanted = [x, *(p for p in layer.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(y[:, :, :width], wanted, dy[:, :, :width].to(y))
    return y.detach()[:, :, :width], *gradients


def check():
    """Compares the spectral layers with double precision on the CPU; raises where they differ."""
    generator = torch.Generator().manual_seed(0)
    for name in SPECTRAL:
        for batch, channels, frames in ((1, 3, 7), (3, 5, 64), (4, 16, 1013), (4, 64, 1600), (2, 8, 4001)):
            for stride in (1.5, 2.0, 3.7):
                layer = seqstride.make_downsampler(name, channels, stride)
                lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
                lengths[0] = frames
                x = torch.randn(batch, channels, frames, generator=generator, dtype=torch.float64)
                dy = torch.randn(batch, channels, frames, generator=generator, dtype=torch.float64)
                for dtype, bound in ((F32, 1e-6), (BF16, 1e-2), (torch.float16, 2e-3)):
                    given, gradient = x.to(dtype), dy.to(dtype)
                    wanted = outcome(layer.cpu().double(), given.double(), lengths, gradient.double())
                    given = given.cuda()
                    for item, length in enumerate(lengths):
                        given[item, :, length:] = torch.nan
                    found = outcome(layer.float().cuda(), given, lengths.cuda(), gradient.cuda())
                    again = outcome(layer, given.detach(), lengths.cuda(), gradient.cuda())
                    errors = [
                        ((a.cpu().double() - b).abs().max() / b.abs().max().clamp(min=1e-3)).item()
                        for a, b in zip(found, wanted, strict=False)
                    ]
                    print(f"{name} {(batch, channels, frames)} stride {stride} {str(dtype)[6:]}:", end=" ")
                    print(" ".join(f"{error:.1e}" for error in errors), flush=True)
                    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True)), (
                        "other bits the second time"
                    )
                    assert max(errors[:2]) < bound, "output, or the gradient for the signal"
                    assert max(errors[2:], default=0.0) < 1e-3, "the gradient for the stride"


def main():
    """Checks, then prints a line per shape and layer."""
    chosen = sys.argv[1:] or ["check", "spectral", "adastride"]
    print(torch.__version__, torch.cuda.get_device_name(0))
    if "check" in chosen:
        check()
    for kind in ("spectral", "adastride"):
        if kind in chosen:
            measure(kind)


if __name__ == "__main__":
    main()
