"""The records of all epochs of a run; checkpoints keep them, so that a resumed run draws the whole curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks


@register_checkpoint_hooks
class History:
    """A list of records, one per epoch, that SpeechBrain's `Checkpointer` saves and recovers.

    Attributes:
        epochs: the records, plain JSON values.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []

    @mark_as_saver
    def save(self, path: str | Path) -> None:
        """Writes the records as JSON."""
        Path(path).write_text(json.dumps(self.epochs), encoding="utf-8")

    @mark_as_loader
    def load(self, path: str | Path, end_of_epoch: bool) -> None:
        """Reads the records."""
        self.epochs = json.loads(Path(path).read_text(encoding="utf-8"))
