"""The picture of a recording: waveform, spectrogram with the bounds of the output frames, local strides, masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqstride.errors import shown
from seqstride.plots.canvas import (
    COLOURS,
    FONT,
    bound_widths,
    figure_of,
    hz_axis,
    light_line,
    stride_axis,
    strides_legend,
)
from seqstride.plots.view import Mask, View, describe_masks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 12.0  # inches
PANEL = 0.85 * WIDTH  # inches, approximate width of the time axis
HEIGHTS = {"waveform": 0.8, "spectrogram": 2.6, "strides": 2.0, "masks": 1.7}
AXES = {"time": "modulation frequency (Hz)", "frequency": "frequency along the bands (cycles per band)"}
BRIGHTEST = 0.8  # share of the colour map in use: white lines stay visible on its brightest colour


def plot_view(view: View) -> Figure:
    """Draws a recording, or the part of it that the view shows.

    The panels share one time axis in seconds. From top to bottom they show the waveform, the spectrogram with the
    bounds of the output frames, and the local stride of every block and of the whole encoder. A model with learnt
    strides gets a further row with the masks of its layers and their cut-off frequencies.
    """
    rows = [name for name in HEIGHTS if name != "masks" or view.masks]
    heights = [HEIGHTS[name] for name in rows]
    figure = figure_of(width=WIDTH, height=1.6 + sum(heights))
    grid = figure.add_gridspec(len(rows), 2, height_ratios=heights, width_ratios=(70, 1))
    wave = figure.add_subplot(grid[0, 0])
    picture, strides = (figure.add_subplot(grid[row, 0], sharex=wave) for row in (1, 2))
    # the name of a file may hold dollar signs, which matplotlib would read as a formula
    figure.suptitle(f"{shown(view.title)}\n{view.frames}", fontsize=FONT + 2, parse_math=False)
    _draw_wave(wave, view)
    image = _draw_picture(picture, view)
    figure.colorbar(image, cax=figure.add_subplot(grid[1, 1])).set_label("level (dB)", fontsize=FONT)
    _draw_strides(strides, view)
    wave.set_xlim(view.start, view.stop)
    for axis in (wave, picture):
        axis.tick_params(labelbottom=False)
    if view.masks:
        names = list(dict.fromkeys(mask.axis for mask in view.masks))
        columns = grid[3, 0].subgridspec(1, len(names))
        for column, name in enumerate(names):
            _draw_masks(figure.add_subplot(columns[0, column]), [mask for mask in view.masks if mask.axis == name])
    for axis in figure.axes:
        axis.tick_params(labelsize=FONT - 1)
    strides_legend(figure, strides, light_line(), columns=8)
    return figure


def _draw_wave(axis: Axes, view: View) -> None:
    axis.plot(view.sample_times, view.samples, color="#444444", linewidth=0.6)
    axis.set_ylabel("waveform", fontsize=FONT)
    axis.grid(True, axis="x", alpha=0.3)


def _draw_picture(axis: Axes, view: View) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    half, bands = 0.5 / view.frame_rate, len(view.bands_hz)
    low, high = view.level_range
    image = axis.imshow(
        view.spectrogram,
        vmin=low,
        vmax=high,
        extent=(view.times[0] - half, view.times[-1] + half, -0.5, bands - 0.5),
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap=ListedColormap(colormaps["magma"](np.linspace(0, BRIGHTEST, 256))),
    )
    widths = bound_widths(view.bounds, view.stop - view.start, PANEL)
    axis.vlines(view.bounds, -0.5, bands - 0.5, color="white", linewidth=widths)
    hz_axis(axis, view.bands_hz, 0, HEIGHTS["spectrogram"])
    return image


def _draw_strides(axis: Axes, view: View) -> None:
    # from wide to narrow, so that curves in the same place are all visible
    widths = np.linspace(2.6, 1.0, len(view.blocks) + 1)
    colours = ["black", *(COLOURS[index % len(COLOURS)] for index in range(len(view.blocks)))]
    marker = "o" if len(view.times) == 1 else ""
    for (name, stride, _), colour, width in zip([view.whole, *view.blocks], colours, widths, strict=True):
        axis.plot(view.times, stride, color=colour, linewidth=width, marker=marker, label=name)
    stride_axis(axis, np.array(view.stride_range))
    axis.set_ylabel("local stride (input\nframes per output frame)", fontsize=FONT)
    axis.set_xlabel("time (s)", fontsize=FONT)
    axis.grid(True, alpha=0.3)


def _draw_masks(axis: Axes, masks: list[Mask]) -> None:
    for mask in masks:
        colour = COLOURS[mask.block % len(COLOURS)]
        marker = "o" if len(mask.values) <= 100 else ""
        axis.plot(mask.frequencies, mask.values, color=colour, marker=marker, markersize=2.5, linewidth=1.2)
        axis.axvline(mask.cutoff, color=colour, linestyle="--", linewidth=1.0)
    axis.set_xlim(0, max(1.1 * max(mask.passed, mask.cutoff) for mask in masks))
    axis.set_ylim(-0.05, 1.05)
    axis.set_title(describe_masks(masks), fontsize=FONT)
    axis.set_xlabel(AXES[masks[0].axis], fontsize=FONT)
    axis.set_ylabel("mask (factor\nof each bin)", fontsize=FONT)
    axis.grid(True, alpha=0.3)
