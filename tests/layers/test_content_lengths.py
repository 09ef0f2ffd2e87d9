"""Output lengths that follow from the content: chained by plans, and refused where they are asked for beforehand."""

import math

import pytest
import torch
from helpers import CONTENT, build
from torch.testing import assert_close

import seqstride as ss
from seqstride.encoders.subsampling import Subsampling
from seqstride.lobes import FrontEnd

every_key = pytest.mark.parametrize("key", CONTENT)
LENGTHS = torch.tensor([50, 33])


@every_key
def test_lengths_alone_are_not_enough(key):
    for module in (build(key), ss.make_downsampler2d(key, 2, (2, 2)), Subsampling(2, 4, (2, 2), key)):
        with pytest.raises(ValueError, match=r"need the signal, not .*they are `layer\.plan\(x, lengths\)"):
            module.output_lengths(LENGTHS)
    with pytest.raises(ValueError, match="`subsampling` must have layers whose output lengths follow from those"):
        FrontEnd(Subsampling(2, 4, (2, 2), key))


@every_key
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["equal", "padded"])
def test_an_encoder_chains_the_lengths_of_its_plans(key, lengths):
    torch.manual_seed(1)
    encoder = ss.ResNet1d(3, (4, 4), (2, 2), key).double().eval()
    x = torch.randn(2, 3, 50, dtype=torch.float64)
    with torch.no_grad():
        for layer in encoder.downsamplers:
            for parameter in layer.parameters():
                parameter.normal_()
    encoded = encoder(x, lengths)
    first, second = encoded.plans
    assert second.input_lengths.tolist() == first.lengths.tolist()
    assert encoded.lengths.tolist() == second.lengths.tolist()
    assert encoded.features.shape[2] == int(encoded.lengths.max())
    assert encoded.durations().sum(1).tolist() == encoded.input_lengths.tolist()
    for item, length in enumerate(encoded.input_lengths.tolist()):
        alone = encoder(x[item : item + 1, :, :length])
        width = int(alone.lengths)
        assert encoded.lengths[item] == width
        assert_close(encoded.features[item, :, :width], alone.features[0])
        assert not encoded.features[item, :, width:].any()


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_cif_starts_as_average_pooling(stride):
    x = torch.randn(2, 3, 50, dtype=torch.float64)
    layer = ss.CIF1d(3, stride).double()
    plan = layer.plan(x)
    assert_close(plan(x), ss.AvgPool1d(stride)(x))
    assert_close(plan.positions, ss.AvgPool1d(stride).plan(x).positions)
    assert plan.penalty < 1e-12


@pytest.mark.parametrize("layer", [ss.CIF1d(1, 4), ss.AdaStrideContent1d(1, 4)], ids=["cif", "adastride_content"])
def test_frames_go_to_items_with_content(layer):
    with torch.no_grad():
        layer.score.weight.fill_(2.0)
    x = torch.full((2, 1, 100), -1.0)
    x[0, :, 40:60] = 2.0
    plan = layer.plan(x)
    dense, silent = plan.lengths.tolist()
    assert dense > 3 * silent
    assert plan.strides()[0, 45] < 1.2 < plan.strides()[0, 10]
    plan.penalty.backward()  # the batch has fewer frames than one in four
    assert layer.bias.grad < 0


@pytest.mark.parametrize("stride", [2, 3.7, 8])
def test_merge_cuts_silence_evenly(stride):
    x = torch.zeros(1, 3, 50)
    durations = ss.MergePool1d(stride).plan(x).durations()[0]
    assert len(durations) == math.ceil(50 / stride)
    assert int(durations[:-1].max() - durations[:-1].min()) <= 1
    x[0, :, 20:30] = torch.randn(3, 10)
    plan = ss.MergePool1d(2).plan(x)
    assert plan.strides()[0, 22] == 1 < 2 < plan.strides()[0, 40]


def test_a_threshold_merges_what_is_similar():
    layer = ss.MergePool1d(2, threshold=0.5)
    assert layer.content_lengths
    x = torch.tensor([[1.0, 0.9, -1.0, -2.0, 3.0, 0.0], [0.0, 0.2, 0.1, 0.0, 0.1, 3.0]])[None]
    lengths = torch.tensor([6, 3])
    plan = layer.plan(x.repeat(2, 1, 1), lengths)
    assert plan.lengths.tolist() == [4, 2]
    assert plan.durations().tolist() == [[2, 2, 1, 1], [2, 1, 0, 0]]
    assert_close(plan(x.repeat(2, 1, 1))[0, :, 0], x[0, :, :2].mean(1))
    with pytest.raises(ValueError, match="need the signal"):
        layer.output_lengths(lengths)
    for wrong in (2, math.nan, "0.5"):
        with pytest.raises(ValueError, match=rf"`threshold` \(={wrong!r}\) must be a cosine"):
            ss.MergePool1d(2, threshold=wrong)


def test_hnet_teaches_its_probabilities_straight_through():
    """The gradients of z = x · P and, on the way back, of z̄ · c, where the factors count as 1."""
    layer = build("hnet", channels=3)
    x = torch.randn(1, 3, 20, dtype=torch.float64)
    parameters = list(layer.parameters())
    plan, p = layer.plan(x), layer.probabilities(x)[0]
    starts = torch.cat([torch.tensor([0]), plan.durations()[0].cumsum(0)[:-1]])
    y = plan(x)
    assert torch.equal(y[0], x[0][:, starts])
    weights = torch.randn_like(y)
    found = torch.autograd.grad((y * weights).sum(), parameters, retain_graph=True)
    expected = torch.autograd.grad((x[0][:, starts] * p[starts] * weights[0]).sum(), parameters, retain_graph=True)
    assert_close(found, expected)
    z = torch.zeros_like(y)
    z[0, 0, -1] = 1.0  # the last chunk alone: z̄ = P there and 0 elsewhere
    last = torch.arange(20) >= starts[-1]
    expanded = plan.expand(z)[0, 0]
    assert_close(expanded, torch.where(last, p[starts[-1]], 0.0))
    found = torch.autograd.grad(expanded.sum(), parameters, retain_graph=True)
    confidence = torch.where(torch.arange(20) == starts[-1], p, 1 - p)[last]
    share = p[starts[-1]]
    expected = torch.autograd.grad((share * int(last.sum())) + share.detach() * confidence.sum(), parameters)
    assert_close(found, expected)
