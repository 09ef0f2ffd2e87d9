"""Parts that all pictures share: colours, figures, axes in Hz and of strides, legends, and lines that stay visible."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from seqstride.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, "Color universal design", 2008: people with any colour vision can tell these apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
IMAGE: dict[str, Any] = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "cmap": "cividis"}
FONT = 9
BOUND: dict[str, Any] = {"color": "0.8", "linewidth": 0.8}
HZ_MARKS = (100, 250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12000, 16000)  # Hz, for a mel axis


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, with a layout that matplotlib computes."""
    figure: Figure = require("matplotlib.figure", "plots").Figure(
        figsize=(width, height), dpi=120, layout="constrained"
    )
    return figure


def array(x: Tensor) -> np.ndarray:
    """A tensor as a float32 array for matplotlib."""
    return x.detach().float().cpu().numpy()


def look(block: int) -> dict[str, Any]:
    """Line style of a block, the same in every picture; blocks are counted from 0."""
    colour, marker = COLOURS[block % len(COLOURS)], MARKERS[block % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2}


def time_unit(frames: int, frame_rate: float | None) -> tuple[str, float]:
    """The unit of the time axis, and the length of one frame in it."""
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


def marks_hz(bands_hz: np.ndarray, apart: float = 0.0) -> tuple[list[float], list[str]]:
    """Marks at round frequencies for an axis of mel bands.

    Args:
        bands_hz: (bands,) centres of the bands in Hz, ascending.
        apart: least distance of two marks, in bands.

    Returns:
        The positions of the marks, counted in bands from 0, and their names.
    """
    librosa = require("librosa", "plots")
    marks = np.array([frequency for frequency in HZ_MARKS if bands_hz[0] <= frequency <= bands_hz[-1]])
    bands = librosa.hz_to_mel(bands_hz, htk=True)
    kept: list[tuple[float, str]] = []
    for place, frequency in zip(
        np.interp(librosa.hz_to_mel(marks, htk=True), bands, np.arange(len(bands))), marks, strict=True
    ):
        if not kept or place - kept[-1][0] >= apart:
            kept.append((float(place), str(frequency)))
    return [place for place, _ in kept], [name for _, name in kept]


def hz_axis(axis: Axes, bands_hz: np.ndarray, first: float, inches: float) -> None:
    """Marks a vertical axis of mel bands in Hz.

    Args:
        axis: has one unit per band.
        bands_hz: (bands,) centres of the bands in Hz, ascending.
        first: position of the lowest band.
        inches: height of the axis; marks keep a distance that leaves their names readable.
    """
    places, names = marks_hz(bands_hz, 1.3 * FONT / 72 / inches * len(bands_hz))
    axis.set_yticks([place + first for place in places], names)
    axis.set_ylabel("frequency (Hz)", fontsize=FONT)


def level_scale(figure: Figure, image: Any, axes: list[Axes], name: str) -> None:
    """The colour bar of an image, to the right of these axes."""
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03).set_label(name, fontsize=FONT)


def legend_below(figure: Figure, handles: Iterable[Any], names: Iterable[str], columns: int) -> None:
    """A legend below all panels."""
    figure.legend([*handles], [*names], loc="outside lower center", ncols=columns, fontsize=FONT)


def strides_legend(figure: Figure, axis: Axes, bounds: Any, columns: int) -> None:
    """The legend of a picture of strides: `bounds` shows the bounds of output frames, `axis` has the strides."""
    handles, names = axis.get_legend_handles_labels()
    legend_below(figure, [bounds, *handles], ["bounds of output frames", *names], columns)


def bound_widths(bounds: np.ndarray, span: float, inches: float, widest: float = 1.4) -> np.ndarray:
    """Widths of vertical lines: at most an eighth of the distance to the nearest line, so the picture stays visible.

    Args:
        bounds: (N,) positions of the lines, ascending.
        span: length of the axis in the same unit.
        inches: width of the axis.
        widest: largest width, in points.

    Returns:
        (N,) widths in points.
    """
    if len(bounds) == 0:
        return np.zeros(0)
    gaps = np.concatenate([[np.inf], np.diff(bounds), [np.inf]])
    nearest = np.minimum(gaps[1:], gaps[:-1]) / span * inches * 72
    return np.clip(nearest / 8, 0.2, widest)


def write_on(axis: Axes, text: str, place: float, top: float, upright: bool = False) -> None:
    """Writes a text on a picture, below its upper edge.

    Args:
        axis: of the picture.
        text: is turned by 90 degrees where it has more than two letters.
        place: horizontal centre.
        top: upper end.
        upright: turn shorter texts, too.
    """
    axis.text(
        place,
        top,
        text,
        ha="center",
        va="top",
        rotation=90 if upright or len(text) > 2 else 0,
        fontsize=FONT - 2,
        color="white",
        path_effects=outline("black", 1.5),
        parse_math=False,
        clip_on=True,
    )


def light_line() -> Any:
    """A legend entry for white lines, with an outline so that it is visible on white paper."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color="white", linewidth=2, path_effects=outline("black", 3.5))


def outline(colour: str, width: float = 2.5) -> list[Any]:
    """Path effects that give a line or text a rim of another colour, so that it is visible on any background."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground=colour), Normal()]
