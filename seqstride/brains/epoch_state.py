"""The state of an unfinished epoch: a checkpoint inside an epoch keeps it, so that a run resumes at the same batch."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks


@register_checkpoint_hooks
class EpochState:
    """The state of an unfinished epoch, which SpeechBrain's `Checkpointer` saves and recovers.

    Attributes:
        state: tensors and plain values; empty unless a checkpoint inside an epoch is being written or was recovered.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    @mark_as_saver
    def save(self, path: str | Path) -> None:
        """Writes the state."""
        torch.save(self.state, path)

    @mark_as_loader
    def load(self, path: str | Path, end_of_epoch: bool) -> None:
        """Reads a state that was saved inside an epoch; a checkpoint at an epoch's end has none."""
        self.state = {} if end_of_epoch else torch.load(path, weights_only=True)


def seed_generators(seed: int) -> None:
    """Seeds the generators of torch, numpy and Python; SpeechBrain's augmenters draw from Python's."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - an augmenter may draw from the global one


def random_states(device: torch.device | str) -> dict[str, Any]:
    """Returns the states of the generators of torch (and of a GPU), numpy and Python: tensors and plain values."""
    drawn = np.random.get_state(legacy=False)  # noqa: NPY002
    drawn["state"]["key"] = drawn["state"]["key"].tolist()
    states = {"torch": torch.get_rng_state(), "numpy": drawn, "python": random.getstate()}
    if torch.device(device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device | str) -> None:
    """Sets the generators to the states that `random_states` returned."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
