"""Methods against the public packages of the same methods, where these are installed."""

import pytest
import torch
from torch.testing import assert_close

import seqstride as ss
from seqstride.core.lengths import length_mask, zero_padding

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("stride", [1.5, 3, 5.3])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_cif_is_that_of_torch_cif(stride, spread):
    cif_function = pytest.importorskip("torch_cif").cif_function
    layer = ss.CIF1d(4, stride)
    with torch.no_grad():
        layer.score.weight.normal_(0, spread)
    lengths = torch.tensor([60, 41, 23, 30])
    x = zero_padding(torch.randn(4, 4, 60), lengths)
    with torch.no_grad():
        plan, weights = layer.plan(x, lengths), layer.weights(x, lengths)[0].float()
        expected = cif_function(x.transpose(1, 2), weights, padding_mask=~length_mask(lengths, 60))
        assert plan.lengths.tolist() == expected["cif_lengths"][0].tolist()
        assert_close(plan(x), expected["cif_out"][0].transpose(1, 2), **CLOSE)


@pytest.mark.parametrize("stride", [2.0, 6.0])
def test_hnet_is_that_of_h_net_dynamic_chunking(stride):
    package = pytest.importorskip("h_net_dynamic_chunking")
    layer = ss.HNet1d(8, stride)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x = torch.randn(1, 8, 60, requires_grad=True)
    chunker = package.DynamicSequenceChunker(8, target_avg_token_length=stride, learning_rate_difference=1.0)
    with torch.no_grad():
        chunker.to_queries_keys.weight.copy_(torch.cat([layer.queries, layer.keys]))
        # its first probability is one of a key that is learnt, ours is 1
        chunker.start_key_token.copy_(-(layer.queries @ x[0, :, 0]))
    (kept, expand, _), inner = chunker(x.transpose(1, 2), return_intermediates=True)
    plan = layer.plan(x)
    assert plan.durations().tolist() == inner.chunk_lens.tolist()
    p = plan.probabilities.float()
    assert_close(p, inner.probs, **CLOSE)
    y = plan(x)
    # the package multiplies the smoothing's P into what it keeps
    assert_close(y * p.gather(1, plan.starts)[:, None], kept.transpose(1, 2), **CLOSE)
    assert_close(plan.expand(y), expand(kept).transpose(1, 2), **CLOSE)
    assert_close(plan.penalty.float(), inner.aux_ratio_loss, **CLOSE)
