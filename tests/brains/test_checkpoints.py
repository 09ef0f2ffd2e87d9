"""Checkpoints survive a stop at any moment."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from seqstride.brains.checkpoints import Checkpointer
from seqstride.brains.history import forget_later


class Killed(Exception):
    """Stands for the end of the process."""


@register_checkpoint_hooks
class Fragile:
    """Saves a number, and the process ends while it does so if it is negative."""

    number = 0

    @mark_as_saver
    def save(self, path: Path) -> None:
        Path(path).write_text(str(self.number))
        if self.number < 0:
            raise Killed

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        self.number = int(Path(path).read_text())


def checkpointer(folder: Path, fragile: Fragile) -> Checkpointer:
    return Checkpointer(folder, {"layer": torch.nn.Linear(1, 1), "fragile": fragile})


def test_a_checkpoint_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    fragile = Fragile()
    fragile.number = 7
    checkpointer(tmp_path, fragile).save_checkpoint(meta={"loss": 2.0})
    fragile.number = -1
    with pytest.raises(Killed):
        checkpointer(tmp_path, fragile).save_checkpoint(meta={"loss": 1.0})
    assert len(list(tmp_path.iterdir())) == 2

    resumed = Fragile()
    again = checkpointer(tmp_path, resumed)
    assert len(list(tmp_path.iterdir())) == 1
    assert again.recover_if_possible(min_key="loss").meta["loss"] == 2.0
    assert resumed.number == 7


def test_a_checkpoint_that_was_being_deleted_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fragile = Fragile()
    keeper = checkpointer(tmp_path, fragile)
    keeper.save_and_keep_only(meta={"loss": 1.0}, min_keys=["loss"], importance_keys=[])

    def killed(path: Path) -> None:
        next(Path(path).glob("*.ckpt")).unlink()
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        keeper.save_and_keep_only(meta={"loss": 0.5}, min_keys=["loss"], importance_keys=[], keep_recent=False)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpointer(tmp_path, fragile).recover_if_possible().meta["loss"] == 0.5
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("numbered", [True, False])
def test_the_newest_is_the_one_that_was_saved_last_whatever_the_clock_says(
    numbered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes back by an hour after every epoch; older versions wrote no numbers, and times in their order."""
    keeper, now = checkpointer(tmp_path, Fragile()), time.time()
    for epoch in range(4):
        monkeypatch.setattr(time, "time", lambda epoch=epoch: now - 3600 * epoch)
        keeper.save_and_keep_only(meta={"epoch": epoch, "loss": epoch}, min_keys=["loss"])
    for saved in tmp_path.glob("*/CKPT.yaml"):
        if not numbered:
            text = saved.read_text()
            epoch = int(re.search(r"epoch: (\d)$", text, re.MULTILINE)[1])
            text = re.sub(r"^number: .*\n", "", text, flags=re.MULTILINE)
            saved.write_text(re.sub(r"^unixtime: .*", f"unixtime: {now + epoch}", text, flags=re.MULTILINE))
        os.utime(saved, (0, 0))
    assert checkpointer(tmp_path, Fragile()).recover_if_possible().meta["epoch"] == 3
    assert sorted(kept.meta["epoch"] for kept in keeper.list_checkpoints()) == [0, 3]
    keeper.save_and_keep_only(meta={"epoch": 4, "loss": 0}, min_keys=["loss"])
    assert [kept.meta["epoch"] for kept in keeper.list_checkpoints()] == [4]


def test_an_epoch_that_is_trained_again_is_logged_once(tmp_path: Path) -> None:
    log = tmp_path / "train_log.txt"
    lines = [f"epoch: {epoch}, lr: 1e-3 - valid loss: 1\n" for epoch in (1, 2, 3, 10)]
    log.write_text("".join([*lines, "best_epoch: 2 - test loss: 1\n"]))
    forget_later(log, 2, 10)
    assert log.read_text() == "".join([*lines[:2], "best_epoch: 2 - test loss: 1\n"])
    forget_later(None, 2, 10)
    forget_later(tmp_path / "none.txt", 2, 10)
    assert not (tmp_path / "none.txt").exists()


def test_a_test_that_is_made_again_is_logged_once(tmp_path: Path) -> None:
    """The run was killed between the test and its record."""
    log = tmp_path / "train_log.txt"
    epochs = "epoch: 1 - valid loss: 1\nbest_epoch: 1 - test loss: 3\nepoch: 2 - valid loss: 1\n"
    tested = f"{epochs}best_epoch: 2 - test loss: 1\n"
    log.write_text(tested)
    forget_later(log, 2, 3)  # it is trained further
    assert log.read_text() == tested
    forget_later(log, 2, 2)
    assert log.read_text() == epochs
