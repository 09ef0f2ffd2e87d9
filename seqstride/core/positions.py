"""Scores → monotone positions; positions → strides, durations and times.

Positions p (B, T) give every input frame its place on the line of output frames: frame t of item b goes to p_t, output
frame l is read at l. They are kept in double precision, because float32 is off by 6e-4 frames at T = 8192; as they
have no channels, this costs little. The padding holds 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqstride.core.kernels import dispatch
from seqstride.core.lengths import Frames


def place_frames(scores: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
    """(B, T) scores → (B, T) positions and their gap penalty, 0-d in the dtype of the scores."""
    p = positions_from_scores(scores, frames)
    return p, gap_penalty_from_positions(p, frames.input_lengths, frames.real).to(scores.dtype)


def positions_from_scores(scores: Tensor, frames: Frames) -> Tensor:
    """(B, T) scores → (B, T) positions; the arithmetic of `seqstride.functional.positions`, without its checks.

    p_t = (c_t − c_1) / (c_T − c_1) · (L − 1) with c the running sum of a = exp(score). c_1 = a_1 cancels, so a_1 is
    set to 0 and the largest of the other scores is subtracted first: exp cannot overflow, and c_T is at least 1.
    """
    if scores.device.type in dispatch.DEVICES and dispatch.has_kernels(scores[:, None]):
        from seqstride.core.kernels import nodes

        return nodes.positions_from_scores(scores, frames.given, frames.lengths)[0]
    steps = frames.real.clone()
    steps[:, 0] = False  # a_1 := 0
    s = scores.to(frames.dtype).masked_fill(~steps, -torch.inf)
    # an item of one frame has no step: its largest score is −inf and its sum 0
    single = frames.input_lengths[:, None] == 1
    largest = s.detach().amax(1, keepdim=True).masked_fill(single, 0.0)
    c = (s - largest).exp().cumsum(1)
    total = c[:, -1:].masked_fill(single, 1.0)
    p = c / total * (frames.lengths[:, None] - 1).to(frames.dtype)
    return p.masked_fill(~frames.real, 0.0)


def shares_from_scores(scores: Tensor, frames: Frames) -> Tensor:
    """(B, T) scores → (B, T) shares of the way, c_t / c_T with c_1 = 0: the positions of an output of two frames."""
    two = Frames(frames.batch, frames.width, 2, frames.device, frames.given)
    return positions_from_scores(scores, two)


def gap_penalty_from_positions(positions: Tensor, lengths: Tensor, real: Tensor) -> Tensor:
    """(B, T) positions, (B,) lengths and their (B, T) mask → 0-d penalty; `gap_penalty` without its checks."""
    excess = (positions[:, 1:] - positions[:, :-1] - 1).relu()
    per_item = excess.masked_fill(~real[:, 1:], 0.0).sum(1) / (lengths - 1).clamp(min=1)
    return per_item.mean()


def uniform_positions(slope: Tensor, offset: Tensor, real: Tensor) -> Tensor:
    """p_t = slope·t + offset on the real frames: 0-d or (B,) each, mask (B, T) → (B, T), 0 in the padding."""
    t = torch.arange(real.shape[1], device=slope.device, dtype=slope.dtype)
    p = slope.reshape(-1, 1) * t + offset.reshape(-1, 1)
    return p.masked_fill(~real, 0.0)


def local_strides(positions: Tensor, lengths: Tensor) -> Tensor:
    """Input frames per output frame at every input frame: 1 / (p_{t+1} − p_t), at most T_b.

    The last frame repeats its neighbour; an item of one frame has stride 1. A frame's score acts on the step that leads
    to it, so the stride at t reflects the score of t + 1. (B, T), (B,) → (B, T), 0 in the padding.
    """
    frames = positions.shape[1]
    longest = lengths[:, None].to(positions.dtype)
    if frames == 1:
        return torch.ones_like(positions)
    step = positions[:, 1:] - positions[:, :-1]
    stride = torch.where(step > 0, 1.0 / step.clamp(min=torch.finfo(step.dtype).tiny), torch.inf)
    stride = torch.minimum(stride, longest)
    last = stride.gather(1, (lengths[:, None] - 2).clamp(min=0))
    t = torch.arange(frames, device=positions.device)
    stride = torch.cat([stride, stride[:, -1:]], dim=1)
    stride = torch.where(t == lengths[:, None] - 1, last, stride)
    stride = torch.where(lengths[:, None] == 1, 1.0, stride)
    return stride.masked_fill(t >= lengths[:, None], 0.0)


def nearest_output(positions: Tensor, output_lengths: Tensor) -> Tensor:
    """The output frame every input frame belongs to: floor(p + ½), clipped to 0 … L − 1; (B, T) int64.

    floor(p + ½), not round: rounding half to even gives bins of 2 1 3 1 3 frames on a uniform grid. The halves of such
    a grid are exact up to about 1e-12 frames; 1e-9 keeps them together on the upper side.
    """
    d = (positions.detach() + 0.5 + 1e-9).floor().long()
    return torch.minimum(d.clamp(min=0), output_lengths[:, None] - 1)


def frame_counts(positions: Tensor, frames: Frames) -> Tensor:
    """Durations: how many input frames belong to every output frame. (B, L) int64; rows sum to T_b."""
    d = nearest_output(positions, frames.lengths)
    counts = torch.zeros(positions.shape[0], frames.output_width, dtype=torch.int64, device=positions.device)
    return counts.scatter_add_(1, d, frames.real.long())


def positions_from_durations(durations: Tensor, frames: Frames) -> Tensor:
    """Positions from durations alone: the input frames of output frame l are spread evenly over l − ½ … l + ½.

    `frame_counts` of the result gives the durations again. (B, L) int64 → (B, T), 0 in the padding. Source: ours.
    """
    t = torch.arange(frames.width, device=durations.device).expand(len(durations), -1).contiguous()
    ends = durations.cumsum(1)
    # the first output frame that ends behind t: those without any input frames are passed over
    owner = torch.minimum(torch.searchsorted(ends, t, right=True), frames.lengths[:, None] - 1)
    duration = durations.gather(1, owner)
    inside = (t - (ends.gather(1, owner) - duration)).to(frames.dtype) + 0.5
    p = owner - 0.5 + inside / duration.clamp(min=1)
    return p.masked_fill(~frames.real, 0.0)


def inverse_positions(positions: Tensor, frames: Frames) -> Tensor:
    """Times: the input frame index (fractional) that every output frame stands for.

    p inverted by linear interpolation; the middle of a flat run that stands on the output frame; the first or last real
    frame outside the range of p. (B, T) → (B, L), 0 in the padding.
    """
    # +inf in the padding: every row is sorted and can be searched
    p = positions.detach().masked_fill(~frames.real, torch.inf).contiguous()
    width = frames.output_width
    rows = torch.arange(width, device=p.device, dtype=p.dtype).expand(p.shape[0], width).contiguous()
    first = torch.searchsorted(p, rows)  # the first t with p_t ≥ l
    behind = torch.searchsorted(p, rows, right=True)  # the first t with p_t > l
    before = (first - 1).clamp(min=0)
    after = first.clamp(max=frames.width - 1)
    p_before, p_after = p.gather(1, before), p.gather(1, after)
    step = p_after - p_before
    inside = (first > 0) & (first < frames.input_lengths[:, None])
    fraction = torch.where(inside, (rows - p_before) / torch.where(inside, step, 1.0), 0.0)
    times = torch.where(first < behind, (first + behind - 1).to(p.dtype) / 2, before + fraction)
    return times.masked_fill(~frames.real_output, 0.0)


def read_at(values: Tensor, at: Tensor, lengths: Tensor) -> Tensor:
    """Reads rows of values at fractional indices by linear interpolation, beyond the ends along the outermost segment.

    (B, N) values of which `lengths` (B,) are real, (B, M) indices → (B, M).
    """
    last = (lengths[:, None] - 2).clamp(min=0)
    lower = torch.minimum(at.detach().floor().long().clamp(min=0), last)
    upper = torch.minimum(lower + 1, lengths[:, None] - 1)
    below = values.gather(1, lower)
    return below + (at - lower) * (values.gather(1, upper) - below)
