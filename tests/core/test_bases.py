"""Short transforms are matrix products, long ones fast transforms: the same results on both sides."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import build

from seqstride.core import transforms as bases
from seqstride.core.memory_cache import cached_by_size
from seqstride.core.spectral import _analysis, _synthesis


@pytest.fixture
def fast(monkeypatch):
    """Fast transforms only, whatever the length."""

    def switch() -> None:
        monkeypatch.setattr("seqstride.core.spectral.LONGEST_PRODUCT", {"dft": 0, "dct": 0})

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
def test_bases_of_all_short_lengths_are_kept(function):
    """Batches of varied lengths go through all of them; half of the time was lost on making them again."""

    def every():
        return [
            function(frames, "dct", torch.float32, torch.device("cpu"))
            for frames in range(1, bases.LONGEST_PRODUCT["dct"] + 1)
        ]

    for first, second in zip(every(), every(), strict=True):
        assert first is second


def test_a_cache_is_bounded_by_size():
    made = []

    @cached_by_size(1)
    def table(count):
        made.append(count)
        return torch.zeros(count), torch.zeros(count)

    quarter = (1 << 20) // 4 // 8
    for count in [quarter, quarter - 1, quarter - 2, quarter - 3, quarter]:
        assert table(count)[0].shape == (count,)
    assert len(made) == 4
    table(2 * quarter)  # throws out the two that are longest unused
    for count in [2 * quarter, quarter, quarter - 3]:
        table(count)
    assert len(made) == 5
    table(quarter - 1)
    table(quarter - 2)
    assert len(made) == 7
    table(9 * quarter)  # larger than all that may be kept
    table(9 * quarter)
    assert len(made) == 9


def test_a_cache_is_safe_among_threads():
    table = cached_by_size(1)(lambda count: torch.full((count,), float(count)))
    with ThreadPoolExecutor(8) as pool:
        counts = [7000 * (1 + index % 13) for index in range(400)]
        for count, found in zip(counts, pool.map(table, counts), strict=True):
            assert found.shape == (count,)
            assert found[-1] == count
