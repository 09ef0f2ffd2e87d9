"""Pictures of features or series with the bounds of the output frames, and of the local strides."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from seqstride.errors import InputError
from seqstride.plots.canvas import (
    BOUND,
    COLOURS,
    FONT,
    IMAGE,
    array,
    bound_widths,
    figure_of,
    hz_axis,
    level_scale,
    light_line,
    look,
    stride_axis,
    strides_legend,
    time_unit,
    write_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 4
COLUMN = 2.7  # inches, width of a panel where items stand side by side
# inches per output frame at least: items with many frames get wider panels. Lines hide more of an image than of a curve
LEAST_OF_FEATURES, LEAST_OF_SERIES = 0.08, 0.04
MOST_FRAMES = 150  # output frames of features that are shown at most
HEIGHT = 1.6  # inches, approximate height of a panel of features
LETTERS = 10  # letters of a title per inch
MOST_SERIES = 8  # channels that are drawn as lines at most; more make an image
MOST_LINES = 2  # a line of a title that is too long is broken into this many lines at most
GAP = 0.2  # inches between two columns


class _Panels(NamedTuple):
    """Two panels for every item: an empty one above, and one below with its local strides."""

    figure: Figure
    columns: int
    above: list[Axes]
    below: list[Axes]
    per_frame: float
    """Length of one frame on the time axis."""
    bounds: list[np.ndarray]
    """For each item the bounds of its output frames on the time axis."""
    widths: list[np.ndarray]
    """Widths of lines at the bounds, in points."""


def plot_input(
    x: Tensor,
    encoded: Any,
    *,
    titles: Sequence[str],
    feature_name: str,
    frame_rate: float | None = None,
    bands_hz: np.ndarray | None = None,
) -> Figure:
    """Draws an encoder's input and its local strides: up to eight channels as lines, more or bands as an image.

    Args:
        x: (B, C, T), the normalised input.
        encoded: the output of an encoder for this batch.
        titles: B titles, which may have several lines.
        feature_name: name of one channel.
        frame_rate: frames per second; None: the time axis counts frames.
        bands_hz: (C,) centre frequencies, if the channels are bands of a spectrogram.

    Returns:
        The figure of `plot_series` or of `plot_strides`.

    Raises:
        ValueError: the number of titles is not the number of items.
    """
    channels = x.shape[1]
    if bands_hz is not None or channels > MOST_SERIES:
        return plot_strides(
            x,
            encoded,
            titles=titles,
            frame_rate=frame_rate,
            feature_name=feature_name,
            value_name="value, normalised",
            bands_hz=bands_hz,
        )
    series = [item[:, :length] for item, length in zip(array(x), encoded.input_lengths.tolist(), strict=True)]
    names = [f"{feature_name} {channel + 1}" for channel in range(channels)] if channels > 1 else [feature_name]
    return plot_series(series, encoded, titles=titles, channel_names=names, frame_rate=frame_rate)


def plot_strides(
    x: Tensor,
    encoded: Any,
    *,
    titles: Sequence[str],
    frame_rate: float | None = None,
    feature_name: str = "channel",
    value_name: str = "value",
    marks: Sequence[Sequence[tuple[str, float]]] | None = None,
    bands_hz: np.ndarray | None = None,
) -> Figure:
    """Draws, for each item, its features with the bounds of the output frames, and below them the local stride.

    Up to four items stand side by side. Items with many output frames get wider panels, and an item with very many is
    cut off; its title says so.

    Args:
        x: (B, C, T), the features to draw.
        encoded: the output of an encoder for this batch.
        titles: B titles, which may have several lines.
        frame_rate: frames per second, for a time axis in seconds or milliseconds; None: the axis counts frames.
        feature_name: name of the axis of the channels.
        value_name: name of the colour bar.
        marks: for each item texts and their positions in input frames, to be written over its features.
        bands_hz: (C,) centre frequencies, if the channels are bands of a spectrogram; the axis is then marked in Hz.

    Returns:
        A figure with two panels for each item.

    Raises:
        ValueError: the number of titles is not the number of items.
    """
    panels = _stride_panels(encoded, titles, frame_rate, LEAST_OF_FEATURES, MOST_FRAMES)
    lengths = encoded.input_lengths.tolist()
    pictures = [item[:, :length] for item, length in zip(array(x), lengths, strict=True)]
    low, high = np.quantile(np.concatenate([picture.ravel() for picture in pictures]), (0.01, 0.99))
    for item, (axis, picture) in enumerate(zip(panels.above, pictures, strict=True)):
        limits = axis.get_xlim()
        edges = (-0.5 * panels.per_frame, (lengths[item] - 0.5) * panels.per_frame, 0.5, x.shape[1] + 0.5)
        image = axis.imshow(picture, vmin=low, vmax=high, extent=edges, **IMAGE)
        axis.vlines(panels.bounds[item], *edges[2:], color="white", linewidth=panels.widths[item])
        axis.set_xlim(limits)
        for text, frame in marks[item] if marks is not None else []:
            write_on(axis, text, frame * panels.per_frame, edges[3])
    if bands_hz is not None:
        hz_axis(panels.above[0], bands_hz, 1, HEIGHT)
    for axis in panels.above[:: panels.columns]:
        axis.set_ylabel(feature_name if bands_hz is None else "frequency (Hz)", fontsize=FONT)
    level_scale(panels.figure, image, panels.above, value_name)
    strides_legend(panels.figure, panels.below[0], light_line(), columns=6)
    return panels.figure


def plot_series(
    series: Sequence[np.ndarray],
    encoded: Any,
    *,
    titles: Sequence[str],
    channel_names: Sequence[str],
    frame_rate: float | None = None,
) -> Figure:
    """Draws, for each series, its channels as lines with the bounds of the output frames, and below them the strides.

    A single channel has an axis of values. Several channels stand above one another; each has its own scale, which is
    the same for all series. The panels are those of `plot_strides`.

    Args:
        series: B arrays (C, T) to draw; NaN leaves a gap.
        encoded: the output of an encoder for these series as a batch.
        titles: B titles, which may have several lines.
        channel_names: C names.
        frame_rate: frames per second, for a time axis in seconds or milliseconds; None: the axis counts frames.

    Returns:
        A figure with two panels for each series.

    Raises:
        ValueError: the number of titles is not the number of series.
    """
    panels = _stride_panels(encoded, titles, frame_rate, LEAST_OF_SERIES, None)
    values = np.concatenate(series, axis=1)
    values = np.where(np.isnan(values).all(1, keepdims=True), 0.0, values)  # a channel without any value
    low, high = np.nanmin(values, 1, keepdims=True), np.nanmax(values, 1, keepdims=True)
    count = len(channel_names)
    for item, (axis, lines) in enumerate(zip(panels.above, series, strict=True)):
        if count > 1:
            # the first channel is on top, as in a table; a tenth of each lane stays free
            scale = np.where(high > low, high - low, 1.0)
            lines = 0.9 * ((lines - low) / scale - 0.5) + np.arange(count)[::-1, None]
        for bound, width in zip(panels.bounds[item], panels.widths[item], strict=True):
            axis.axvline(bound, zorder=0, **{**BOUND, "linewidth": min(width, BOUND["linewidth"])})
        time = np.arange(lines.shape[1]) * panels.per_frame
        for index, line in enumerate(lines):
            # a line of one frame would be invisible
            axis.plot(
                time, line, color=COLOURS[index % len(COLOURS)], linewidth=1.3, marker="." if len(line) == 1 else ""
            )
        if count == 1 and item % panels.columns == 0:
            axis.set_ylabel(channel_names[0], fontsize=FONT, parse_math=False)
    if count > 1:
        panels.above[0].set_yticks(range(count)[::-1], channel_names, fontsize=FONT, parse_math=False)
        panels.above[0].set_ylim(-0.6, count - 0.4)
    from matplotlib.lines import Line2D

    strides_legend(panels.figure, panels.below[0], Line2D([], [], **BOUND), columns=6)
    return panels.figure


def _stride_panels(
    encoded: Any, titles: Sequence[str], frame_rate: float | None, least: float, most: int | None
) -> _Panels:
    """Makes a figure with two panels for every item and draws the strides into the lower ones.

    Args:
        encoded: the encoder's output for a batch of B items.
        titles: B names.
        frame_rate: frames per second; None: the time axis counts frames.
        least: inches that an output frame gets at least.
        most: output frames that are shown at most; None: all.
    """
    lengths, output_lengths = encoded.input_lengths.tolist(), encoded.lengths.tolist()
    if len(titles) != len(lengths):
        raise InputError(f"`titles` (={list(titles)}) must have {len(lengths)} entries, one for each item")
    unit, per_frame = time_unit(max(lengths), frame_rate)
    panels, inches = _empty_panels(len(titles), max(output_lengths), least, per_frame)
    curves = {f"block {block + 1}": array(strides) for block, strides in enumerate(encoded.block_strides())}
    curves["whole encoder"] = array(encoded.strides())
    for item, (title, length) in enumerate(zip(titles, lengths, strict=True)):
        upper, lower = panels.above[item], panels.below[item]
        bounds = (array(encoded.bounds(item)) - 0.5) * per_frame
        edges = (-0.5 * per_frame, (length - 0.5) * per_frame)
        cut = bounds[most - 1] if most is not None and len(bounds) >= most else edges[1]
        panels.bounds.append(bounds)
        panels.widths.append(bound_widths(bounds, cut - edges[0], inches))
        frames = f"{length} → {output_lengths[item]} frames"
        if cut < edges[1]:
            frames += f"; the first {cut:.3g} of {edges[1]:.3g} {unit} are shown"
        # a title may hold dollar signs, which matplotlib would read as a formula
        lines = [part for line in title.split("\n") for part in _cut(line, inches)]
        upper.set_title("\n".join([*lines, frames]), fontsize=FONT + 1, parse_math=False)
        time = np.arange(length) * per_frame
        for index, (name, strides) in enumerate(curves.items()):
            markers = {"markevery": max(1, round((cut - edges[0]) / per_frame) // 20)}
            style = {**look(index), **markers} if name != "whole encoder" else {"color": "black", "linewidth": 2.2}
            lower.plot(time, strides[item, :length], label=name, **style)
        lower.set_xlim(edges[0], cut)
        lower.set_xlabel(f"time ({unit})", fontsize=FONT)
        lower.grid(True, alpha=0.3)
    drawn = [strides[item, :length] for strides in curves.values() for item, length in enumerate(lengths)]
    stride_axis(panels.below[0], np.concatenate(drawn))
    return panels


def _empty_panels(items: int, output_frames: int, least: float, per_frame: float) -> tuple[_Panels, float]:
    """The figure with empty panels, and the width of a panel in inches.

    Args:
        items: how many items to draw.
        output_frames: of the longest item.
        least: inches that an output frame gets at least.
        per_frame: length of one frame on the time axis.
    """
    whole = MOST_COLUMNS * COLUMN
    columns = max(1, min(items, MOST_COLUMNS, int(whole / least / output_frames)))
    dense = output_frames * least > COLUMN
    inches = (whole - GAP * (columns - 1)) / columns if dense else COLUMN
    rows = -(-items // columns)
    figure = figure_of(width=max(7.0, 1.2 + columns * (inches + GAP)), height=5.0 + 4.1 * (rows - 1))
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(1.15, 1) * rows)
    places = [(2 * (item // columns), item % columns) for item in range(rows * columns)]
    above, below = [grid[row, column] for row, column in places], [grid[row + 1, column] for row, column in places]
    for axis in (*above[items:], *below[items:]):
        axis.remove()
    panels = _Panels(figure, columns, above[:items], below[:items], per_frame, [], [])
    for item, (upper, lower) in enumerate(zip(panels.above, panels.below, strict=True)):
        upper.sharex(lower)
        upper.tick_params(labelbottom=False)
        for axis, others in ((upper, panels.above), (lower, panels.below)):
            if item > 0:
                axis.sharey(others[0])
            axis.tick_params(labelleft=item % columns == 0)
        if item % columns == 0:
            lower.set_ylabel("local stride\n(input frames\nper output frame)", fontsize=FONT)
    return panels, inches


def _cut(line: str, inches: float) -> list[str]:
    """Breaks a line of a title at the width of its panel; a text that is too long ends in dots."""
    return wrap(line, int(LETTERS * inches), max_lines=MOST_LINES, placeholder=" …") or [""]
