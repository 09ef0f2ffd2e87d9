"""What a SpeechBrain `Brain` shows of a run: bars that vanish, a line for every epoch, and what can be done next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from seqstride._compat import require_torchaudio
from seqstride.experiments.screen import EpochTable, command_line, is_best, progress, say

require_torchaudio()

import speechbrain as sb  # noqa: E402


class ShownBrain(sb.Brain):
    """A `Brain` whose bars leave no lines behind (SpeechBrain's leave two for every epoch), and which shows epochs.

    Attributes:
        commands: key of a manifest's item that names its file → the command that takes such a file.
    """

    commands: Mapping[str, str] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches = dict.fromkeys(sb.Stage, 0)
        self.bar = progress("", wanted=False)

    def new_bar(self, text: str, items: Any = None, total: int | None = None) -> Any:
        """A bar, unless the run is to have none."""
        return progress(text, not self.noprogressbar, items, total)

    def make_dataloader(self, dataset: Any, stage: sb.Stage, *args: Any, **kwargs: Any) -> Any:
        """As SpeechBrain's; notes how many batches there are."""
        loader = super().make_dataloader(dataset, stage, *args, **kwargs)
        self.batches[stage] = len(loader)
        return loader

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """As SpeechBrain's; `progressbar` is that of the run options."""
        try:
            super().fit(*args, **{**kwargs, "progressbar": False})
        finally:
            self.bar.close()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As SpeechBrain's; `progressbar` is that of the run options."""
        try:
            return super().evaluate(*args, **{**kwargs, "progressbar": False})
        finally:
            self.bar.close()

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Begins a bar."""
        self.bar = self.new_bar(stage.name.lower(), total=self.batches[stage])

    def on_fit_batch_end(self, batch: Any, outputs: Any, loss: Tensor, should_step: bool) -> None:
        """Moves the bar."""
        self.bar.update()

    def evaluate_batch(self, batch: Any, stage: sb.Stage) -> Tensor:
        """As SpeechBrain's; moves the bar."""
        loss: Tensor = super().evaluate_batch(batch, stage)
        self.bar.update()
        return loss

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Takes the bar away."""
        self.bar.close()

    def show_start(self, layers: Any, epochs: int, history: list[dict[str, Any]]) -> None:
        """Begins the table of the epochs; says where a run goes on that has a history."""
        self.table = EpochTable(epochs, layers)
        if history:
            say(f"goes on   after epoch {history[-1]['epoch']}")

    def show_epoch(self, history: list[dict[str, Any]], selection: str) -> None:
        """A line for the last epoch of a history, marked where no other has a lower score `selection`."""
        self.table.add(history[-1], is_best(history, selection))

    def next_command(self, folder: Path, item: dict[str, Any]) -> str:
        """What can be done next with the results in `folder`; `item` is one of the scored part."""
        for key, command in self.commands.items():
            if key in item:
                return command_line(command, item[key], "--model", folder)
        return command_line("table", folder)
