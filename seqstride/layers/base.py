"""The base class of all downsampling layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from seqstride.core.checks import check_lengths, host_lengths, read_batch
from seqstride.core.lengths import Frames
from seqstride.core.plan import Plan
from seqstride.layers.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Self


class Downsampler(nn.Module):
    """Base of all downsampling layers: (B, C, T) → (B, C, L).

    A subclass defines `_output_lengths` and `_plan`; with stride 1 the layer must be the identity. A layer decides in
    `plan` and resamples in `pool`; calling it does both. `stride` is its overall stride in input
    frames per output frame: a number where it is fixed, a 0-d tensor where it is learnt.
    """

    stride: float | Tensor
    channels: int | None = None
    """C, where the layer has weights per channel; None: any number of channels."""
    input_macs = 0
    """Multiply-accumulates of the layer's own convolution per input frame."""
    output_macs = 0
    """Multiply-accumulates of the layer's own convolution per output frame."""

    # The facts about a method that other parts of the package ask for. A subclass sets those that differ.
    whole_stride: ClassVar[bool] = False
    """Whether the stride must be an integer."""
    learns_stride: ClassVar[bool] = False
    """Whether the stride is learnt; the layer then has a `stride_parameter`."""
    adaptive: ClassVar[bool] = False
    """Whether the plan depends on the values of the signal."""
    convolves: ClassVar[bool] = False
    """Whether `pool` does more than its plan, such as a convolution with a bias. Only the plan has a matrix."""
    linear: ClassVar[bool] = True
    """Whether the plan is linear and has a matrix."""
    no_stream: ClassVar[str | None] = "its class has no stream"
    """Why the layer cannot stream; None: it can, and `stream` makes a `Stream`."""
    half_under_autocast: ClassVar[bool] = False
    """Whether autocast makes the output for a float32 signal half precision, as it does with torch's products."""
    bins: ClassVar[Literal["channels", "items", "mean"]] = "channels"
    """How the layer treats the other axis of an image: as more channels, as more items, or, to make its plan, by the
    mean over it."""
    along_frequency: ClassVar[type[Downsampler] | None] = None
    """The layer along frequency when this one stands along time, made with a stride alone; None: a layer like it."""
    twin: ClassVar[str | None] = None
    """Export: the class in `seqstride.export.traced_layers` that replaces the plan; None: exported as it is."""

    def plan(self, x: Tensor, lengths: Tensor | None = None) -> Plan:
        """Decides where every frame of `x` goes.

        Args:
            x: (B, C, T) floating point.
            lengths: (B,) integers, real leading frames of each item; None: all T. The frames behind them have no
                influence, whatever they hold (NaN included).

        Returns:
            A plan for tensors with the same B and T.

        Raises:
            ValueError: naming argument, value and rule, for a wrong shape, dtype or length.
        """
        host_input, stride = read_batch(x, lengths, self.channels, self._learnt_stride())
        frames = Frames.on(x.device, host_input, self._output_lengths(host_input, stride), x.shape[2])
        return self._plan(x, frames, stride)

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
        return torch.tensor(self._output_lengths(host_input, stride), device=lengths.device)

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
            ValueError: the layer cannot stream (`no_stream`).
        """
        raise ValueError(
            f"`layer` (={self}) cannot stream because {self.no_stream}: cut the signal into "
            "windows and run the layer on each (seqstride.models.windows.all_windows cuts recordings), or use a layer "
            "that streams, such as average pooling or AdaStride"
        )

    def extra_repr(self) -> str:
        stride = self.stride.detach() if isinstance(self.stride, Tensor) else self.stride
        return f"stride={float(stride):g}"

    def _learnt_stride(self) -> Tensor | None:
        """The stride parameter, where it is learnt: it is read from the device together with the lengths."""
        return None

    def _output_lengths(self, lengths: list[int], stride: float) -> list[int]:
        """The output length of each item; `stride` is the learnt stride just read."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_output_lengths`: the output length of each item"
        )

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        """The plan of a checked signal; `stride` is the learnt stride just read."""
        raise NotImplementedError(f"{type(self).__name__} must define `_plan`: the `Plan` of a checked signal")
