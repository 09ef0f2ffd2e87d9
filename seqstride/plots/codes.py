"""The picture of what a VQ-VAE makes of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.plots.canvas import FONT, IMAGE, bound_widths, figure_of, hz_axis, write_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 4.0  # inches, of a panel where the recordings stand side by side
ROW = 11.0  # inches, of one that has the whole width
LEAST_WIDTH = 0.1  # inches, of a unit: recordings with many of them stand below one another, and …
NARROWEST = 0.06  # inches, of a unit whose code is written
MOST_UNITS = 110  # … of one with still more these are shown


class Reconstruction(NamedTuple):
    """A recording, and what was made of it."""

    name: str
    recording: np.ndarray
    """(bands, T): its log-mel spectrogram, dB."""
    output: np.ndarray
    """(bands, T): that of the reconstruction."""
    codes: np.ndarray
    """(L, Q)"""
    edges: Sequence[float]
    """L + 1 times, s: where the units start, and the end."""


def plot_codes(items: Sequence[Reconstruction], *, frame_rate: float, bands_hz: np.ndarray | None = None) -> Figure:
    """Draws, for each recording, its spectrogram with the bounds of the units and their codes, the reconstruction, and
    the difference.

    The three are one below the other; recordings stand side by side as long as there is room for their codes. Of one
    with very many units only the beginning is shown.

    Args:
        items: at least one.
        frame_rate: of the spectrograms, frames per second.
        bands_hz: (bands,) their centres; None: bands are numbered.

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
    largest = np.quantile(np.abs(np.concatenate([(i.output - i.recording).ravel() for i in items])), 0.99)
    for (recording, output, difference), item in zip(panels, items, strict=True):
        bands, frames = item.recording.shape
        extent = (-0.5 / frame_rate, (frames - 0.5) / frame_rate, 0.5, bands + 0.5)
        for axis, picture in ((recording, item.recording), (output, item.output)):
            image = axis.imshow(picture, vmin=low, vmax=high, extent=extent, **IMAGE)
        error = item.output - item.recording
        look = {**IMAGE, "cmap": "RdBu_r"}
        errors = difference.imshow(error, vmin=-largest, vmax=largest, extent=extent, **look)
        end = item.edges[MOST_UNITS] if len(item.codes) > MOST_UNITS else extent[1]
        for axis in (recording, output, difference):
            axis.set_xlim(extent[0], end)
            axis.tick_params(labelbottom=axis is difference)
        _draw_units(recording, item, extent, (end - extent[0]) / inches)
        used = len(set(map(tuple, item.codes.tolist())))
        title = f"{item.name}\n{frames} → {len(item.codes)} frames, {used} different codes"
        if end < extent[1]:
            title += f"; the first {end:.3g} of {extent[1]:.3g} s are shown"
        recording.set_title(title, fontsize=FONT + 1, parse_math=False)
        output.set_title("reconstruction", fontsize=FONT)
        difference.set_title(f"difference, in the mean {np.abs(error).mean():.1f} dB", fontsize=FONT)
        difference.set_xlabel("time (s)", fontsize=FONT)
    for axis in grid[:, 0]:
        axis.set_ylabel("band", fontsize=FONT)
        if bands_hz is not None:
            hz_axis(axis, bands_hz, 1, 2.0 if beside else 1.1)
    scaled = panels if beside else panels[:1]  # one scale for all
    upper, lower = scaled[:, :2].ravel().tolist(), scaled[:, 2].tolist()
    figure.colorbar(image, ax=upper, pad=0.01, fraction=0.03).set_label("level (dB)", fontsize=FONT)
    figure.colorbar(errors, ax=lower, pad=0.01, fraction=0.03).set_label("difference (dB)", fontsize=FONT)
    return figure


def _draw_units(axis: Axes, item: Reconstruction, extent: tuple[float, ...], per_inch: float) -> None:
    """Bounds and codes of the units; `per_inch` is how many seconds an inch of the axis is."""
    bounds = np.array(item.edges[1:-1])
    span = extent[1] - extent[0]
    axis.vlines(bounds, *extent[2:], color="white", linewidth=bound_widths(bounds, span, span / per_inch, widest=0.9))
    for start, end, codes in zip(item.edges, item.edges[1:], item.codes.tolist(), strict=False):
        if end - start >= NARROWEST * per_inch:
            write_on(axis, " ".join(map(str, codes)), (start + end) / 2, extent[3], upright=True)
