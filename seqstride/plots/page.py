"""The interactive page of a recording: a single HTML file that needs no network."""

from __future__ import annotations

import html
from typing import Any, NamedTuple

import numpy as np

from seqstride.errors import require
from seqstride.plots.canvas import COLOURS, marks_hz
from seqstride.plots.view import View, describe_masks

CLASSES = 10  # largest number of classes shown per label
DASHES = ("solid", "dash", "dot")  # lines get the next dash pattern when all colours are in use
# pixels
WAVE, SPECTROGRAM, STRIDES, SCORES, MASKS = 90, 260, 220, 200, 150
GAP, TIME_AXIS, TOP, BOTTOM = 24, 110, 90, 60
BESIDE = 0.08  # share of the width between two panels
# the first two buttons would send the recording to a server
WITHOUT = ["sendChartToCloud", "sendDataToCloud", "select2d", "lasso2d"]
CONFIG = {"displaylogo": False, "scrollZoom": True, "modeBarButtonsToRemove": WITHOUT}


def require_plotly() -> Any:
    """Returns plotly's module `graph_objects`.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    return require("plotly.graph_objects", "html")


class _Row(NamedTuple):
    """A panel over the time axis. Rows are below one another; row n has the axis yn of the figure."""

    pixels: int
    title: str
    traces: list[Any]
    axis: dict[str, Any]
    """Settings of its vertical axis."""


def view_page(view: View, seconds: float) -> str:
    """Makes a page with waveform, spectrogram, strides and the class scores over time.

    All panels share one time axis. Pointing at a time shows all values at that time. For a label with more than ten
    classes, the page shows those with the ten highest scores.

    Args:
        view: a recording.
        seconds: duration that the page shows at first.

    Returns:
        The text of an HTML file that needs no other file.

    Raises:
        ImportError: plotly is not installed.
    """
    go = require_plotly()
    rows = [
        _Row(WAVE, "waveform", [_wave(go, view)], {}),
        _Row(SPECTROGRAM, "frequency (Hz)", _spectrogram(go, view), _bands_axis(view)),
        _Row(STRIDES, "local stride (input<br>frames per output frame)", _strides(go, view), _stride_axis(view)),
        *(_Row(SCORES, f"{_escaped(label)}:<br>class scores", _scores(go, view, label), {}) for label in view.scores),
    ]
    masks = list(dict.fromkeys(mask.axis for mask in view.masks))
    height = sum(row.pixels for row in rows) + GAP * (len(rows) - 1) + (TIME_AXIS + MASKS if masks else 0)
    figure = go.Figure()
    _set_layout(figure, view, seconds, height, len(rows))
    _add_rows(figure, rows, height)
    width = (1 - BESIDE * (len(masks) - 1)) / max(1, len(masks))
    for column, name in enumerate(masks):
        left = column * (width + BESIDE)
        _add_masks(go, figure, view, name, len(rows) + 1 + column, [left, left + width], MASKS / height)
    body = figure.to_html(full_html=False, include_plotlyjs=True, config=CONFIG)
    head = f'<meta charset="utf-8"><title>{_escaped(view.name)}</title>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _escaped(text: str) -> str:
    """Returns a text that is no markup; bytes of a file's name that are not UTF-8 are written as `\\udc80`."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())


def _set_layout(figure: Any, view: View, seconds: float, height: int, rows: int) -> None:
    """Sets title and size, and shows the time axis below the last row; `height` is in pixels."""
    figure.update_layout(
        title={
            "text": _escaped(view.title),
            "subtitle": {"text": f"{view.frames}; white lines: bounds of the output frames"},
        },
        template="plotly_white",
        height=height + TOP + BOTTOM,
        margin={"l": 90, "r": 190, "t": TOP, "b": BOTTOM},
        hovermode="x unified",
        hoversubplots="axis",
        hoverdistance=-1,  # show the nearest values of every curve at any distance
        xaxis={
            "title": "time",
            "ticksuffix": " s",
            "anchor": f"y{rows}",
            "range": [view.start, min(view.stop, view.start + seconds)],
            "hoverformat": ".3f",
            "showspikes": True,
            "spikemode": "across",
            "spikesnap": "cursor",
            "spikethickness": 1,
        },
    )


def _add_rows(figure: Any, rows: list[_Row], height: int) -> None:
    """Adds the panels from top to bottom; `height` is the height of all panels in pixels."""
    top = 1.0
    for number, row in enumerate(rows, 1):
        bottom = top - row.pixels / height
        # zoom only along time
        look = {"title": row.title, "domain": [max(0.0, bottom), top], "fixedrange": True, "zeroline": False}
        legend = {"y": top, "x": 1.01, "yanchor": "top"}
        figure.update_layout({f"yaxis{number}": {**look, **row.axis}, f"legend{number}": legend})
        for trace in row.traces:
            own = {} if trace.type == "heatmap" else {"legend": f"legend{number}"}
            figure.add_trace(trace.update(xaxis="x", yaxis=f"y{number}", **own))
        top = bottom - GAP / height


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
        # a list, because plotly 6 does not read arrays here
        customdata=np.repeat(view.bands_hz.round().astype(np.int32)[:, None], frames, 1).tolist(),
        zmin=low,
        zmax=high,
        # white lines stay visible on the brightest colour
        colorscale=sample_colorscale("Magma", np.linspace(0, 0.8, 32).tolist()),
        showscale=False,
        name="level",
        hovertemplate="%{z:.1f} dB at %{customdata} Hz",
    )
    # one line for all bounds: NaN interrupts it
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
            name=_escaped(name),
            mode="lines+markers",
            line=_look(index),
            marker={"size": 4},
            hovertemplate="%{y:.2f}",
        )
        for index, name in enumerate(names[:CLASSES])
    ]


def _add_masks(go: Any, figure: Any, view: View, name: str, number: int, columns: list[float], height: float) -> None:
    """Adds the masks of one axis in a panel at the bottom.

    Args:
        go: plotly's `graph_objects`.
        figure: the figure of the page.
        view: the recording.
        name: name of the masks' axis, "time" or "frequency".
        number: number of the panel's axes in the figure.
        columns: left and right end, as shares of the width.
        height: height of the panel, as a share of all panels.
    """
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
    """Returns plotly's drawing mode: markers for a single point, because a line would have no length."""
    return "lines" if len(times) > 1 else "markers"
