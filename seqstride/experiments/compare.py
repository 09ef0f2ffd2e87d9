"""Several methods of a recipe, each with several seeds and folds: every run is a process of its own.

The folder of a comparison has

    runs/<method>/[<fold>/]<seed>/   what `seqstride train` leaves, and output.log
    runs.json                        the arguments, and the records of the finished runs
    table.md, comparison.png         what they say together

A run is finished when `runs.json` has its record, or its `results.json` is there; `runs.json` says which arguments it
was made with. So a comparison can be resumed from `runs.json` alone, which is small enough to be kept. Every run is
told of the data of the finished runs, and refuses other data. The processes of the runs end with that of the
comparison, however that one ends, so that no process still writes to the folders when it is resumed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.errors import InputError, require
from seqstride.experiments.comparison_plan import Plan, Run, plan_comparison
from seqstride.experiments.comparison_report import SUMMARY, read_comparison, write_report
from seqstride.experiments.processes import Children, sigterm_as_interrupt
from seqstride.experiments.provenance import COMPARISON, comparison_data
from seqstride.experiments.records import Record, read_record, write_record
from seqstride.experiments.run_folder import RECORD

LOG = "output.log"


class Comparison(NamedTuple):
    """What became of a comparison."""

    report: str
    """The table, its caption and what it was measured on, in Markdown; empty if no run succeeded."""
    failures: list[str]
    """For each failed run: its name, the last line of its log, and the log's path."""


def compare(
    recipe: str,
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    folds: Sequence[str] | None = None,
    jobs: int = 1,
    resume: bool = False,
    output: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
) -> Comparison:
    """Runs every method with every seed on every fold, and writes what the runs say together.

    Args:
        recipe: such as `recipes/JapaneseVowels/speaker_id`.
        methods: keys of `DOWNSAMPLERS`, and names or paths of files in the recipe's `hparams/`; None: all methods of
            the recipe. All are compared with the first one.
        seeds: one run each.
        folds: values of the recipe's list `folds`, or `["all"]`; None: the value of its key `fold`, if it has one.
        jobs: the number of runs at a time.
        resume: go on in a folder with runs of the same arguments; finished runs stay as they are.
        output: the comparison's folder; None: `results/compare_<set>_<task>`.
        overrides: what follows in the command line of each run, `--key value`.

    Raises:
        InputError: an argument is wrong, or the folder holds runs and may not go on with them.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the processes have been stopped.
    """
    plan = plan_comparison(recipe, methods, seeds, folds, overrides)
    if jobs < 1:
        raise InputError(f"`jobs` (={jobs}) must be at least 1")
    folder = Path(output or f"results/compare_{plan.name.replace('/', '_')}")
    arguments = plan.arguments()
    runs = _Runs(plan, arguments, folder, jobs, known=_open(folder, arguments, resume))
    runs.write_summary()
    runs.run_all()
    text = write_report(folder, runs.summary()) if runs.finished else ""
    return Comparison(text, [runs.failures[run] for run in runs.all if run in runs.failures])


class _Runs:
    """The runs of a comparison: which are finished, which failed, and which still have to run."""

    def __init__(self, plan: Plan, arguments: dict[str, Any], output: Path, jobs: int, known: Sequence[Record]) -> None:
        self.plan, self.arguments, self.output, self.jobs = plan, arguments, output, jobs
        self.all = plan.runs()
        entries = {entry["folder"]: entry for entry in known}
        self.finished: dict[Run, Record] = {}
        self.failures: dict[Run, str] = {}
        self.children = Children()
        for run in self.all:
            entry = entries.get(run.folder.as_posix())
            if entry is not None or (output / run.folder / RECORD).is_file():
                self.finished[run] = entry or self._entry(run)

    def summary(self) -> dict[str, Any]:
        """The content of `runs.json`."""
        entries = [self.finished[run] for run in self.all if run in self.finished]
        failed = [str(run) for run in self.all if run in self.failures]
        return {"arguments": self.arguments, "runs": entries, "failed": failed}

    def write_summary(self) -> None:
        """Writes `runs.json`."""
        write_record(self.output / SUMMARY, self.summary())

    def run_all(self) -> None:
        """Runs what is not finished, `jobs` runs at a time, and shows the progress."""
        tqdm = require("tqdm", "speech").tqdm

        pending = [run for run in self.all if run not in self.finished]
        with (
            sigterm_as_interrupt(),
            tqdm(total=len(self.all), initial=len(self.finished), unit="run", smoothing=0) as bar,
            ThreadPoolExecutor(self.jobs) as pool,
        ):
            try:
                futures = {pool.submit(self._train, run): run for run in pending}
                waiting = set(futures)
                while waiting:
                    ready, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in ready:
                        self._note(futures[future], future.result())
                        bar.set_postfix(failed=len(self.failures), refresh=False)
                        bar.update()
                    if sys.stderr.isatty():
                        bar.refresh()  # the clock goes on while no run ends
            except BaseException:
                self.children.stop()
                raise

    def _note(self, run: Run, failure: str | None) -> None:
        if failure is None:
            self.finished[run] = self._entry(run)
        else:
            self.failures[run] = f"{run}: {failure} ({self.output / run.folder / LOG})"
        self.write_summary()

    def _train(self, run: Run) -> str | None:
        """Runs one run; returns None, or why it failed: the last line of its log."""
        folder = self.output / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        words = run.words(self.output, self.plan.overrides)
        command = [sys.executable, "-m", "seqstride.cli.leash", "train", *words]
        code = self.children.run(command, folder / LOG, self._environment())
        if code != 0:
            # it may have failed after it wrote its record; a record stands for a run that is finished
            (folder / RECORD).unlink(missing_ok=True)
            lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
            return last if code > 0 else f"ended by signal {-code}; {last}"
        try:
            read_record(folder / RECORD)
        except (OSError, ValueError) as error:
            return f"left no record: {error}"
        return None

    def _environment(self) -> dict[str, str]:
        """The environment variables of a run. The recipe's key `threads` may ask for more threads."""
        data = comparison_data((record, self.output / run.folder) for run, record in list(self.finished.items()))
        return {**os.environ, "OMP_NUM_THREADS": "1", COMPARISON: data}

    def _entry(self, run: Run) -> Record:
        """The record of a finished run, and the circumstances under which it was made."""
        from seqstride.experiments.bench import machine

        path = self.output / run.folder / RECORD
        record = read_record(path)
        return {
            "label": run.method,
            "folder": run.folder.as_posix(),
            **record,
            "seed": run.seed,
            "fold": record.get("fold") if run.fold is None else run.fold,
            "overrides": self.plan.overrides,
            "machine": {"name": machine(record["device"])["name"], "cores": _cores()},
            "jobs": self.jobs,
            "date": datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds"),
        }


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The folder


def _open(output: Path, arguments: dict[str, Any], resume: bool) -> list[Record]:
    """Makes the comparison's folder, or checks that it may be gone on with; the runs that it knows of."""
    content = read_comparison(output)
    if content is None:
        if (output / "runs").exists():
            raise InputError(f"`output` (={str(output)!r}) holds runs, but no {SUMMARY} that says how they were made")
        output.mkdir(parents=True, exist_ok=True)
        return []
    if not resume:
        raise InputError(f"`output` (={str(output)!r}) holds runs; --resume goes on with them, another -o starts anew")
    differences = _differences(content["arguments"], arguments)
    if differences:
        raise InputError(f"`output` (={str(output)!r}) holds runs of other arguments: {'; '.join(differences)}")
    return content["runs"]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changed = [key for key in now if key != "settings" and before[key] != now[key]]
    if changed:
        return [f"{key} {json.dumps(before[key])}, now {json.dumps(now[key])}" for key in changed]
    # comparisons of older versions have no digests of settings; every run compares its own
    digests = before.get("settings", {})
    methods = [method for method in digests if digests[method] != now["settings"][method]]
    return [f"the settings of {method} have changed" for method in methods]
