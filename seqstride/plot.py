"""Pictures of what a plan decided and of how a run went. They read plans; they compute nothing a plan knows.

The functions return a `matplotlib.figure.Figure` and touch no global state, so they work without a display; save with
`figure.savefig("strides.png")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqstride.canvas import COLOURS, FONT, MARKERS, figure_of, look
from seqstride.errors import InputError
from seqstride.plot_strides import plot_series, plot_strides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqstride.bench import Measurement
    from seqstride.results import Summary
__all__ = ["plot_comparison", "plot_costs", "plot_series", "plot_strides", "plot_training"]


def plot_training(epochs: Sequence[dict[str, Any]], *, chosen: int | None = None) -> Figure:
    """Draws loss, accuracy (or error rates, or the error of a reconstruction) and strides of every epoch.

    Args:
        epochs: the records of a Brain's `history`; where validation has no accuracy, its WER and CER, or its L1,
            are drawn.
        chosen: the epoch whose checkpoint was scored; marked by a dashed line.

    Raises:
        ValueError: `epochs` is empty.
    """
    if not epochs:
        raise InputError("`epochs` (empty) must hold at least one epoch")
    numbers = [epoch["epoch"] for epoch in epochs]
    figure = figure_of(width=11.5, height=4.0)
    loss, accuracy, strides = figure.subplots(1, 3)
    for part, colour, style in (("train", COLOURS[0], "--"), ("valid", COLOURS[1], "-")):
        name = {"train": "training", "valid": "validation"}[part]
        line = {"color": colour, "marker": ".", "linestyle": style}
        loss.plot(numbers, [epoch[part]["loss"] for epoch in epochs], label=name, **line)
        if "accuracy" in epochs[0]["valid"]:
            accuracy.plot(numbers, [100 * epoch[part]["accuracy"] for epoch in epochs], **line)
    loss.set_ylim(bottom=0)
    # a cross entropy; what a VQ-VAE reconstructs has another unit
    loss.set_ylabel("loss" if "L1" in epochs[0]["valid"] else "loss (nats)", fontsize=FONT)
    accuracy.set_ylabel("accuracy (%)", fontsize=FONT)
    if "WER" in epochs[0]["valid"]:
        for name, marker, style in (("WER", ".", "-"), ("CER", "x", "-.")):
            rates = [epoch["valid"][name] for epoch in epochs]
            accuracy.plot(numbers, rates, color=COLOURS[1], marker=marker, linestyle=style, markersize=4, label=name)
        accuracy.set_ylim(bottom=0)
        accuracy.set_ylabel("error rate of the validation part (%)", fontsize=FONT)
        accuracy.legend(fontsize=FONT)
    elif "L1" in epochs[0]["valid"]:
        for part, colour, style in (("train", COLOURS[0], "--"), ("valid", COLOURS[1], "-")):
            errors = [epoch[part]["L1"] for epoch in epochs]
            accuracy.plot(numbers, errors, color=colour, marker=".", linestyle=style)
        accuracy.set_ylabel("log-mel L1 (dB)", fontsize=FONT)
    for block in range(len(epochs[0]["strides"])):
        overall = [epoch["strides"][block] for epoch in epochs]
        low, high = zip(*(epoch["local_strides"][block] for epoch in epochs), strict=True)
        # markers are few and staggered, so that blocks with the same stride all show
        every = max(1, len(epochs) // 8)
        markers = {"markersize": 5, "markevery": (block * every // 3, every)}
        strides.plot(numbers, overall, label=f"block {block + 1}", **{**look(block), **markers})
        strides.fill_between(numbers, low, high, color=look(block)["color"], alpha=0.2, linewidth=0)
    strides.set_ylabel("stride (input frames per output frame)", fontsize=FONT)
    strides.set_title("line: the layer; band: 10–90 % of local strides", fontsize=FONT)
    for axis in (loss, accuracy, strides):
        axis.set_xlabel("epoch", fontsize=FONT)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(True, alpha=0.3)
        if chosen is not None:
            axis.axvline(chosen, color="black", linestyle=":", linewidth=1.2, label="scored epoch")
    (training, validation, *scored), names = loss.get_legend_handles_labels()
    blocks, block_names = strides.get_legend_handles_labels()
    count = len(epochs[0]["strides"])
    figure.legend(
        [training, validation, *scored, *blocks[:count]],
        [*names, *block_names[:count]],
        loc="outside lower center",
        ncols=9,
        fontsize=FONT,
    )
    return figure


def plot_costs(measurements: Sequence[Measurement]) -> Figure:
    """Draws time and memory of forward and backward together against T, one line per method, both axes logarithmic.

    Args:
        measurements: what `seqstride.bench.measure` gives; shapes that differ in more than T lie on one line, too.

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


def plot_comparison(summaries: Sequence[Summary], *, title: str, over: str) -> Figure:
    """Draws every run of every method, and mean and spread against the cost.

    Args:
        summaries: what `seqstride.results.summarise` gives.
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
