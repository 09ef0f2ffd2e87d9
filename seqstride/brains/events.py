"""Events: where in an item that happens which decides, and the share of output frames that fall on it.

Items of a manifest may have `events`, a list of `[start, stop]` in seconds from the start of the item; it may be empty.
A method that finds events spends more of its output frames on them than their share of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqstride.core.lengths import length_mask
from seqstride.encoders.encoded import Encoded
from seqstride.errors import InputError, brief


def check_events(where: str, items: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that every item has `events`.

    Raises:
        InputError: an item has none, or no list of `[start, stop]` with 0 <= start < stop.
    """
    for name, item in items.items():
        events = item.get("events")
        if not (isinstance(events, list) and all(_is_event(event) for event in events)):
            raise InputError(
                f"{where}, item {name!r}: `events` (={brief(events)}) must be a list of [start, stop] in seconds, "
                "0 <= start < stop"
            )


def _is_event(event: Any) -> bool:
    whole = isinstance(event, list) and len(event) == 2 and all(type(time) in (int, float) for time in event)
    return whole and 0 <= event[0] < event[1] < math.inf


def event_times(events: Sequence[Sequence[float]]) -> Tensor:
    """Returns the events of an item as (N, 2); without events one that is empty, so that items can be padded."""
    return torch.tensor(events or [[0.0, 0.0]], dtype=torch.float64)


def marked_frames(times: Tensor, frame_rate: float, lengths: Tensor, width: int) -> Tensor:
    """Returns which frames lie within an event: (B, width) bool.

    Args:
        times: (B, N, 2), start and stop of each event in seconds; padded by zeros.
        frame_rate: frames per second; frame t lies at t / frame_rate.
        lengths: (B,) frames of each item.
        width: number of frames of the batch.
    """
    frames = torch.arange(width, device=times.device, dtype=times.dtype) / frame_rate
    within = (frames >= times[..., :1]) & (frames < times[..., 1:])
    return within.any(1) & length_mask(lengths, width)


class EventShares:
    """The mean over items with events of the share of frames on them: at the encoder's input, and at its output."""

    def __init__(self) -> None:
        self.items = 0
        self.input = self.output = 0.0

    def __add__(self, other: EventShares) -> EventShares:
        added = EventShares()
        added.__dict__.update({name: value + getattr(other, name) for name, value in vars(self).items()})
        return added

    def count(self, times: Tensor, frame_rate: float, encoded: Encoded) -> None:
        """Adds the items of a batch; arguments as in `marked_frames`."""
        lengths = encoded.input_lengths
        marked = marked_frames(times, frame_rate, lengths, encoded.plans[0].frames.width)
        have = marked.any(1)
        self.items += int(have.sum())
        self.input += float((marked.sum(1) / lengths)[have].sum())
        self.output += float(encoded.share_on(marked)[have].sum())

    def record(self) -> dict[str, float]:
        """Returns both shares; nothing if there were no events. Uniform frames give the same share twice."""
        if not self.items:
            return {}
        return {"test_event_share": self.output / self.items, "test_event_share_of_time": self.input / self.items}
