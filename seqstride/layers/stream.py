"""Runs a layer on a signal that arrives in chunks, for live use and for recordings of any length.

`layer.stream()` makes a stream. A stream keeps the input frames that later output frames can still read. It returns an
output frame as soon as no later input frame can change it. Each push resamples the kept frames with the layer's own
plan, as if the signal ended there, and returns the output frames that are final. Chunk boundaries change the result
only by rounding.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from seqstride.core.checks import check_signal
from seqstride.core.plan import Plan


class StreamedLayer(Protocol):
    """The methods of `seqstride.Downsampler` that streams use."""

    @property
    def channels(self) -> int | None: ...

    def plan(self, x: Tensor) -> Plan: ...

    def pool(self, x: Tensor, plan: Plan) -> Tensor: ...

    def output_lengths(self, lengths: Tensor) -> Tensor: ...


class Stream:
    """Runs a layer on a batch of signals that arrives in chunks. `layer.stream()` makes a stream.

    `push` takes the next input frames and returns the output frames that are ready; `finish` returns the rest. Joined
    along time, the outputs do not depend on the chunk boundaries: positions are equal within 1e-9 output frames, the
    output within rounding of its dtype. A stream is for inference and has no gradients. It holds all state, so one
    layer can serve many streams.

    Attributes (`lengths`, `positions`, `times` and `strides` exist from the first push on):
        layer: the layer.
        input_frames: number of frames pushed so far.
        lengths: (B,) int64, number of output frames of each item returned so far.
        positions: (B, t), double precision where the device has it: the output coordinates, counted from the start of
            the stream, of the frames that the last call placed: those of its chunk, or, of a layer that looks ahead,
            those whose surroundings are known with it. Joined along time they are those of all frames.
    """

    positions: Tensor
    lengths: Tensor
    _kept: Tensor  # (B, C, n), the last n frames
    _last: Tensor  # (B, 1), the newest position
    _last_stride: Tensor  # (B, 1), local stride of the step to that position
    _strides: Tensor
    _times: Tensor

    def __init__(self, layer: StreamedLayer) -> None:
        self.layer = layer
        self.input_frames = 0
        self._finished = False
        self._ready = 0  # output frames returned so far; equal for all items until the end
        self._waiting = 0  # the newest frames, which a layer that looks ahead has not placed yet
        self._last = torch.empty(0, 0)

    @torch.no_grad()
    def push(self, x: Tensor) -> Tensor:
        """Takes input frames (B, C, t), t ≥ 1, and returns the output frames (B, C, l), l ≥ 0, that are ready now.

        A frame is returned when it is ready in all items of the batch.

        Raises:
            ValueError: wrong shape, dtype or device, or a push after `finish`. The stream stays unchanged.
        """
        check_signal(x, self.layer.channels)
        self._check_open("push")
        if self.input_frames == 0:
            self._kept = x[..., :0]
        kept = self._kept
        if (x.shape[:2], x.dtype, x.device) != (kept.shape[:2], kept.dtype, kept.device):
            raise ValueError(
                f"`x` (shape {tuple(x.shape)}, {x.dtype}, {x.device}) must match the earlier chunks: "
                f"{kept.shape[0]} items of {kept.shape[1]} channels, {kept.dtype}, {kept.device}"
            )
        positions = self._place(x)
        self._measure_steps(positions)
        self._kept = torch.cat([kept, x], 2)
        self._waiting += x.shape[2] - positions.shape[1]
        self.input_frames += x.shape[2]
        self.positions = positions
        y = self._hand_out(self._settled())
        self.lengths = torch.full((len(x),), self._ready, device=x.device)
        # a copy: a slice would keep the whole chunk in memory
        self._kept = self._kept[..., self._forget() :].clone()
        return y

    @torch.no_grad()
    def finish(self) -> Tensor:
        """Ends the signal and returns the remaining output frames (B, C, l), with zeros after an item's last frame.

        Raises:
            ValueError: nothing was pushed, or the stream is already finished.
        """
        self._check_open("finish")
        if self.input_frames == 0:
            raise ValueError("`finish` must come after at least one `push`")
        self.positions = self._place_rest()
        self._measure_steps(self.positions)
        self._waiting = 0
        self.lengths = self._last_lengths()
        y = self._hand_out(int(self.lengths.max()))
        self._finished = True
        last = torch.ones_like(self._last) if self.input_frames == 1 else self._last_stride
        self._strides = torch.cat([self._strides, last], 1)
        self._kept = self._kept[..., :0].clone()
        return y

    def times(self) -> Tensor:
        """Returns the input frame index of each output frame of the last call: (B, l), 0 in the padding."""
        return self._times

    def strides(self) -> Tensor:
        """Returns the local strides (B, n), in input frames per output frame, that became known in the last call.

        The stride 1 / (p_{t+1} − p_t) of a frame is known when the next frame arrives. So the first push gives one
        stride fewer than it has frames. `finish` gives the rest; the last stride repeats its neighbour. Joined along
        time, they equal `Plan.strides`, except that they are infinite where positions do not change.
        """
        return self._strides

    def _check_open(self, what: str) -> None:
        if self._finished:
            raise ValueError(f"`{what}` must come before `finish`: make a new stream with `layer.stream()`")

    def _measure_steps(self, positions: Tensor) -> None:
        if positions.shape[1] == 0:
            self._strides = torch.empty_like(positions)
            return
        before = self._last if self._last.numel() else positions[:, :0]
        steps = torch.cat([before, positions], 1).diff()
        self._strides = 1.0 / steps
        self._last = positions[:, -1:]
        if steps.shape[1]:
            self._last_stride = self._strides[:, -1:]

    def _hand_out(self, until: int) -> Tensor:
        """Returns the new output frames up to `until`, and sets the result of `times`."""
        if until <= self._ready:
            self._times = self.positions.new_empty(len(self._kept), 0)
            return self._kept[..., :0].clone()
        plan, row = self._plan()
        rows = slice(self._ready - row, until - row)
        start = self.input_frames - self._kept.shape[2]
        self._times = (plan.times() + start).masked_fill(~plan.frames.real_output, 0.0)[:, rows]
        self._ready = until
        return self.layer.pool(self._placed(), plan)[..., rows].contiguous()

    def _placed(self) -> Tensor:
        """Returns the kept frames that have positions."""
        return self._kept[..., : self._kept.shape[2] - self._waiting]

    def _place(self, x: Tensor) -> Tensor:
        """Returns the positions (B, t) of a new chunk; of a layer that looks ahead, of the frames that wait no more."""
        raise NotImplementedError

    def _place_rest(self) -> Tensor:
        """Returns the positions (B, t) of the frames that wait, as the signal ends."""
        return self.positions[:, :0]

    def _plan(self) -> tuple[Plan, int]:
        """Returns the plan of the placed frames as if the signal ended now, and the index of its first output frame."""
        raise NotImplementedError

    def _settled(self) -> int:
        """Returns the number of output frames since the start of the stream that no later input frame can change."""
        raise NotImplementedError

    def _forget(self) -> int:
        """Returns the number of kept frames that no later output frame can read."""
        raise NotImplementedError

    def _last_lengths(self) -> Tensor:
        """Returns (B,) int64, the output length of each item if the signal ends now."""
        raise NotImplementedError


class PoolStream(Stream):
    """Streams a layer of fixed stride s whose output frame l reads the input frames l·s − before … l·s + behind.

    The result is exactly that of the layer on the whole signal, including the last partial window. Output frame l is
    ready when input frame l·s + behind arrives. At most 2s + behind frames are kept.
    """

    def __init__(self, layer: StreamedLayer, stride: int, before: int, behind: int) -> None:
        super().__init__(layer)
        self._stride, self._behind = stride, behind
        self._context = -(-before // stride)  # output frames to compute again, so that their input is kept
        self._row = 0  # the output frame at the first kept input frame

    def _place(self, x: Tensor) -> Tensor:
        return self.layer.plan(x).positions + self.input_frames / self._stride

    def _plan(self) -> tuple[Plan, int]:
        return self.layer.plan(self._kept), self._row

    def _settled(self) -> int:
        return max(0, (self.input_frames - 1 - self._behind) // self._stride + 1)

    def _forget(self) -> int:
        row = max(self._row, self._ready - self._context)
        frames, self._row = (row - self._row) * self._stride, row
        return frames

    def _last_lengths(self) -> Tensor:
        return self.layer.output_lengths(torch.full_like(self.lengths, self.input_frames))
