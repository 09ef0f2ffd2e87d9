"""Pictures of plans, recordings and runs. They read plans; they compute nothing that a plan knows.

The functions return a `matplotlib.figure.Figure` and touch no global state, so they work without a display; save with
`figure.savefig("strides.png")`.
"""

from seqstride.plots.runs import plot_training
from seqstride.plots.strides import plot_series, plot_strides

__all__ = ["plot_series", "plot_strides", "plot_training"]
