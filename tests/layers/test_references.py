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
