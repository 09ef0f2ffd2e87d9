"""The command that measures speed and memory: bench."""

from __future__ import annotations

import argparse
import sys

from seqstride.cli.parser import Command
from seqstride.files.whole_files import save_figure, whole_file

BENCH_HELP = """\
Measures time and memory of the forward and backward pass of every method. All methods take turns in one run. The
table has the median and the interquartile range of the time, and the peak memory beyond input and parameters; both
are also given as ratios to average pooling and strided convolution. Default shapes: (4, 64, T), T = 100 to 100000."""


def _add_bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("--methods", help="comma-separated methods; default: all methods and baselines")
    command.add_argument("--shapes", nargs="+", help="B,C,T each; a trailing v, as in 8,256,4000v, varies the lengths")
    command.add_argument("--stride", type=int, default=2, help="input frames per output frame (default 2)")
    command.add_argument("--repeats", type=int, default=9, help="rounds over all methods (default 9)")
    command.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    command.add_argument("--dtype", default="float32", help="float32 (default), float64, bfloat16 or float16")
    command.add_argument("--compile", action="store_true", help="run every layer through torch.compile")
    command.add_argument("--score-std", type=float, default=0.1, help="deviation of AdaStride's scores (default 0.1)")
    command.add_argument("--convolution", action="store_true", help="put a 3-tap convolution in front of each layer")
    command.add_argument("--json", metavar="FILE", help="write the figures and a description of the machine to FILE")
    command.add_argument("--plot", metavar="FILE", help="write a log-log plot of cost against T to FILE (PNG, PDF, …)")


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


COMMANDS = (Command("bench", "measure speed and memory of every method side by side", _bench, _add_bench, BENCH_HELP),)
