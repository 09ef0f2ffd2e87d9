"""The spectral crop of a batch whose items may all have different lengths, and its gradients.

Five launches forward, seven with a ramp that learns, and as many backward: spread, FFT, window, inverse FFT, read. All
sizes follow from the shapes: nothing waits for the device.

Items of equal lengths go the same way: an FFT of their own length would take the same time, and a product with the
matrix of the crop moves less but computes more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqstride.core.kernels.bins import apply_window, ramp_gradient, top_spectra
from seqstride.core.kernels.regrid import grid_size, grid_tables
from seqstride.core.kernels.spread import FRAMES, OUTPUT, read, spread


def _transform(grid: Tensor) -> Tensor:
    """The grid (B, C, N) → the FFT of its pairs of neighbours, (B, C, N / 2) complex64."""
    return torch.fft.fft(torch.view_as_complex(grid.view(*grid.shape[:2], -1, 2)))


def _transform_back(spectrum: Tensor) -> Tensor:
    return torch.view_as_real(torch.fft.ifft(spectrum, norm="forward")).view(*spectrum.shape[:2], -1)


def _grid(width: int, transform: str) -> int:
    """Points of the grid of outputs of up to `width` frames."""
    return grid_size(width if transform == "dct" else width // 2 + 1, transform)


def crop_forward(
    x: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    """As `seqstride::spectral_crop`, in single precision whatever the dtype of x.

    Args:
        x: (B, C, T) of a dtype in `DTYPES`; frames behind an item's own are not read.
        ramp: (B, W), on the device.
        windows: (B, 4) int64, on the device: frames, flat bins, kept bins, and output frames, enough for the bins.
        width: of the output, at least the largest number of output frames.
        keep: whether the ramp will need a gradient.

    Returns:
        (B, C, width) in the dtype of x, 0 behind an item's own output; the spectrum in the ramp (B, C, W), complex64
        for the DFT and float32 for the DCT, or an empty tensor.
    """
    dct = transform == "dct"
    ramp, windows = ramp.contiguous(), windows.contiguous()
    size = _grid(width, transform)
    tables = grid_tables(size, transform, x.device)
    spectrum = _transform(spread(x.contiguous(), windows, size, FRAMES, dct))
    tops = top_spectra(spectrum, windows, ramp.shape[1], tables, dct) if keep else x.new_empty(0)
    apply_window(spectrum, ramp, windows, tables, official, dct)
    return read(_transform_back(spectrum), windows, width, OUTPUT, dct, x.dtype), tops


def crop_backward(
    dy: Tensor, tops: Tensor, ramp: Tensor, windows: Tensor, width: int, transform: str, official: bool
) -> tuple[Tensor, Tensor]:
    """Gradients for x (B, C, width), in the dtype of dy, and for the ramp, in its dtype (0 where `tops` is empty).

    What stands in dy behind an item's own output is not read.
    """
    dct = transform == "dct"
    ramp, windows = ramp.contiguous(), windows.contiguous()
    size = _grid(dy.shape[2], transform)
    tables = grid_tables(size, transform, dy.device)
    spectrum = _transform(spread(dy.contiguous(), windows, size, OUTPUT, dct))
    if tops.numel():
        dramp = ramp_gradient(spectrum, tops, ramp, windows, tables, official, dct)
    else:
        dramp = torch.zeros_like(ramp)
    apply_window(spectrum, ramp, windows, tables, official, dct)
    return read(_transform_back(spectrum), windows, width, FRAMES, dct, dy.dtype), dramp
