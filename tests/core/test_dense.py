"""The dense formulas of exported graphs against the definitions in float64."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from torch import Tensor

from seqstride.core.dense import dense_align, dense_crop, dense_scatter

LENGTHS = [[1], [7, 40, 1, 23], [64, 64], [150, 2, 149, 99]]


def batch(lengths: list[int], dtype: torch.dtype = torch.float32, spare: int = 3) -> tuple[Tensor, Tensor]:
    """(B, 2, T) with NaN behind every item, and its lengths."""
    x = torch.randn(len(lengths), 2, max(lengths) + spare, dtype=torch.float64).to(dtype)
    for item, length in enumerate(lengths):
        x[item, :, length:] = torch.nan
    return x, torch.tensor(lengths)


def placed(lengths: list[int], outputs: list[int], width: int, peak: float) -> Tensor:
    """Positions (B, T) in float64 of random scores; padding that no formula may read."""
    p = torch.full((len(lengths), width), 1e3, dtype=torch.float64)
    for item, (length, output) in enumerate(zip(lengths, outputs, strict=True)):
        scores = peak * np.random.default_rng(item).standard_normal(length)
        p[item, :length] = torch.from_numpy(oracles.adaptive_positions(scores, output))
    return p


def compare(z: Tensor, x: Tensor, lengths: list[int], outputs: list[int], definition, tolerance: float) -> None:
    """Item by item; 0 behind what an item has."""
    for item, (length, output) in enumerate(zip(lengths, outputs, strict=True)):
        expected = torch.from_numpy(definition(item, x[item, :, :length].double().numpy()))
        torch.testing.assert_close(z[item, :, :output].double(), expected, rtol=tolerance, atol=tolerance)
        assert not z[item, :, output:].any()


PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 3e-6), (torch.bfloat16, 2e-2)]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("peak", [0.1, 3.0])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_align(lengths: list[int], peak: float, dtype: torch.dtype, tolerance: float) -> None:
    outputs = [oracles.ceil_length(length, 1.7) for length in lengths]
    x, real = batch(lengths, dtype)
    p = placed(lengths, outputs, x.shape[2], peak)
    z = dense_align(x, p, real, torch.tensor(outputs), max(outputs) + 2, 5.0)
    assert z.dtype == dtype
    compare(
        z, x, lengths, outputs,
        lambda item, x: oracles.align(x, p[item, : x.shape[1]].numpy(), outputs[item]), tolerance,
    )  # fmt: skip


@pytest.mark.parametrize("empty", ["nearest", "zero"])
@pytest.mark.parametrize("peak", [0.1, 3.0])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_scatter(lengths: list[int], peak: float, empty: str) -> None:
    outputs = [oracles.ceil_length(length, 1.2) for length in lengths]
    x, real = batch(lengths, torch.float64)
    p = placed(lengths, outputs, x.shape[2], peak)
    ends = torch.tensor(outputs)
    weights = _weights(p, real, ends, max(outputs) + 2)
    z = dense_scatter(x, weights, p, real, ends, max(outputs) + 2, empty == "nearest")
    compare(
        z, x, lengths, outputs,
        lambda item, x: oracles.scatter_align(x, p[item, : x.shape[1]].numpy(), outputs[item], empty=empty), 1e-9,
    )  # fmt: skip


def _weights(p: Tensor, lengths: Tensor, outputs: Tensor, width: int) -> Tensor:
    """The softmax over the frames of each output frame; NaN in the padding, which no formula may read."""
    weights = torch.full_like(p, torch.nan)
    for item, (length, output) in enumerate(zip(lengths.tolist(), outputs.tolist(), strict=True)):
        line = p[item, :length].numpy()
        for t in range(length):
            impulse = np.zeros((1, length))
            impulse[0, t] = 1.0
            weights[item, t] = oracles.scatter_align(impulse, line, output, empty="zero").sum()
    return weights


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("transform", ["dft", "dct"])
@pytest.mark.parametrize("stride", [1.0, 1.3, 2.0, 3.7, 40.0])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_spectral_pooling(
    lengths: list[int], stride: float, transform: str, dtype: torch.dtype, tolerance: float
) -> None:
    x, real = batch(lengths, dtype)
    outputs = [oracles.floor_length(length, stride) for length in lengths]
    ends = torch.tensor(outputs)
    if transform == "dft":
        windows = torch.stack([real, ends // 2, ends // 2 + 1, ends], 1)
        ramp = torch.where((ends % 2 == 0) & (ends < real), 2.0, 1.0).double()[:, None]
    else:
        windows, ramp = torch.stack([real, ends, ends, ends], 1), torch.empty(len(lengths), 0, dtype=torch.float64)
    z = dense_crop(x, ramp, windows, int(windows[:, 2].max()) + 1, max(outputs) + 2, transform, False)
    assert z.dtype == dtype
    definition = oracles.spectral if transform == "dft" else oracles.dct_pool
    # cosines are in single precision in every graph
    compare(z, x, lengths, outputs, lambda item, x: definition(x, stride).output, max(tolerance, 3e-6))


@pytest.mark.parametrize("gain", ["unit", "official"])
@pytest.mark.parametrize("transform", ["dft", "dct"])
@pytest.mark.parametrize("stride", [1.0, 1.7, 2.3, 9.0])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_soft_windows(lengths: list[int], stride: float, transform: str, gain: str) -> None:
    x, real = batch(lengths)
    masks = [oracles.spectral_mask(length, stride, transform=transform) for length in lengths]
    kept = [len(mask) for mask in masks]
    outputs = [n if transform == "dct" else oracles.diffstride_length(t, n) for t, n in zip(lengths, kept, strict=True)]
    flat = [int((np.asarray(mask) == 1).sum()) for mask in masks]
    ramp = torch.zeros(len(lengths), max(n - f for n, f in zip(kept, flat, strict=True)), dtype=torch.float64)
    for item, mask in enumerate(masks):
        ramp[item, : kept[item] - flat[item]] = torch.as_tensor(mask)[flat[item] :]
    windows = torch.stack([real, *(torch.tensor(values) for values in (flat, kept, outputs))], 1)
    z = dense_crop(x, ramp, windows, max(kept) + 2, max(outputs) + 1, transform, gain == "official")

    def definition(item: int, x: np.ndarray) -> np.ndarray:
        if transform == "dft":
            return oracles.diffstride(x, stride, gain=gain).output
        ratio = x.shape[1] / outputs[item] if gain == "official" else 1.0
        return oracles.dct_diffstride(x, stride).output * ratio

    compare(z, x, lengths, outputs, definition, 5e-6)


@pytest.mark.parametrize("transform", ["dft", "dct"])
def test_one_window_for_all_items(transform: str) -> None:
    x = torch.randn(3, 2, 30)
    windows, ramp = torch.tensor([[30, 5, 8, 14 if transform == "dft" else 8]]), torch.tensor([[0.8, 0.5, 0.2]])
    one = dense_crop(x, ramp, windows, 8, 14, transform, False)
    every = dense_crop(x, ramp.expand(3, -1), windows.expand(3, -1), 8, 14, transform, False)
    torch.testing.assert_close(one, every, rtol=0, atol=0)
