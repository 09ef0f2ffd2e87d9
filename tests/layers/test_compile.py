"""torch.compile: one graph per layer, and a learning stride does not compile again at every step."""

from __future__ import annotations

import pytest
import torch
from helpers import build

import seqstride as ss

pytestmark = [  # what torch's compiler says about its own code
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("key", list(ss.DOWNSAMPLERS))
def test_one_graph(key):
    layer = build(key, channels=3, stride=2).float().freeze()
    x = torch.randn(2, 3, 90, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    parameters = [p for p in layer.parameters() if p.requires_grad]
    results = []
    for run in (layer, compiled):
        y = run(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *parameters])])
    for eager, graph in zip(*results, strict=True):
        torch.testing.assert_close(graph, eager, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_a_learning_stride_seldom_compiles_again(key):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    layer = ss.make_downsampler(key, channels=3, stride=2.0, length_multiple=16)
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 3, 3), layer, torch.nn.Conv1d(3, 3, 3))
    compiled = torch.compile(model, backend=count)
    x, widths = torch.randn(2, 3, 400), set()
    for step in range(12):
        with torch.no_grad():
            layer.stride_parameter.fill_(2.0 + 0.1 * step)
        y = compiled(x)
        torch.testing.assert_close(y, model(x), rtol=1e-4, atol=1e-5)
        widths.add(y.shape[-1] + 2)
    assert len(widths) > 2
    assert all(width % 16 == 0 for width in widths)
    assert len(graphs) <= 4  # before and behind the layer, and once more each for a width that changes


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_length_multiple_only_lengthens(key):
    plain = ss.make_downsampler(key, channels=1, stride=2.7)
    rounded = ss.make_downsampler(key, channels=1, stride=2.7, length_multiple=8)
    lengths = torch.arange(1, 200)
    short, long = plain.output_lengths(lengths), rounded.output_lengths(lengths)
    assert ((long % 8 == 0) | (long == lengths)).all()
    assert ((long >= short) & (long < short + 8)).all()
    # the kept spectrum is the same, so a slow tone is only sampled more densely
    t = torch.arange(160, dtype=torch.float64)
    x = (2 * torch.pi * 3 * t / 160).cos()[None, None]
    for layer in (plain, rounded):
        plan = layer.plan(x)
        expected = (2 * torch.pi * 3 * plan.times() / 160).cos()
        torch.testing.assert_close(plan(x)[0].detach()[:, 8:-8], expected[:, 8:-8], rtol=0, atol=2e-3)
    with pytest.raises(ValueError, match=r"length_multiple.*0.*at least 1"):
        ss.make_downsampler(key, channels=1, stride=2, length_multiple=0)
