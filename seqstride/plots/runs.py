"""The picture of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seqstride.errors import InputError
from seqstride.plots.canvas import COLOURS, FONT, figure_of, legend_below, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PARTS = {"train": ("training", COLOURS[0], "--"), "valid": ("validation", COLOURS[1], "-")}
"""Part of the data → its name in the legend, its colour and its line style."""


def plot_training(epochs: Sequence[dict[str, Any]], *, chosen: int | None = None) -> Figure:
    """Draws loss, score and strides of every epoch: the score is accuracy, error rates, or a reconstruction error.

    Args:
        epochs: the records of a Brain's `history`. Records without a validation accuracy have WER and CER, or L1.
        chosen: the epoch whose checkpoint was scored; a dotted line marks it.

    Raises:
        ValueError: `epochs` is empty.
    """
    if not epochs:
        raise InputError("`epochs` (empty) must hold at least one epoch")
    figure = figure_of(width=11.5, height=4.0)
    loss, score, strides = figure.subplots(1, 3)
    _draw_loss(loss, epochs)
    _draw_score(score, epochs)
    _draw_strides(strides, epochs)
    for axis in (loss, score, strides):
        axis.set_xlabel("epoch", fontsize=FONT)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.set_xlim(*_span(epochs))
        axis.grid(True, alpha=0.3)
        if chosen is not None:
            # below the points: of a single epoch there is nothing else
            axis.axvline(chosen, color="black", linestyle=":", linewidth=1.2, label="scored epoch", zorder=1)
    handles, names = loss.get_legend_handles_labels()
    blocks, block_names = strides.get_legend_handles_labels()
    count = len(epochs[0]["strides"])
    legend_below(figure, [*handles, *blocks[:count]], [*names, *block_names[:count]], columns=9)
    return figure


def _draw_loss(axis: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    for part, (name, colour, style) in PARTS.items():
        values = [epoch[part]["loss"] for epoch in epochs]
        axis.plot(_numbers(epochs), values, color=colour, marker=".", linestyle=style, label=name)
    _from_zero(axis)
    # a cross entropy is in nats; the loss of a VQ-VAE has no unit
    axis.set_ylabel("loss" if "L1" in epochs[0]["valid"] else "loss (nats)", fontsize=FONT)


def _draw_score(axis: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    numbers, scores = _numbers(epochs), epochs[0]["valid"]
    if "accuracy" in scores:
        _draw_parts(axis, epochs, "accuracy", 100.0)
    axis.set_ylabel("accuracy (%)", fontsize=FONT)
    if "WER" in scores:
        for name, marker, style in (("WER", ".", "-"), ("CER", "x", "-.")):
            rates = [epoch["valid"][name] for epoch in epochs]
            axis.plot(numbers, rates, color=COLOURS[1], marker=marker, linestyle=style, markersize=4, label=name)
        _from_zero(axis)
        axis.set_ylabel("error rate of the validation part (%)", fontsize=FONT)
        axis.legend(fontsize=FONT)
    elif "L1" in scores:
        _draw_parts(axis, epochs, "L1", 1.0)
        axis.set_ylabel("log-mel L1 (dB)", fontsize=FONT)


def _draw_parts(axis: Axes, epochs: Sequence[dict[str, Any]], score: str, scale: float) -> None:
    """A score of training and validation."""
    for part, (_, colour, style) in PARTS.items():
        values = [scale * epoch[part][score] for epoch in epochs]
        axis.plot(_numbers(epochs), values, color=colour, marker=".", linestyle=style)


def _draw_strides(axis: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    numbers = _numbers(epochs)
    # few and staggered markers keep blocks with the same stride visible
    every = max(1, len(epochs) // 8)
    for block in range(len(epochs[0]["strides"])):
        overall = [epoch["strides"][block] for epoch in epochs]
        low, high = zip(*(epoch["local_strides"][block] for epoch in epochs), strict=True)
        style = {**look(block), "markersize": 5, "markevery": (block * every // 3, every)}
        axis.plot(numbers, overall, label=f"block {block + 1}", **style)
        if len(numbers) > 1:
            axis.fill_between(numbers, low, high, color=style["color"], alpha=0.2, linewidth=0)
        else:
            axis.fill_between(_span(epochs), low * 2, high * 2, color=style["color"], alpha=0.2, linewidth=0)
    axis.set_ylabel("stride (input frames per output frame)", fontsize=FONT)
    axis.set_title("line: the layer; band: 10–90 % of local strides", fontsize=FONT)


def _from_zero(axis: Axes) -> None:
    """Lets a vertical axis begin at 0, and leaves room above the highest point."""
    axis.update_datalim([(axis.dataLim.x0, 0.0)])
    axis.autoscale_view()
    axis.set_ylim(bottom=0)


def _span(epochs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Returns the ends of the axis of epochs."""
    first, last = epochs[0]["epoch"], epochs[-1]["epoch"]
    room = 0.05 * (last - first) or 0.5
    return first - room, last + room


def _numbers(epochs: Sequence[dict[str, Any]]) -> list[int]:
    return [epoch["epoch"] for epoch in epochs]
