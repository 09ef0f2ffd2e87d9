"""Softmax-weighted means: what the tests of all methods do not reach."""

import pytest
import torch
from torch.testing import assert_close

import seqstride as ss

# With sharp weights, a loud frame far from an output frame counts as much as a hushed one near it: it shows which
# frames a path leaves out.
FAINT = {"rtol": 0, "atol": 2e-6}


def sharp(frames, seed=0):
    """An AdaStride with sharp softmax pooling and frames spread by its scores, and loud and hushed frames for it."""
    torch.manual_seed(seed)
    layer = ss.AdaStride1d(4, 2, scorer="context", pooling="softmax")
    with torch.no_grad():
        layer.score.weight.normal_(0, 0.3)
        layer.sharpness.fill_(5.0)
    return layer.requires_grad_(False), torch.randn(2, 4, frames).sign() + 0.05 * torch.randn(2, 4, frames)


@pytest.mark.parametrize("seed", range(3))
def test_sharp_weights_do_not_tell_an_item_alone_from_one_in_a_batch(seed):
    layer, x = sharp(250, seed)
    both = layer(x, torch.tensor([250, 243]))  # items of unequal lengths are bands, one alone is a full matrix
    assert_close(layer(x[:1]), both[:1], **FAINT)


def test_sharp_weights_do_not_tell_how_a_stream_is_cut():
    layer, x = sharp(600)
    outputs = []
    for size in (600, 50, 1):
        stream = layer.stream()
        outputs.append(torch.cat([*(stream.push(part) for part in x.split(size, 2)), stream.finish()], 2))
    assert_close(outputs[1], outputs[0], **FAINT)
    assert_close(outputs[2], outputs[0], **FAINT)


def test_sharp_weights_do_not_tell_a_graph_from_code():
    layer, x = sharp(250)
    graph = torch.export.export(layer, (x,), strict=False).module()
    assert_close(graph(x), layer(x), **FAINT)


@pytest.mark.parametrize("kind", [ss.AdaStrideRatio1d, ss.AdaStrideContent1d])
def test_layers_that_learn_their_ratio_weigh_large_values_more(kind):
    layer = kind(2, 2.3, pooling="softmax").double()
    with torch.no_grad():
        layer.score.weight.normal_(0, 0.5)
        layer.sharpness.copy_(torch.tensor([1.5, 0.0]))
    x, lengths = torch.randn(2, 2, 40, dtype=torch.float64), torch.tensor([40, 31])
    x[1, :, 31:] = float("nan")
    plan = layer.plan(x, lengths)
    y, mean = layer(x, lengths), plan(x)
    for item, matrix in enumerate(plan.matrix()):
        weights = (1.5 * x[item, 0, : lengths[item]]).clamp(-5, 5).exp()
        rows = matrix[: plan.lengths[item], : lengths[item]]
        expected = rows @ (weights * x[item, 0, : lengths[item]]) / (rows @ weights)
        assert_close(y[item, 0, : plan.lengths[item]], expected)
    assert_close(y[:, 1], mean[:, 1])  # α = 0
    y.sum().backward()
    assert layer.sharpness.grad.abs().min() > 0


def test_a_window_of_one_frame_has_nothing_to_learn():
    # a parameter without a gradient would stop training in several processes
    assert not list(ss.SoftPool1d(2, stride=1).parameters())
    assert repr(ss.SoftPool1d(2, stride=1)) == "SoftPool1d(2, stride=1)"
