"""Speed and memory of every method side by side, measured in one interleaved run.

Repeats go round all methods in turn, so that whatever else the machine does falls on all of them alike; the median of
the repeats is reported, and every cost also as a ratio to `average` and `strided` of the same shape and run.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqstride.core.spectral_window import spectral_mask
from seqstride.distributed import device_of_rank
from seqstride.errors import InputError
from seqstride.layers import DOWNSAMPLERS, make_downsampler

try:
    from tqdm import tqdm
except ImportError:  # the layers alone are installed: they are measured without a bar
    tqdm = None

REFERENCES = ("average", "strided")

#: the shapes of a sweep over T
SWEEP = tuple(f"4,64,{frames}" for frames in (100, 300, 1000, 3000, 10_000, 30_000, 100_000))

#: numbers in the dense reference's matrix beyond which it is left out (1 GB in float32, and several of them at a time)
DENSE_LIMIT = 1 << 28

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


class DenseAdaStride(nn.Module):
    """AdaStride's matrix method with a dense (B, L, T) matrix, as it is defined: the reference for the banded matrix.

    (B, C, T) → (B, C, ceil(T / s)). float32 positions, no lengths. Source: AdaStride, the matrix method.
    """

    def __init__(self, channels: int, stride: int, sigma_square: float = 5.0) -> None:
        super().__init__()
        self.stride, self.sigma_square = stride, sigma_square
        self.score = nn.Conv1d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Aligns by a softmax over all T frames for every output frame."""
        rows = -(-x.shape[-1] // self.stride)
        c = self.score(x)[:, 0].exp().cumsum(1)
        p = (c - c[:, :1]) / (c[:, -1:] - c[:, :1]) * (rows - 1)
        distance = torch.arange(rows, dtype=p.dtype, device=p.device)[:, None] - p[:, None]
        matrix = torch.softmax(-self.sigma_square * distance.square(), dim=-1)
        return x @ matrix.transpose(1, 2)


class TorchDct(nn.Module):
    """DCT-DiffStride on the public package torch-dct: full transforms and a mask. (B, C, T) → (B, C, L)."""

    def __init__(self, stride: float) -> None:
        super().__init__()
        self.stride_parameter = nn.Parameter(torch.tensor(float(stride)))

    def forward(self, x: Tensor) -> Tensor:
        """Transforms, masks, crops and transforms back."""
        import torch_dct

        mask = spectral_mask(self.stride_parameter, x.shape[-1], transform="dct").to(x.dtype)
        kept = torch_dct.dct(x, norm="ortho")[..., : mask.shape[0]] * mask
        return torch_dct.idct(kept, norm="ortho") * (mask.shape[0] / x.shape[-1]) ** 0.5


class _Pair(nn.Module):
    """A convolution, then a method."""

    def __init__(self, convolution: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.convolution, self.layer = convolution, layer

    def forward(self, x: Tensor, *lengths: Tensor) -> Tensor:
        return self.layer(self.convolution(x), *lengths)


def extras() -> dict[str, Callable[[int, int], nn.Module]]:
    """Returns the layers that are measured for comparison only; `torch_dct` if it is installed."""
    known: dict[str, Callable[[int, int], nn.Module]] = {"dense_adastride": DenseAdaStride}
    if importlib.util.find_spec("torch_dct") is not None:
        known["torch_dct"] = lambda channels, stride: TorchDct(stride)
    return known


def default_methods() -> list[str]:
    """Returns all keys of `DOWNSAMPLERS`, and the layers that are measured for comparison."""
    return [*DOWNSAMPLERS, *extras()]


def make_layer(method: str, channels: int, stride: int, score_std: float) -> nn.Module:
    """Makes a layer of the registry or of `extras`; AdaStride's scores vary by `score_std` on unit noise."""
    others = extras()
    if method not in DOWNSAMPLERS and method not in others:
        raise InputError(f"`methods` (={method!r}) must be among {', '.join([*DOWNSAMPLERS, *others])}")
    layer = others[method](channels, stride) if method in others else make_downsampler(method, channels, stride)
    score = getattr(layer, "score", None)
    if score is not None:
        nn.init.normal_(score.weight, std=score_std / channels**0.5)
    return layer


@dataclass(frozen=True)
class Shape:
    """One measured input: (batch, channels, frames), with equal lengths or a different one for every item."""

    batch: int
    channels: int
    frames: int
    varied: bool = False

    @classmethod
    def parse(cls, text: str) -> Shape:
        """ "8,256,4000" or, with different lengths, "8,256,4000v".

        Raises:
            ValueError: anything else.
        """
        try:
            batch, channels, frames = (int(part) for part in text.removesuffix("v").split(","))
        except ValueError:
            raise InputError(f"`shapes` (={text!r}) must be like 8,256,4000 or 8,256,4000v (varied lengths)") from None
        if min(batch, channels, frames) < 1:
            raise InputError(f"`shapes` (={text!r}) must have sizes of at least 1")
        return cls(batch, channels, frames, text.endswith("v"))

    def lengths(self) -> Tensor | None:
        """Returns None, or lengths (B,) that fall in equal steps from T to about 2/3 T."""
        if not self.varied:
            return None
        return torch.tensor([self.frames - item * self.frames // (3 * self.batch) for item in range(self.batch)])


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
def _quiet_stderr() -> Iterator[None]:
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


class _Runner:
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
        self._wait()
        start = time.perf_counter()
        y = self.forward()
        self._wait()
        middle = time.perf_counter()
        y.backward(self.gradient)
        self._wait()
        return middle - start, time.perf_counter() - start

    def peak(self) -> int:
        """Returns the most bytes that the allocator held during forward and backward."""
        self.x.grad = None
        self.layer.zero_grad()
        if self.x.device.type == "cuda":
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.forward().backward(self.gradient)
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - before
        activities = [torch.profiler.ProfilerActivity.CPU]
        with _quiet_stderr(), torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            self.forward().backward(self.gradient)
        events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        held = highest = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            held += event.nbytes()
            highest = max(highest, held)
        return highest

    def _wait(self) -> None:
        if self.x.device.type == "cuda":
            torch.cuda.synchronize()


def measure(
    methods: Sequence[str],
    shapes: Iterable[Shape],
    *,
    stride: int = 2,
    repeats: int = 9,
    device: str = "cpu",
    dtype: str = "float32",
    compiled: bool = False,
    score_std: float = 0.1,
    convolution: bool = False,
    progress: bool = False,
) -> list[Measurement]:
    """Measures all methods on all shapes, forward and forward + backward.

    Args:
        methods: keys of `DOWNSAMPLERS` or of `extras`; `average` and `strided` are measured in any case.
        shapes: inputs. The `extras` take no lengths and are left out on varied shapes, and the dense reference where
            its matrix would have more than `DENSE_LIMIT` numbers.
        stride: overall stride of every method.
        repeats: rounds over all methods, after two to warm up.
        device: "cpu" or "cuda".
        dtype: of signal and parameters; "float32", "float64", "bfloat16" or "float16".
        compiled: run every layer through `torch.compile`.
        score_std: standard deviation of AdaStride's scores; 3 makes peaky positions.
        convolution: measure every method as a pair with a convolution of 3 taps and stride 1 in front.
        progress: show a progress bar.

    Returns:
        One measurement for each shape and method.

    Raises:
        ValueError: an unknown method, dtype or device, a stride or number of repeats below 1.
    """
    if dtype not in DTYPES:
        raise InputError(f"`dtype` (={dtype!r}) must be one of {', '.join(DTYPES)}")
    device = device_of_rank(device)
    for name, value in (("repeats", repeats), ("stride", stride)):
        if value < 1:
            raise InputError(f"`{name}` (={value}) must be at least 1")
    if not 0 <= score_std < math.inf:
        raise InputError(f"`score_std` (={score_std}) must be a number of at least 0")
    names = list(dict.fromkeys([*REFERENCES, *methods]))
    results = []
    bar = tqdm(list(shapes), disable=not progress, unit="shape") if tqdm else None
    for shape in bar or shapes:
        if bar:
            bar.set_postfix_str(f"({shape.batch}, {shape.channels}, {shape.frames})")
        torch.manual_seed(0)
        size = (shape.batch, shape.channels, shape.frames)
        x = torch.randn(size, dtype=DTYPES[dtype], device=device, requires_grad=True)
        lengths = shape.lengths()
        runners = {}
        for name in names:
            if name in extras() and not _takes(name, shape, stride):
                continue
            layer = make_layer(name, shape.channels, stride, score_std).to(device=device, dtype=DTYPES[dtype])
            if convolution:
                layer = _Pair(nn.Conv1d(shape.channels, shape.channels, 3, padding=1).to(x), layer)
            if compiled:
                layer.compile()
            runners[name] = _Runner(layer, x, None if lengths is None else lengths.to(device))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
        for repeat in range(repeats + 2):
            for name, runner in runners.items():
                pair = runner.step()
                if repeat >= 2:
                    times[name].append(pair)
        peaks = {name: runner.peak() for name, runner in runners.items()}
        results += _summarise(shape, times, peaks)
    return results


def _takes(extra: str, shape: Shape, stride: int) -> bool:
    """Whether one of `extras` can be measured on a shape."""
    cells = shape.batch * shape.frames * (shape.frames // stride + 1)
    return not shape.varied and (extra != "dense_adastride" or cells <= DENSE_LIMIT)


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
        s = r.shape
        shape = f"({s.batch}, {s.channels}, {s.frames})" + (" varied" if s.varied else "")
        lines.append(
            f"| {shape} | `{r.method}` | {r.forward_ms:.2f} ± {r.forward_iqr_ms:.2f} "
            f"| {r.both_ms:.2f} ± {r.both_iqr_ms:.2f} | {r.peak_bytes / 1e6:.1f} "
            f"| {r.ratios['average']['both']:.2f} | {r.ratios['strided']['both']:.2f} "
            f"| {r.ratios['average']['memory']:.2f} |"
        )
    return "\n".join(lines)


def to_json(results: Sequence[Measurement], device: str) -> dict[str, Any]:
    """Returns the measurements and their machine as plain JSON values."""
    return {"machine": machine(device), "measurements": [asdict(result) for result in results]}
