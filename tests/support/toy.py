"""A method that the package does not have, as an example: one class, one registration, and its definition.

In the package the class stands in `seqstride/layers/`, the registration is one line of `DOWNSAMPLERS`, and the
definition is a function in `oracles.py`. Here a plugin of pytest registers them. This command runs the tests:

    PYTHONPATH=tests/support python -m pytest -p toy -k toy
"""

import torch

import seqstride as ss
from seqstride.layers import Method
from seqstride.layers.pooling import WholeStride, average_pool


class LateAverage1d(WholeStride):
    """The mean of a window's average and its last real frame: (B, C, T) → (B, C, ceil(T / s))."""

    @staticmethod
    def pool_frames(x, stride, lengths, width):
        """`x` is (B, C, T) with 0 in the padding; `lengths` (B,), None: all frames are real; `width` is L."""
        ends = x.new_full((1,), x.shape[-1], dtype=torch.int64) if lengths is None else lengths
        windows = torch.arange(1, width + 1, device=x.device) * stride
        at = torch.minimum(windows, ends[:, None]) - 1
        last = x.gather(2, at[:, None].expand(*x.shape[:2], width))
        return (last + average_pool(x, stride, lengths, width)) / 2

    def _reach(self):
        """Output frame l reads input frames l·s … l·s + s − 1. Streams need to know it."""
        return 0, self.stride - 1


METHOD = Method(LateAverage1d, oracle="toy")


def late_average(x, stride):
    """The definition in float64: x (C, T) of one item without padding → its output, positions and penalty."""
    import oracles

    return oracles._windows(x, stride, lambda window, axis: (window[:, -1] + window.mean(axis)) / 2)


def pytest_configure():
    """Registers the toy before any test module asks which methods there are."""
    import oracles

    ss.DOWNSAMPLERS["toy"] = METHOD
    oracles.toy = late_average
