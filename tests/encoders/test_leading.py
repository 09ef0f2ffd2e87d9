"""The encoder whose layer stands on the signal itself: what the layer cuts, it never sees."""

import pytest
import torch
from torch.testing import assert_close

import seqstride as ss
from data_prep.tones import tones
from seqstride.encoders.leading import LeadingResNet1d


@pytest.mark.parametrize("key", ["average", "dct_diffstride", "adastride"])
def test_an_item_alone_is_the_item_in_a_padded_batch(key):
    encoder = LeadingResNet1d(2, 3, (4, 6), key).eval()
    x = torch.randn(2, 2, 40)
    x[1, :, 25:] = torch.nan
    encoded = encoder(x, torch.tensor([40, 25]))
    alone = encoder(x[1:, :, :25], torch.tensor([25]))
    assert encoded.lengths[1] == alone.lengths[0] == encoder.downsample.output_lengths(torch.tensor([25]))
    assert_close(encoded.features[1:, :, : alone.features.shape[2]], alone.features, rtol=1e-4, atol=1e-5)
    assert_close(encoded.strides()[1, :25], alone.strides()[0], rtol=0, atol=0)


def test_what_the_layer_cuts_is_gone():
    x, _ = tones(4, torch.Generator().manual_seed(0), amplitude=10.0)
    noise, _ = tones(4, torch.Generator().manual_seed(0), amplitude=0.0)
    found = []
    for stride in (6.0, 1.5):
        torch.manual_seed(0)
        encoder = LeadingResNet1d(1, stride, (4,), "dct_diffstride").eval()
        found.append((encoder(x).features - encoder(noise).features).square().mean())
    assert found[0] < 0.02 * found[1]


def test_its_cost_is_that_of_the_layer_and_of_the_blocks_behind():
    encoder, behind = LeadingResNet1d(1, 4, (8, 8), "average"), ss.ResNet1d(1, (8, 8), (1, 1), "average")
    assert float(ss.macs(encoder, 400)) == float(ss.macs(behind, 100))
    assert len(encoder.downsamplers) == 1
    learnt = LeadingResNet1d(1, 4.0, (8,), "diffstride")
    ss.complexity(learnt, kind="frames", length=128).backward()
    assert learnt.downsample.stride_parameter.grad is not None
