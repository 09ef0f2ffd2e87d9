"""The result of an encoder: features, and their places on the encoder's time axis."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqstride.core.lengths import Frames, length_mask
from seqstride.core.plan import Plan
from seqstride.core.positions import frame_counts, local_strides, read_at
from seqstride.core.spectral import interpolate


@dataclass
class Encoded:
    """Features of a batch, with the plans of the downsampling layers in order of depth.

    Attributes:
        features: (B, C, L).
        lengths: (B,) int64, output frames of each item.
        penalty: 0-d tensor, the sum of the plans' penalties.
        plans: one per downsampling layer, at least one; along time.
        frequency_plans: as many, along frequency, where an encoder downsamples that axis, too; else none.
        middle: (B, C, L), what the encoder's later layers start from, for a loss of its own; of a `ConformerEncoder`
            in training, else None. Its padding may be anything.
    """

    features: Tensor
    lengths: Tensor
    penalty: Tensor
    plans: list[Plan]
    frequency_plans: list[Plan] = field(default_factory=list)
    middle: Tensor | None = None

    @property
    def input_lengths(self) -> Tensor:
        """(B,) int64, real frames of each item at the encoder's input."""
        return self.plans[0].input_lengths

    @property
    def positions(self) -> Tensor:
        """(B, T): the output coordinate of every input frame of the encoder; the plans' positions composed."""
        return self.block_positions()[-1]

    def block_positions(self) -> list[Tensor]:
        """For every plan (B, T): where the encoder's input frames stand behind that layer, in its output frames."""
        p = self.plans[0].positions
        composed = [p]
        for plan in self.plans[1:]:
            p = read_at(plan.positions, p, plan.input_lengths)
            composed.append(p)
        padding = ~length_mask(self.input_lengths, p.shape[1])
        return [p.masked_fill(padding, 0.0) for p in composed]

    def strides(self) -> Tensor:
        """(B, T): local stride of the whole encoder at every input frame, in input frames per output frame."""
        return local_strides(self.positions, self.input_lengths)

    def block_strides(self) -> list[Tensor]:
        """For every plan (B, T): its own local stride at the encoder's input frames, read back through those before."""
        curves = []
        for block, plan in enumerate(self.plans):
            curve = plan.strides()[:, None]
            for before in reversed(self.plans[:block]):
                curve = interpolate(curve, before.positions, before.frames)
            curves.append(curve[:, 0])
        return curves

    def durations(self) -> Tensor:
        """(B, L) int64: how many input frames belong to every output frame."""
        first, last = self.plans[0].frames, self.plans[-1].frames
        whole = Frames(first.batch, first.width, last.output_width, first.device, first.given, last.lengths)
        return frame_counts(self.positions, whole)

    def bounds(self, item: int) -> Tensor:
        """(N,) int64, ascending: the input frames of an item that belong to another output frame than their forerunner.

        An output frame stands for `durations` input frames in a row; those without any leave no trace.
        """
        ends = self.durations()[item].cumsum(0).unique()
        return ends[(ends > 0) & (ends < self.input_lengths[item])]

    def times(self) -> Tensor:
        """(B, L): the input frame index (fractional, in [0, T_b − 1]) every output frame stands for."""
        t = self.plans[-1].times()
        for plan in self.plans[-2::-1]:
            t = read_at(plan.times(), t, plan.lengths)
        t = torch.minimum(t.clamp(min=0.0), (self.input_lengths[:, None] - 1).to(t.dtype))
        return t.masked_fill(~length_mask(self.lengths, t.shape[1]), 0.0)

    def expand(self, z: Tensor) -> Tensor:
        """Back to the encoder's input: every input frame reads z at its position; (B, C, L) → (B, C, T).

        Raises:
            ValueError: `z` is not a floating-point (B, C, L) tensor with the encoder's B and L.
        """
        for plan in reversed(self.plans):
            z = plan.expand(z)
        return z

    def share_on(self, marked: Tensor) -> Tensor:
        """Returns the share of every item's output frames that stand for marked input frames: (B,) float.

        An output frame stands for the input frame that is nearest to its time.

        Args:
            marked: (B, T) bool, such as the frames of an event.
        """
        nearest = self.times().round().long()
        found = marked.gather(1, nearest) & length_mask(self.lengths, nearest.shape[1])
        return found.sum(1) / self.lengths
