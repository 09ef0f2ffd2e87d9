"""What all pictures share: colours, figures that lay themselves out, axes in Hz and of strides, lines that show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, "Color universal design", 2008: told apart by people with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
IMAGE: dict[str, Any] = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "cmap": "cividis"}
FONT = 9
BOUND: dict[str, Any] = {"color": "0.8", "linewidth": 0.8}
HZ_MARKS = (100, 250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12000, 16000)  # Hz, for an axis even in mel


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of this size, in inches, that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def array(x: Tensor) -> np.ndarray:
    """What matplotlib draws."""
    return x.detach().float().cpu().numpy()


def look(block: int) -> dict[str, Any]:
    """Colour and marker of a block, the same in every picture."""
    colour, marker = COLOURS[block % len(COLOURS)], MARKERS[block % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2}


def time_unit(frames: int, frame_rate: float | None) -> tuple[str, float]:
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


def marks_hz(bands_hz: np.ndarray, apart: float = 0.0) -> tuple[list[float], list[str]]:
    """Round frequencies on an axis of bands: their places, counted in bands from 0, and their names.

    Args:
        bands_hz: (bands,) centres, ascending.
        apart: bands between two marks, at least.
    """
    marks = [frequency for frequency in HZ_MARKS if bands_hz[0] <= frequency <= bands_hz[-1]]
    kept: list[tuple[float, str]] = []
    for place, frequency in zip(np.interp(marks, bands_hz, np.arange(len(bands_hz))).tolist(), marks, strict=True):
        if not kept or place - kept[-1][0] >= apart:
            kept.append((place, str(frequency)))
    return [place for place, _ in kept], [name for _, name in kept]


def hz_axis(axis: Axes, bands_hz: np.ndarray, first: float, inches: float) -> None:
    """An axis of evenly spaced bands, marked in Hz; the lowest stands at `first`, and all take so many inches."""
    places, names = marks_hz(bands_hz, 1.3 * FONT / 72 / inches * len(bands_hz))
    axis.set_yticks([place + first for place in places], names)
    axis.set_ylabel("frequency (Hz)", fontsize=FONT)


def bound_widths(bounds: np.ndarray, span: float, inches: float, widest: float = 1.4) -> np.ndarray:
    """Widths of lines, in points: an eighth of the way to the nearest one at most, so that what is between them shows.

    Args:
        bounds: (N,) where the lines stand, ascending.
        span: of the axis, in the same unit.
        inches: width of the axis.
        widest: of a line.
    """
    if len(bounds) == 0:
        return np.zeros(0)
    gaps = np.concatenate([[np.inf], np.diff(bounds), [np.inf]])
    nearest = np.minimum(gaps[1:], gaps[:-1]) / span * inches * 72
    return np.clip(nearest / 8, 0.2, widest)


def write_on(axis: Axes, text: str, place: float, top: float, upright: bool = False) -> None:
    """A text on a picture, below its upper edge; upright also where it has more than two letters."""
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
    """The legend's entry for the white lines, outlined so that it shows on white."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color="white", linewidth=2, path_effects=outline("black", 3.5))


def outline(colour: str, width: float = 2.5) -> list[Any]:
    """A line or text with a rim of another colour, so that it shows on any ground."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground=colour), Normal()]
