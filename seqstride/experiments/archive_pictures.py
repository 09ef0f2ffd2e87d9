"""Pictures of methods over data sets: accuracy against time, critical differences, and the multi-comparison matrix.

Sources: J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, and A. Benavoli et
al., "Should we really use post-hoc tests based on mean-ranks?", JMLR 17, 2016, for the diagram; A. Ismail-Fawaz et al.,
"An approach to multiple comparison benchmark evaluations that is stable under manipulation of the comparate set", 2023,
for the matrix. aeon draws these two.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqstride.errors import require
from seqstride.plots.canvas import COLOURS, FONT, MARKERS, figure_of, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA = 0.05
"""Level of the tests, before Holm's correction."""


def plot_against_time(methods: Sequence[str], accuracy: np.ndarray, seconds: np.ndarray) -> Figure:
    """Draws a point for every method: the mean accuracy against the mean CPU time of a fit, on a logarithmic axis.

    Args:
        methods: M names.
        accuracy: (N, M), of N data sets.
        seconds: (N, M); a method with unknown times has no point.
    """
    figure = figure_of(width=8.0, height=4.2)
    axis = figure.subplots()
    for index, (method, right, spent) in enumerate(zip(methods, accuracy.mean(0), seconds.mean(0), strict=True)):
        if np.isfinite(spent):
            marker = MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]  # another one in every round of colours
            style = {**look(index), "marker": marker, "markersize": 7, "linestyle": "none"}
            axis.plot([spent], [100 * right], label=method, **style)
    axis.set_xscale("log")
    axis.margins(x=0.2, y=0.15)
    axis.set_xlabel(f"CPU time of a fit, s, mean over {len(accuracy)} data sets", fontsize=FONT)
    axis.set_ylabel("test accuracy, %, mean", fontsize=FONT)
    axis.grid(True, which="both", alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=FONT)
    return figure


def plot_critical_difference(methods: Sequence[str], sets: Sequence[str], accuracy: np.ndarray) -> Figure:
    """Draws the mean ranks of methods; a bar joins those whose differences are within chance.

    Pairs are tested by Wilcoxon's signed-rank test, one-sided as aeon has it, with Holm's correction.

    Args:
        methods: M names.
        sets: names of the N data sets.
        accuracy: (N, M).

    Raises:
        MissingExtraError: aeon is not installed.
    """
    room = 1 + max(map(len, methods)) / 8
    drawn = _drawn("plot_critical_difference", accuracy, list(methods), alpha=ALPHA, width=9, textspace=room)
    return _apart(drawn[0])


def plot_matrix(methods: Sequence[str], sets: Sequence[str], accuracy: np.ndarray) -> Figure:
    """Draws every pair of methods: mean difference, wins, ties and losses, and Wilcoxon's p-value (two-sided, Holm).

    Args:
        methods: M names.
        sets: names of the N data sets.
        accuracy: (N, M).

    Raises:
        MissingExtraError: aeon is not installed.
    """
    frame = require("pandas", "series").DataFrame(accuracy, columns=list(methods), index=list(sets))
    size = f"{3 + 2 * len(methods)},{2 + len(methods)}"
    test = {"zero_method": "pratt", "alternative": "two-sided"}
    figure: Figure = _drawn(
        "create_multi_comparison_matrix",
        frame,
        formats=(),
        statistic_name="accuracy",
        pvalue_test_params=test,
        pvalue_threshold=ALPHA,
        fig_size=size,
        colorbar_orientation="horizontal",
    )
    figure.set_layout_engine("tight")
    return _apart(figure)


def _drawn(name: str, *data: Any, **options: Any) -> Any:
    """Calls a function of aeon without the warnings of scipy about methods with the same results."""
    draw = getattr(require("aeon.visualisation", "archive"), name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return draw(*data, **options)


def _apart(figure: Figure) -> Figure:
    """Takes a figure out of pyplot's list, which would keep it for the rest of the process."""
    from matplotlib import pyplot

    pyplot.close(figure)
    return figure
