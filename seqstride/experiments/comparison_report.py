"""Reads the summary `runs.json` of a comparison, and writes its table and picture."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqstride.errors import InputError
from seqstride.experiments.items import parts_inside
from seqstride.experiments.ranking import rankings
from seqstride.experiments.recipe import ratio_of
from seqstride.experiments.records import Record, metric_of, spread_over, summarise, with_ratio
from seqstride.experiments.score_tables import has_score_table, score_tables
from seqstride.experiments.tables import comparison_table
from seqstride.files.text_files import read_json
from seqstride.files.whole_files import save_figure, whole_file

SUMMARY = "runs.json"


def read_comparison(folder: Path) -> dict[str, Any] | None:
    """Reads the arguments and runs of a comparison, finished or not; returns None for other folders.

    Raises:
        ValueError: `runs.json` is damaged.
    """
    summary = folder / SUMMARY
    if not summary.is_file():
        return None
    try:
        content: dict[str, Any] = read_json(summary)
        if not all(isinstance(content[key], kind) for key, kind in (("arguments", dict), ("runs", list))):
            raise InputError("`arguments` must be a mapping and `runs` a list")
        return _with_ratios({**content, "runs": parts_inside(content["runs"], content.pop("parts", {}))})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{os.fspath(summary)!r} is not the summary of a comparison: {error!r}") from error


def _with_ratios(content: dict[str, Any]) -> dict[str, Any]:
    """Returns a comparison in the present form. In an older one ratios stand as folds, or are not there at all.

    Digests of settings are left out where ratios were folds, since the settings have other names now. Every run
    compares its own.
    """
    arguments, runs = content["arguments"], [with_ratio(run) for run in content["runs"]]
    if runs != content["runs"]:
        ratios = [ratio_of(fold) for fold in arguments["folds"]]
        known = {key: value for key, value in arguments.items() if key != "settings"}
        arguments = {**known, "folds": None, "ratios": ratios}
    return {**content, "arguments": {"ratios": None, **arguments}, "runs": runs}


def report(content: dict[str, Any]) -> str:
    """Returns the table of a comparison in Markdown, with caption, overrides and machine.

    Args:
        content: the result of `read_comparison`.

    Raises:
        ValueError: there are no runs, or they differ in their metric.
    """
    arguments, runs = content["arguments"], content["runs"]
    sizes = {key: len(arguments[key] or [None]) for key in ("methods", "seeds", "folds", "ratios")}
    planned = math.prod(sizes.values())
    failed = len(content["failed"])
    notes = []
    if failed:
        notes.append(f"{failed} of {planned} runs failed and are missing here.")
    if planned > len(runs) + failed:
        product = " × ".join(f"{size} {key}" for key, size in sizes.items() if size > 1)
        notes.append(
            f"{len(runs)} of {planned} runs ({product}) are done; the column `runs` counts those of each method."
        )
    if arguments["overrides"]:
        notes.append(f"Run with `{shlex.join(arguments['overrides'])}`.")
    notes.append(_circumstances(runs))
    table = (score_tables if has_score_table(runs) else comparison_table)(runs, arguments["methods"])
    return "\n\n".join([f"# {arguments['recipe']}", table, " ".join(notes)])


def _circumstances(runs: Sequence[Record]) -> str:
    """Returns a sentence with machine, versions and dates. Durations and last digits depend on them."""
    machines = {
        f"{run['machine']['name']} ({run['machine']['cores']} cores; {run['device']}; runs at a time: {run['jobs']})"
        for run in runs
    }
    software = {f"torch {run['versions']['torch']}, seqstride {run['versions']['seqstride']}" for run in runs}
    days = sorted({run["date"][:10] for run in runs})
    period = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured on {', '.join(sorted(machines))}; {'; '.join(sorted(software))}; {period}."


def write_report(folder: Path) -> str:
    """Writes `table.md` and a picture into the folder of a comparison, and returns the table.

    The picture is `against_frames.png` where there are several ratios and frames per second, else `comparison.png`.
    """
    content = read_comparison(folder)
    assert content is not None
    text = report(content)
    with whole_file(folder / "table.md") as part:
        part.write_text(text + "\n", encoding="utf-8")
    _draw(content, folder)
    return text


def _draw(content: dict[str, Any], folder: Path) -> None:
    from seqstride.experiments.pictures import plot_against_frames, plot_comparison

    runs, methods = content["runs"], content["arguments"]["methods"]
    if len({run.get("ratio") for run in runs}) > 1 and any("output_frames_per_second" in run for run in runs):
        save_figure(plot_against_frames(rankings(runs, methods), methods), folder / "against_frames.png")
        return
    picture = plot_comparison(summarise(runs, methods), title=metric_of(runs).title, over=spread_over(runs))
    save_figure(picture, folder / "comparison.png")
