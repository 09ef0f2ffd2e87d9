"""The small JSON record that every run leaves, and the table that a README shows."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REQUIRED = ("recipe", "method", "seed", "test_accuracy", "parameters", "macs", "initial_strides", "strides", "seconds")


def versions() -> dict[str, str]:
    """The versions that a result depends on; of torch with its build."""
    import torch

    packages = {package: _version(package) for package in ("seqstride", "torchaudio", "speechbrain")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a bare checkout of seqstride is not installed
        return "checkout"


def write_record(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Writes a record, all of it or nothing."""
    part = Path(path).with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def read_records(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a recipe (`results/*.json`), or else of all runs below a folder (`**/results.json`).

    Raises:
        ValueError: there are none, or a file is not a record.
    """
    folder = Path(folder)
    paths = sorted((folder / "results").glob("*.json")) or sorted(folder.glob("**/results.json"))
    if not paths:
        raise ValueError(f"`folder` (={os.fspath(folder)!r}) must hold results of runs (JSON); there are none")
    records = []
    for path in paths:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            missing = [key for key in REQUIRED if key not in record]
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)!r} is not a record: {error}") from error
        if missing:
            raise ValueError(f"{os.fspath(path)!r} is not a record: it lacks {', '.join(missing)}")
        records.append(record)
    return records


def results_table(records: Iterable[dict[str, Any]], order: Iterable[str] = ()) -> str:
    """A Markdown table, one row per method: accuracy over the seeds, size, cost, strides.

    Args:
        records: what `read_records` gives.
        order: methods in the order of the rows; others follow, sorted.
    """
    by_method: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_method.setdefault(record["method"], []).append(record)
    known = [method for method in order if method in by_method]
    rows = [
        "| method | test accuracy, % | seeds | strides, start → end | MACs per item | parameters | training, s |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [_row(method, by_method[method]) for method in known + sorted(set(by_method) - set(known))]
    return "\n".join(rows)


def _row(method: str, runs: list[dict[str, Any]]) -> str:
    accuracies = [100 * run["test_accuracy"] for run in runs]
    spread = f" ± {statistics.stdev(accuracies):.1f}" if len(runs) > 1 else ""
    start = _mean_strides([run["initial_strides"] for run in runs])
    end = _mean_strides([run["strides"] for run in runs])
    cells = [
        f"`{method}`",
        f"{statistics.mean(accuracies):.1f}{spread}",
        str(len(runs)),
        start if start == end else f"{start} → {end}",
        f"{statistics.mean(run['macs'] for run in runs) / 1e6:.2f} M",
        f"{round(statistics.mean(run['parameters'] for run in runs)) / 1e3:.0f} k",
        f"{statistics.mean(run['seconds'] for run in runs):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _mean_strides(strides: list[list[float]]) -> str:
    """The mean over runs of each block's stride; a whole number without decimals."""
    means = (statistics.mean(block) for block in zip(*strides, strict=True))
    return ", ".join(f"{mean:.2f}".rstrip("0").rstrip(".") for mean in means)
