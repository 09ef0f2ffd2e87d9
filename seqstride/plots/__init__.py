"""Pictures of plans, recordings and training runs.

The functions return a `matplotlib.figure.Figure` and change no global state, so they work without a display. Save a
picture with `figure.savefig("strides.png")`.
"""

from seqstride.plots.runs import plot_training
from seqstride.plots.strides import plot_series, plot_strides

__all__ = ["plot_series", "plot_strides", "plot_training"]
