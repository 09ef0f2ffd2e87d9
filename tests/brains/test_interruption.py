"""Runs that are stopped, in the middle of an epoch, at a random moment, by a full disk; and what goes on from there."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from full_disks import files_of_at_most
from quick import forget_pip_and_disk
from runs import RECIPE, assert_same, checkpoints, command, final

from seqstride.brains import ClassificationBrain
from seqstride.brains.run import _log_into
from seqstride.cli import main
from seqstride.errors import FileError

NOISY = """\
downsampler: adastride
fea_augment: !new:speechbrain.augment.augmenter.Augmenter
    min_augmentations: 0
    max_augmentations: 2
    shuffle_augmentations: true
    augment_prob: 0.8
    augmentations:
        - !new:speechbrain.augment.freq_domain.SpectrogramDrop
            drop_length_low: 1
            drop_length_high: 3
            drop_count_low: 1
            drop_count_high: 2
            replace: zeros
            dim: 1
        - !new:speechbrain.augment.freq_domain.SpectrogramDrop
            drop_length_low: 1
            drop_length_high: 3
            drop_count_low: 1
            drop_count_high: 2
            replace: mean
            dim: 2
"""


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recipe with every source of randomness: order, dropout, mixup, and augmenters that ask Python and torch."""
    folder = tmp_path_factory.mktemp("task") / "hparams"
    shutil.copytree(RECIPE / "hparams", folder)
    shutil.copy(RECIPE / "train.py", folder.parent)
    (folder / "noisy.yaml").write_text(NOISY)
    return str(folder / "noisy.yaml")


def argv(file: str, output: Path, *flags: str, **overrides: object) -> list[str]:
    """The command line of a small run."""
    line = command("", output, *flags, **{"width": 8, "number_of_epochs": 3, **overrides})
    return ["train", file, *line[2:]]


@pytest.fixture(scope="module")
def whole(noisy: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run ends with that never stopped, and made no checkpoints inside its epochs."""
    output = tmp_path_factory.mktemp("whole")
    assert main(argv(noisy, output)) == 0
    return final(output)


# In the middle of an epoch


def stop_after(patch: pytest.MonkeyPatch, count: int) -> None:
    """Lets a run end with its n-th checkpoint inside an epoch, as Ctrl-C would end it."""
    save = ClassificationBrain._save_intra_epoch_ckpt
    left = [count]

    def save_and_stop(brain: ClassificationBrain) -> None:
        save(brain)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    patch.setattr(ClassificationBrain, "_save_intra_epoch_ckpt", save_and_stop)


def test_a_run_resumed_inside_epochs_equals_one_that_never_stopped(
    noisy: str, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 8 batches in an epoch: behind batches 3 and 8, the last, of the first epoch, and 6 of the second
    line = argv(noisy, tmp_path)
    for count, steps, step in ((1, 3, 3), (1, 5, 8), (2, 3, 6)):
        with monkeypatch.context() as patch:
            stop_after(patch, count)
            assert main([*line, "--ckpt_interval_steps", str(steps)]) == 130
        (*_, newest), others = checkpoints(tmp_path)
        assert not others
        assert not yaml.safe_load((newest / "CKPT.yaml").read_text())["end-of-epoch"]
        assert yaml.safe_load((newest / "brain.ckpt").read_text())["step"] == step
    assert main(line) == 0
    assert_same(final(tmp_path), whole)
    log = (tmp_path / "train_log.txt").read_text().splitlines()
    assert [row.split(" - ")[0].split(",")[0] for row in log[:-1]] == ["epoch: 1", "epoch: 2", "epoch: 3"]
    assert log[-1].startswith("best_epoch: ")


@pytest.mark.long
def test_a_checkpoint_waits_for_the_step_that_gradients_are_gathered_for(
    noisy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--grad_accumulation_factor", "3"]
    assert main(argv(noisy, tmp_path / "whole", *flags)) == 0
    line = argv(noisy, tmp_path / "resumed", *flags)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        assert main([*line, "--ckpt_interval_steps", "4"]) == 130
    (newest,), _ = checkpoints(tmp_path / "resumed")
    assert yaml.safe_load((newest / "brain.ckpt").read_text())["step"] == 6
    assert main(line) == 0
    assert_same(final(tmp_path / "resumed"), final(tmp_path / "whole"))


# At a random moment


def start(line: list[str]) -> None:
    """A run in a process of its own."""
    torch.set_num_threads(1)
    forget_pip_and_disk(pytest.MonkeyPatch())
    main(line)


def killed_at_random(file: str, output: Path, kills: int) -> int:
    """Kills a run so many times, each time some moments after it has made progress; how often while it was writing.

    Every start must go on from the newest checkpoint that was whole.
    """
    moments = random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqstride.brains.run", "seqstride.brains"])
    line = [*argv(file, output, number_of_epochs=5 * kills), "--ckpt_interval_steps", "1"]
    writing = 0
    for _ in range(kills):
        before, others = checkpoints(output)
        known = {*before, *others}
        process = context.Process(target=start, args=(line,))
        process.start()
        until = time.monotonic() + 300
        folder = output / "save" / "checkpoints"
        while known.issuperset(folder.glob("CKPT*")):
            assert process.is_alive()
            assert time.monotonic() < until
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.3))
        assert process.is_alive(), "it was too quick"
        process.kill()
        process.join()
        writing += bool(checkpoints(output)[1])
        if before:
            loaded = [
                row for row in (output / "log.txt").read_text().splitlines() if "Loading a checkpoint from" in row
            ]
            assert loaded[-1].endswith(str(list(before)[-1]))
    return writing


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.long)], ids=lambda kills: f"{kills} times")
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(noisy: str, tmp_path: Path, kills: int) -> None:
    writing = killed_at_random(noisy, tmp_path / "killed", kills)
    print(f"killed {kills} times, {writing} times while a checkpoint was being written or deleted")
    assert main(argv(noisy, tmp_path / "killed", number_of_epochs=5 * kills)) == 0
    assert not checkpoints(tmp_path / "killed")[1]
    assert main(argv(noisy, tmp_path / "whole", number_of_epochs=5 * kills)) == 0
    assert_same(final(tmp_path / "killed"), final(tmp_path / "whole"))
    assert not list(tmp_path.rglob("*.part"))


# A full disk


def test_a_log_that_finds_no_room_names_the_folder(tmp_path: Path) -> None:
    with files_of_at_most(100), pytest.raises(FileError, match=f"'{tmp_path}' cannot be written: File too large"):
        _log_into(tmp_path)


def test_a_run_without_room_ends_before_its_first_epoch(
    noisy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ClassificationBrain, "compute_forward", lambda *_: pytest.fail("it was trained"))
    with files_of_at_most(10_000_000):
        assert main(argv(noisy, tmp_path)) == 2
    [line] = [row for row in capsys.readouterr().err.splitlines() if row.startswith("seqstride: ")]
    assert line == f"seqstride: '{tmp_path}' must have room for 16 MB: File too large"
    assert not (tmp_path / "made_from.json").exists()


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    noisy: str,
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = argv(noisy, tmp_path)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert main([*line, "--ckpt_interval_steps", "4"]) == 130
    before, _ = checkpoints(tmp_path)
    capsys.readouterr()
    with files_of_at_most(max(path.stat().st_size for path in tmp_path.rglob("*.ckpt")) - 1):
        assert main(line) == 2
    (message,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("seqstride: ")]
    assert f"no checkpoint could be written to '{tmp_path / 'save' / 'checkpoints'}', where " in message
    assert message.endswith("those before it are as they were, and the same command resumes from them")
    assert checkpoints(tmp_path) == (before, [])
    assert main(line) == 0
    assert_same(final(tmp_path), whole)
