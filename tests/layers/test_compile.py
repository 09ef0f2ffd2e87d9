"""torch.compile: one graph per layer, and a learning stride does not compile again at every step."""

from __future__ import annotations

import pytest
import torch
from helpers import CONTENT, COUNTED, build
from torch._dynamo.utils import counters

import seqstride as ss

pytestmark = [  # what torch's compiler says about its own code
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf:UserWarning"),
]


# a layer whose edge can narrow has the graph of one that cannot, while it is narrow
COMPILED = [key for key in COUNTED if "narrowing" not in ss.DOWNSAMPLERS[key].options]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("key", COMPILED)
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


def some(keys, short):
    """The keys, those besides `short` for the long tests: one of each kind of plan is short."""
    return [key if key in short else pytest.param(key, marks=pytest.mark.long) for key in keys]


@pytest.mark.parametrize("key", some(COMPILED, ("average", "diffstride", "adastride", "adastride_context", "merge")))
def test_one_graph_for_batches_of_all_sizes_with_lengths(key):
    layer = build(key, channels=3, stride=2).float().freeze()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    for lengths, width in (([90, 41], 90), ([5, 101, 60], 101), ([77, 77, 3, 50], 77), ([64, 30], 70)):
        x = torch.randn(len(lengths), 3, width, requires_grad=True)
        results = []
        for run in (layer, compiled):
            y = run(x, torch.tensor(lengths))
            results.append([y, *torch.autograd.grad(y.square().sum(), [x, *parameters])])
        eager, graph = results
        # L of a graph follows from the width of the batch
        more = graph[0].shape[2] - eager[0].shape[2]
        assert (more == 0) == (max(lengths) == width)
        assert not graph[0][..., eager[0].shape[2] :].any()
        graph[0] = graph[0][..., : eager[0].shape[2]]
        for a, b in zip(graph, eager, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.detach().abs().max()))
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("key", some(CONTENT, ("cif",)))
def test_graphs_around_the_reading_of_lengths(key):
    layer = build(key, channels=3, stride=2).float()
    compiled = torch.compile(layer, backend="aot_eager", dynamic=True)
    graphs = []
    for lengths in ([90, 41], [101, 60, 5], [77, 50], [64, 30, 29]):
        x = torch.randn(len(lengths), 3, max(lengths), requires_grad=True)
        results = []
        for run in (layer, compiled):
            y = run(x, torch.tensor(lengths))
            results.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
        for eager, graph in zip(*results, strict=True):
            torch.testing.assert_close(graph, eager, rtol=1e-5, atol=1e-5 * float(eager.detach().abs().max()))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[1]


@pytest.mark.parametrize("key", some(COUNTED, ("adastride",)))
def test_one_graph_for_an_encoder(key):
    encoder = ss.ResNet1d(4, channels=(6, 6), strides=(2, 2), downsampler=key)
    for layer in encoder.downsamplers:
        layer.freeze()
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager", dynamic=True)
    for lengths in ([90, 41], [5, 101, 60]):
        x = torch.randn(len(lengths), 4, max(lengths))
        eager, graph = encoder(x, torch.tensor(lengths)), compiled(x, torch.tensor(lengths))
        torch.testing.assert_close(graph.lengths, eager.lengths)
        torch.testing.assert_close(graph.features, eager.features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(graph.positions, eager.positions, rtol=0, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
@pytest.mark.long
def test_one_graph_behind_the_reading_of_learning_strides(key):
    encoder = ss.ResNet1d(4, channels=(6, 6), strides=(2, 2), downsampler=key)
    compiled = torch.compile(encoder, backend="aot_eager", dynamic=True)
    graphs = []
    for step in range(3):
        with torch.no_grad():
            for layer in encoder.downsamplers:
                layer.stride_parameter.fill_(2.0 + 0.07 * step)
        lengths = torch.tensor([200, 101 + step, 60])
        x = torch.randn(3, 4, 200)
        eager, graph = encoder(x, lengths), compiled(x, lengths)
        torch.testing.assert_close(graph.features, eager.features, rtol=1e-4, atol=1e-4)
        strides = [layer.stride_parameter for layer in encoder.downsamplers]
        for a, b in zip(
            *[torch.autograd.grad(e.features.square().sum(), strides) for e in (graph, eager)], strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[0]


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


ANNEALED = {
    "content": lambda: ss.AdaStrideContent1d(2, 48.0, start=4.0),
    "context": lambda: ss.AdaStrideContent1d(2, 48.0, scorer="context", start=4.0),
    "diffstride": lambda: ss.DiffStride1d(6.0, narrowing=True),
}


@pytest.mark.parametrize("kind", some(ANNEALED, ("content",)))
def test_few_graphs_serve_a_whole_training(kind):
    layer, x = ANNEALED[kind](), torch.randn(2, 2, 96)
    compiled = torch.compile(layer, backend="eager", dynamic=True)
    graphs = []
    for step in range(17):
        ss.anneal(layer.train(), step / 16)
        torch.testing.assert_close(compiled(x), layer(x))
        layer.eval()
        torch.testing.assert_close(compiled(x), layer(x))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] <= graphs[1] + 2


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
