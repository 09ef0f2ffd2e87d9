"""The tones: made from a seed, cut wholly by a stride of 6 and kept by one of 1.5."""

import pytest
import torch
from torch.testing import assert_close

import seqstride as ss
from data_prep.tones import tones


def make(seed, **options):
    return tones(200, torch.Generator().manual_seed(seed), **options)


def test_a_seed_makes_the_same_tones():
    (x, y), (again, labels), (other, _) = make(1), make(1), make(2)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert not torch.equal(x, other)
    assert x.shape == (200, 1, 128)
    assert y.unique().tolist() == [0, 1, 2, 3]


def test_the_class_is_the_frequency():
    x, y = make(1, amplitude=1e4)
    assert_close(torch.fft.rfft(x[:, 0]).abs().argmax(1), 26 + 5 * y)


@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_a_stride_of_6_cuts_the_tones_and_one_of_1_5_keeps_them(key):
    x, _ = make(1, amplitude=1e4)
    x = x / 1e4
    power = [ss.make_downsampler(key, 1, stride).freeze()(x).square().mean() for stride in (6.0, 1.5)]
    assert power[0] < 0.005 * power[1]
    assert_close(power[1], x.square().mean(), rtol=0.02, atol=0)
