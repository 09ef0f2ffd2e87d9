"""Output lengths that follow from the content: chained by plans, and refused where they are asked for beforehand."""

import pytest
import torch
from helpers import CONTENT, build
from torch.testing import assert_close

import seqstride as ss
from seqstride.encoders.subsampling import Subsampling
from seqstride.lobes import Downsample, FrontEnd

every_key = pytest.mark.parametrize("key", CONTENT)
LENGTHS = torch.tensor([50, 33])


@every_key
def test_lengths_alone_are_not_enough(key):
    for module in (build(key), ss.make_downsampler2d(key, 2, (2, 2)), Subsampling(2, 4, (2, 2), key)):
        with pytest.raises(ValueError, match=r"need the signal, not only its `lengths`: they are `layer\.plan\("):
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


@every_key
def test_relative_lengths_are_those_of_the_plan(key):
    layer, x = build(key, dtype=torch.float32), torch.randn(2, 50, 2)
    y, relative, _ = Downsample(layer)(x, LENGTHS / 50)
    lengths = layer.plan(x.transpose(1, 2), LENGTHS).lengths
    assert (relative * y.shape[1]).round().tolist() == lengths.tolist()


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_cif_starts_as_average_pooling(stride):
    x = torch.randn(2, 3, 50, dtype=torch.float64)
    layer = ss.CIF1d(3, stride).double()
    plan = layer.plan(x)
    assert_close(plan(x), ss.AvgPool1d(stride)(x))
    assert_close(plan.positions, ss.AvgPool1d(stride).plan(x).positions)
    assert plan.penalty < 1e-12


def test_cif_fires_where_the_content_is():
    layer = ss.CIF1d(1, 4)
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
