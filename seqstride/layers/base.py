"""What every downsampling layer has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_lengths, check_signal, host_lengths
from seqstride.core.lengths import Frames
from seqstride.core.plan import Plan
from seqstride.layers.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Self


class Downsampler(nn.Module):
    """Base of all downsampling layers: (B, C, T) → (B, C, L).

    A layer decides in `plan` and resamples in `pool`; calling it does both. `stride` is its overall stride in input
    frames per output frame: a number where it is fixed, a 0-d tensor where it is learnt.
    """

    stride: float | Tensor
    channels: int | None = None  # checked where a layer has weights per channel
    input_macs = 0  # multiply-accumulates of its own convolution per input frame
    output_macs = 0  # … and per output frame

    def plan(self, x: Tensor, lengths: Tensor | None = None) -> Plan:
        """Decides where every frame of `x` goes.

        Args:
            x: (B, C, T) floating point.
            lengths: (B,) integers, real leading frames of each item; None: all T. Whatever stands behind them (NaN
                included) has no influence.

        Returns:
            A plan for tensors with the same B and T.

        Raises:
            ValueError: naming argument, value and rule, for a wrong shape, dtype or length.
        """
        check_signal(x, self.channels)
        host_input, stride = host_lengths(lengths, x.shape[0], x.shape[2], self._learnt_stride())
        host_output = [self._output_length(length, stride) for length in host_input]
        return self._plan(x, Frames.on(x.device, host_input, host_output, x.shape[2]), stride)

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        """Applies the layer to `x` with a given plan: (B, C, T) → (B, C, L)."""
        return plan(x)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T), (B,) or None → (B, C, L); arguments and errors as in `plan`."""
        return self.pool(x, self.plan(x, lengths))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of items with these input lengths, without running the layer: (B,) integers → (B,) int64.

        Raises:
            ValueError: lengths that are not integers of at least 1.
        """
        check_lengths(lengths)
        host_input, stride = host_lengths(lengths, lengths.shape[0], None, self._learnt_stride())
        return torch.tensor([self._output_length(length, stride) for length in host_input], device=lengths.device)

    def expected_length(self, frames: Tensor) -> Tensor:
        """Output length as a continuous function of the input length, differentiable in the stride (for penalties)."""
        return frames / self.stride

    def freeze(self) -> Self:
        """Fixes the stride, and so the output length, for inference and export; a fixed stride stays as it is."""
        return self

    def unfreeze(self) -> Self:
        """Undoes `freeze`."""
        return self

    def stream(self) -> Stream:
        """The layer on a signal that arrives in chunks: a `Stream` with `push` and `finish`, for inference.

        Raises:
            ValueError: the layer transforms the signal as a whole (the spectral methods).
        """
        raise ValueError(
            f"`layer` (={self}) must have all of the signal and cannot stream: cut the signal into windows and run the "
            "layer on each (seqstride.models.windows.all_windows cuts recordings), or use a layer that streams: "
            "strided, average, max, blur, adastride or adastride_f"
        )

    def extra_repr(self) -> str:
        stride = self.stride.detach() if isinstance(self.stride, Tensor) else self.stride
        return f"stride={float(stride):g}"

    def _learnt_stride(self) -> Tensor | None:
        """The stride to read from the device along with the lengths, where it is learnt."""
        return None

    def _output_length(self, length: int, stride: float) -> int:
        """L of an item of `length` frames; `stride` is the learnt stride just read."""
        raise NotImplementedError

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        """The plan of a checked signal; `stride` is the learnt stride just read."""
        raise NotImplementedError
