"""What a comparison says while its runs train."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seqstride.experiments import progress, screen
from seqstride.experiments.processes import cpu_seconds
from seqstride.experiments.progress import Epoch, Progress, last_epoch


def test_the_last_epoch_of_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "output.log"
    assert last_epoch(log) is None
    log.write_text("items     1/2 of them\n")
    assert last_epoch(log) is None
    lines: list[str] = []
    monkeypatch.setattr(screen, "say", lines.append)
    table = screen.EpochTable(20, [])
    for epoch in (1, 2, 12):
        table.add({"epoch": epoch, "train": {"loss": 1.0}, "valid": {"loss": 2.0, "accuracy": 0.5}, "seconds": 3.0})
    log.write_text("x" * 10_000 + "\n".join(lines))
    assert last_epoch(log) == Epoch(12, 20)
    assert last_epoch(log, log.stat().st_size) is None, "an earlier attempt"


def test_a_log_has_a_line_whenever_a_run_ends_and_one_in_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress(total=4, ended=1)

    def lines(at: float, ended: int, failed: int, running: dict[str, Epoch | None]) -> list[str]:
        now[0] = at
        shown.show(ended, failed, running)
        return capsys.readouterr().err.splitlines()

    assert lines(0, 1, 0, {"a, seed 0": None}) == ["1 of 4 runs done; a, seed 0: begins"]
    assert lines(30, 1, 0, {"a, seed 0": Epoch(1, 4)}) == []
    assert lines(60, 1, 0, {"a, seed 0": Epoch(2, 4)}) == [
        "1 of 4 runs done; about 5 min left; a, seed 0: epoch 2 of 4"
    ]
    assert lines(200, 1, 0, {"a, seed 0": Epoch(2, 4)}) == [], "nothing has changed"
    assert lines(201, 2, 1, {"b, seed 0": None}) == [
        "2 of 4 runs done, 1 of them failed; about 7 min left; b, seed 0: begins"
    ]
    assert lines(7200, 3, 1, {}) == ["3 of 4 runs done, 1 of them failed; about 1 h 00 min left"]
    assert lines(7300, 4, 1, {}) == ["4 of 4 runs done, 1 of them failed"]


def test_processor_time_has_that_of_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert 0.29 < cpu_seconds() - before < 5
