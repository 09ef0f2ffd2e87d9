"""Scores of frames are summed in double precision: the same frames come out anywhere."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import seqstride as ss
from seqstride.layers.scores import CHUNK, FrameScore

# several items at a time, one item at a time, some channels at a time, one channel at a time
SHAPES = [(5, 3, 40), (2, 64, 1500), (2, 64, 5000), (1, 2, CHUNK + 3)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_double_precision(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    layer = FrameScore(shape[1])
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(shape).to(dtype)
    lengths = torch.tensor([shape[2], *[shape[2] - 7] * (shape[0] - 1)])
    for given in (None, lengths):
        scores, source = layer(x, given)
        expected = torch.einsum("bct,c->bt", x.double(), layer.weight[0, :, 0].double())
        if given is not None:
            expected[1:, -7:] = 0
        assert scores.dtype == torch.float64
        assert_close(scores, expected, rtol=0, atol=1e-13)
        assert torch.equal(source, x)


@pytest.mark.parametrize("method", ["matrix", "scatter"])
def test_frames_do_not_depend_on_the_batch_and_its_width(method: str) -> None:
    """In float32 they stood 4e-4 elsewhere: an error of 3e-6 in a score moves frames by 3e-6 · L."""
    layer = ss.AdaStride1d(48, 2, method=method)
    torch.nn.init.normal_(layer.score.weight, std=3 / 48**0.5)
    signal = torch.randn(1, 48, 6001)
    expected = layer.double().plan(signal.double()).positions
    layer.float()
    batch = torch.full((3, 48, 7001), torch.nan)
    batch[:2, :, :5000] = torch.randn(2, 48, 5000)
    batch[2:, :, :6001] = signal
    padded = layer.plan(batch, torch.tensor([5000, 4000, 6001]))
    for plan, positions in ((layer.plan(signal), None), (padded, padded.positions[2:, :6001])):
        found = plan.positions if positions is None else positions
        assert_close(found, expected, rtol=0, atol=1e-9)
        assert plan.penalty.dtype == torch.float32


def test_half_precision_has_the_frames_of_its_own_numbers() -> None:
    layer, signal = ss.AdaStride1d(48, 2), torch.randn(2, 48, 500).bfloat16()
    torch.nn.init.normal_(layer.score.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer.plan(signal)
    assert_close(found.positions, layer.plan(signal.double()).positions, rtol=0, atol=1e-9)
    assert found.penalty.dtype == torch.float32
