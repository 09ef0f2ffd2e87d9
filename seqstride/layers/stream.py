"""Layers on a signal that arrives in chunks, for live use and for recordings of any length.

`layer.stream()` makes a stream. It keeps the input frames that later output frames can still read, and returns an
output frame as soon as no later input frame can change it. At every push it resamples the kept frames with the layer's
own plan, as if the signal ended there, and returns the settled part of the result. So the layers have one resampler,
and the cuts between chunks change the result by rounding only.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from seqstride.core.checks import check_signal
from seqstride.core.plan import Plan


class StreamedLayer(Protocol):
    """The part of `seqstride.Downsampler` that streams use."""

    @property
    def channels(self) -> int | None: ...

    def plan(self, x: Tensor) -> Plan: ...

    def pool(self, x: Tensor, plan: Plan) -> Tensor: ...

    def output_lengths(self, lengths: Tensor) -> Tensor: ...


class Stream:
    """A layer on a signal that arrives in chunks; all items of a batch arrive together. Made by `layer.stream()`.

    `push` takes the next input frames and returns the output frames that are ready; `finish` returns the rest. The
    outputs, joined along time, depend on the signal and not on the cuts: positions are equal within 1e-9 output frames,
    the output within rounding of its dtype. For inference only: there are no gradients. All state is in
    the stream, none in the layer, so one layer can serve many streams.

    Attributes (those of the output, and `times` and `strides`, from the first push on):
        layer: the layer.
        input_frames: how many frames were pushed.
        lengths: (B,) int64, output frames of each item handed out so far.
        positions: (B, t), double precision where the device has it: the output coordinate of every frame of the last
            chunk, counted from the start of the stream.
    """

    positions: Tensor
    lengths: Tensor
    _kept: Tensor  # (B, C, n), the last n frames
    _last: Tensor  # (B, 1), the newest position
    _last_stride: Tensor  # (B, 1), of the step that leads to it
    _strides: Tensor
    _times: Tensor

    def __init__(self, layer: StreamedLayer) -> None:
        self.layer = layer
        self.input_frames = 0
        self._finished = False
        self._ready = 0  # output frames handed out; the same of every item until the end

    @torch.no_grad()
    def push(self, x: Tensor) -> Tensor:
        """The next input frames (B, C, t), t ≥ 1 → the output frames that are ready now (B, C, l), l ≥ 0.

        Items of a batch advance together: a frame is handed out when it is ready in all of them.

        Raises:
            ValueError: naming argument, value and rule, for a wrong shape, dtype or device, or after `finish`. The
                stream is then as it was before.
        """
        check_signal(x, self.layer.channels)
        self._check_open("push")
        kept = x[..., :0] if self.input_frames == 0 else self._kept
        if (x.shape[:2], x.dtype, x.device) != (kept.shape[:2], kept.dtype, kept.device):
            raise ValueError(
                f"`x` (shape {tuple(x.shape)}, {x.dtype}, {x.device}) must continue what was pushed before: "
                f"{kept.shape[0]} items of {kept.shape[1]} channels, {kept.dtype}, {kept.device}"
            )
        positions = self._place(x)
        self._measure_steps(positions)
        self._kept = torch.cat([kept, x], 2)
        self.input_frames += x.shape[2]
        self.positions = positions
        y = self._hand_out(self._settled())
        self.lengths = torch.full((len(x),), self._ready, device=x.device)
        # a copy of its own: a slice would keep all of a long chunk in memory
        self._kept = self._kept[..., self._forget() :].clone()
        return y

    @torch.no_grad()
    def finish(self) -> Tensor:
        """Ends the signal → the remaining output frames (B, C, l), 0 behind an item's own last frame (`lengths`).

        Raises:
            ValueError: nothing was pushed, or the stream is finished already.
        """
        self._check_open("finish")
        if self.input_frames == 0:
            raise ValueError("`finish` must come after at least one `push`")
        self.lengths = self._last_lengths()
        y = self._hand_out(int(self.lengths.max()))
        self._finished = True
        self.positions = self.positions[:, :0]
        self._strides = torch.ones_like(self._last) if self.input_frames == 1 else self._last_stride
        self._kept = self._kept[..., :0].clone()
        return y

    def times(self) -> Tensor:
        """The input frame index that each of the output frames handed out last stands for: (B, l), 0 in the padding."""
        return self._times

    def strides(self) -> Tensor:
        """Local strides, in input per output frames, of the input frames whose following frame came last: (B, n).

        A stride is known one frame later, 1 / (p_{t+1} − p_t): the first push tells one less than it has frames, and
        `finish` the last one, which repeats its neighbour; joined along time they are those of `Plan.strides`, but
        infinite where positions stand still.
        """
        return self._strides

    def _check_open(self, what: str) -> None:
        if self._finished:
            raise ValueError(f"`{what}` must come before `finish`: make a new stream with `layer.stream()`")

    def _measure_steps(self, positions: Tensor) -> None:
        before = positions[:, :0] if self.input_frames == 0 else self._last
        steps = torch.cat([before, positions], 1).diff()
        self._strides = 1.0 / steps
        self._last = positions[:, -1:]
        if steps.shape[1]:
            self._last_stride = self._strides[:, -1:]

    def _hand_out(self, until: int) -> Tensor:
        """Output frames up to `until` that were not handed out before; sets what `times` tells."""
        if until <= self._ready:
            self._times = self._last.new_empty(len(self._kept), 0)
            return self._kept[..., :0].clone()
        plan, row = self._plan()
        rows = slice(self._ready - row, until - row)
        start = self.input_frames - self._kept.shape[2]
        self._times = (plan.times() + start).masked_fill(~plan.frames.real_output, 0.0)[:, rows]
        self._ready = until
        return self.layer.pool(self._kept, plan)[..., rows].contiguous()

    def _place(self, x: Tensor) -> Tensor:
        """Positions (B, t) of a new chunk."""
        raise NotImplementedError

    def _plan(self) -> tuple[Plan, int]:
        """The plan of the kept frames as if the signal ended now, and the index of its first output frame."""
        raise NotImplementedError

    def _settled(self) -> int:
        """The number of output frames, from the start of the stream, that no later input frame can change."""
        raise NotImplementedError

    def _forget(self) -> int:
        """The number of kept frames that no later output frame can read."""
        raise NotImplementedError

    def _last_lengths(self) -> Tensor:
        """(B,) int64, output frames of each item if the signal ends now."""
        raise NotImplementedError


class PoolStream(Stream):
    """A layer of fixed stride s whose output frame l reads the input frames l·s − before … l·s + behind.

    The result is exactly that of the layer on the whole signal, the last partial window included; an output frame is
    ready when frame l·s + behind is there. At most 2s + behind frames are kept.
    """

    def __init__(self, layer: StreamedLayer, stride: int, before: int, behind: int) -> None:
        super().__init__(layer)
        self._stride, self._behind = stride, behind
        self._context = -(-before // stride)  # output frames that are computed once more, for what they read
        self._row = 0  # the output frame that stands on the first frame that is kept

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
