"""Blocks of stride 1: the identity, unless a stride is learnt there or the layer was asked for."""

from __future__ import annotations

import pytest
import torch
from helpers import KEYS, LEARNT
from torch.testing import assert_close

import seqstride as ss
from seqstride.encoders.conformer import ConformerEncoder
from seqstride.encoders.subsampling import Subsampling

ENCODERS = {
    "resnet": lambda key, **options: ss.ResNet1d(3, (4, 4), (1, 2), key, options),
    "front": lambda key, **options: Subsampling(3, 4, (1, 2), key, options),
    "conformer": lambda key, **options: ConformerEncoder(3, 4, (1, 2), key, options, layers=1, heads=2, feed_forward=8),
    "spectrogram": lambda key, **options: ss.Spectrogram2d(3, (4, 4), ((1, 1), (2, 2)), key, options),
}
WEIGHTED = ("adastride", "adastride_f", "strided")


def layers(encoder):
    blocks = encoder.front.blocks if isinstance(encoder, ConformerEncoder) else encoder.blocks
    first = blocks[0].downsample
    return [first.time, first.frequency] if isinstance(encoder, ss.Spectrogram2d) else [first]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("key", KEYS)
def test_a_block_of_stride_one_leaves_frames_as_they_are(key, name):
    encoder = ENCODERS[name](key)
    x, lengths = torch.randn(2, 4, 20), torch.tensor([20, 13])
    x[1, :, 13:] = 0.0
    for layer in layers(encoder):
        if key in LEARNT and not isinstance(layer, ss.AvgPool1d):  # a start; some are averages along frequency
            assert layer.learns_stride
            continue
        assert_close(layer(x, lengths), x)
        assert not list(layer.parameters())
    assert encoder(torch.randn(2, 3, 20), lengths) is not None


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("key", WEIGHTED)
def test_weights_of_a_layer_of_stride_one_load_into_that_layer_alone(key, name):
    old = ENCODERS[name](key, live_at_one=True)
    assert all(isinstance(layer, ss.DOWNSAMPLERS[key].layer) for layer in layers(old)[:1])
    with pytest.raises(RuntimeError) as refused:
        ENCODERS[name](key).load_state_dict(old.state_dict())
    lines = [line for line in str(refused.value).splitlines() if line.strip()]
    assert all("now the identity" in line and "live_at_one" in line for line in lines[1:])
    assert ENCODERS[name](key, live_at_one=True).load_state_dict(old.state_dict()) == ([], [])
    new = ENCODERS[name](key)
    assert ENCODERS[name](key).load_state_dict(new.state_dict()) == ([], [])
