"""A method that the package does not have: one class and one registration. `python -m pytest -p toy` tests it."""

import torch

import seqstride as ss
from seqstride.layers import Method
from seqstride.layers.pooling import WholeStride, average_pool


class LateAverage1d(WholeStride):
    """The mean of a window's average and its last real frame: (B, C, T) → (B, C, ceil(T / s))."""

    @staticmethod
    def pool_frames(x, stride, lengths, width):
        ends = x.new_full((1,), x.shape[-1], dtype=torch.int64) if lengths is None else lengths
        windows = torch.arange(1, width + 1, device=x.device) * stride
        at = torch.minimum(windows, ends[:, None]) - 1
        last = x.gather(2, at[:, None].expand(*x.shape[:2], width))
        return (last + average_pool(x, stride, lengths, width)) / 2


METHOD = Method(LateAverage1d, "toy")


def late_average(x, stride):
    """The oracle: x (C, T) of one item."""
    import oracles

    return oracles._windows(x, stride, lambda window, axis: (window[:, -1] + window.mean(axis)) / 2)


def pytest_configure():
    """Registers the toy before any test module asks which methods there are."""
    import oracles

    ss.DOWNSAMPLERS["toy"] = METHOD
    oracles.toy = late_average
