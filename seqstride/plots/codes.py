"""The picture of recordings and their reconstructions by a VQ-VAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.plots.canvas import FONT, IMAGE, bound_widths, figure_of, hz_axis, level_scale, write_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 4.0  # inches, width of a panel where recordings stand side by side
ROW = 11.0  # inches, width of a panel where they stand below one another
LEAST_WIDTH = 0.1  # inches per unit; recordings that need more than a column for this stand below one another
NARROWEST = 0.06  # inches; codes are written on units that are at least this wide
MOST_UNITS = 110  # a longer recording is cut off behind this many units


class Reconstruction(NamedTuple):
    """A recording and its reconstruction."""

    name: str
    recording: np.ndarray
    """(bands, T): log-mel spectrogram of the recording, dB."""
    output: np.ndarray
    """(bands, T): log-mel spectrogram of the reconstruction, dB."""
    codes: np.ndarray
    """(L, Q): the codes of every unit."""
    edges: Sequence[float]
    """L + 1 times in s: the start of every unit, and the end of the last."""

    @property
    def error(self) -> np.ndarray:
        """(bands, T): reconstruction minus recording, dB."""
        return self.output - self.recording


def plot_codes(items: Sequence[Reconstruction], *, frame_rate: float, bands_hz: np.ndarray | None = None) -> Figure:
    """Draws the spectrogram of each recording with its units and codes, the reconstruction, and their difference.

    Recordings stand side by side while there is room for their codes. A recording with very many units is cut off, and
    its title says so.

    Args:
        items: at least one.
        frame_rate: of the spectrograms, frames per second.
        bands_hz: (bands,) centres of the bands in Hz; None: the axis counts bands.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise InputError("`items` (empty) must hold at least one recording")
    beside = max(len(item.codes) for item in items) * LEAST_WIDTH <= COLUMN
    inches, columns = (COLUMN, len(items)) if beside else (ROW, 1)
    rows = 3 * len(items) // columns
    figure = figure_of(width=2.0 + (inches + 0.2) * columns, height=2.5 * rows if beside else 1.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = grid.T if beside else grid.reshape(len(items), 3)
    levels = np.concatenate([item.recording.ravel() for item in items])
    low, high = np.quantile(levels, (0.02, 0.995))
    largest = np.quantile(np.abs(np.concatenate([item.error.ravel() for item in items])), 0.99)
    for axes, item in zip(panels, items, strict=True):
        image, errors = _draw_item(axes, item, frame_rate, inches, (low, high), largest)
    for axis in grid[:, 0]:
        axis.set_ylabel("band", fontsize=FONT)
        if bands_hz is not None:
            hz_axis(axis, bands_hz, 1, 2.0 if beside else 1.1)
    scaled = panels if beside else panels[:1]  # one scale for all
    level_scale(figure, image, scaled[:, :2].ravel().tolist(), "level (dB)")
    level_scale(figure, errors, scaled[:, 2].tolist(), "difference (dB)")
    return figure


def _draw_item(
    axes: Sequence[Axes],
    item: Reconstruction,
    frame_rate: float,
    inches: float,
    levels: tuple[float, float],
    largest: float,
) -> tuple[Any, Any]:
    """Draws one recording into its three panels.

    Args:
        axes: of the recording, the reconstruction and the difference.
        item: a recording.
        frame_rate: of the spectrograms, frames per second.
        inches: width of a panel.
        levels: range of the colours, dB.
        largest: largest difference of the colours, dB.

    Returns:
        The images of the reconstruction and of the difference, for their colour bars.
    """
    recording, output, difference = axes
    bands, frames = item.recording.shape
    extent = (-0.5 / frame_rate, (frames - 0.5) / frame_rate, 0.5, bands + 0.5)
    for axis, picture in ((recording, item.recording), (output, item.output)):
        image = axis.imshow(picture, vmin=levels[0], vmax=levels[1], extent=extent, **IMAGE)
    style = {**IMAGE, "cmap": "RdBu_r"}
    errors = difference.imshow(item.error, vmin=-largest, vmax=largest, extent=extent, **style)
    end = item.edges[MOST_UNITS] if len(item.codes) > MOST_UNITS else extent[1]
    for axis in axes:
        axis.set_xlim(extent[0], end)
        axis.tick_params(labelbottom=axis is difference)
    _draw_units(recording, item, extent, (end - extent[0]) / inches)
    used = len(set(map(tuple, item.codes.tolist())))
    title = f"{item.name}\n{frames} → {len(item.codes)} frames, {used} different codes"
    if end < extent[1]:
        title += f"; the first {end:.3g} of {extent[1]:.3g} s are shown"
    recording.set_title(title, fontsize=FONT + 1, parse_math=False)
    output.set_title("reconstruction", fontsize=FONT)
    difference.set_title(f"difference, in the mean {np.abs(item.error).mean():.1f} dB", fontsize=FONT)
    difference.set_xlabel("time (s)", fontsize=FONT)
    return image, errors


def _draw_units(axis: Axes, item: Reconstruction, extent: tuple[float, ...], per_inch: float) -> None:
    """Draws bounds and codes of the units; an inch of the axis shows `per_inch` seconds."""
    bounds = np.array(item.edges[1:-1])
    span = extent[1] - extent[0]
    axis.vlines(bounds, *extent[2:], color="white", linewidth=bound_widths(bounds, span, span / per_inch, widest=0.9))
    for start, end, codes in zip(item.edges, item.edges[1:], item.codes.tolist(), strict=False):
        if end - start >= NARROWEST * per_inch:
            write_on(axis, " ".join(map(str, codes)), (start + end) / 2, extent[3], upright=True)
