"""Speed and memory of every method side by side, measured in one interleaved run.

Repeats go round all methods in turn, so that whatever else the machine does falls on all of them alike; the median of
the repeats is reported, and every cost also as a ratio to `average` and `strided` of the same shape and run.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.errors import InputError
from seqstride.experiments.bench_layers import Shape, make_module, takes

try:
    from tqdm import tqdm
except ImportError:  # the layers alone are installed: they are measured without a bar
    tqdm = None

REFERENCES = ("average", "strided")

#: the shapes of a sweep over T
SWEEP = tuple(f"4,64,{frames}" for frames in (100, 300, 1000, 3000, 10_000, 30_000, 100_000))

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Measurement:
    """The cost of one method on one shape.

    Times in milliseconds (median and interquartile range of the repeats), memory in bytes: the most that forward and
    backward together had allocated at any moment beyond input and parameters.
    """

    method: str
    shape: Shape
    forward_ms: float
    forward_iqr_ms: float
    both_ms: float
    both_iqr_ms: float
    peak_bytes: int
    ratios: dict[str, dict[str, float]]


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """A context that hides the log lines which native code of the profiler writes to stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class Runner:
    """One method on one shape, ready to be timed repeatedly."""

    def __init__(self, layer: nn.Module, x: Tensor, lengths: Tensor | None) -> None:
        self.layer, self.x, self.lengths = layer, x, lengths
        with torch.no_grad():
            self.gradient = torch.randn_like(self.forward())

    def forward(self) -> Tensor:
        return self.layer(self.x) if self.lengths is None else self.layer(self.x, self.lengths)

    def step(self) -> tuple[float, float]:
        """Returns the seconds of forward, and of forward and backward together."""
        self.x.grad = None
        self.layer.zero_grad()
        start = time.perf_counter()
        y = self.forward()
        middle = time.perf_counter()
        y.backward(self.gradient)
        return middle - start, time.perf_counter() - start

    def peak(self) -> int:
        """Returns the most bytes that the allocator held during forward and backward."""
        self.x.grad = None
        self.layer.zero_grad()
        activities = [torch.profiler.ProfilerActivity.CPU]
        with quiet_stderr(), torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            self.forward().backward(self.gradient)
        events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        held = highest = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            held += event.nbytes()
            highest = max(highest, held)
        return highest


def measure(
    methods: Sequence[str],
    shapes: Iterable[Shape],
    *,
    stride: int = 2,
    repeats: int = 9,
    dtype: str = "float32",
    compiled: bool = False,
    score_std: float = 0.1,
    convolution: bool = False,
    encoder: str | None = None,
    progress: bool = False,
) -> list[Measurement]:
    """Measures all methods on all shapes on the CPU, forward and forward + backward; `bench_gpu.measure` is for GPUs.

    Args:
        methods: keys of `DOWNSAMPLERS` or of `extras`; `average` and `strided` are measured in any case.
        shapes: inputs. The `extras` take no lengths and are left out on varied shapes, and the dense reference where
            its matrix would have more than `DENSE_LIMIT` numbers.
        stride: overall stride of every method.
        repeats: rounds over all methods, after two to warm up.
        dtype: of signal and parameters; "float32", "float64", "bfloat16" or "float16".
        compiled: run every layer through `torch.compile`.
        score_std: standard deviation of AdaStride's scores; 3 makes peaky positions.
        convolution: measure every method as a pair with a convolution of 3 taps and stride 1 in front.
        encoder: one of `ENCODERS`: measure an encoder with every method inside; `extras` are refused.
        progress: show a progress bar.

    Returns:
        One measurement for each shape and method.

    Raises:
        ValueError: an unknown method or dtype, a stride or number of repeats below 1.
    """
    check_arguments(dtype, repeats, stride, score_std)
    names = list(dict.fromkeys([*REFERENCES, *methods]))
    results = []
    bar = tqdm(list(shapes), disable=not progress, unit="shape") if tqdm else None
    for shape in bar or shapes:
        if bar:
            bar.set_postfix_str(f"({shape.batch}, {shape.channels}, {shape.frames})")
        torch.manual_seed(0)
        size = (shape.batch, shape.channels, shape.frames)
        x = torch.randn(size, dtype=DTYPES[dtype], requires_grad=encoder is None)
        lengths = shape.lengths()
        runners = {}
        for name in names:
            if encoder is None and not takes(name, shape, stride):
                continue
            module = make_module(name, shape, stride, score_std, convolution, encoder).to(x)
            if compiled:
                module.compile()
            runners[name] = Runner(module, x, lengths)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
        for repeat in range(repeats + 2):
            for name, runner in runners.items():
                pair = runner.step()
                if repeat >= 2:
                    times[name].append(pair)
        peaks = {name: runner.peak() for name, runner in runners.items()}
        results += _summarise(shape, times, peaks)
    return results


def check_arguments(dtype: str, repeats: int, stride: int, score_std: float) -> None:
    """Checks what the measurements on CPU and GPU take.

    Raises:
        ValueError: an unknown dtype, or a number out of range.
    """
    if dtype not in DTYPES:
        raise InputError(f"`dtype` (={dtype!r}) must be one of {', '.join(DTYPES)}")
    for name, value in (("repeats", repeats), ("stride", stride)):
        if value < 1:
            raise InputError(f"`{name}` (={value}) must be at least 1")
    if not 0 <= score_std < math.inf:
        raise InputError(f"`score_std` (={score_std}) must be a number of at least 0")


def _summarise(shape: Shape, times: dict[str, list[tuple[float, float]]], peaks: dict[str, int]) -> list[Measurement]:
    medians = {
        name: [1e3 * statistics.median(column) for column in zip(*pairs, strict=True)] for name, pairs in times.items()
    }
    found = []
    for name, pairs in times.items():
        forward, both = ([1e3 * value for value in column] for column in zip(*pairs, strict=True))
        ratios = {
            reference: {
                "forward": medians[name][0] / medians[reference][0],
                "both": medians[name][1] / medians[reference][1],
                "memory": peaks[name] / max(peaks[reference], 1),
            }
            for reference in REFERENCES
        }
        middle_forward, middle_both = medians[name]
        found.append(
            Measurement(name, shape, middle_forward, _spread(forward), middle_both, _spread(both), peaks[name], ratios)
        )
    return found


def machine(device: str) -> dict[str, Any]:
    """Returns the machine and the versions on which the figures were measured."""
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    if device.startswith("cuda"):
        found["name"] = torch.cuda.get_device_name()
    else:
        found["name"] = _processor()
        found["threads"] = torch.get_num_threads()
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def table(results: Sequence[Measurement]) -> str:
    """Returns the measurements as a Markdown table, shape by shape."""
    lines = [
        "| shape | method | forward, ms | + backward, ms | peak, MB | / `average` | / `strided` | memory / `average` |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        lines.append(
            f"| {r.shape} | `{r.method}` | {r.forward_ms:.2f} ± {r.forward_iqr_ms:.2f} "
            f"| {r.both_ms:.2f} ± {r.both_iqr_ms:.2f} | {r.peak_bytes / 1e6:.1f} "
            f"| {r.ratios['average']['both']:.2f} | {r.ratios['strided']['both']:.2f} "
            f"| {r.ratios['average']['memory']:.2f} |"
        )
    return "\n".join(lines)


def to_json(results: Sequence[Any], device: str) -> dict[str, Any]:
    """Returns measurements, of the CPU or of a GPU, and their machine as plain JSON values."""
    return {"machine": machine(device), "measurements": [asdict(result) for result in results]}
