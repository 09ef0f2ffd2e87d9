"""Pictures of comparisons and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqstride.errors import InputError
from seqstride.experiments.bench import Measurement
from seqstride.experiments.bench_gpu import GpuMeasurement
from seqstride.experiments.ranking import FIXED, KINDS, Ranking
from seqstride.experiments.records import Summary, known_mean, metric_of
from seqstride.experiments.uncertainty import Estimate
from seqstride.plots.canvas import COLOURS, FONT, MARKERS, figure_of, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


RATES = {
    "bits_per_second": "bits per second, durations included",
    "output_frames_per_second": "output frames per second, at the end of training",
}
"""Key of a record → what a method spends; runs of units have bits, too."""


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


def plot_against_frames(found: Sequence[Ranking], methods: Sequence[str]) -> Figure:
    """Draws the score against the output frames per second: a line for each method, and a band of its 95 % interval.

    A learnt stride stands where training left it. The lines of methods of one kind look alike: dotted with hollow
    marks if their stride is fixed, dashed if it is learnt, solid if it is adaptive. Runs without
    `output_frames_per_second` are left out. Where a run has bits per second, these take the place of the frames.

    Args:
        found: what `rankings` of `seqstride.experiments.ranking` returns.
        methods: in the order of the legend.

    Raises:
        ValueError: no run has frames per second.
    """
    runs = [run.record for ranking in found for each in ranking.methods for run in each.runs]
    rate = next((key for key in RATES if any(key in run for run in runs)), "output_frames_per_second")
    lines: dict[tuple[str, str], list[tuple[float, Estimate]]] = {}
    for ranking in found:
        for each in ranking.methods:
            frames = known_mean([run.record.get(rate) for run in each.runs])
            if frames is not None:
                lines.setdefault((each.kind, each.method), []).append((frames, each.score))
    if not lines:
        raise InputError("`found` must have runs with output frames per second; there are none")
    figure = figure_of(width=9.5, height=5.6)
    axis = figure.subplots()
    strokes = dict(zip(KINDS, (":", "--", "-", "-."), strict=True))
    ordered = sorted(lines, key=lambda key: (KINDS.index(key[0]), [*methods].index(key[1])))
    for index, (kind, method) in enumerate(ordered):
        points = sorted(lines[kind, method])
        places = [frames for frames, _ in points]
        means = np.array([score.mean for _, score in points])
        halves = np.array([score.half or 0.0 for _, score in points])
        style = {**look(index), "markersize": 6, "linestyle": strokes[kind], "linewidth": 1.6}
        style |= {"markerfacecolor": "white"} if kind == FIXED else {}
        axis.plot(places, means, label=f"{method} ({kind})", **style)
        axis.fill_between(places, means - halves, means + halves, color=style["color"], alpha=0.12, linewidth=0)
    drawn = [score.mean for points in lines.values() for _, score in points]
    room = 0.15 * (max(drawn) - min(drawn)) or 1.0
    lowest, highest = min(drawn) - room, max(drawn) + room  # a band of few runs may be wider than all lines together
    metric = metric_of(run.record for run in found[0].methods[0].runs)
    if metric.unit == "%" and max(drawn) <= 100:
        lowest, highest = max(lowest, 0.0), min(highest, 100.0 + 0.1 * room)
    axis.set_ylim(lowest, highest)
    _label_rates(axis, [frames for points in lines.values() for frames, _ in points], RATES[rate])
    axis.set_ylabel(metric.title, fontsize=FONT)
    axis.set_title("line: mean; band: its 95 % interval", fontsize=FONT)
    figure.legend(loc="outside right upper", fontsize=FONT)
    return figure


def _label_rates(axis: Any, drawn: Sequence[float], title: str) -> None:
    from matplotlib.ticker import NullLocator

    ticks = [step * 10.0**power for power in range(-3, 6) for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if min(drawn) / 1.6 <= tick <= max(drawn) * 1.6]
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(title, fontsize=FONT)
    axis.grid(True, alpha=0.3)


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
    costs.locator_params(axis="x", nbins=4)  # costs that are nearly equal have long numbers
    for axis in (runs, costs):
        axis.grid(True, axis="y", alpha=0.3)
    return figure
