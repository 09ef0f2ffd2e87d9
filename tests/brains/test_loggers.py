"""What a run hands to SpeechBrain's loggers: numbers, one per block, that TensorBoard and Weights & Biases take."""

from __future__ import annotations

import re
import sys
from numbers import Real
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from brain import batch, make_brain
from runs import command
from speechbrain.utils.train_logger import FileTrainLogger, WandBLogger

from seqstride.cli import main

TENSORBOARD = "!new:speechbrain.utils.train_logger.TensorboardLogger {save_dir: !ref <output_folder>/tensorboard}"
STRIDES = ("stride_1", "stride_2", "stride_3")


class Writer:
    """Stands for TensorBoard's: it takes numbers only."""

    scalars: dict[str, list[float]]

    def __init__(self, folder: str) -> None:
        self.folder = folder
        Writer.scalars = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert isinstance(value, Real), (name, value)
        self.scalars.setdefault(name, []).append(float(value))


def assert_whole(scalars: dict[str, list[float]]) -> None:
    assert scalars["epoch"] == [1, 2]
    assert all(len(scalars[name]) == 2 and min(scalars[name]) >= 1 for name in STRIDES)
    assert len(scalars["loss/train"]) == len(scalars["loss/valid"]) == 2
    assert len(scalars["accuracy_percent/test"]) == 1
    assert scalars["best_epoch"][0] in (1, 2)


def test_a_run_with_tensorboard_has_all_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    assert main(command("diffstride", tmp_path, number_of_epochs=2, train_logger=TENSORBOARD)) == 0
    assert_whole(Writer.scalars)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_itself_reads_what_a_run_wrote(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(command("diffstride", tmp_path, number_of_epochs=2, train_logger=TENSORBOARD)) == 0
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert_whole({name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]})


def run(logger: Any) -> None:
    brain = make_brain(downsampler="diffstride", number_of_epochs=2, train_logger=logger)
    loader = torch.utils.data.DataLoader([batch()], batch_size=None)
    brain.fit(range(1, 3), loader, loader)
    brain.evaluate(loader)


def test_the_log_file_is_readable(tmp_path: Path) -> None:
    run(FileTrainLogger(tmp_path / "log.txt"))
    first, second, test = (tmp_path / "log.txt").read_text().splitlines()
    pattern = r"epoch: \d, lr: [\d.e-]+, stride_1: (2|\d\.\d\d), stride_2: (2|\d\.\d\d) - train loss: .* - valid loss: "
    assert re.match(pattern, first)
    assert re.match(pattern, second)
    assert re.match(r"best_epoch: 2 - test loss: ", test)


def test_weights_and_biases_gets_numbers_under_steps_that_grow() -> None:
    logged: list[tuple[dict[str, Any], int | None]] = []
    run(WandBLogger(lambda: SimpleNamespace(log=lambda values, step=None: logged.append((values, step)))))
    assert [step for _, step in logged] == [1, 2, None]
    for values, _ in logged:
        for value in values.values():
            numbers = value.values() if isinstance(value, dict) else [value]
            assert all(isinstance(number, Real) for number in numbers), values
