"""The commands for training and its results: train, compare, recipes and table."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from textwrap import fill

from seqstride.cli.parser import Command
from seqstride.errors import InputError, UserError, shown
from seqstride.experiments.options import HELP as TRAIN_HELP

COMPARE_HELP = """\
Trains several methods of a recipe with several seeds, on several folds and at several ratios if the recipe has them,
and compares the results in one table, for example

  seqstride compare recipes/JapaneseVowels/speaker_id --methods strided,adastride --seeds 0,1,2 --jobs 2

Every run is a `seqstride train`, which gets all other arguments: `--key value` overrides a key of the recipe. The
output folder gets runs/ with the files and the output of each run, runs.json, table.md, and comparison.png or, with
several ratios, against_frames.png."""

RECIPES_HELP = """\
Prints the name of every recipe, which `seqstride train`, `seqstride compare` and `seqstride table` take in any folder,
and below it the methods that `seqstride compare` runs without --methods: values of --downsampler, and files of hparams/
that change more than the method. --downsampler takes every method in every recipe; the first lines list them. The
options of a method (--downsampler_options "{key: value}") are the arguments of its layer, such as
`python -c "import seqstride; help(seqstride.AdaStride1d)"` prints."""


def _add_train(command: argparse.ArgumentParser) -> None:
    text = "a recipe, such as recipes/JapaneseVowels/speaker_id, or a file of its hparams/"
    command.add_argument("recipe", help=text)


def _train(arguments: argparse.Namespace) -> None:
    """Runs the recipe's own train.py, as `python train.py` in its folder would."""
    import runpy

    from seqstride.experiments.recipe import method_file

    file = method_file(arguments.recipe)
    script = file.parent.parent / "train.py"
    if not script.is_file():
        raise InputError(
            f"`recipe` (={arguments.recipe!r}) must be a recipe, or a file of its hparams/: "
            f"{script.parent} has no train.py"
        )
    runpy.run_path(str(script))["main"]([str(file), *arguments.rest])


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="a recipe, such as recipes/JapaneseVowels/speaker_id")
    text = "comma-separated values of --downsampler, and files of hparams/; the first is the reference; default: all"
    command.add_argument("--methods", help=text)
    command.add_argument("--seeds", default="0,1,2", help="comma-separated seeds (default 0,1,2)")
    command.add_argument(
        "--folds", help="all, more (those of more_folds), or comma-separated folds; default: the key fold"
    )
    text = "all, or comma-separated numbers of input frames for one output frame; default: the recipe's key ratio"
    command.add_argument("--ratios", help=text)
    command.add_argument("--jobs", type=int, default=1, help="number of runs at the same time (default 1)")
    command.add_argument(
        "--resume",
        action="store_true",
        help="resume a comparison, or add methods, seeds, folds or ratios to it; finished runs are kept",
    )
    command.add_argument("-o", "--output", metavar="FOLDER", help="default: results/compare_<set>_<task>")


def _compare(arguments: argparse.Namespace) -> None:
    from seqstride.experiments.compare import compare
    from seqstride.experiments.screen import command_line, where

    try:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
    except ValueError:
        raise InputError(f"`--seeds` (={arguments.seeds!r}) must be whole numbers between commas") from None
    try:
        report, failures, folder = compare(
            arguments.recipe,
            methods=arguments.methods.split(",") if arguments.methods else None,
            seeds=seeds,
            folds=arguments.folds.split(",") if arguments.folds else None,
            ratios=arguments.ratios.split(",") if arguments.ratios else None,
            jobs=arguments.jobs,
            resume=arguments.resume,
            output=arguments.output,
            overrides=arguments.rest,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; run the same command with --resume to resume") from None
    if report:
        print(f"{report}\n\n{where(folder, command_line('table', folder))}")
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise InputError(
            f"{len(failures)} of the runs failed, see above; run the same command with --resume to repeat them"
        )


def _recipes(arguments: argparse.Namespace) -> None:
    from seqstride.experiments.recipe import list_recipes
    from seqstride.layers import DOWNSAMPLERS

    def show(names: Sequence[str]) -> None:
        print(fill(", ".join(names), 100, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False))

    print("--downsampler takes, in every recipe:")
    show([*DOWNSAMPLERS])
    print("recipes, and what `seqstride compare` runs without --methods:")
    for recipe, methods in list_recipes().items():
        print(f"recipes/{recipe}")
        keys = [method for method in methods if method in DOWNSAMPLERS]
        files = [f"hparams/{method}.yaml" for method in methods if method not in DOWNSAMPLERS]
        show([*(["all methods"] if len(keys) == len(DOWNSAMPLERS) else keys), *files])


def _add_table(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", help="a recipe, such as recipes/JapaneseVowels/speaker_id, or a folder of runs")
    text = "one page for all recipes below the folder: the best methods of each, and how often each method leads"
    command.add_argument("--all", action="store_true", help=text)
    text = "write results over data sets as CSV files in the format of the public archives, with pictures of ranks"
    command.add_argument("--archive", metavar="OUT", help=text)


def _table(arguments: argparse.Namespace) -> None:
    from seqstride.experiments.archive import write_archive
    from seqstride.experiments.comparison_report import read_comparison, report
    from seqstride.experiments.recipe import find_recipe_file
    from seqstride.experiments.records import read_records
    from seqstride.experiments.results_page import results_page
    from seqstride.experiments.score_tables import score_tables
    from seqstride.experiments.tables import results_table
    from seqstride.layers import DOWNSAMPLERS

    folder = find_recipe_file(arguments.folder, "folder of runs, or recipe,")
    if not folder.is_dir():
        raise InputError(f"`folder` (={arguments.folder!r}) must be a folder of runs, of a comparison, or of a recipe")

    def text() -> str:
        if arguments.all:
            return results_page(folder)
        places = [folder, *sorted((folder / "results").glob("*/"))]
        comparisons = [comparison for place in places if (comparison := read_comparison(place))]
        if arguments.archive is not None:
            runs = [run for comparison in comparisons for run in comparison["runs"]]
            return "\n".join(write_archive(runs or read_records(folder), arguments.archive))
        if comparisons:
            return "\n\n".join(report(comparison) for comparison in comparisons)
        records = read_records(folder)
        several = len({record.get("ratio") for record in records}) > 1
        return score_tables(records, list(DOWNSAMPLERS)) if several else results_table(records, order=DOWNSAMPLERS)

    try:
        lines = text().split("\n")
    except UserError:
        raise
    except Exception as error:  # records of others may hold anything, and fail in many ways
        raise InputError(
            f"the records in {os.fspath(folder)!r} are not as this package writes them: {error!r}"
        ) from error
    print("\n".join(map(shown, lines)))


COMMANDS = (
    Command(
        "train",
        "train a method of a recipe",
        _train,
        _add_train,
        TRAIN_HELP,
        usage="seqstride train RECIPE [--downsampler KEY] [--key value ...]",
    ),
    Command(
        "compare",
        "train several methods with several seeds and compare them",
        _compare,
        _add_compare,
        COMPARE_HELP,
        usage="seqstride compare RECIPE [options] [--key value ...]",
    ),
    Command("recipes", "list the recipes and the methods that compare runs", _recipes, None, RECIPES_HELP),
    Command("table", "print the results of a recipe, a comparison, or the runs below a folder", _table, _add_table),
)
