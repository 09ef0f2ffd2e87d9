"""Several methods of a recipe, each with several seeds and folds: every run a process of its own, and one table of all.

The folder of a comparison has

    runs/<method>/[<fold>/]<seed>/   what `seqstride train` leaves, and output.log
    runs.json                        the arguments, and the records of the finished runs
    table.md, comparison.png         what they say together

A run is finished when `runs.json` has its record, or its `results.json` is there; `runs.json` says which arguments it
was made with. So a comparison goes on from `runs.json` alone, which is small enough to be kept. Every run is told of
the data of those that are finished, and refuses other data. The processes of the runs end with that of the comparison,
however that one ends, so that the next one finds the folders to itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from seqstride.distributed import world_size
from seqstride.errors import InputError, require
from seqstride.experiments.processes import Children, sigterm_as_interrupt
from seqstride.experiments.provenance import COMPARISON, comparison_data
from seqstride.experiments.recipe import BASE, check_given, find_recipe_file, merge_recipe, recipe_folds
from seqstride.experiments.records import Record, metric_of, read_record, spread_over, summarise, write_record
from seqstride.experiments.tables import comparison_table
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.layers import DOWNSAMPLERS

SUMMARY = "runs.json"
RECORD = "results.json"
LOG = "output.log"
OWN = {
    "seed": "--seeds lists them",
    "fold": "--folds lists them",
    "output_folder": "-o is the folder of all runs",
    "save_folder": "every run has its own",
    **dict.fromkeys(("debug_batches", "debug_epochs", "debug_persistently"), "a debug run leaves nothing to compare"),
    "test_only": "a comparison trains its runs",
    "overwrite": "another -o starts anew",
}
"""What `seqstride train` takes, but not from a comparison, and why."""


class Run(NamedTuple):
    """One run of a comparison."""

    method: str
    """The label: the name of the method's file, without its ending."""
    file: Path
    fold: str | None
    seed: int

    @property
    def folder(self) -> Path:
        """Where it goes, below the comparison's folder."""
        return Path("runs", self.method, *([] if self.fold is None else [self.fold]), str(self.seed))

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.method}{fold}, seed {self.seed}"


class Comparison(NamedTuple):
    """What became of a comparison."""

    report: str
    """The table, its caption and what it was measured on, in Markdown; empty if no run succeeded."""
    failures: list[str]
    """Of each failed run: which, the last line of its log, and where that is."""


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
        methods: names or paths of files in the recipe's `hparams/`; None: all of them. All are compared with the first.
        seeds: one run each.
        folds: values of the recipe's list `folds`, or `["all"]`; None: what its key `fold` says, if there is one.
        jobs: runs at a time; the cores are divided among them.
        resume: go on in a folder with runs of the same arguments; those that are finished stay as they are.
        output: the comparison's folder; None: `results/compare_<set>_<task>`.
        overrides: what follows in the command line of each run, `--key value`.

    Raises:
        ValueError: an argument is wrong, or the folder holds runs and may not go on with them.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the processes have been stopped.
    """
    folder = _recipe_folder(recipe)
    files = _method_files(folder, methods)
    chosen: list[str | None] = [None] if folds is None else [*_choose_folds(folder, folds)]
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"`seeds` (={list(seeds)}) must be different whole numbers, at least one")
    if jobs < 1:
        raise InputError(f"`jobs` (={jobs}) must be at least 1")
    if world_size() > 1:
        raise InputError("a comparison must be started as one process: it starts its runs itself, `--jobs` at a time")
    arguments = {
        "recipe": f"{folder.parent.name}/{folder.name}",
        "methods": list(files),
        "seeds": list(seeds),
        "folds": None if folds is None else chosen,
        "overrides": list(overrides),
        "hyperparameters": {method: _fingerprint(file, overrides) for method, file in files.items()},
    }
    output = Path(output or f"results/compare_{folder.parent.name}_{folder.name}")
    known = {entry["folder"]: entry for entry in _open(output, arguments, resume)}

    # seed by seed, so that a comparison that was stopped has something of every method
    runs = [Run(method, file, fold, seed) for seed in seeds for fold in chosen for method, file in files.items()]
    finished = {
        run: known.get(run.folder.as_posix()) or _entry(run, output, overrides, jobs)
        for run in runs
        if run.folder.as_posix() in known or (output / run.folder / RECORD).is_file()
    }
    failures: dict[Run, str] = {}

    def content() -> dict[str, Any]:
        entries = [finished[run] for run in runs if run in finished]
        return {"arguments": arguments, "runs": entries, "failed": [str(run) for run in runs if run in failures]}

    def done(run: Run, failure: str | None) -> None:
        if failure is None:
            finished[run] = _entry(run, output, overrides, jobs)
        else:
            failures[run] = f"{run}: {failure} ({output / run.folder / LOG})"
        write_record(output / SUMMARY, content())

    def environment() -> dict[str, str]:
        data = comparison_data((record, output / run.folder) for run, record in list(finished.items()))
        return {**os.environ, "OMP_NUM_THREADS": "1", COMPARISON: data}  # a run's key `threads` says more

    write_record(output / SUMMARY, content())
    _run_all(runs, [run for run in runs if run not in finished], output, overrides, jobs, environment, done)
    text = report(content()) if finished else ""
    if finished:
        with whole_file(output / "table.md") as part:
            part.write_text(text + "\n", encoding="utf-8")
        _draw(content(), output / "comparison.png")
    return Comparison(text, [failures[run] for run in runs if run in failures])


def read_comparison(folder: Path) -> dict[str, Any] | None:
    """The arguments and runs of a comparison, finished or under way; None if the folder is not that of one.

    Raises:
        ValueError: what should say so is damaged.
    """
    summary = folder / SUMMARY
    if not summary.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
        if not all(isinstance(content[key], kind) for key, kind in (("arguments", dict), ("runs", list))):
            raise InputError("`arguments` must be a mapping and `runs` a list")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{os.fspath(summary)!r} is no summary of a comparison: {error!r}") from error
    return content


def report(content: dict[str, Any]) -> str:
    """The table of a comparison with all that must be known to read it, in Markdown.

    Args:
        content: what `read_comparison` gives.

    Raises:
        ValueError: there are no runs, or they do not belong into one table.
    """
    arguments, runs = content["arguments"], content["runs"]
    planned = len(arguments["methods"]) * len(arguments["seeds"]) * len(arguments["folds"] or [None])
    failed = len(content["failed"])
    notes = []
    if failed:
        notes.append(f"{failed} of {planned} runs failed and are missing here.")
    if planned > len(runs) + failed:
        notes.append(f"{planned - len(runs) - failed} of {planned} runs are still to come.")
    if arguments["overrides"]:
        notes.append(f"Run with `{shlex.join(arguments['overrides'])}`.")
    notes.append(_circumstances(runs))
    table = comparison_table(runs, arguments["methods"])
    return "\n\n".join([f"# {arguments['recipe']}", table, " ".join(notes)])


def _circumstances(runs: Sequence[Record]) -> str:
    """What the seconds and the last digits depend on."""
    machines = {
        f"{run['machine']['name']} ({run['machine']['cores']} cores; {run['device']}; runs at a time: {run['jobs']})"
        for run in runs
    }
    software = {f"torch {run['versions']['torch']}, seqstride {run['versions']['seqstride']}" for run in runs}
    days = sorted({run["date"][:10] for run in runs})
    period = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured on {', '.join(sorted(machines))}; {'; '.join(sorted(software))}; {period}."


def _draw(content: dict[str, Any], path: Path) -> None:
    from seqstride.experiments.pictures import plot_comparison

    runs = content["runs"]
    summaries = summarise(runs, content["arguments"]["methods"])
    save_figure(plot_comparison(summaries, title=metric_of(runs).title, over=spread_over(runs)), path)


# Arguments


def _recipe_folder(recipe: str) -> Path:
    folder = find_recipe_file(recipe).resolve()
    if not (folder / "train.py").is_file() or not (folder / "hparams" / BASE).is_file():
        raise InputError(f"`recipe` (={recipe!r}) must be a folder with train.py and hparams/{BASE}")
    return folder


def _method_files(folder: Path, methods: Sequence[str] | None) -> dict[str, Path]:
    """Label → file. All: the layers in their usual order, then the recipe's own variants."""
    hparams = folder / "hparams"
    known = {path.stem: path for path in sorted(hparams.glob("*.yaml")) if path.name != BASE}
    if methods is None:
        layers = [method for method in DOWNSAMPLERS if method in known]
        return {method: known[method] for method in dict.fromkeys([*layers, *known])}
    files: dict[str, Path] = {}
    for method in methods:
        places = [hparams / f"{method}.yaml", hparams / method]
        with suppress(ValueError):
            places.append(find_recipe_file(method))
        label = next((place.stem for place in places if place.resolve() in known.values()), None)
        if label is None:
            raise InputError(f"`methods` (={method!r}) must be files in {hparams}; those are {', '.join(known)}")
        if label in files:
            raise InputError(f"`methods` (={method!r}) must not have a method twice")
        files[label] = known[label]
    return files


def _choose_folds(folder: Path, folds: Sequence[str]) -> list[str]:
    known = recipe_folds(folder)
    if list(folds) == ["all"]:
        return known
    unknown = [fold for fold in folds if fold not in known]
    if unknown or len(set(folds)) < len(folds):
        raise InputError(f"`folds` (={list(folds)}) must be all, or some of {', '.join(known)}, each once")
    return list(folds)


def _fingerprint(file: Path, overrides: Sequence[str]) -> str:
    """A digest of all hyperparameters of a method. Wrong overrides are found here, before anything runs."""
    from seqstride.experiments.options import read_command_line

    if overrides and not overrides[0].startswith("--"):
        raise InputError(f"`overrides` (={shlex.join(overrides)}) must be pairs `--key value`")
    for option in overrides:
        key = option.removeprefix("--").split("=")[0]
        if option.startswith("--") and key in OWN:
            raise InputError(f"`overrides` (={shlex.join(overrides)}) must not have --{key}: {OWN[key]}")
    _, _, changes = read_command_line([str(file), *overrides])
    text = merge_recipe(file, changes)
    check_given(text, file)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    changed = [key for key in now if key != "hyperparameters" and before[key] != now[key]]
    if changed:
        return [f"{key} {json.dumps(before[key])}, now {json.dumps(now[key])}" for key in changed]
    digests = now["hyperparameters"]
    methods = [method for method in digests if before["hyperparameters"][method] != digests[method]]
    return [f"{method}.yaml or {BASE} has changed" for method in methods]


# Processes


def _run_all(
    runs: Sequence[Run],
    pending: Sequence[Run],
    output: Path,
    overrides: Sequence[str],
    jobs: int,
    environment: Callable[[], dict[str, str]],
    done: Callable[[Run, str | None], None],
) -> None:
    """Runs what is pending, `jobs` at a time, calls `done` with each run and why it failed, and shows the progress."""
    tqdm = require("tqdm", "speech").tqdm

    children = Children()
    failed = 0
    with (
        sigterm_as_interrupt(),
        tqdm(total=len(runs), initial=len(runs) - len(pending), unit="run", smoothing=0) as bar,
        ThreadPoolExecutor(jobs) as pool,
    ):
        try:
            futures = {pool.submit(_train, run, output, overrides, children, environment): run for run in pending}
            waiting = set(futures)
            while waiting:
                ready, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in ready:
                    done(futures[future], future.result())
                    failed += future.result() is not None
                    bar.set_postfix(failed=failed, refresh=False)
                    bar.update()
                if sys.stderr.isatty():
                    bar.refresh()  # the clock goes on while no run ends
        except BaseException:
            children.stop()
            raise


def _train(
    run: Run, output: Path, overrides: Sequence[str], children: Children, environment: Callable[[], dict[str, str]]
) -> str | None:
    """One run; returns None, or why it failed: the last line of its log."""
    folder = output / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    fold = [] if run.fold is None else ["--fold", run.fold]
    own = ["--seed", str(run.seed), *fold, "--output_folder", str(folder), "--noprogressbar"]
    command = [sys.executable, "-m", "seqstride.cli.leash", "train", str(run.file), *own, *overrides]
    code = children.run(command, folder / LOG, environment())
    if code != 0:
        # it may have written its record and failed after that; a record stands for a run that is finished
        (folder / RECORD).unlink(missing_ok=True)
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return last if code > 0 else f"ended by signal {-code}; {last}"
    try:
        read_record(folder / RECORD)
    except (OSError, ValueError) as error:
        return f"left no record: {error}"
    return None


def _entry(run: Run, output: Path, overrides: Sequence[str], jobs: int) -> Record:
    """A finished run's record, and under which circumstances it was made."""
    from seqstride.experiments.bench import machine

    path = output / run.folder / RECORD
    record = read_record(path)
    return {
        "label": run.method,
        "folder": run.folder.as_posix(),
        **record,
        "seed": run.seed,
        "fold": record.get("fold") if run.fold is None else run.fold,
        "overrides": list(overrides),
        "machine": {"name": machine(record["device"])["name"], "cores": _cores()},
        "jobs": jobs,
        "date": datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds"),
    }


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
