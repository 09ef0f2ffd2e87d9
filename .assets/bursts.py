"""Draws where methods put their frames on an item of recipes/Synthetic/bursts, from the runs of a comparison.

    seqstride compare recipes/Synthetic/bursts --methods softpool,adastride_softpool --seeds 1 --ratios 16 -o r
    python .assets/bursts.py r 16 softpool,adastride_softpool recipes/Synthetic/bursts/results/strides.png

The runs are those of seed 1.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from seqstride.files.loading import load_features
from seqstride.files.whole_files import save_figure
from seqstride.models.classifier import load_model
from seqstride.plots.canvas import COLOURS, FONT, figure_of, stride_axis


def main(comparison: str, fold: str, methods: str, picture: str) -> None:
    """Draws the energy of a test item, and below it the local strides and the bounds of the frames of each method."""
    runs = {method: Path(comparison) / "runs" / method / fold / "1" for method in methods.split(",")}
    items = json.loads((next(iter(runs.values())) / "save" / "data" / "test.json").read_text())
    item = sorted(items.values(), key=lambda item: item["events"][0])[len(items) // 2]  # the burst is in the middle
    signal = load_features(item["features"], item["start"], item["stop"])
    figure = figure_of(width=9.5, height=1.8 + 1.3 * len(runs))
    top, *rows = figure.subplots(1 + len(runs), 1, sharex=True)
    top.plot(signal.square().sum(1), color="black", linewidth=0.8)
    top.set_ylabel("energy", fontsize=FONT)
    first, last = (round(item["frame_rate"] * time) for time in item["events"][0])
    top.set_title(f"a burst of {last - first} frames (grey) in {len(signal)} frames of noise", fontsize=FONT + 1)
    drawn = []
    for index, (axis, (method, folder)) in enumerate(zip(rows, runs.items(), strict=True)):
        with torch.no_grad():
            encoded = load_model(folder).encode(signal[None], torch.tensor([len(signal)]))
        strides, bounds = encoded.strides()[0].numpy(), encoded.bounds(0).numpy() - 0.5
        colour = COLOURS[index % len(COLOURS)]
        axis.vlines(bounds, 0, 1, transform=axis.get_xaxis_transform(), color="0.75", linewidth=0.8)
        axis.plot(strides, color=colour, linewidth=1.8)
        position = encoded.positions[0]
        inside = float(position[min(last, len(signal) - 1)] - position[first])
        axis.text(0.01, 0.06, f"{method}: {inside:.1f} frames on the burst", transform=axis.transAxes, fontsize=FONT)
        drawn.append(strides)
    for axis in (top, *rows):
        axis.axvspan(first - 0.5, last - 0.5, color="0.85", zorder=0)
    for axis in rows:
        stride_axis(axis, np.concatenate(drawn))
    figure.supylabel("local stride (input frames per output frame)", fontsize=FONT)
    rows[-1].set_xlabel("frame", fontsize=FONT)
    save_figure(figure, picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
