"""What a run prints while it trains: progress bars that disappear, a line per epoch, and the next command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from seqstride._compat import require_torchaudio
from seqstride.experiments.screen import EpochTable, command_line, is_best, progress, say

require_torchaudio()

import speechbrain as sb  # noqa: E402


class DisplayBrain(sb.Brain):
    """A `Brain` that prints a line per epoch. Its bars leave no lines behind; SpeechBrain's leave two per epoch.

    Attributes:
        commands: key of a manifest's item that names a file → the command that takes such a file.
    """

    commands: Mapping[str, str] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches = dict.fromkeys(sb.Stage, 0)
        self.bar = progress("", wanted=False)

    def new_bar(self, text: str, items: Any = None, total: int | None = None) -> Any:
        """Returns a progress bar; a hidden one with `--noprogressbar`."""
        return progress(text, not self.noprogressbar, items, total)

    def make_dataloader(self, dataset: Any, stage: sb.Stage, *args: Any, **kwargs: Any) -> Any:
        """Makes SpeechBrain's data loader, and keeps the number of its batches for the bar."""
        loader = super().make_dataloader(dataset, stage, *args, **kwargs)
        self.batches[stage] = len(loader)
        return loader

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Runs SpeechBrain's method without its bar: `--noprogressbar` decides about the bar of this class."""
        try:
            super().fit(*args, **{**kwargs, "progressbar": False})
        finally:
            self.bar.close()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Runs SpeechBrain's method without its bar: `--noprogressbar` decides about the bar of this class."""
        try:
            return super().evaluate(*args, **{**kwargs, "progressbar": False})
        finally:
            self.bar.close()

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Starts a bar."""
        self.bar = self.new_bar(stage.name.lower(), total=self.batches[stage])

    def on_fit_batch_end(self, batch: Any, outputs: Any, loss: Tensor, should_step: bool) -> None:
        """Moves the bar."""
        self.bar.update()

    def evaluate_batch(self, batch: Any, stage: sb.Stage) -> Tensor:
        """Runs SpeechBrain's method, and moves the bar."""
        loss: Tensor = super().evaluate_batch(batch, stage)
        self.bar.update()
        return loss

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Removes the bar."""
        self.bar.close()

    def show_start(self, layers: Any, epochs: int, history: list[dict[str, Any]]) -> None:
        """Starts the table of the epochs; a resumed run prints its last epoch."""
        self.table = EpochTable(epochs, layers)
        if history:
            say(f"goes on   after epoch {history[-1]['epoch']}")

    def show_epoch(self, history: list[dict[str, Any]], selection: str) -> None:
        """Prints a line for the last epoch of a history, with a mark if no other has a lower score `selection`."""
        self.table.add(history[-1], is_best(history, selection))

    def next_command(self, folder: Path, item: dict[str, Any]) -> str:
        """Returns a command to run next on the results in `folder`; `item` is a manifest's item of the scored part."""
        for key, command in self.commands.items():
            if key in item:
                return command_line(command, item[key], "--model", folder)
        return command_line("table", folder)
