"""Pictures of what a plan decided and of how a run went. They read plans; they compute nothing a plan knows.

The functions return a `matplotlib.figure.Figure` and touch no global state, so they work without a display; save with
`figure.savefig("strides.png")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from seqstride.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seqstride.bench import Measurement
    from seqstride.results import Summary

# Okabe & Ito, "Color universal design", 2008: told apart by people with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
IMAGE = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "cmap": "cividis"}
FONT = 9
BOUND: dict[str, Any] = {"color": "0.8", "linewidth": 0.8}


def plot_strides(
    x: Tensor,
    encoded: Any,
    *,
    titles: Sequence[str],
    frame_rate: float | None = None,
    feature_name: str = "channel",
    value_name: str = "value",
    marks: Sequence[Sequence[tuple[str, float]]] | None = None,
) -> Figure:
    """Draws, for each item, its features with the bounds of the output frames, and below them the local stride.

    Args:
        x: (B, C, T), the features as they should be seen.
        encoded: what an encoder returned for this batch.
        titles: B names, one above each item.
        frame_rate: frames per second; with it the time axis is in seconds or milliseconds, else in frames.
        feature_name: what the C channels are.
        value_name: what the colours are.
        marks: for each item texts and where they stand, in input frames, to be written over its features.

    Returns:
        A figure with one column per item.

    Raises:
        ValueError: `titles` does not have one name per item.
    """
    lengths = encoded.input_lengths.tolist()
    pictures = [item[:, :length] for item, length in zip(_array(x), lengths, strict=True)]
    figure, above, below, per_frame = _stride_panels(encoded, titles, frame_rate)
    low, high = np.quantile(np.concatenate([picture.ravel() for picture in pictures]), (0.01, 0.99))
    for item, (axis, picture) in enumerate(zip(above, pictures, strict=True)):
        edges = (-0.5 * per_frame, (lengths[item] - 0.5) * per_frame, 0.5, x.shape[1] + 0.5)
        image = axis.imshow(picture, vmin=low, vmax=high, extent=edges, **IMAGE)
        bounds = encoded.bounds(item).cpu().numpy() - 0.5
        axis.vlines(bounds * per_frame, *edges[2:], color="white", linewidth=1.6)
    above[0].set_ylabel(feature_name, fontsize=FONT)
    figure.colorbar(image, ax=list(above), pad=0.01, fraction=0.03).set_label(value_name, fontsize=FONT)
    _stride_legend(figure, below[0], light_line())
    return figure


def plot_series(
    series: Sequence[np.ndarray],
    encoded: Any,
    *,
    titles: Sequence[str],
    channel_names: Sequence[str],
    frame_rate: float | None = None,
) -> Figure:
    """Draws, for each series, its channels as lines with the bounds of the output frames, and below them the strides.

    A single channel has an axis of values; several stand above one another, each on a scale of its own, the same for
    all series.

    Args:
        series: B arrays (C, T), as they should be seen; NaN leaves a gap.
        encoded: what an encoder returned for them as a batch.
        titles: B names, one above each series.
        channel_names: C names.
        frame_rate: frames per second; with it the time axis is in seconds or milliseconds, else in frames.

    Returns:
        A figure with one column per series.

    Raises:
        ValueError: `titles` does not have one name per series.
    """
    figure, above, below, per_frame = _stride_panels(encoded, titles, frame_rate)
    values = np.concatenate(series, axis=1)
    values = np.where(np.isnan(values).all(1, keepdims=True), 0.0, values)  # a channel that nobody observed
    low, high = np.nanmin(values, 1, keepdims=True), np.nanmax(values, 1, keepdims=True)
    count = len(channel_names)
    for item, (axis, lines) in enumerate(zip(above, series, strict=True)):
        if count > 1:
            # the first channel on top, as in a table; a tenth of each lane is free
            scale = np.where(high > low, high - low, 1.0)
            lines = 0.9 * ((lines - low) / scale - 0.5) + np.arange(count)[::-1, None]
        bounds = encoded.bounds(item).cpu().numpy() - 0.5
        for bound in bounds * per_frame:
            axis.axvline(bound, zorder=0, **BOUND)
        time = np.arange(lines.shape[1]) * per_frame
        for index, line in enumerate(lines):
            # a line of one frame has no extent
            axis.plot(
                time, line, color=COLOURS[index % len(COLOURS)], linewidth=1.3, marker="." if len(line) == 1 else ""
            )
    if count > 1:
        above[0].set_yticks(range(count)[::-1], channel_names, fontsize=FONT, parse_math=False)
        above[0].set_ylim(-0.6, count - 0.4)
    else:
        above[0].set_ylabel(channel_names[0], fontsize=FONT, parse_math=False)
    from matplotlib.lines import Line2D

    _stride_legend(figure, below[0], Line2D([], [], **BOUND))
    return figure


def _stride_panels(encoded: Any, titles: Sequence[str], frame_rate: float | None) -> tuple[Figure, Any, Any, float]:
    """A figure with an empty panel above, and one of local strides below, for each item.

    Returns:
        The figure, its panels above and below, and how much of the time axis one frame is.
    """
    lengths, output_lengths = encoded.input_lengths.tolist(), encoded.lengths.tolist()
    if len(titles) != len(lengths):
        raise InputError(f"`titles` (={list(titles)}) must have {len(lengths)} entries, one for each item")
    unit, per_frame = _time_unit(max(lengths), frame_rate)
    curves = {f"block {block + 1}": _array(strides) for block, strides in enumerate(encoded.block_strides())}
    curves["whole encoder"] = _array(encoded.strides())

    figure = figure_of(width=1.2 + 2.9 * len(titles), height=5.0)
    axes = figure.subplots(2, len(titles), squeeze=False, sharex="col", sharey="row", height_ratios=(1.15, 1))
    for item, (title, length) in enumerate(zip(titles, lengths, strict=True)):
        above, below = axes[:, item]
        # a name is no formula, whatever dollar signs it has
        above.set_title(f"{title}\n{length} → {output_lengths[item]} frames", fontsize=FONT + 1, parse_math=False)
        time = np.arange(length) * per_frame
        for index, (name, strides) in enumerate(curves.items()):
            markers = {"markevery": max(1, length // 20)}
            look = {**_look(index), **markers} if name != "whole encoder" else {"color": "black", "linewidth": 2.2}
            below.plot(time, strides[item, :length], label=name, **look)
        below.set_xlabel(f"time ({unit})", fontsize=FONT)
        below.grid(True, alpha=0.3)
    axes[1, 0].set_ylabel("local stride (input\nframes per output frame)", fontsize=FONT)
    drawn = [strides[item, :length] for strides in curves.values() for item, length in enumerate(lengths)]
    stride_axis(axes[1, 0], np.concatenate(drawn))
    return figure, axes[0], axes[1], per_frame


def _stride_legend(figure: Figure, below: Axes, bounds: Any) -> None:
    """Below a figure of `_stride_panels`; `bounds` is what the bounds of output frames look like."""
    handles, names = below.get_legend_handles_labels()
    handles, names = [bounds, *handles], ["bounds of output frames", *names]
    figure.legend(handles, names, loc="outside lower center", ncols=6, fontsize=FONT)


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
        look = {"color": colour, "marker": ".", "linestyle": style}
        loss.plot(numbers, [epoch[part]["loss"] for epoch in epochs], label=name, **look)
        if "accuracy" in epochs[0]["valid"]:
            accuracy.plot(numbers, [100 * epoch[part]["accuracy"] for epoch in epochs], **look)
    loss.set_ylim(bottom=0)
    loss.set_ylabel("loss (nats)", fontsize=FONT)
    accuracy.set_ylabel("accuracy (%)", fontsize=FONT)
    if "WER" in epochs[0]["valid"]:
        for name, marker in (("WER", "."), ("CER", "x")):
            rates = [epoch["valid"][name] for epoch in epochs]
            accuracy.plot(numbers, rates, color=COLOURS[1], marker=marker, markersize=4, label=name)
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
        strides.plot(numbers, overall, label=f"block {block + 1}", **{**_look(block), **markers})
        strides.fill_between(numbers, low, high, color=_look(block)["color"], alpha=0.2, linewidth=0)
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
        style = {**_look(index), "linestyle": ("-", "--", ":")[index // len(COLOURS) % 3]}
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
        look = {"color": colour, "marker": marker, "linestyle": "none", "markeredgecolor": "white"}
        # the runs stand in a row beside their mean, so that equal ones all show
        if several:
            beside = index + 0.1 + 0.28 * np.linspace(0, 1, len(summary.values))
            runs.plot(beside, summary.values, **{**look, "markeredgewidth": 0}, markersize=5.5, alpha=0.6)
        runs.errorbar(index - 0.14 * several, summary.mean, yerr=summary.spread, **look, markersize=9, capsize=4)
        if summary.macs is not None:
            costs.plot(summary.macs / 1e6, summary.mean, **look, markersize=10)
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


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of this size, in inches, that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _array(x: Tensor) -> np.ndarray:
    """What matplotlib draws."""
    return x.detach().float().cpu().numpy()


def _look(block: int) -> dict[str, Any]:
    """Colour and marker of a block, the same in every picture."""
    colour, marker = COLOURS[block % len(COLOURS)], MARKERS[block % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2}


def _time_unit(frames: int, frame_rate: float | None) -> tuple[str, float]:
    """The unit of the time axis, and how much of it one frame is."""
    if frame_rate is None:
        return "frames", 1.0
    return ("ms", 1000 / frame_rate) if frames < frame_rate else ("s", 1 / frame_rate)


def stride_axis(axis: Axes, values: np.ndarray) -> None:
    """A logarithmic axis with plain numbers: a stride of 4 is as far above 2 as 2 is above 1."""
    from matplotlib.ticker import NullLocator

    low, high = min(1.0, float(values.min())), max(2.0, float(values.max()))
    ticks = [2.0**n for n in range(-3, 12) if low / 1.5 <= 2.0**n <= high * 1.5]
    axis.set_yscale("log", base=2)
    axis.set_ylim(low / 1.15, high * 1.15)
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.yaxis.set_minor_locator(NullLocator())


def light_line() -> Any:
    """The legend's entry for the white lines, outlined so that it shows on white."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color="white", linewidth=2, path_effects=outline("black", 3.5))


def outline(colour: str, width: float = 2.5) -> list[Any]:
    """A line or text with a rim of another colour, so that it shows on any ground."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground=colour), Normal()]
