"""Nothing on the way reads the device: a meta tensor has no values, so every attempt to read one raises."""

import contextlib

import pytest
import torch
from helpers import CONTENT, COUNTED, SEEING, build

import seqstride as ss

STRIDE = 2.3  # of those that learn: what an encoder has read


def step(layer, lengths):
    """Forward and backward of a layer as in a residual block: two signals at one plan."""
    x = torch.randn(3, 4, 50, device="meta", requires_grad=True)
    plan = layer.plan_checked(x, lengths, STRIDE)
    y = layer.pool(x, plan)
    shortcut = plan(torch.randn(3, 7, 50, device="meta"))
    assert y.shape[2] == shortcut.shape[2] == plan.frames.output_width
    (y.square().sum() + shortcut.sum() + plan.penalty).backward()
    return plan


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """torch has no autocast for meta tensors."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("key", COUNTED)
def test_a_layer_waits_for_nothing(key, padded):
    layer = build(key, channels=4, stride=2).to("meta", torch.float32)
    lengths = torch.full((3,), 40, device="meta") if padded else None
    plan = step(layer, lengths)
    for values in (plan.positions, plan.strides(), plan.times(), plan.durations(), plan.lengths):
        assert len(values) == 3
    assert plan.expand(torch.randn(3, 2, plan.frames.output_width, device="meta")).shape == (3, 2, 50)


@pytest.mark.parametrize("key", CONTENT)
def test_a_layer_whose_content_decides_reads_one_number(key, monkeypatch):
    reads = []
    monkeypatch.setattr("seqstride.core.lengths.largest", lambda values: reads.append(values) or 17)
    monkeypatch.setattr("seqstride.core.align.reading_waits", lambda _: True)
    plan = step(build(key, channels=4, stride=2).to("meta", torch.float32), torch.full((3,), 40, device="meta"))
    assert plan.frames.output_width == 17
    assert len(reads) == 1


@pytest.mark.parametrize("key", SEEING)
def test_the_way_without_reading_computes_the_same(key, monkeypatch):
    layer = build(key, channels=4, stride=2).double()
    lengths = torch.tensor([50, 1, 37])
    x = torch.randn(3, 4, 50, dtype=torch.float64)
    x[1, :, 1:] = x[2, :, 37:] = torch.nan
    results = []
    for waits in (False, True):
        monkeypatch.setattr("seqstride.core.align.reading_waits", lambda _, waits=waits: waits)
        monkeypatch.setattr("seqstride.core.full.reading_waits", lambda _, waits=waits: waits)
        monkeypatch.setattr("seqstride.layers.scores.reading_waits", lambda _, waits=waits: waits)
        given = x.clone().requires_grad_()
        plan = layer.plan(given, lengths)
        y = layer.pool(given, plan)
        loss = y.square().sum() + plan.penalty
        results.append((y, *torch.autograd.grad(loss, [given, *layer.parameters()])))
    for there, here in zip(*results, strict=True):
        torch.testing.assert_close(here, there)


@pytest.mark.parametrize("key", COUNTED)
@pytest.mark.parametrize("name", ["ResNet1d", "Spectrogram2d"])
def test_an_encoder_waits_for_nothing_behind_its_check(name, key, monkeypatch):
    """The check of lengths on the device and the reading of strides are replaced by their results, and counted."""
    reads = []

    def read(lengths, strides):
        reads.append(len(strides))
        return [50, 40, 31], [STRIDE] * len(strides)

    monkeypatch.setattr("seqstride.core.checks._read", read)
    strides = {"ResNet1d": (2, 2), "Spectrogram2d": ((2, 2), (2, 2))}[name]
    encoder = getattr(ss, name)(8, (6, 6), strides, key).to("meta")
    encoded = encoder(torch.randn(3, 8, 50, device="meta"), torch.tensor([50, 40, 31], device="meta"))
    (encoded.features.square().sum() + encoded.penalty).backward()
    assert len(reads) == 1
