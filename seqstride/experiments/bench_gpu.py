"""Speed and memory of every method on a GPU: its own time, the host's, kernels, waits, and the floor of the bytes.

A small layer takes the GPU some 50 µs and Python ten times as long, so one number does not say what it costs:

| figure | what |
|---|---|
| GPU | one step in a CUDA graph that makes several on different inputs, so that neither gaps nor a cache count |
| call | one step from Python that starts when the GPU is idle, by events |
| host | until Python has started everything of such a step |
| kernels, waits | kernels, copies and fills of a step; how often Python waits for the stream |
| floor | the bytes of signal and output, and of both gradients, at the rate of a copy of the signal |

A step that waits for the device cannot be captured; its GPU time is the sum of its kernels by torch's profiler.
A step is one forward pass, or one with its backward pass: gradients for the signal and all weights.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.experiments.bench import DTYPES, check_arguments, quiet_stderr
from seqstride.experiments.bench_layers import AvgPool, Shape, extras, make_module, takes
from seqstride.layers.base import Downsampler, read_once

#: the shapes of a run without any; those of a run of encoders
SHAPES = ("8,256,4000", "8,256,4000v", "32,256,1000v", "64,512,1600v")
ENCODER_SHAPES = ("64,80,800v",)

#: bytes of signals that a graph reads before it comes back to the first: several times any cache
APART = 1 << 28

#: rows that others are compared with
POOL, AVERAGE = "avg_pool1d", "average"

Pair = tuple[float, float]
"""Of the forward pass, and of forward and backward together."""


class Step:
    """A module on one signal, forward alone and with the gradients.

    Args:
        lengths: on the CPU, as a loader gives them (pinned on a machine with a GPU, for graphs), or None.
    """

    def __init__(self, module: nn.Module, x: Tensor, lengths: Tensor | None) -> None:
        self.module, self.x, self.lengths = module, x, lengths
        self.learnt = [tensor for tensor in (x, *module.parameters()) if tensor.requires_grad]
        y = self.forward()
        self.gradient = torch.randn(y.shape).to(y)

    def forward(self) -> Tensor:
        """The output; no gradient will be asked for."""
        with torch.no_grad():
            return self._output()

    def both(self) -> tuple[Tensor | None, ...]:
        """Gradients of everything learnt; None for what the output does not depend on."""
        return torch.autograd.grad(self._output(), self.learnt, self.gradient, allow_unused=True)

    def _output(self) -> Tensor:
        y: Tensor = self.module(self.x) if self.lengths is None else self.module(self.x, self.lengths)
        return y


class CheckedStep(Step):
    """A layer of this package as an encoder runs it: lengths checked and on the device, a learnt stride read before."""

    module: Downsampler

    def __init__(self, layer: Downsampler, x: Tensor, lengths: Tensor | None) -> None:
        self.given, (self.stride,) = read_once(x, lengths, layer.channels, [layer])
        super().__init__(layer, x, lengths)

    def _output(self) -> Tensor:
        return self.module.pool(self.x, self.module.plan_checked(self.x, self.given, self.stride))


@dataclass
class GpuMeasurement:
    """The cost of one method on one shape in one dtype; every pair is of forward, and of forward and backward.

    Attributes:
        gpu: ms; `captured` says for both whether in a graph, or by kernels.
        call, host: ms.
        floor: ms.
        kernels, waits: of forward and backward.
        peak_bytes: the most that forward and backward together had allocated beyond signal and weights.
        ratios: of the GPU's time of both passes to rows of the same shape and dtype, and to the floor.
    """

    method: str
    shape: Shape
    dtype: str
    gpu: Pair
    captured: tuple[bool, bool]
    call: Pair
    host: Pair
    floor: Pair
    kernels: float
    waits: float
    peak_bytes: int
    ratios: dict[str, float] = field(default_factory=dict)

    @property
    def both_ms(self) -> float:
        """Of a step from Python, for the picture of costs."""
        return self.call[1]


def in_graph(calls: Sequence[Callable[[], Any]], repeats: int) -> float | None:
    """Median ms of one of `calls` in a CUDA graph that makes all, or None where they cannot be captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for call in calls:
                call()
    except RuntimeError:  # something waited for the device
        torch.cuda.synchronize()
        return None
    graph.replay()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / len(calls))
    return statistics.median(times)


def timed(call: Callable[[], Any]) -> Pair:
    """Ms of one call by events, and until Python has started it, with an idle GPU before."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    began = time.perf_counter()
    call()
    host = time.perf_counter() - began
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end), 1e3 * host


def profiled(call: Callable[[], Any], repeats: int = 3) -> tuple[float, float, float]:
    """Ms of a call's kernels, their number, and how often it waits for the stream."""
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with quiet_stderr(), torch.profiler.profile(activities=activities) as profile:
        for _ in range(repeats):
            call()
    events = profile.key_averages()
    kernels = [event for event in events if event.device_time_total and not event.cpu_time_total]
    waits = sum(event.count for event in events if "StreamSynchronize" in event.key)
    milliseconds = sum(event.self_device_time_total for event in kernels) / 1e3
    return milliseconds / repeats, sum(event.count for event in kernels) / repeats, waits / repeats


def peak(step: Step) -> int:
    """The most bytes that forward and backward together had allocated."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step.both()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def make_steps(
    module: nn.Module, signals: Sequence[Tensor], lengths: Tensor | None, compiled: bool = False
) -> tuple[Step, list[Step]]:
    """A step as a user calls it, and one for every signal as they go into a graph.

    What `torch.compile` made is called as it is: it stands behind the call of the module only.
    """
    user = Step(module, signals[0], lengths)
    if isinstance(module, Downsampler) and not compiled:
        return user, [CheckedStep(module, signal, lengths) for signal in signals]
    return user, [Step(module, signal, lengths) for signal in signals]


def make_signals(shape: Shape, dtype: torch.dtype, device: str, learn: bool) -> list[Tensor]:
    """Copies of one signal of unit noise, as many as it takes to leave the cache.

    The noise comes from the CPU: a capture that fails can leave the GPU's generator unusable.
    """
    noise = torch.randn(shape.batch, shape.channels, shape.frames).to(dtype)
    count = max(1, min(8, -(-APART // noise.nbytes)))
    return [noise.to(device, copy=True).requires_grad_(learn) for _ in range(count)]


def gpu_time(calls: Sequence[Callable[[], Any]], repeats: int) -> tuple[float, bool]:
    """Ms of one call, and whether in a graph; else by its kernels."""
    kernels, _, waits = profiled(calls[0])
    captured = None if waits else in_graph(calls, repeats)
    return (kernels, False) if captured is None else (captured, True)


def measure_modules(
    modules: dict[str, nn.Module],
    signals: Sequence[Tensor],
    shape: Shape,
    dtype: str,
    repeats: int,
    compiled: bool = False,
) -> list[GpuMeasurement]:
    """Measures modules on copies of one signal on the GPU, calls from Python in turn."""
    lengths = shape.lengths()
    if lengths is not None:
        lengths = lengths.pin_memory()
    steps = {}
    for name, module in modules.items():
        module.to(signals[0])
        if compiled:
            module.compile()
        try:
            steps[name] = make_steps(module, signals, lengths, compiled)
            steps[name][0].both()
        except Exception as error:
            if name not in extras():
                raise
            steps.pop(name, None)
            warnings.warn(f"{name} is left out on {shape}, {dtype}: {error}", stacklevel=2)
    times: dict[str, list[tuple[Pair, Pair]]] = {name: [] for name in steps}
    for repeat in range(repeats + 3):
        for name, (step, _) in steps.items():
            pair = timed(step.forward), timed(step.both)
            if repeat >= 3:
                times[name].append(pair)
    copied, _ = gpu_time([signal.detach().clone for signal in signals], repeats)
    rate = 2 * signals[0].nbytes / copied
    return compared([_measured(name, *steps[name], times[name], rate, shape, dtype, repeats) for name in steps])


def _measured(
    name: str,
    step: Step,
    alike: list[Step],
    times: list[tuple[Pair, Pair]],
    rate: float,
    shape: Shape,
    dtype: str,
    repeats: int,
) -> GpuMeasurement:
    """What is left to be measured of one method; `rate` in bytes a ms."""
    call, host = (
        (statistics.median(forward[i] for forward, _ in times), statistics.median(both[i] for _, both in times))
        for i in range(2)
    )
    forward, both = gpu_time([s.forward for s in alike], repeats), gpu_time([s.both for s in alike], repeats)
    moved = (step.x.nbytes + step.gradient.nbytes) / rate
    _, kernels, waits = profiled(step.both)
    return GpuMeasurement(
        name, shape, dtype, (forward[0], both[0]), (forward[1], both[1]), call, host, (moved, 2 * moved),
        kernels, waits, peak(step),
    )  # fmt: skip


def compared(rows: list[GpuMeasurement]) -> list[GpuMeasurement]:
    """Sets the ratios of rows of one shape and dtype; encoders have no floor."""
    layers = any(row.method == POOL for row in rows)
    for row in rows:
        row.ratios = {other.method: row.gpu[1] / other.gpu[1] for other in rows if other.method in (POOL, AVERAGE)}
        if layers:
            row.ratios["floor"] = row.gpu[1] / row.floor[1]
    return rows


def measure(
    methods: Sequence[str],
    shapes: Iterable[Shape],
    *,
    device: str,
    stride: int = 2,
    repeats: int = 9,
    dtypes: Sequence[str] = ("float32",),
    compiled: bool = False,
    score_std: float = 0.1,
    convolution: bool = False,
    encoder: str | None = None,
) -> list[GpuMeasurement]:
    """Measures all methods on all shapes and dtypes; `average` in any case, and torch's average pooling beside layers.

    Args:
        device: such as "cuda:0".
        repeats: rounds over all methods, after three to warm up, and replays of a graph.
        dtypes: of signal and parameters.

    The other arguments are those of `bench.measure`.

    Raises:
        ValueError: an unknown method or dtype, a stride or number of repeats below 1.
    """
    for dtype in dtypes:
        check_arguments(dtype, repeats, stride, score_std)
    results = []
    with torch.cuda.device(device):
        for dtype in dtypes:
            for shape in shapes:
                torch.manual_seed(0)
                signals = make_signals(shape, DTYPES[dtype], device, encoder is None)
                modules: dict[str, nn.Module] = {} if encoder else {POOL: AvgPool(stride)}
                for name in dict.fromkeys([AVERAGE, *methods]):
                    if encoder or takes(name, shape, stride):
                        modules[name] = make_module(name, shape, stride, score_std, convolution, encoder)
                results += measure_modules(modules, signals, shape, dtype, repeats, compiled)
                del signals, modules
                torch.cuda.empty_cache()
    return results


def table(results: Sequence[GpuMeasurement]) -> str:
    """Returns the measurements as a Markdown table: forward / forward and backward; ° marks a sum of kernels."""
    lines = [
        "| shape | dtype | method | GPU, ms | call, ms | host, ms | kernels | waits | peak, MB "
        f"| / `{POOL}` | / `{AVERAGE}` | / floor |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        gpu = " / ".join(f"{ms:.3f}" + "°" * (not graph) for ms, graph in zip(r.gpu, r.captured, strict=True))
        call, host = (f"{forward:.2f} / {both:.2f}" for forward, both in (r.call, r.host))
        counts = f"{r.kernels:.0f} | {r.waits:.0f} | {r.peak_bytes / 1e6:.1f}"
        ratios = " | ".join(f"{r.ratios[to]:.2f}" if to in r.ratios else "" for to in (POOL, AVERAGE, "floor"))
        lines.append(f"| {r.shape} | {r.dtype} | `{r.method}` | {gpu} | {call} | {host} | {counts} | {ratios} |")
    return "\n".join(lines)
