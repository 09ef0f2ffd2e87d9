"""The edge that starts wide: what it lets through, how it narrows, and that a stride that cuts all comes back."""

import copy
import math

import numpy as np
import oracles
import pytest
import torch
from helpers import TIGHT
from torch import nn
from torch.testing import assert_close

import seqstride as ss
from data_prep.tones import tones
from seqstride.layers.annealing import epoch_progress

KINDS = {"dft": ss.DiffStride1d, "dct": ss.DCTDiffStride1d}
every_transform = pytest.mark.parametrize("transform", KINDS)
WIDTHS = [1.0, 2 / 3, 1 / 2, 1 / 6]


def layer_of(transform, stride=6.0, progress=0.0, **options):
    layer = KINDS[transform](stride, narrowing=True, **options).double()
    ss.anneal(layer, progress)
    return layer


def item(x, transform, stride, edge):
    """The definition, for one item (C, T) whose stride is within its bounds: the output (C, L)."""
    frames = x.shape[1]
    bins, threshold = (frames // 2 + 1, frames / (2 * stride) + 1) if transform == "dft" else (frames, frames / stride)
    ramp = 4 + edge * max(0, bins - threshold - 4)
    kept = min(bins, math.ceil(round(threshold + ramp, 9)))
    mask = np.array([min(1.0, (threshold + ramp - n) / ramp) for n in range(kept)])
    if transform == "dft":
        length = oracles.diffstride_length(frames, kept)
        return oracles.inverse_dft(oracles.dft(x, kept) * mask, length) / frames
    return oracles.idct(oracles.dct(x, kept) * mask, kept) * math.sqrt(kept / frames)


@every_transform
@pytest.mark.parametrize("edge", WIDTHS)
@pytest.mark.parametrize("lengths", [[64, 63, 33, 20], [63, 64, 17]])
def test_items_in_a_batch_are_as_defined(transform, edge, lengths):
    layer = layer_of(transform, 2.75, (1 - edge) * 3 / 4)
    x = torch.randn(len(lengths), 2, 64, dtype=torch.float64)
    y = layer(x, torch.tensor(lengths))
    expected = [item(x[b, :, :length].numpy(), transform, 2.75, edge) for b, length in enumerate(lengths)]
    assert layer.output_lengths(torch.tensor(lengths)).tolist() == [output.shape[1] for output in expected]
    for b, output in enumerate(expected):
        np.testing.assert_allclose(y[b, :, : output.shape[1]].detach().numpy(), output, **TIGHT)
        assert not y[b, :, output.shape[1] :].any()
        assert_close(layer(x[b : b + 1, :, : lengths[b]])[0], y[b, :, : output.shape[1]], **TIGHT)


@every_transform
def test_a_stride_sees_what_it_cuts(transform):
    t = torch.arange(128, dtype=torch.float64)
    tone = torch.cos(math.pi * 60 * (t + 0.5) / 128)[None, None]  # on bin 30 of the DFT and bin 60 of the DCT
    for progress in (0.0, 0.3, 1.0):
        layer = layer_of(transform, progress=progress)
        layer(tone).square().sum().backward()
        assert (abs(layer.stride_parameter.grad) > 1e-3) == (progress < 1)


@every_transform
def test_the_cost_is_counted(transform):
    for progress, edge in [(0.0, 1.0), (0.2, 5 / 6), (1.0, 0.0)]:
        layer = layer_of(transform, progress=progress)
        frames = torch.tensor(600.0, dtype=torch.float64)
        narrow = 600 / 6 + (8 if transform == "dft" else 4)
        assert layer.expected_length(frames).item() == pytest.approx(narrow + edge * (600 - narrow))
        assert abs(layer(torch.randn(1, 1, 600, dtype=torch.float64)).shape[2] - layer.expected_length(frames)) <= 3


@every_transform
@pytest.mark.parametrize("options", [{}, {"relative_smoothness": 0.2}, {"length_multiple": 8}])
def test_where_the_edge_is_narrow_the_layer_is_that_of_the_paper(transform, options):
    x = torch.randn(2, 3, 90, dtype=torch.float64)
    paper = KINDS[transform](3.3, **options).double()
    layer = layer_of(transform, 3.3, 1.0, **options)
    assert_close(layer(x), paper(x), rtol=0, atol=0)
    ss.anneal(layer, 0.0)
    assert layer(x).shape[2] == 90
    assert_close(layer.eval()(x), paper(x), rtol=0, atol=0)
    assert layer.state_dict().keys() == paper.state_dict().keys()
    assert_close(layer.train().freeze()(x), paper(x), rtol=0, atol=0)


def test_the_schedule():
    model = nn.Sequential(layer_of("dft"), ss.DiffStride1d(6.0), layer_of("dct", learnable=False))
    edges = []
    for step in range(17):
        ss.anneal(model, step / 16)
        edges.append(model[0].edge)
    assert edges == [stair / 6 for stair in (6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, *[0] * 5)]
    ss.anneal(model, 0.0)
    assert (model[1].edge, model[2].edge) == (0, 0)
    assert copy.deepcopy(model)[0].edge == 1
    assert [epoch_progress(epoch, 5) for epoch in (1, 2, 3, 5)] == [0, 0.25, 0.5, 1]
    assert epoch_progress(1, 1) == 1
    with pytest.raises(ValueError, match=r"`progress` \(=1.5\) must be in 0 … 1"):
        ss.anneal(model, 1.5)


@every_transform
def test_padding_and_batch_mates_have_no_influence(transform):
    layer = layer_of(transform, progress=0.3)
    x = torch.randn(2, 2, 50, dtype=torch.float64)
    x[1, :, 31:] = torch.nan
    y = layer(x, torch.tensor([50, 31]))
    alone = layer(x[1:, :, :31])
    assert_close(y[1:, :, : alone.shape[2]], alone, **TIGHT)
    (gradient,) = torch.autograd.grad(y.square().sum(), layer.stride_parameter)
    parts = [
        torch.autograd.grad(layer(part).square().sum(), layer.stride_parameter)[0] for part in (x[:1], x[1:, :, :31])
    ]
    assert_close(gradient, sum(parts), rtol=1e-8, atol=1e-8)


@every_transform
@pytest.mark.parametrize("progress", [0.0, 0.3])
def test_the_gradient_is_that_of_finite_differences(transform, progress):
    layer = layer_of(transform, 2.7, progress)
    x = torch.randn(2, 2, 41, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda _: layer(x, torch.tensor([41, 30])), (layer.stride_parameter,))


@pytest.mark.long
@every_transform
def test_a_compiled_layer_follows_the_edge(transform):
    torch.compiler.reset()
    layer = layer_of(transform).float()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=False)
    x = torch.randn(2, 2, 64)
    for progress in (0.0, 0.3, 1.0):
        ss.anneal(layer, progress)
        assert_close(compiled(x), layer(x))


def recovered(transform, seed, steps, stride_lr):
    """Trains from S = 6 on the tones; the accuracy on new ones, and S."""
    torch.manual_seed(seed)
    layer = KINDS[transform](6.0, narrowing=True)
    net = nn.Sequential(
        *(layer, nn.Conv1d(1, 16, 9, padding=4), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Conv1d(16, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4)),
    )
    optimizer = torch.optim.AdamW(ss.parameter_groups(net, 3e-3, 1e-2, stride_lr))
    generator = torch.Generator().manual_seed(1000 + seed)
    for step in range(steps):
        ss.anneal(net, step / steps)
        x, y = tones(32, generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    x, y = tones(1000, torch.Generator().manual_seed(7))
    with torch.no_grad():
        return (net.eval()(x).argmax(1) == y).double().mean().item(), float(layer.stride.detach())


def test_a_stride_that_cuts_the_tones_comes_back():
    accuracy, stride = recovered("dct", 0, 250, 0.05)
    assert accuracy > 0.95
    assert stride < 3


@pytest.mark.long
@every_transform
@pytest.mark.parametrize("seed", range(5))
def test_a_stride_that_cuts_the_tones_comes_back_from_every_seed(transform, seed):
    accuracy, stride = recovered(transform, seed, 600, 0.02)
    assert accuracy > 0.95
    assert stride < 3
