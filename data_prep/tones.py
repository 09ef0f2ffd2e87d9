"""Tones in noise, made from a seed: a task that a stride decides.

The class of an item is the frequency of its tone, and all frequencies are high: a layer of stride 6 on the signal cuts
them wholly, one of stride 1.5 keeps them. A stride that is learnt from 6 has to come back to 3 or less, and no other
weight makes up for it, as long as the layer stands on the signal itself or behind linear maps. (Behind a rectifier the
power of a tone is in the lowest bins, and a filter before that tells which tone it was.)

Source: ours.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from seqstride.errors import InputError

from .generated import Part, write_generated

#: cycles per frame of the first and the last class: whole numbers of periods in 128 frames
LOWEST, HIGHEST = 26 / 128, 41 / 128
_LAYOUT = 1  # part of the fingerprint: raise it when what is made below changes


def tones(
    items: int, generator: torch.Generator, *, classes: int = 4, frames: int = 128, amplitude: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sinusoids of random phase in white noise of variance 1, and their classes.

    Class k of K has frequency 26/128 + 15/128 · k / (K − 1) cycles per frame. Of 128 frames DiffStride (R = 4) keeps
    frequencies up to 0.12 at S = 6, DCT-DiffStride up to 0.10; at S = 1.5 both pass all up to 0.33 unchanged.

    Args:
        items: N.
        generator: of the random numbers, on the CPU.
        classes: K, at least 2.
        frames: T, the same for all items.
        amplitude: of the sinusoids.

    Returns:
        Signals (N, 1, T) float32, and classes (N,) int64.

    Source: ours.

    Example:
        >>> import torch
        >>> x, y = tones(100, torch.Generator().manual_seed(1))
        >>> x.shape, y.shape
        (torch.Size([100, 1, 128]), torch.Size([100]))
    """
    labels = torch.randint(classes, (items,), generator=generator)
    phases = torch.rand(items, 1, generator=generator)
    frequencies = LOWEST + (HIGHEST - LOWEST) / (classes - 1) * labels[:, None]
    tone = amplitude * torch.sin(2 * math.pi * (frequencies * torch.arange(frames) + phases))
    return (tone + torch.randn(items, frames, generator=generator))[:, None], labels


def prepare_tones(
    save_folder: str | os.PathLike[str],
    *,
    data_folder: str | os.PathLike[str],
    items: Mapping[str, int],
    amplitude: float = 1.0,
    seed: int = 0,
) -> None:
    """Writes the manifests of a run, and the arrays of the set where they are missing; see `write_generated`.

    An item has `tone`, its class as a text. Its signal is (128, 1).

    Args:
        save_folder: the folder of the manifests; made if missing.
        data_folder: the folder of the arrays; made if missing.
        items: number of items of `train`, `valid` and `test`.
        amplitude: of the sinusoids.
        seed: of the set.

    Raises:
        InputError: `amplitude` is negative or not a number, or `items` lacks a split.
    """
    if not 0 <= amplitude < math.inf:
        raise InputError(f"`amplitude` (={amplitude}) must be a number of at least 0")

    def make(count: int, own_seed: int) -> Part:
        x, labels = tones(count, torch.Generator().manual_seed(own_seed), amplitude=amplitude)
        return Part(x.transpose(1, 2).numpy(), [{"tone": str(label)} for label in labels.tolist()])

    fingerprint = {"set": "tones", "layout": _LAYOUT, "amplitude": amplitude}
    write_generated(save_folder, data_folder, make, items=items, seed=seed, fingerprint=fingerprint)
