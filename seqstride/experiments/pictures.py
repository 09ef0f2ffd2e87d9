"""Pictures of comparisons and measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqstride.errors import InputError
from seqstride.experiments.bench import Measurement
from seqstride.experiments.bench_gpu import GpuMeasurement
from seqstride.experiments.records import Record, Summary, metric_of, value_of
from seqstride.plots.canvas import COLOURS, FONT, MARKERS, figure_of, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_costs(measurements: Sequence[Measurement] | Sequence[GpuMeasurement]) -> Figure:
    """Draws time and memory of forward and backward together against T, one line per method, both axes logarithmic.

    Args:
        measurements: what `measure` of `seqstride.experiments.bench` or `bench_gpu` returns. A method has one line for
            all its shapes.

    Raises:
        ValueError: there are none.
    """
    if not measurements:
        raise InputError("`measurements` (empty) must hold at least one measurement")
    figure = figure_of(width=11.5, height=5.2)
    time, memory = figure.subplots(1, 2)
    methods = list(dict.fromkeys(m.method for m in measurements))
    for index, method in enumerate(methods):
        mine = sorted((m for m in measurements if m.method == method), key=lambda m: m.shape.frames)
        frames = [m.shape.frames for m in mine]
        # six colours and markers go round; the second and third round are dashed and dotted
        style = {**look(index), "linestyle": ("-", "--", ":")[index // len(COLOURS) % 3]}
        time.plot(frames, [m.both_ms for m in mine], label=method, **style)
        memory.plot(frames, [m.peak_bytes / 1e6 for m in mine], **style)
    time.set_ylabel("forward + backward (ms)", fontsize=FONT)
    memory.set_ylabel("peak memory of forward + backward (MB)", fontsize=FONT)
    for axis in (time, memory):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("T (input frames)", fontsize=FONT)
        axis.grid(True, which="both", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=6, fontsize=FONT)
    return figure


def plot_against_stride(groups: Mapping[str, Sequence[Record]]) -> Figure:
    """Draws the metric against the overall stride: a line for each method, and a band of one standard deviation.

    Runs of one ratio are a point. A learnt stride stands where training left it, so the point lies where the frames of
    the output are counted, not where the stride began.

    Args:
        groups: method → its records, what `by_method` of `seqstride.experiments.records` returns.

    Raises:
        ValueError: there are none.
    """
    if not groups:
        raise InputError("`groups` (empty) must hold at least one method")
    figure = figure_of(width=9.5, height=5.6)
    axis = figure.subplots()
    for index, (method, runs) in enumerate(groups.items()):
        points = sorted(_points(runs))
        strides, means, spreads = (np.array(values) for values in zip(*points, strict=True))
        style = {**look(index), "markersize": 6, "linestyle": ("-", "--", ":")[index // len(COLOURS) % 3]}
        axis.plot(strides, means, label=method, **style)
        axis.fill_between(strides, means - spreads, means + spreads, color=style["color"], alpha=0.15, linewidth=0)
    drawn = [stride for runs in groups.values() for stride, _, _ in _points(runs)]
    ticks = [2.0**n for n in range(12) if min(drawn) / 1.5 <= 2.0**n <= max(drawn) * 1.5]
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xlabel("overall stride at the end of training (input frames per output frame)", fontsize=FONT)
    axis.set_ylabel(metric_of(run for runs in groups.values() for run in runs).title, fontsize=FONT)
    axis.set_title("line: mean over seeds; band: ± their standard deviation", fontsize=FONT)
    axis.grid(True, alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=FONT)
    return figure


def _points(runs: Sequence[Record]) -> list[tuple[float, float, float]]:
    """Returns for every ratio the mean overall stride, and mean and standard deviation of the metric."""
    points = []
    for ratio in dict.fromkeys(run["ratio"] for run in runs):
        mine = [run for run in runs if run["ratio"] == ratio]
        values = [value_of(run) for run in mine]
        stride = float(np.mean([np.prod(run["strides"]) for run in mine]))
        points.append((stride, float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0))
    return points


def plot_comparison(summaries: Sequence[Summary], *, title: str, over: str) -> Figure:
    """Draws every run of every method, and mean and spread against the cost.

    Args:
        summaries: what `seqstride.experiments.records.summarise` returns.
        title: what the values are, with their unit.
        over: what the spread is over.

    Returns:
        A figure with two panels that share the axis of the values; colour and marker of a method are those of both.

    Raises:
        ValueError: there are none.
    """
    if not summaries:
        raise InputError("`summaries` (empty) must hold at least one method")
    figure = figure_of(width=5.2 + 0.75 * len(summaries), height=4.8)
    several = any(len(summary.values) > 1 for summary in summaries)
    shares = (max(3.0, 0.75 * len(summaries)), 3.4)
    runs, costs = figure.subplots(1, 2, sharey=True, width_ratios=shares)
    for index, summary in enumerate(summaries):
        # six colours go round; from the second round on they meet other markers
        colour = COLOURS[index % len(COLOURS)]
        marker = MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]
        style = {"color": colour, "marker": marker, "linestyle": "none", "markeredgecolor": "white"}
        # the runs stand in a row beside their mean, so that equal ones all show
        if several:
            beside = index + 0.1 + 0.28 * np.linspace(0, 1, len(summary.values))
            runs.plot(beside, summary.values, **{**style, "markeredgewidth": 0}, markersize=5.5, alpha=0.6)
        runs.errorbar(index - 0.14 * several, summary.mean, yerr=summary.spread, **style, markersize=9, capsize=4)
        if summary.macs is not None:
            costs.plot(summary.macs / 1e6, summary.mean, **style, markersize=10)
    names = [summary.method for summary in summaries]
    runs.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor", fontsize=FONT)
    runs.set_xlim(-0.6, len(names) - 0.4)
    runs.set_ylabel(title, fontsize=FONT)
    spread = f"small: every run\nlarge: mean ± standard deviation\nover {over}"
    runs.set_title(spread if several else "one run of each", fontsize=FONT)
    costs.set_xlabel("million MACs per item", fontsize=FONT)
    costs.set_title("mean against\nthe cost of the encoder", fontsize=FONT)
    costs.margins(x=0.12)
    for axis in (runs, costs):
        axis.grid(True, axis="y", alpha=0.3)
    return figure
