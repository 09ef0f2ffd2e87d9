"""Where a training epoch stands; kept in the checkpoints inside it, so that a resumed run goes on in its middle."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks


@register_checkpoint_hooks
class Progress:
    """What SpeechBrain's `Checkpointer` saves inside an epoch, and recovers from there only.

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
        """Reads what `save` wrote inside an epoch."""
        self.state = {} if end_of_epoch else torch.load(path, weights_only=True)


def seed_generators(seed: int) -> None:
    """Starts the random numbers of torch, numpy and Python (SpeechBrain's augmenters draw from it)."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - an augmenter may draw from the global one


def random_states(device: torch.device | str) -> dict[str, Any]:
    """The states of the generators of torch (and of a GPU), numpy and Python: tensors and plain values."""
    drawn = np.random.get_state(legacy=False)  # noqa: NPY002
    drawn["state"]["key"] = drawn["state"]["key"].tolist()
    states = {"torch": torch.get_rng_state(), "numpy": drawn, "python": random.getstate()}
    if torch.device(device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device | str) -> None:
    """Undoes what has been drawn since `random_states`."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
