"""Stride → soft spectral window (DiffStride and DCT-DiffStride).

The window is 1 up to a threshold, falls linearly over R bins and is 0 beyond (Riad et al. 2022, §3 and the authors'
code):

    mask_n = clamp((R + threshold − n) / R, 0, 1),    threshold = T / (2S) + 1  (DFT),    T / S  (DCT, ours).

Only bins with mask > 0 are kept. Only the bins from the threshold on (the ramp) depend on S. So a window has two parts.
The number of flat bins, the number of kept bins and the output length are whole numbers, computed in double precision.
The ramp is a short tensor that carries the gradient to S. A bin on the threshold itself is 1 and belongs to the ramp,
and R is at least 1: then every stride has a bin on its ramp, and learns, for items of at least 4 frames. Shorter items
have none at most strides.

An item changes with S only in a range of its own (`window_sizes`). Outside, it has the window and the gradient of the
bound. If every item stopped its gradients that point outwards, their sum would be biased: with losses of either sign S
would move inwards. So the gradients of items pass straight through, and their sum stops once, where S has left 1 …
T / 2 of the longest item and would go further. This one gradient depends on the batch as a whole.

From a narrow ramp S learns only what stands on it: a bin that is cut takes no part in the loss, and S cannot learn that
it is needed. A mask that only pretends to be wide, in the gradient, does not help: to the first order, a bin with the
mask 0 changes the loss by Re(X_n conj(G_n)), and where nothing of X_n comes through, G_n does not depend on its phase,
so that the mean over signals of any phase is 0. Something has to come through. So the ramp can be made wider for a time
(ours): with the edge e in 0 … 1, R grows by e times the bins behind the ramp. At e = 1 the ramp ends with the spectrum.

The same formulas serve the items of a batch, as tensors that need not be read, and the width of the batch, as numbers:
shapes of tensors follow from T and a stride that was read.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqstride.core.checks import check_stride
from seqstride.core.derivatives import differentiable, straight_through
from seqstride.core.kernels import dispatch
from seqstride.core.lengths import TIE, double, float64_on, largest
from seqstride.core.memory_cache import cached_by_size

Transform = Literal["dft", "dct"]


class Windows(NamedTuple):
    """The windows of a batch."""

    table: Tensor
    """(B, 4) int64: frames T_b, flat (bins 0 … flat − 1 pass unchanged), kept (bins flat … kept − 1 are the ramp;
    further bins are cropped), and the output length L_b, at least 2 · (kept − 1) (DFT) or kept (DCT)."""
    ramp: Tensor
    """(B, W), in double precision where the device has it: weights of the bins flat … kept − 1, behind them zeros."""


def _clamp(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(value, high), low)


def _clamp_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _clamp_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    value, low, high = ctx.saved_tensors
    # a negative gradient makes gradient descent increase the value
    blocked = ((value < low) & (gradient > 0)) | ((value > high) & (gradient < 0))
    return gradient.masked_fill(blocked, 0.0).sum_to_size(value.shape), None, None


def _clamp_formula(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    clamped = _clamp(value, low, high)
    return torch.where(clamped == value, value, clamped)  # at a bound itself minimum and maximum have half a slope


_inward = differentiable(_clamp, _clamp_setup, _clamp_gradient, _clamp_formula)


def clamp_inward(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Returns clamp(value, low, high). Beyond a bound, the gradient passes if it moves the value inwards.

    If `low` > `high`, the result is `low`. `value` broadcasts against `low` and `high`. The official DiffStride
    overwrites its parameter in forward, so that it does not stick at a bound. This function has the same effect on
    training and does not write (ours).
    """
    clamped: Tensor = _inward(value, low, high)
    return clamped


class Shape(NamedTuple):
    """What makes the window of a stride; arguments as in `spectral_mask`, `length_multiple` as in `DiffStride1d`.

    `edge` is in 0 … 1: how far the ramp is stretched towards the end of the spectrum.
    """

    transform: Transform
    smoothness: float = 4.0
    relative_smoothness: float | None = None
    length_multiple: int = 1
    edge: float = 0.0


class Sizes(NamedTuple):
    """A window in numbers, or in tensors (B,): R_eff, threshold, kept bins, output length."""

    smoothness: Any
    threshold: Any
    kept: Any
    output: Any


def window_sizes(stride: Any, frames: Any, shape: Shape) -> Sizes:
    """The window of a stride for items of T frames.

    With ρ, R = ρ·T / S, without gradient; in any case at least 1 and at most T / 4 is used. S is clamped to T / (T − R)
    … T / 2, the range in which the mask has a slope. L is rounded up to a multiple of `length_multiple`, but to T at
    most. The gradient of a clamped stride passes straight through. An edge makes R larger last, with its gradient.

    Args:
        stride: S, a number or a 0-d tensor in double precision.
        frames: T, a number, or a tensor (B,) of integers.

    Returns:
        Numbers where S and T are numbers, else tensors (B,).
    """
    kind: Any = _Tensors(frames.device) if isinstance(frames, Tensor) else _Numbers
    total = kind.real(frames)
    smoothness = kind.number(shape.smoothness)
    if shape.relative_smoothness is not None:
        fixed = stride.detach() if isinstance(stride, Tensor) else stride
        smoothness = kind.number(shape.relative_smoothness) * total / fixed
    smoothness = kind.least(kind.most(smoothness, kind.number(1.0)), total / 4)
    effective = _clamped(kind, stride, total, smoothness, shape.transform)
    if shape.transform == "dft":
        bins, threshold = frames // 2 + 1, total / (2 * effective) + 1
    else:
        bins, threshold = frames, total / effective
    if shape.edge > 0:
        smoothness = smoothness + kind.positive(bins - threshold - smoothness) * shape.edge
    kept = kind.least(bins, kind.ceil(threshold + smoothness - TIE))
    # where no bin is cropped L is T: 2 · (bins − 1) and, at odd T, one more
    output = kept if shape.transform == "dct" else 2 * (kept - 1) + kind.positive(kept - bins + 1)
    multiple = shape.length_multiple
    return Sizes(smoothness, threshold, kept, kind.least((output + multiple - 1) // multiple * multiple, frames))


def _clamped(kind: Any, stride: Any, frames: Any, smoothness: Any, transform: Transform) -> Any:
    low, high = frames / (frames - smoothness), frames / 2
    if not isinstance(stride, Tensor):
        return kind.most(kind.least(stride, high), low)
    if transform == "dft":
        # R < 3 may end above the last bin, ⌊T/2⌋. From this S on that bin is on the ramp; below it the mask is 1, too
        low = torch.maximum(low, frames / (2 * (frames / 2).floor() - 2).clamp(min=2.0))
    return straight_through(torch.maximum(torch.minimum(stride, high), low), stride)


class _Numbers:
    """Arithmetic on numbers, symbolic ones included; these must not meet `min` and `max`, which would compare them."""

    least, most = staticmethod(torch.sym_min), staticmethod(torch.sym_max)
    ceil = staticmethod(math.ceil)

    @staticmethod
    def positive(value: Any) -> Any:
        return torch.sym_max(value, 0)

    @staticmethod
    def real(value: Any) -> Any:
        return value

    number = real


class _Tensors:
    """The same arithmetic on tensors, in double precision."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def real(self, value: Tensor) -> Tensor:
        return value.to(float64_on(self.device))

    def number(self, value: float) -> Tensor:
        return double(value, self.device)

    @staticmethod
    def positive(value: Tensor) -> Tensor:
        return value.clamp(min=0)

    @staticmethod
    def least(a: Tensor, b: Tensor) -> Tensor:
        return torch.minimum(a, b)

    @staticmethod
    def most(a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    @staticmethod
    def ceil(value: Tensor) -> Tensor:
        return value.ceil().long()


def windows_of(stride: Tensor, lengths: Tensor, shape: Shape, read: float, frames: int) -> Windows:
    """The windows of a batch, differentiable in the stride.

    On a ramp, d mask / dS = −T / (2 S² R) (DFT) or −T / (S² R) (DCT), with S and its bounds as in `window_sizes`.

    Args:
        stride: S, 0-d in double precision where the device has it.
        lengths: (B,) int64 in 1 … `frames`.
        read: S as a number, from which the sizes follow.
        frames: T, the width of the batch.
    """
    if torch.compiler.is_exporting():  # as in `Downsampler.plan_checked`
        smoothness = window_sizes(stride, lengths, shape).smoothness
        return _windows(stride, lengths, shape, largest(smoothness.ceil().long()))
    # R grows with T, so a ramp of R bins for T frames holds that of every item; with an edge but for odd T, by 1 bin
    width = math.ceil(window_sizes(read, frames, shape).smoothness) + (shape.edge > 0)
    if shape.edge == 0 and lengths.device.type in dispatch.DEVICES and dispatch.can_launch(stride):
        return _windows_by_kernels(stride, lengths, shape, width)
    return _windows(stride, lengths, shape, width)


def _windows_by_kernels(stride: Tensor, lengths: Tensor, shape: Shape, width: int) -> Windows:
    from seqstride.core.kernels import windows

    def plain(stride: Tensor) -> Tensor:
        return _windows(stride, lengths, shape, width).ramp

    settings = windows.Settings(shape.transform == "dct", *shape[1:4])
    return Windows(*windows.make_windows(stride, lengths, settings, width, plain))


def _windows(stride: Tensor, lengths: Tensor, shape: Shape, width: int) -> Windows:
    one = torch.ones_like(stride)
    inward = clamp_inward(stride, one, lengths.amax(0) / 2 * one)
    sizes = window_sizes(straight_through(stride, inward), lengths, shape)
    flat = torch.minimum(sizes.kept, (sizes.threshold.detach() - TIE).ceil().long())
    n = flat[:, None] + torch.arange(width, device=lengths.device)
    value = ((sizes.smoothness + sizes.threshold)[:, None] - n) / sizes.smoothness[:, None]
    # a bin on the threshold may exceed 1 by rounding; it keeps its slope
    ramp = straight_through(value.clamp(0.0, 1.0), value).masked_fill(n >= sizes.kept[:, None], 0.0)
    return Windows(torch.stack([lengths, flat, sizes.kept, sizes.output], 1), ramp)


def output_lengths(stride: float, lengths: Tensor, shape: Shape) -> Tensor:
    """L of every item: (B,) int64 → (B,) int64."""
    value = double(stride, lengths.device)
    if shape.edge == 0 and lengths.device.type in dispatch.DEVICES and dispatch.can_launch(lengths):
        from seqstride.core.kernels import windows

        return windows.output_lengths(value, lengths, windows.Settings(shape.transform == "dct", *shape[1:4]))
    output: Tensor = window_sizes(value, lengths, shape).output
    return output


def output_width(stride: float, frames: int, shape: Shape) -> int:
    """L of an item of T frames, as numbers; for any item that is long enough in few symbols.

    torch.compile takes most of a minute for the symbols of `window_sizes`, so in a graph long items have a formula of
    their own, and the graph is for such items.
    """
    if shape.edge > 0 or not torch.compiler.is_compiling() or not frames >= _regular_from(stride, shape):
        width: int = window_sizes(stride, frames, shape).output
        return width
    fixed, slope = _smoothness_line(stride, shape)
    if shape.transform == "dft":
        width = 2 * math.ceil(frames * (0.5 / stride + slope) + fixed - TIE)
    else:
        width = math.ceil(frames * (1 / stride + slope) + fixed - TIE)
    multiple = shape.length_multiple
    return width if multiple == 1 else torch.sym_min(-(-width // multiple) * multiple, frames)  # type: ignore[return-value]


def _smoothness_line(stride: float, shape: Shape) -> tuple[float, float]:
    """R of long items: a + b·T."""
    if shape.relative_smoothness is None:
        return max(shape.smoothness, 1.0), 0.0
    return 0.0, shape.relative_smoothness / stride


def _regular_from(stride: float, shape: Shape) -> float:
    """From this T on nothing is clamped, bins are cropped, and no shorter item has more frames.

    R = a + bT is then between 1 and T / 4, S between T / (T − R) and T / 2, and with g the share of bins that is
    cropped, gT > a + 3. An item whose bins are all kept is short (see `widest_output`): it has T < (a + 1.5) / g, or
    with R raised to 1 gT < 2.5 + bT, or S > T / 2 and about R + 2 bins. A longer one that keeps one bin more has as
    many frames.
    """
    a, b = _smoothness_line(stride, shape)
    kept = 0.5 / stride + b if shape.transform == "dft" else 1 / stride + b
    cropped = (0.5 if shape.transform == "dft" else 1.0) - kept
    if not (cropped > 0 and 1 - 1 / stride > b and b <= 0.25):
        return math.inf
    bounds = [4 * a, 2 * stride, a / (1 - 1 / stride - b), (a + 3) / cropped, 3 / kept]
    bounds.append(((a + 1.5) / (2 * cropped) - a) / kept)
    return max(bounds) if b == 0 else max(*bounds, 1 / b, 1.25 / ((cropped + b) * kept))


def widest_output(stride: float, frames: int, shape: Shape) -> int:
    """The largest output length of items of up to T frames; T may be symbolic.

    L grows with T but for one case: an item of odd T whose bins are all kept has 2·kept − 1 frames, one more than a
    longer item of as many bins. So it is the length of T, or of 2·kept − 1.
    """
    if shape.edge == 0 and torch.compiler.is_compiling() and frames >= _regular_from(stride, shape):
        return output_width(stride, frames, shape)
    longest = window_sizes(stride, frames, shape)
    other = torch.sym_min(2 * longest.kept - 1, frames) if shape.transform == "dft" else frames
    widest: int = torch.sym_max(longest.output, window_sizes(stride, other, shape).output)
    return widest


@cached_by_size(4)
def fixed_windows(stride: float, frames: int, shape: Shape, device: torch.device) -> Windows:
    """The window of a fixed stride for items of T frames: one row, cached."""
    with torch.inference_mode(False), torch.no_grad():
        lengths = torch.full((1,), frames, device=device)
        return windows_of(double(stride, device), lengths, shape, stride, frames)


def check_smoothness(smoothness: float, relative_smoothness: float | None) -> None:
    """Raises a ValueError if a smoothness is not positive."""
    if not smoothness > 0:
        raise ValueError(f"`smoothness` (={smoothness}) must be positive (in bins)")
    if relative_smoothness is not None and not relative_smoothness > 0:
        raise ValueError(f"`relative_smoothness` (={relative_smoothness}) must be positive or None")


def spectral_mask(
    stride: Tensor | float,
    length: int,
    *,
    smoothness: float = 4.0,
    relative_smoothness: float | None = None,
    transform: Transform = "dft",
) -> Tensor:
    """Returns the soft low-pass mask over the bins that a stride keeps.

    Args:
        stride: S, a 0-d tensor (the mask is differentiable in it, straight through where it is clamped) or a number;
            clamped to the range in which the mask has a slope.
        length: T, number of frames of the signal.
        smoothness: R, number of bins over which the mask falls from 1 to 0; at least 1 is used, at most T / 4.
        relative_smoothness: ρ; R = ρ·T / S, without gradient through R.
        transform: "dft" (mask over the bins of `torch.fft.rfft`) or "dct" (over the DCT coefficients).

    Returns:
        (K,): the mask of bins 0 … K − 1; all further bins are cropped.

    Raises:
        ValueError: a length below 1, a smoothness that is not positive, a stride that is not finite or below 1.

    Source: Riad et al. 2022, §3; bounds and the DCT form are ours.
    """
    if length < 1:
        raise ValueError(f"`length` (={length}) must be at least 1")
    if transform not in ("dft", "dct"):
        raise ValueError(f"`transform` (={transform!r}) must be 'dft' or 'dct'")
    check_smoothness(smoothness, relative_smoothness)
    value = stride if isinstance(stride, Tensor) else torch.tensor(stride, dtype=torch.float64)
    number = check_stride(float(value.detach()))
    shape = Shape(transform, float(smoothness), relative_smoothness)
    lengths = torch.full((1,), length, device=value.device)
    windows = windows_of(value.to(float64_on(value.device)), lengths, shape, number, length)
    _, flat, kept, _ = windows.table[0].tolist()
    ramp = windows.ramp[0, : kept - flat].to(value.dtype if isinstance(stride, Tensor) else torch.get_default_dtype())
    return torch.cat([ramp.new_ones(flat), ramp])
