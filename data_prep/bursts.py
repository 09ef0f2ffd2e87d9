"""Bursts: sixteen codes, each in a burst of 20 frames at a random place of 400 frames of noise. Made from a seed.

A code is a row of ten signs, five of each, and two codes differ in four places at least. In a burst every sign holds
for two frames: it stands on one fixed direction of the eight channels, times the amplitude, on top of the noise. The
task is to name the code. A burst is a twentieth of the signal, so uniform frames spend 19 of 20 on noise. Source: ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from seqstride.errors import InputError

from .generated import FRAME_RATE, Part, write_generated

CHANNELS, FRAMES, BURST = 8, 400, 20
CODES, SIGNS, LEAST_DISTANCE = 16, 10, 4
_LAYOUT = 2  # part of the fingerprint: raise it when what is made below changes


def prepare_bursts(
    save_folder: str | os.PathLike[str],
    *,
    data_folder: str | os.PathLike[str],
    items: Mapping[str, int],
    amplitude: float = 2.0,
    seed: int = 0,
) -> None:
    """Writes the manifests of a run, and the arrays of the set where they are missing; see `write_generated`.

    An item has `code`, its label, and `events`, where its burst begins and ends, in seconds. Its signal is (400, 8):
    noise of variance 1 in every channel, and the burst.

    Args:
        save_folder: the folder of the manifests; made if missing.
        data_folder: the folder of the arrays; made if missing.
        items: number of items of `train`, `valid` and `test`.
        amplitude: of a burst; all channels together have the variance 8 of the noise.
        seed: of the noise, the codes that are drawn, and their places. The codes themselves are always the same.

    Raises:
        InputError: `amplitude` is negative or not a number, or `items` lacks a split.
    """
    if not 0 <= amplitude < float("inf"):
        raise InputError(f"`amplitude` (={amplitude}) must be a number of at least 0")
    write_generated(
        save_folder,
        data_folder,
        lambda count, own_seed: make_bursts(count, own_seed, amplitude),
        items=items,
        seed=seed,
        fingerprint={"set": "bursts", "layout": _LAYOUT, "amplitude": amplitude},
    )


def make_bursts(count: int, seed: int, amplitude: float) -> Part:
    """Makes items: signals (count, 400, 8) float32, and their codes and places."""
    generator = torch.Generator().manual_seed(seed)
    signals = torch.randn(count, FRAMES, CHANNELS, generator=generator)
    codes = torch.randint(CODES, (count,), generator=generator)
    starts = torch.randint(FRAMES - BURST + 1, (count,), generator=generator)
    frames = starts[:, None] + torch.arange(BURST)
    bursts = amplitude * templates()[codes]
    signals.scatter_add_(1, frames[..., None].expand_as(bursts), bursts)
    facts = [
        {"code": f"{code:02d}", "events": [[start / FRAME_RATE, (start + BURST) / FRAME_RATE]]}
        for code, start in zip(codes.tolist(), starts.tolist(), strict=True)
    ]
    return Part(signals.numpy(), facts)


def templates() -> Tensor:
    """Returns the bursts of the codes at amplitude 1, (codes, 20, 8)."""
    generator = torch.Generator().manual_seed(12345)
    direction = torch.randn(CHANNELS, generator=generator)
    direction /= direction.norm()
    balanced = torch.tensor([1.0, -1.0]).repeat_interleave(SIGNS // 2)
    codes: list[Tensor] = []
    while len(codes) < CODES:
        signs = balanced[torch.randperm(SIGNS, generator=generator)]
        if all(int((signs != other).sum()) >= LEAST_DISTANCE for other in codes):
            codes.append(signs)
    lines = torch.stack(codes).repeat_interleave(BURST // SIGNS, dim=1)
    return lines[..., None] * direction
