"""The base class of all downsampling layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from seqstride.core.checks import Checked, check_lengths, read_batch, read_lengths
from seqstride.core.lengths import Count, Frames, largest, reading_waits
from seqstride.core.plan import Plan
from seqstride.layers.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Self


def read_once(x: Tensor, lengths: Tensor | None, channels: int | None, layers: Iterable[Downsampler]) -> Checked:
    """Checks the input of an encoder and reads the strides of all its layers, in at most one synchronisation.

    Args:
        x: (B, C, T), lengths: (B,) or None, and the C that it must have: see `Downsampler.plan`.
        layers: whose `plan_checked` will be given the strides, in this order.

    Raises:
        ValueError: naming argument, value and rule.
    """
    return read_batch(x, lengths, channels, [layer.learnt_stride() for layer in layers])


class Downsampler(nn.Module):
    """Base of all downsampling layers: (B, C, T) → (B, C, L).

    A subclass defines `_output_lengths` (unless the content decides, `content_lengths`) and `_plan`; with stride 1 the
    layer must be the identity. A layer decides in `plan` and resamples in `pool`; calling it does both. `stride` is its
    overall stride in input frames per output frame: a number where it is fixed, a 0-d tensor where it is learnt.
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
    content_lengths: bool = False
    """Whether the output length of an item follows from its signal, so that only a plan knows it. `stride` is then the
    ratio that the layer aims at."""
    beyond_plan: bool = False
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
        checked = read_once(x, lengths, self.channels, [self])
        return self.plan_checked(x, checked.lengths, checked.strides[0])

    def plan_checked(self, x: Tensor, lengths: Tensor | None, stride: float) -> Plan:
        """`plan` for a signal and lengths that were checked, and a stride that was read: nothing waits for the device.

        With one exception: where the content decides on the output length (`content_lengths`), the largest of the batch
        is read once.

        Encoders check their input and read all their strides at once, with `read_once`.

        Args:
            lengths: (B,) int64 on the device of `x`; None: all items are T frames long.
            stride: the learnt stride just read; nan where it is fixed.
        """
        width = x.shape[2]
        if self.content_lengths:
            return self._plan(x, Frames(x.shape[0], width, width, x.device, lengths), stride)
        # ONNX has numbers in single precision, which a real stride is not, but tensors in double precision
        tensors = torch.compiler.is_exporting() and not (self.whole_stride or isinstance(width, int))
        if lengths is None:
            own = torch.full((1,), width, device=x.device) if tensors else None
            widest = self._output_lengths(width, stride) if own is None else largest(self._output_lengths(own, stride))
            frames = Frames(x.shape[0], width, widest, x.device)
        else:
            output = self._output_lengths(lengths, stride)
            # lengths on the CPU are read at no cost; elsewhere the width has to follow from T
            known = tensors or not (reading_waits(x.device) or torch.compiler.is_compiling())
            widest = largest(output) if known else self._output_width(width, stride)
            frames = Frames(x.shape[0], width, widest, x.device, lengths, output)
        return self._plan(x, frames, stride)

    def pool(self, x: Tensor, plan: Plan) -> Tensor:
        """Applies the layer to `x` with a given plan: (B, C, T) → (B, C, L)."""
        return plan(x)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T), (B,) or None → (B, C, L); arguments and errors as in `plan`."""
        # the stride is read here, so that compiled code has one graph behind it
        checked = read_once(x, lengths, self.channels, [self])
        return self.pool(x, self.plan_checked(x, checked.lengths, checked.strides[0]))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames of items with these input lengths, without running the layer: (B,) integers → (B,) int64.

        Raises:
            ValueError: lengths that are not integers of at least 1; the content decides (`content_lengths`).
        """
        check_lengths(lengths)
        checked = read_lengths(lengths, lengths.shape[0], None, [self.learnt_stride()])
        if self.content_lengths:
            raise ValueError(
                f"the output lengths of `layer` (a {type(self).__name__}) need the signal, not only its `lengths`: "
                "they are `layer.plan(x, lengths).lengths`, or `encoder(x, lengths).lengths`"
            )
        assert checked.lengths is not None  # only together with a width
        return self._output_lengths(checked.lengths, checked.strides[0])

    def expected_length(self, frames: Tensor) -> Tensor:
        """Output length as a continuous function of the input length, differentiable in the stride (for penalties)."""
        return frames / self.stride

    def anneal(self, progress: float) -> None:
        """Sets how much more the layer keeps at this point of the training, 0 … 1, than in the end; most do not."""

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

    def learnt_stride(self) -> Tensor | None:
        """The stride parameter, where it is learnt: it is read from the device together with the lengths."""
        return None

    def _output_lengths(self, lengths: Count, stride: float) -> Count:
        """The output length of a number of frames, or of each item (B,); `stride` is the learnt stride just read.

        A number can be symbolic, and a tensor must not be read: use arithmetic that takes either, without comparing.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define `_output_lengths`: the output length of each item"
        )

    def _output_width(self, width: int, stride: float) -> int:
        """At least the output length of every item of at most `width` frames; that of the longest, if lengths grow."""
        return self._output_lengths(width, stride)

    def _plan(self, x: Tensor, frames: Frames, stride: float) -> Plan:
        """The plan of a checked signal; `stride` is the learnt stride just read.

        Where the content decides on the output lengths, `frames` does not have them yet: `frames.ending(lengths)` does.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `_plan`: the `Plan` of a checked signal")
