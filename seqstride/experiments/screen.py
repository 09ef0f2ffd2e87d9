"""Prints the progress of a run: first its method and data, then one line per epoch, last the results and their files.

The lines are messages of the logger `seqstride.experiments.screen`. With `log-config.yaml`, they appear on the screen
together with all warnings, and `log.txt` in the output folder gets every message. A program that uses the package
without this configuration does not show them.
"""

from __future__ import annotations

import logging
import math
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqstride.distributed import rank
from seqstride.errors import require
from seqstride.experiments.records import Record, metric_of, value_of

logger = logging.getLogger(__name__)

LOG_CONFIG = Path(__file__).with_name("log-config.yaml")
"""The logging configuration for SpeechBrain's `create_experiment_directory`."""
FILES = {
    "results": ("results.json", "table.md", "runs.json", "report.md"),
    "model": ("model.json", "model.safetensors", "series.json", "series.safetensors", "rows.json", "rows.safetensors"),
    "pictures": ("*.png",),
    "details": ("predictions.csv", "wer.txt", "cer.txt"),
    "log": ("log.txt", "train_log.txt"),
}
"""Kind → files that a run may write."""
NOISE = {
    "speechbrain.utils.train_logger": ("torchvision is not available",),
    "matplotlib.font_manager": ("Matplotlib is building the font cache",),
    "matplotlib": ("mkdir -p failed for path", "Matplotlib created a temporary cache directory"),
}
"""Logger → beginnings of messages that are hidden, because they do not concern the run."""
NOISY_WARNINGS = (
    "X is (of equal length|univariate), consider using MiniRocket|"
    "Data seen by SklearnClassifierPipeline instance has unequal length"
)
"""Beginnings of Python warnings that are hidden: sktime warns of unequal lengths, but this MiniRocket accepts them."""
PARTS = {"train": "training", "valid": "validation"}
NARROWEST = 8  # characters in the narrowest column


@contextmanager
def without_noise() -> Iterator[None]:
    """A context that hides only the messages in `NOISE` and `NOISY_WARNINGS`."""
    filters = {name: _not_starting_with(starts) for name, starts in NOISE.items()}
    for name, each in filters.items():
        logging.getLogger(name).addFilter(each)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", NOISY_WARNINGS)
            yield
    finally:
        for name, each in filters.items():
            logging.getLogger(name).removeFilter(each)


def _not_starting_with(starts: tuple[str, ...]) -> Any:
    return lambda record: not record.getMessage().startswith(starts)


def say(text: str) -> None:
    """Prints lines; of several processes, only the first prints."""
    if rank() == 0:
        logger.info(text)


def opening(hparams: Mapping[str, Any], file: str, items: Mapping[str, int], model: str, audio: str = "") -> str:
    """Returns the first lines of a run: method, items, how recordings are read, model and output folder.

    Args:
        hparams: hyperparameters of the recipe.
        file: the method's file.
        items: part of the data → number of its items.
        model: a description of the model; may be empty.
        audio: how recordings are read; empty where there are none.
    """
    method = Path(file).stem if Path(file).stem != "train" else hparams["downsampler"]
    fold = f", fold {hparams['fold']}" if hparams.get("fold") is not None else ""
    rows = {
        "training": f"{method} of {hparams['recipe']}{fold}, seed {hparams['seed']}",
        "items": ", ".join(f"{count} {PARTS.get(part, part)}" for part, count in items.items()),
        "audio": audio,
        "model": model,
        "output": hparams["output_folder"],
    }
    return "\n".join(f"{name:<9} {text}" for name, text in rows.items() if text)


class EpochTable:
    """A table with one line per epoch.

    It shows losses for training and validation. It shows scores for validation, or for training if there is no
    validation part; shares (accuracies, the usage of a codebook) are in percent. Counts are only in the log.

    Args:
        epochs: the largest number of epochs.
        layers: downsampling layers. Strides are shown if one of them learns its stride.
    """

    def __init__(self, epochs: int, layers: Iterable[Any]) -> None:
        self.epochs = epochs
        self.learnt = any(layer.learns_stride and layer.stride_parameter.requires_grad for layer in layers)
        self.widths: dict[str, int] = {}

    def add(self, record: Mapping[str, Any], best: bool = False) -> None:
        """Prints the line of an epoch.

        Args:
            record: an entry of a history.
            best: whether this epoch is the best so far.
        """
        cells = self._cells(record)
        if not self.widths:
            self.widths = {title: max(NARROWEST, len(title), len(cell)) for title, cell in cells.items()}
            say(f"\n{self._line({title: title for title in cells})}{'  * best so far' * ('valid' in record)}")
        say(self._line(cells) + " *" * best)

    def _line(self, cells: Mapping[str, str]) -> str:
        return "  ".join(f"{cells[title]:>{width}}" for title, width in self.widths.items())

    def _cells(self, record: Mapping[str, Any]) -> dict[str, str]:
        cells = {"epoch": f"{record['epoch']}/{self.epochs}", "train loss": f"{record['train']['loss']:.4f}"}
        part = "train"
        if "valid" in record:
            part = "valid"
            cells["valid loss"] = f"{record['valid']['loss']:.4f}"
        for name, score in record[part].items():
            if name != "loss" and isinstance(score, float):
                cells[f"{part} {name}"] = shown(name, score)
        if self.learnt:
            cells["strides"] = " ".join(f"{stride:.2f}" for stride in record["strides"])
        return {**cells, "seconds": f"{record['seconds']:.1f}"}


def is_best(epochs: Sequence[Mapping[str, Any]], score: str) -> bool:
    """Returns whether the last epoch has the lowest validation score. Of equal scores, the newest is the best."""
    *before, last = [epoch["valid"][score] for epoch in epochs]
    return math.isfinite(last) and last <= min(before, default=math.inf)


def is_share(name: str) -> bool:
    """Returns whether a score is a share of 1, which is shown in percent."""
    return name.endswith(("accuracy", "usage"))


def in_percent(scores: Mapping[str, float]) -> dict[str, float]:
    """Converts shares into percent and renames them: `accuracy` becomes `accuracy_percent`."""
    named: dict[str, float] = {}
    for name, value in scores.items():
        if is_share(name):
            percent = round(100 * value, 2)
            # SpeechBrain's logger writes a float of 100 as 1.00e+02
            named[f"{name}_percent"] = int(percent) if percent.is_integer() else percent
        else:
            named[name] = value
    return named


def shown(name: str, value: float) -> str:
    """Returns a score with its unit as text."""
    if is_share(name):
        return f"{100 * value:.1f} %"
    return {"WER": f"{value:.1f} %", "CER": f"{value:.1f} %", "L1": f"{value:.2f} dB"}.get(name, f"{value:.4g}")


def closing(record: Record, folder: Path, command: str, of_debug_run: bool = False) -> str:
    """Returns the last lines of a run: results, files, and the next command.

    Args:
        record: record of the run.
        folder: the output folder.
        command: a command to try next.
        of_debug_run: a few batches were trained and scored: the lines say that the scores mean nothing, and that the
            next thing is a real run.
    """
    metric = metric_of([record])
    scores = [f"{metric.title.partition(',')[0]} {metric.number(value_of(record))} {metric.unit}".strip()]
    for title, value in record.get("figures", {}).items():
        name, _, unit = title.partition(",")
        scores.append(f"{name} {value:.3g}{unit}")
    lines = ["", f"{'NOT REAL (a debug run of a few batches): ' * of_debug_run}{', '.join(scores)}"]
    if "epoch" in record:
        several = record.get("averaged_epochs", 1)
        mean = f"mean of the best {several}, first of them " if several > 1 else ""
        lines.append(f"{'epoch':<9} {mean}{record['epoch']} of {record['epochs']}, chosen on the validation part")
    if of_debug_run:  # a table would show its scores as if they were real
        command = "the same command without the options of a debug run"
    return "\n".join([*lines, where(folder, command)])


def where(folder: Path, command: str) -> str:
    """Returns one line for each kind of file in an output folder, and a line with the next command."""
    lines = []
    for what, patterns in FILES.items():
        found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        if found:
            lines.append(f"{what:<9} {'  '.join(map(str, found))}")
    return "\n".join([*lines, f"{'next':<9} {command}"])


def command_line(*words: str | Path) -> str:
    """Returns a `seqstride` command that can be pasted into a shell."""
    return shlex.join(["seqstride", *map(str, words)])


def progress(text: str, wanted: bool, items: Sequence[Any] | None = None, total: int | None = None) -> Any:
    """Returns a progress bar that disappears at its end. Only the first process shows it, and only in a terminal.

    Args:
        text: name of the task.
        wanted: False: the bar is never shown.
        items: sequence to iterate over.
        total: without `items`, the number of calls of `update`.
    """
    tqdm = require("tqdm", "speech").tqdm

    hidden = None if wanted and rank() == 0 else True  # None: hidden without a terminal
    return tqdm(items, desc=text, total=total, dynamic_ncols=True, leave=False, disable=hidden)
