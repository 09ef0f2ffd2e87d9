"""Results in the format of the public archives: `seqstride table --archive`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seqstride.cli import main

SETS = ("GunPoint", "ArrowHead", "ACSF1", "Coffee")


def run(method: str, fold: str, seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """A record."""
    return {
        **{"recipe": "UCR/classification", "method": method, "fold": fold, "folds_are": "data sets", "seed": seed},
        **{"scored": "test", "test_accuracy": accuracy, "parameters": 1, "macs": 1, "initial_strides": [2.0]},
        **{"strides": [2.0], "seconds": 1.0, "cpu_seconds": 2.0 + len(method), "epochs": 1, "device": "cpu"},
        **{"versions": {"torch": "2"}, **more},
    }


@pytest.fixture
def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        run(method, fold, seed, round(0.9 - 0.1 * place - 0.01 * index * (place - 1.3) + 0.001 * seed, 4))
        for place, method in enumerate(("minirocket", "average", "adastride"))
        for index, fold in enumerate(SETS)
        for seed in (1, 2)
    ]


def table(folder: Path, records: list[dict[str, Any]], *words: str) -> int:
    (folder / "runs" / "results").mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records):
        (folder / "runs" / "results" / f"{number}.json").write_text(json.dumps(record))
    return main(["table", str(folder / "runs"), *words])


def test_a_file_for_every_method_with_a_row_for_every_set(
    tmp_path: Path, records: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aeon", None)
    monkeypatch.setitem(sys.modules, "aeon.visualisation", None)
    lacking = [
        record for record in records if (record["method"], record["fold"], record["seed"]) != ("average", "Coffee", 2)
    ]
    assert table(tmp_path, lacking, "--archive", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "classification" / "accuracy" / "MiniROCKET_accuracy.csv").read_text().splitlines() == [
        "Resamples:,0,1",
        "ACSF1,0.927,0.928",
        "ArrowHead,0.914,0.915",
        "Coffee,0.94,0.941",
        "GunPoint,0.901,0.902",
    ]
    assert (
        "Coffee,0.81,"
        in (tmp_path / "out" / "classification" / "accuracy" / "average_accuracy.csv").read_text().splitlines()
    )
    printed = capsys.readouterr().out
    assert "accuracy_against_time.png: over 4 data sets" in printed
    assert "no critical_difference.png: aeon is needed here" in printed
    assert "pip install 'seqstride[archive]'" in printed


def test_what_the_archives_do_not_take(tmp_path: Path, records: list, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert table(tmp_path / "twice", [*records, records[0]], "--archive", out) == 2
    assert "minirocket has two records of seed 1 on GunPoint" in capsys.readouterr().err
    valid = [{**record, "scored": "valid"} for record in records]
    assert table(tmp_path / "valid", valid, "--archive", out) == 2
    assert "for runs on data sets, scored on their test parts" in capsys.readouterr().err
    assert table(tmp_path / "two", records[:16], "--archive", out) == 0
    assert (
        "no pictures: they need at least 3 methods and 3 data sets that all have; there are 2"
        in capsys.readouterr().out
    )


@pytest.mark.long  # importing aeon
def test_aeon_reads_the_files_and_draws_the_ranks(tmp_path: Path, records: list) -> None:
    loaders = pytest.importorskip("aeon.benchmarking.results_loaders")
    assert table(tmp_path, records, "--archive", str(tmp_path / "out")) == 0
    read = loaders.get_estimator_results(["MiniROCKET"], num_resamples=None, path=str(tmp_path / "out"))
    assert read["MiniROCKET"]["Coffee"].tolist() == [0.94, 0.941]
    for picture in ("critical_difference", "comparison_matrix", "accuracy_against_time"):
        assert (tmp_path / "out" / f"{picture}.png").stat().st_size > 5_000
