"""The records of all epochs of a run; checkpoints keep them, so that a resumed run draws the whole curve."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from seqstride.files.whole_files import whole_file


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


def forget_later(log: str | os.PathLike[str] | None, epochs: int, limit: int) -> None:
    """Removes from SpeechBrain's text log what a resumed run writes again: a run that was killed between the log and
    its checkpoint trains that epoch again, and one that was killed behind its last epoch makes the test again.

    Args:
        log: the file of a `FileTrainLogger`; None: another logger, which is left alone.
        epochs: the number of epochs from which the run goes on.
        limit: the number of epochs after which the test is made.
    """
    if log is None or not Path(log).is_file():
        return
    lines = Path(log).read_text(encoding="utf-8").splitlines(keepends=True)
    logged = [re.match(r"epoch: ([0-9]+)", line) for line in lines]
    kept = [line for line, match in zip(lines, logged, strict=True) if match is None or int(match[1]) <= epochs]
    while epochs == limit and kept and kept[-1].startswith("best_epoch: "):
        kept.pop()
    if kept != lines:
        with whole_file(log) as part:
            part.write_text("".join(kept), encoding="utf-8")
