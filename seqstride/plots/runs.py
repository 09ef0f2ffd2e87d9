"""Pictures of how a run went.

The functions return a `matplotlib.figure.Figure` and touch no global state, so they work without a display; save with
`figure.savefig("strides.png")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seqstride.errors import InputError
from seqstride.plots.canvas import COLOURS, FONT, figure_of, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
