"""Short transforms are matrix products, long ones fast transforms: the same results on both sides."""

from __future__ import annotations

import pytest
import torch
from helpers import build

from seqstride import bases
from seqstride.resample import _analysis, _synthesis


@pytest.fixture
def fast(monkeypatch):
    """Fast transforms only, whatever the length."""

    def switch() -> None:
        monkeypatch.setattr("seqstride.resample.SHORT", {"dft": 0, "dct": 0})

    return switch


@pytest.mark.parametrize("transform", ["dft", "dct"])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 13, 31, 64])
def test_a_product_is_the_transform(transform, frames, fast):
    x = torch.randn(3, frames, dtype=torch.float64)
    bins = frames if transform == "dct" else frames // 2 + 1
    products = [_analysis(x, count, transform) for count in range(1, bins + 1)]
    outputs = [2 * count - 1 if transform == "dft" else count for count in range(1, bins + 1)]
    signals = [_synthesis(p, n, transform) for p, n in zip(products, outputs, strict=True) if n <= 64]
    fast()
    for count, product in enumerate(products, start=1):
        torch.testing.assert_close(product, _analysis(x, count, transform), rtol=0, atol=1e-13)
    for product, output, signal in zip(products, outputs, signals, strict=False):
        torch.testing.assert_close(signal, _synthesis(product, output, transform), rtol=0, atol=1e-12)


@pytest.mark.parametrize("key", ["spectral", "dct", "diffstride", "dct_diffstride"])
def test_layers_do_not_notice(key, fast):
    lengths = torch.tensor([50, 49, 31, 17, 4, 3, 2, 1])
    x = torch.randn(len(lengths), 2, 50, dtype=torch.float64, requires_grad=True)
    layer = build(key, channels=2, stride=2.3)

    def run():
        y = layer(x, lengths)
        parameters = [p for p in layer.parameters() if p.requires_grad]
        return y, torch.autograd.grad(y.square().sum(), [x, *parameters])

    y, gradients = run()
    fast()
    y_fast, gradients_fast = run()
    torch.testing.assert_close(y, y_fast, rtol=0, atol=1e-12)
    for short, long in zip(gradients, gradients_fast, strict=True):
        torch.testing.assert_close(short, long, rtol=0, atol=1e-11)


@pytest.mark.parametrize("function", [bases.analysis_basis, bases.synthesis_basis])
def test_bases_are_kept_but_not_without_bound(function):
    first = function(16, "dct", torch.float32, torch.device("cpu"))
    assert function(16, "dct", torch.float32, torch.device("cpu")) is first
    assert function.cache_info().maxsize is not None
