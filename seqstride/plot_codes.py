"""The picture of what a VQ-VAE makes of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seqstride.errors import InputError
from seqstride.plot import FONT, IMAGE, figure_of, outline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST_LABELS = 40
"""Units of a recording up to which each has its code written over it."""


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


def plot_codes(items: Sequence[Reconstruction], *, frame_rate: float) -> Figure:
    """Draws, for each recording, its spectrogram with the bounds of the units and their codes, the reconstruction, and
    the difference.

    Args:
        items: at least one.
        frame_rate: of the spectrograms, frames per second.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise InputError("`items` (empty) must hold at least one recording")
    figure = figure_of(width=2.0 + 4.2 * len(items), height=7.5)
    axes = figure.subplots(3, len(items), squeeze=False, sharex="col", sharey=True)
    levels = np.concatenate([item.recording.ravel() for item in items])
    low, high = np.quantile(levels, (0.02, 0.995))
    largest = np.quantile(np.abs(np.concatenate([(i.output - i.recording).ravel() for i in items])), 0.99)
    for column, item in zip(axes.T, items, strict=True):
        bands, frames = item.recording.shape
        extent = (-0.5 / frame_rate, (frames - 0.5) / frame_rate, 0.5, bands + 0.5)
        for axis, picture in zip(column[:2], (item.recording, item.output), strict=True):
            image = axis.imshow(picture, vmin=low, vmax=high, extent=extent, **IMAGE)
        error = column[2].imshow(
            item.output - item.recording, vmin=-largest, vmax=largest, extent=extent, **{**IMAGE, "cmap": "RdBu_r"}
        )
        width = 0.9 if len(item.codes) <= WIDEST_LABELS else 0.3  # of many units the spectrogram must still be seen
        column[0].vlines(item.edges[1:-1], *extent[2:], color="white", linewidth=width)
        distance = np.abs(item.output - item.recording).mean()
        used = len(set(map(tuple, item.codes.tolist())))
        column[0].set_title(
            f"{item.name}\n{len(item.codes)} units, {used} different", fontsize=FONT + 1, parse_math=False
        )
        column[1].set_title("reconstruction", fontsize=FONT)
        column[2].set_title(f"difference, in the mean {distance:.1f} dB", fontsize=FONT)
        column[2].set_xlabel("time (s)", fontsize=FONT)
        if len(item.codes) <= WIDEST_LABELS:
            for start, stop, codes in zip(item.edges, item.edges[1:], item.codes.tolist(), strict=False):
                text = "\n".join(map(str, codes))
                column[0].text(
                    (start + stop) / 2,
                    bands,
                    text,
                    ha="center",
                    va="top",
                    fontsize=FONT - 3,
                    color="white",
                    rotation=90,
                    path_effects=outline("black", 1.5),
                )
    for axis in axes[:, 0]:
        axis.set_ylabel("mel band", fontsize=FONT)
    figure.colorbar(image, ax=list(axes[:2].ravel()), pad=0.01, fraction=0.03).set_label("level (dB)", fontsize=FONT)
    figure.colorbar(error, ax=list(axes[2]), pad=0.01, fraction=0.03).set_label("difference (dB)", fontsize=FONT)
    return figure
