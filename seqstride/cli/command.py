"""The `seqstride` command. Heavy libraries load inside the commands that need them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seqstride.cli.recordings import add_recording_commands
from seqstride.cli.series import add_series_commands
from seqstride.errors import InputError
from seqstride.experiments.options import HELP, joined, separated
from seqstride.experiments.screen import without_noise
from seqstride.failures import DEBUG, run_command
from seqstride.files.remarks import remarks
from seqstride.files.whole_files import save_figure, whole_file
from seqstride.models.folder import check_model_folder
from seqstride.nearest import near_matches

BENCH_HELP = """\
Measures forward and backward of every method in one interleaved run: the median and interquartile range of
the time, and the most memory that both together had allocated beyond input and parameters, each also as a
ratio to average pooling and strided convolution. Without --shapes, (4, 64, T) for T = 100 to 100000."""


COMPARE_HELP = """\
Runs methods of a recipe with several seeds, on several folds if it has them, and makes one table of all, for example

  seqstride compare recipes/JapaneseVowels/speaker_id --methods strided,adastride --seeds 0,1,2 --jobs 2

Every run is a `seqstride train` of its own, to which all other arguments go: `--key value` overrides a key of the
recipe. The folder gets runs/ with what each run leaves and prints, runs.json, table.md and comparison.png."""

RECIPES_HELP = """\
Prints for every recipe a file that `seqstride train` takes as it stands, from any folder, and the methods that may
stand in the place of its name; `seqstride compare` and `seqstride table` take what comes before /hparams."""

STRIDES_HELP = """\
Draws recordings as a trained model hears them: waveform, spectrogram with the bounds of the output frames, local
strides of every block and of the whole encoder, and learnt strides as masks over the modulation frequencies.

  seqstride strides five.wav --model results/spoken_digits_adastride/official/1986 -o five.png

A recording longer than --seconds gets several pictures: five_001.png, five_002.png, … Of a folder every recording
gets a picture named after it; those that cannot be read are named, and the exit code is 2."""

EXPORT_HELP = """\
Writes a trained classifier, recogniser or VQ-VAE as a graph for other runtimes, once it gives what the model gives:

  seqstride export --model results/spoken_digits_adastride/official/1986 --format onnx

The graph takes `signal`, as the model reads it (waveforms (batch, samples), or features (batch, frames, channels)), and
`lengths` (batch,), int64; batch and time are dynamic. The file also holds classes or units, and the rates."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code, as `seqstride.failures` explains them."""
    return run_command(_run, sys.argv[1:] if argv is None else argv)


def _run(argv: Sequence[str]) -> int | None:
    parser = _parser()
    takes_keys = next(iter(argv), "") in ("train", "compare") and not {"-h", "--help"} & set(argv)
    arguments, rest = parser.parse_known_args(joined(argv) if takes_keys else argv)
    if rest and not takes_keys:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    arguments.rest = separated(rest)
    if not takes_keys:
        _use_threads(arguments.threads)
    with without_noise():
        code: int | None = arguments.run(arguments)
    return code


class _Parser(argparse.ArgumentParser):
    """Names the nearest option where one is misspelled, before it says that the right one is missing."""

    def __init__(self, *args: Any, takes_keys: bool = True, **kwargs: Any) -> None:
        self.takes_keys = takes_keys
        self.known: list[str] = []
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def add_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        self.known += names
        return super().add_argument(*names, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for word in [] if self.takes_keys else args:
            name = word.partition("=")[0]
            if name == "--":
                break
            if name.startswith("--") and name not in self.known:
                self.error(f"unknown option {name}{near_matches(name, self.known, most=1)}")
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="seqstride",
        description="Learnable and adaptive downsampling for audio and time series.",
    )
    parser.add_argument(DEBUG, action="store_true", help="show the traceback of an error; with every command")
    add = partial(_add, parser.add_subparsers(dest="command", required=True, metavar="command"))

    train = add("train", _train, "train a recipe's method", HELP, usage="seqstride train FILE [--key value ...]")
    train.add_argument("file", help="hparams/<method>.yaml of a recipe")

    compare = add(
        "compare",
        _compare,
        "train several methods with several seeds, and compare them",
        COMPARE_HELP,
        usage="seqstride compare RECIPE [options] [--key value ...]",
    )
    compare.add_argument("recipe", help="a recipe, such as recipes/JapaneseVowels/speaker_id")
    compare.add_argument("--methods", help="comma-separated files of its hparams/; default: all; first: the reference")
    compare.add_argument("--seeds", default="0,1,2", help="comma-separated (default 0,1,2)")
    compare.add_argument("--folds", help="all, or comma-separated ones of the recipe's folds; default: its key fold")
    compare.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    compare.add_argument("--resume", action="store_true", help="go on; finished runs are not run again")
    compare.add_argument("-o", "--output", metavar="FOLDER", help="default: results/compare_<set>_<task>")

    add("recipes", _recipes, "list the recipes and their methods", RECIPES_HELP)

    table = add("table", _table, "print the results of a recipe, a comparison, or the runs below a folder")
    table.add_argument("folder", help="a recipe, such as recipes/JapaneseVowels/speaker_id, or a folder of runs")

    bench = add("bench", _bench, "measure speed and memory of every method side by side", BENCH_HELP)
    bench.add_argument("--methods", help="comma-separated; default: all, and what they are compared with")
    bench.add_argument("--shapes", nargs="+", help="B,C,T each; a v behind it (8,256,4000v) varies the lengths")
    bench.add_argument("--stride", type=int, default=2, help="input frames per output frame (default 2)")
    bench.add_argument("--repeats", type=int, default=9, help="rounds over all methods (default 9)")
    bench.add_argument("--device", default="cpu", help="cpu or cuda")
    bench.add_argument("--dtype", default="float32", help="float32, float64, bfloat16 or float16")
    bench.add_argument("--compile", action="store_true", help="run every layer through torch.compile")
    bench.add_argument("--score-std", type=float, default=0.1, help="spread of AdaStride's scores; 3 is peaky")
    bench.add_argument("--convolution", action="store_true", help="with a convolution of 3 taps in front of each")
    bench.add_argument("--json", metavar="FILE", help="write the figures and the machine there")
    bench.add_argument("--plot", metavar="FILE", help="write a log-log plot of cost against T there (PNG, PDF, …)")

    strides = add(
        "strides",
        _strides,
        "draw where a trained model takes long strides in recordings, and where short ones",
        STRIDES_HELP,
    )
    strides.add_argument("source", metavar="FILE_OR_FOLDER", help="an audio file, or a folder of them")
    strides.add_argument("--model", required=True, metavar="RESULTS_FOLDER", help="the output folder of a run")
    strides.add_argument("-o", "--output", required=True, metavar="OUT", help="the picture; for a folder, theirs")
    strides.add_argument("--csv", metavar="FILE", help="write strides and positions at every input frame there")
    strides.add_argument("--html", metavar="OUT", help="write a page to zoom and point into; for a folder, theirs")
    strides.add_argument("--seconds", type=float, default=8.0, help="of a picture at most (default 8)")

    add_series_commands(add)
    add_recording_commands(add)

    export = add("export", _export, "write a trained model as ONNX or as an exported program of torch", EXPORT_HELP)
    export.add_argument("--model", required=True, metavar="RESULTS_FOLDER", help="the output folder of a run")
    export.add_argument("--format", default="onnx", help="onnx (default) or exported-program")
    export.add_argument("-o", "--output", metavar="FILE", help="default: model.onnx or model.pt2 in RESULTS_FOLDER")
    return parser


def _add(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    line: str,
    text: str | None = None,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """A command: its name, what it runs, a line and a text of help; `usage` of one that also takes a recipe's keys."""
    command = commands.add_parser(
        name,
        help=line,
        usage=usage,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        takes_keys=usage is not None,
    )
    if usage is None:
        command.add_argument("--threads", type=int, default=1, help="of the CPU (default 1; more seldom pay)")
    command.set_defaults(run=run)
    return command


def _use_threads(count: int) -> None:
    import torch

    if count < 1:
        raise InputError(f"`--threads` (={count}) must be a whole number of at least 1")
    torch.set_num_threads(count)


def _bench(arguments: argparse.Namespace) -> None:
    import json

    from seqstride.experiments.bench import SWEEP, Shape, default_methods, machine, measure, table, to_json

    methods = arguments.methods.split(",") if arguments.methods else default_methods()
    results = measure(
        methods,
        [Shape.parse(text) for text in arguments.shapes or SWEEP],
        stride=arguments.stride,
        repeats=arguments.repeats,
        device=arguments.device,
        dtype=arguments.dtype,
        compiled=arguments.compile,
        score_std=arguments.score_std,
        convolution=arguments.convolution,
        progress=sys.stderr.isatty(),
    )
    print(", ".join(f"{key} {value}" for key, value in machine(arguments.device).items()))
    print(table(results))
    if arguments.json:
        with whole_file(arguments.json) as part:
            part.write_text(json.dumps(to_json(results, arguments.device), indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        from seqstride.experiments.pictures import plot_costs

        save_figure(plot_costs(results), arguments.plot)


def _train(arguments: argparse.Namespace) -> None:
    """Runs the recipe's own train.py, as `python train.py` in its folder would."""
    import runpy

    from seqstride.experiments.recipe import method_file

    file = method_file(arguments.file)
    script = file.parent.parent / "train.py"
    if not script.is_file():
        raise InputError(f"`file` (={arguments.file!r}) must lie in the hparams/ of a recipe; there is no {script}")
    runpy.run_path(str(script))["main"]([str(file), *arguments.rest])


def _compare(arguments: argparse.Namespace) -> None:
    from seqstride.experiments.compare import compare

    try:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
    except ValueError:
        raise InputError(f"`--seeds` (={arguments.seeds!r}) must be whole numbers between commas") from None
    try:
        report, failures = compare(
            arguments.recipe,
            methods=arguments.methods.split(",") if arguments.methods else None,
            seeds=seeds,
            folds=arguments.folds.split(",") if arguments.folds else None,
            jobs=arguments.jobs,
            resume=arguments.resume,
            output=arguments.output,
            overrides=arguments.rest,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command with --resume goes on") from None
    if report:
        print(report)
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise InputError(
            f"{len(failures)} of the runs failed, see above; the same command with --resume runs them again"
        )


def _recipes(arguments: argparse.Namespace) -> None:
    from seqstride.experiments.recipe import list_recipes

    rows = []
    for recipe, methods in list_recipes().items():
        first = "adastride" if "adastride" in methods else methods[0]
        others = ", ".join(method for method in methods if method != first)
        rows.append((f"recipes/{recipe}/hparams/{first}.yaml", f"or {others}" * bool(others)))
    width = max(len(file) for file, _ in rows)
    print("\n".join(f"{file:<{width}}  {others}".rstrip() for file, others in rows))


def _table(arguments: argparse.Namespace) -> None:
    from seqstride.experiments.compare import read_comparison, report
    from seqstride.experiments.recipe import find_recipe_file
    from seqstride.experiments.records import read_records
    from seqstride.experiments.tables import results_table
    from seqstride.layers import DOWNSAMPLERS

    folder = find_recipe_file(arguments.folder, "folder of runs, or recipe,")
    if not folder.is_dir():
        raise InputError(f"`folder` (={arguments.folder!r}) must be a folder of runs, a comparison's, or a recipe's")
    places = [folder, *sorted((folder / "results").glob("*/"))]
    comparisons = [comparison for place in places if (comparison := read_comparison(place))]
    if comparisons:
        print("\n\n".join(report(comparison) for comparison in comparisons))
    else:
        print(results_table(read_records(folder), order=DOWNSAMPLERS))


@remarks()
def _strides(arguments: argparse.Namespace) -> int:
    from seqstride.cli.strides import draw_strides
    from seqstride.files.audio_files import shown
    from seqstride.models.classifier import load_model

    failed = False
    check_model_folder(arguments.model, "--model")
    for drawn in draw_strides(
        load_model(arguments.model),
        arguments.source,
        arguments.output,
        table=arguments.csv,
        page=arguments.html,
        seconds=arguments.seconds,
    ):
        failed |= drawn.error is not None
        for path in drawn.written:
            print(shown(path))
        if drawn.error is not None:
            print(f"seqstride: {drawn.error}", file=sys.stderr)
    return 2 if failed else 0


def _export(arguments: argparse.Namespace) -> None:
    from seqstride.export.write import default_name, export_model, load_trained

    file = arguments.output or Path(arguments.model) / default_name(arguments.format)
    check_model_folder(arguments.model, "--model")
    written = export_model(load_trained(arguments.model), file, arguments.format)
    print(
        f"{written.file}: {written.size / 1e6:.2f} MB, largest difference to the model {written.difference:.1e} "
        f"in {written.batches} random batches"
    )


if __name__ == "__main__":
    sys.exit(main())
