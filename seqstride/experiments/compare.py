"""Compares methods of a recipe over seeds, folds and ratios. Every run is a process of its own.

The folder of a comparison has

    runs/<method>/[<fold>/][<ratio>/]<seed>/   the files of `seqstride train`, and output.log
    runs.json                        the arguments, and the records of the finished runs
    table.md, comparison.png         the results of all runs; against_frames.png where there are several ratios
    decoded/                         decoded recordings, which the runs share; deleted when all runs are finished

A run is finished if `runs.json` has its record, or if its `results.json` exists. A comparison can be resumed from
`runs.json` alone, which is a small file. Every run gets digests of the finished runs' data and refuses other data. The
processes of the runs end with the comparison, even if it is killed, so that none of them writes to the folders when the
comparison is resumed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.errors import FileError, InputError
from seqstride.experiments.comparison_plan import Plan, Run, plan_comparison
from seqstride.experiments.comparison_report import SUMMARY, read_comparison, write_report
from seqstride.experiments.items import parts_apart
from seqstride.experiments.processes import Children, one_interrupt
from seqstride.experiments.progress import Progress, last_epoch
from seqstride.experiments.provenance import COMPARISON, comparison_data
from seqstride.experiments.records import Record, read_record, write_record
from seqstride.experiments.run_folder import RECORD
from seqstride.files import audio_cache
from seqstride.files.folder_lock import locked
from seqstride.files.room import check_room

LOG = "output.log"


class Comparison(NamedTuple):
    """The result of `compare`."""

    report: str
    """The table, its caption and the machine, in Markdown; empty if no run succeeded."""
    failures: list[str]
    """For each failed run: its name, the last line of its log, and the log's path."""
    folder: Path
    """The comparison's folder."""


def compare(
    recipe: str,
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    folds: Sequence[str] | None = None,
    ratios: Sequence[str | float] | None = None,
    jobs: int = 1,
    resume: bool = False,
    output: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
) -> Comparison:
    """Runs every method with every seed on every fold at every ratio; writes a table and a picture of the results.

    Args:
        recipe: such as `recipes/JapaneseVowels/speaker_id`.
        methods: keys of `DOWNSAMPLERS`, and names or paths of files in the recipe's `hparams/`; None: all methods of
            the recipe. All are compared with the first one.
        seeds: seeds of the runs; every method has one run per seed.
        folds: values of the recipe's key `fold`. "all" stands for its list `folds`, "more" for its `more_folds`, whose
            data come with optional packages; None: the value of its key `fold`, if it has one.
        ratios: values of the recipe's key `ratio`, input frames for one output frame, or `["all"]`, those of its list
            `ratios`; None: the value of its key `ratio`, if it has one.
        jobs: the number of runs at a time.
        resume: continue in a folder that holds a comparison of this recipe with the same settings. It has then all
            its former methods, seeds, folds and ratios and those given now; finished runs stay as they are.
        output: the comparison's folder; None: `results/compare_<set>_<task>`.
        overrides: further words of each run's command line, pairs `--key value`.

    Raises:
        InputError: an argument is wrong, or the folder holds runs that cannot be continued, or another process works
            in it.
        FileError: the folder cannot be written, or has no room.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the processes were stopped.
    """
    plan = plan_comparison(recipe, methods, seeds, folds, ratios, overrides)
    if jobs < 1:
        raise InputError(f"`jobs` (={jobs}) must be at least 1")
    folder = Path(output or f"results/compare_{plan.name.replace('/', '_')}")
    with locked(folder):
        content = _open(folder, resume)
        if content is not None:
            plan = _grown(recipe, plan, content["arguments"], folder)
        runs = _Runs(plan, plan.arguments(), folder, jobs, known=content["runs"] if content else [])
        if runs.pending:
            check_room(folder)
        runs.write_summary()
        runs.run_all()
        text = write_report(folder) if runs.finished else ""
    return Comparison(text, [runs.failures[run] for run in runs.all if run in runs.failures], folder)


class _Runs:
    """The runs of a comparison: finished, failed and pending ones."""

    def __init__(self, plan: Plan, arguments: dict[str, Any], output: Path, jobs: int, known: Sequence[Record]) -> None:
        self.plan, self.arguments, self.output, self.jobs = plan, arguments, output, jobs
        self.all = plan.runs()
        entries = {entry["folder"]: entry for entry in known}
        self.finished: dict[Run, Record] = {}
        self.failures: dict[Run, str] = {}
        self.running: dict[Run, int] = {}  # and the size of its log when it began
        self.children = Children()
        for run in self.all:
            entry = entries.get(run.folder.as_posix())
            if entry is not None or (output / run.folder / RECORD).is_file():
                self.finished[run] = entry or self._entry(run)

    def summary(self) -> dict[str, Any]:
        """Returns the content of `runs.json`."""
        entries = [self.finished[run] for run in self.all if run in self.finished]
        failed = [str(run) for run in self.all if run in self.failures]
        runs, parts = parts_apart(entries)
        return {"arguments": self.arguments, "runs": runs, "parts": parts, "failed": failed}

    def write_summary(self) -> None:
        """Writes `runs.json`."""
        write_record(self.output / SUMMARY, self.summary())

    @property
    def pending(self) -> list[Run]:
        """The runs that are not finished."""
        return [run for run in self.all if run not in self.finished]

    def run_all(self) -> None:
        """Starts all pending runs, `jobs` at a time, and shows the progress."""
        progress = Progress(len(self.all), len(self.finished))
        with one_interrupt(), ThreadPoolExecutor(self.jobs) as pool:
            try:
                futures = {pool.submit(self._train, run): run for run in self.pending}
                waiting = set(futures)
                while waiting:
                    ready, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in ready:
                        self._note(futures[future], future.result())
                    self._show(progress)
            except BaseException:
                self.children.stop()
                raise
            finally:
                progress.close()
        if not self.failures:
            shutil.rmtree(self.output / audio_cache.FOLDER, ignore_errors=True)

    def _show(self, progress: Progress) -> None:
        logs = {run: (self.output / run.folder / LOG, size) for run, size in list(self.running.items())}
        running = {str(run): last_epoch(log, size) for run, (log, size) in logs.items()}
        progress.show(len(self.finished) + len(self.failures), len(self.failures), running)

    def _note(self, run: Run, failure: str | None) -> None:
        if failure is None:
            self.finished[run] = self._entry(run)
        else:
            log = self.output / run.folder / LOG
            self.failures[run] = f"{run}: {failure}" + (f" ({log})" if log.is_file() else "")
        self.write_summary()

    def _train(self, run: Run) -> str | None:
        """Runs one run; returns None on success, else the reason: the last line of its log."""
        folder = self.output / run.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_room(folder)
        except OSError as error:  # a run would fail, and its log could not say why
            return str(error)
        words = run.words(self.output, self.plan.overrides)
        command = [sys.executable, "-m", "seqstride.cli.leash", "train", *words]
        log = folder / LOG
        self.running[run] = log.stat().st_size if log.is_file() else 0
        try:
            code = self.children.run(command, log, self._environment())
        finally:
            del self.running[run]
        if code != 0:
            # a run may fail after it wrote its record, but only finished runs may have one
            (folder / RECORD).unlink(missing_ok=True)
            last = _last_line(log)
            return last if code > 0 else f"ended by signal {-code}; {last}"
        try:
            read_record(folder / RECORD)
        except (OSError, ValueError) as error:
            return f"left no record: {error}"
        return None

    def _environment(self) -> dict[str, str]:
        """Returns the environment variables of a run. The recipe's key `threads` may set more threads."""
        data = comparison_data((record, self.output / run.folder) for run, record in list(self.finished.items()))
        audio = os.environ.get(audio_cache.ENVIRONMENT) or str((self.output / audio_cache.FOLDER).resolve())
        return {**os.environ, "OMP_NUM_THREADS": "1", COMPARISON: data, audio_cache.ENVIRONMENT: audio}

    def _entry(self, run: Run) -> Record:
        """Returns the record of a finished run, with its seed, fold, ratio, overrides, machine and date."""
        from seqstride.experiments.bench import machine

        path = self.output / run.folder / RECORD
        record = read_record(path)
        return {
            "label": run.method,
            "folder": run.folder.as_posix(),
            **record,
            "seed": run.seed,
            "fold": record.get("fold") if run.fold is None else run.fold,
            "ratio": record.get("ratio") if run.ratio is None else run.ratio,
            "overrides": self.plan.overrides,
            "machine": {"name": machine(record["device"])["name"], "cores": _cores()},
            "jobs": self.jobs,
            "date": datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds"),
        }


def _last_line(log: Path) -> str:
    """Returns the last line of a run's log; if it has none, the reason."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if last:
        return last
    try:
        check_room(log.parent)
    except FileError as error:
        return str(error)
    return "it printed nothing"


def _cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The folder


def _open(output: Path, resume: bool) -> dict[str, Any] | None:
    """Returns the summary of the comparison in the folder; None if it holds none and one may be started there."""
    content = read_comparison(output)
    if content is None:
        if (output / "runs").exists():
            raise InputError(f"`output` (={str(output)!r}) holds runs, but no {SUMMARY} with their arguments")
    elif not resume:
        raise InputError(f"`output` (={str(output)!r}) holds runs; add --resume to continue, or choose another -o")
    return content


def _grown(recipe: str, plan: Plan, before: dict[str, Any], output: Path) -> Plan:
    """Returns the plan with the methods, seeds, folds and ratios of the comparison in the folder and those of `plan`.

    Raises:
        InputError: the comparison is another one: its recipe, its overrides or the settings of its methods differ.
    """
    now: dict[str, Any] = {"recipe": plan.name, "overrides": plan.overrides}
    for key, values in (("folds", plan.folds), ("ratios", plan.ratios)):
        if before[key] is None or values is None:
            now[key] = values
    changed = [f"{key} {json.dumps(before[key])}, now {json.dumps(now[key])}" for key in now if before[key] != now[key]]
    if not changed:
        methods, seeds = _joined(before["methods"], plan.methods), _joined(before["seeds"], plan.seeds)
        folds = None if plan.folds is None else _joined(before["folds"], plan.folds)
        ratios = None if plan.ratios is None else _joined(before["ratios"], plan.ratios)
        plan = plan_comparison(recipe, methods, seeds, folds, ratios, plan.overrides)
        # comparisons of older versions have no digests of settings; every run compares its own
        digests, settings = before.get("settings", {}), plan.arguments()["settings"]
        changed = [
            f"the settings of {method} have changed" for method in digests if digests[method] != settings[method]
        ]
    if changed:
        raise InputError(f"`output` (={str(output)!r}) holds runs of other arguments: {'; '.join(changed)}")
    return plan


def _joined(before: Iterable[Any], now: Iterable[Any]) -> list[Any]:
    """Returns the former values and behind them those that are new."""
    return list(dict.fromkeys([*before, *now]))
