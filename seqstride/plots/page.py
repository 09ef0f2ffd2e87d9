"""The page of a recording: one HTML file to zoom and to point into, with all that it needs inside."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from seqstride.errors import require
from seqstride.plots.canvas import COLOURS, marks_hz
from seqstride.plots.view import View, describe_masks

CLASSES = 10  # of a label, at most
DASHES = ("solid", "dash", "dot")  # the second and third round of the colours
# pixels
WAVE, SPECTROGRAM, STRIDES, SCORES, MASKS = 90, 260, 220, 200, 150
GAP, TIME_AXIS, TOP, BOTTOM = 24, 110, 90, 60
BESIDE = 0.08  # of the width, between two panels
# the first two would send the recording to a server
WITHOUT = ["sendChartToCloud", "sendDataToCloud", "select2d", "lasso2d"]
CONFIG = {"displaylogo": False, "scrollZoom": True, "modeBarButtonsToRemove": WITHOUT}


def require_plotly() -> Any:
    """Returns plotly's module `graph_objects`.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    return require("plotly.graph_objects", "html")


def view_page(view: View, seconds: float) -> str:
    """A page with the content of the picture, and with the scores of the classes over time.

    Waveform, spectrogram, strides and scores share one time axis; pointing anywhere tells all values at that time.
    Of a label with many classes the page has the ten with the highest scores.

    Args:
        view: a recording.
        seconds: of it that are shown at first.

    Raises:
        ImportError: plotly is not installed.
    """
    go = require_plotly()
    # one row after another from the top; row n has the axis yn
    rows = [
        (WAVE, "waveform", [_wave(go, view)], {}),
        (SPECTROGRAM, "frequency (Hz)", _spectrogram(go, view), _bands_axis(view)),
        (STRIDES, "local stride (input<br>frames per output frame)", _strides(go, view), _stride_axis(view)),
        *((SCORES, f"{escape(label)}:<br>class scores", _scores(go, view, label), {}) for label in view.scores),
    ]
    masks = list(dict.fromkeys(mask.axis for mask in view.masks))
    height = sum(size for size, *_ in rows) + GAP * (len(rows) - 1) + (TIME_AXIS + MASKS if masks else 0)
    figure = go.Figure()
    figure.update_layout(
        title={
            "text": escape(view.title),
            "subtitle": {"text": f"{view.frames}; white lines: bounds of the output frames"},
        },
        template="plotly_white",
        height=height + TOP + BOTTOM,
        margin={"l": 90, "r": 190, "t": TOP, "b": BOTTOM},
        hovermode="x unified",
        hoversubplots="axis",
        hoverdistance=-1,  # the nearest values of every curve, however far they are
        xaxis={
            "title": "time",
            "ticksuffix": " s",
            "anchor": f"y{len(rows)}",
            "range": [view.start, min(view.stop, view.start + seconds)],
            "hoverformat": ".3f",
            "showspikes": True,
            "spikemode": "across",
            "spikesnap": "cursor",
            "spikethickness": 1,
        },
    )
    top = 1.0
    for number, (size, title, traces, axis) in enumerate(rows, 1):
        bottom = top - size / height
        # zooming is along time only
        look = {"title": title, "domain": [max(0.0, bottom), top], "fixedrange": True, "zeroline": False, **axis}
        figure.update_layout({f"yaxis{number}": look, f"legend{number}": {"y": top, "x": 1.01, "yanchor": "top"}})
        for trace in traces:
            legend = {} if trace.type == "heatmap" else {"legend": f"legend{number}"}
            figure.add_trace(trace.update(xaxis="x", yaxis=f"y{number}", **legend))
        top = bottom - GAP / height
    width = (1 - BESIDE * (len(masks) - 1)) / max(1, len(masks))
    for column, name in enumerate(masks):
        left = column * (width + BESIDE)
        _add_masks(go, figure, view, name, len(rows) + 1 + column, [left, left + width], MASKS / height)
    body = figure.to_html(full_html=False, include_plotlyjs=True, config=CONFIG)
    head = f'<meta charset="utf-8"><title>{escape(view.name)}</title>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _wave(go: Any, view: View) -> Any:
    times, values = view.outline()
    line = {"color": "#444444", "width": 1}
    return go.Scatter(x=times, y=values, mode="lines", line=line, showlegend=False, hoverinfo="skip")


def _spectrogram(go: Any, view: View) -> list[Any]:
    from plotly.colors import sample_colorscale

    bands, frames = view.spectrogram.shape
    low, high = view.level_range
    image = go.Heatmap(
        x=view.times,
        y=np.arange(bands),
        z=view.spectrogram.astype(np.float32),
        # a list: plotly 6 reads no arrays of numbers here
        customdata=np.repeat(view.bands_hz.round().astype(np.int32)[:, None], frames, 1).tolist(),
        zmin=low,
        zmax=high,
        # white lines show on every cell
        colorscale=sample_colorscale("Magma", np.linspace(0, 0.8, 32).tolist()),
        showscale=False,
        name="level",
        hovertemplate="%{z:.1f} dB at %{customdata} Hz",
    )
    # one line for all: NaN lifts the pen
    x = np.repeat(view.bounds, 3)
    y = np.tile([-0.5, bands - 0.5, np.nan], len(view.bounds))
    line = {"color": "rgba(255, 255, 255, 0.8)", "width": 1}
    return [image, go.Scatter(x=x, y=y, mode="lines", line=line, showlegend=False, hoverinfo="skip")]


def _bands_axis(view: View) -> dict[str, Any]:
    places, names = marks_hz(view.bands_hz)
    return {"tickvals": places, "ticktext": names, "range": [-0.5, len(view.bands_hz) - 0.5], "showgrid": False}


def _strides(go: Any, view: View) -> list[Any]:
    looks = [{"color": "black", "width": 3}, *(_look(index) for index in range(len(view.blocks)))]
    return [
        go.Scatter(x=view.times, y=stride, name=name, mode=_mode(view.times), line=look, hovertemplate="%{y:.2f}")
        for (name, stride, _), look in zip([view.whole, *view.blocks], looks, strict=True)
    ]


def _stride_axis(view: View) -> dict[str, Any]:
    low, high = np.log10(view.stride_range) + (-0.06, 0.06)
    low, high = min(low, -0.06), max(high, 0.36)
    return {"type": "log", "range": [low, high], "tickvals": 2.0 ** np.arange(-8, 16)}


def _scores(go: Any, view: View, label: str) -> list[Any]:
    names, logits = view.scores[label]
    return [
        go.Scatter(
            x=view.output_times,
            y=logits[:, index],
            name=escape(name),
            mode="lines+markers",
            line=_look(index),
            marker={"size": 4},
            hovertemplate="%{y:.2f}",
        )
        for index, name in enumerate(names[:CLASSES])
    ]


def _add_masks(go: Any, figure: Any, view: View, name: str, number: int, columns: list[float], height: float) -> None:
    """The masks of one axis, in a panel of its own at the bottom: axes `number`, over this part of the width."""
    masks = [mask for mask in view.masks if mask.axis == name]
    for mask in masks:
        look = _look(mask.block)
        trace = {"xaxis": f"x{number}", "yaxis": f"y{number}", "line": look, "showlegend": False, "mode": "lines"}
        block = f"block {mask.block + 1}"
        figure.add_trace(go.Scatter(x=mask.frequencies, y=mask.values, name=block, hovertemplate="%{y:.2f}", **trace))
        figure.add_vline(mask.cutoff, line={**look, "width": 1, "dash": "dash"}, xref=f"x{number}", yref=f"y{number}")
    unit = "modulation frequency (Hz)" if name == "time" else "cycles per band"
    reach = 1.1 * max(max(mask.passed, mask.cutoff) for mask in masks)
    text = describe_masks(masks).replace("\n", "<br>")
    figure.update_layout(
        {
            f"xaxis{number}": {"title": unit, "domain": columns, "range": [0, reach], "anchor": f"y{number}"},
            f"yaxis{number}": {"title": "mask", "domain": [0, height], "range": [-0.05, 1.05], "anchor": f"x{number}"},
        }
    )
    at = {"x": columns[0], "y": height, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(text=text, align="left", font={"size": 11}, showarrow=False, **at)


def _look(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index // len(COLOURS) % len(DASHES)], "width": 1.5}


def _mode(times: np.ndarray) -> str:
    """A line through a single point would not show."""
    return "lines" if len(times) > 1 else "markers"
