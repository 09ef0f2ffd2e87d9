"""The command that measures speed and memory: bench."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from seqstride.cli.parser import Command
from seqstride.files.whole_files import save_figure, whole_file

BENCH_HELP = """\
Measures time and memory of the forward and backward pass of every method. All methods take turns in one run. The
table has the median and the interquartile range of the time, and the peak memory beyond input and parameters; both
are also given as ratios to average pooling and strided convolution. Default shapes: (4, 64, T), T = 100 to 100000.

On a GPU (--device cuda) the table has the GPU's own time, the time of a call from Python and the host's part of it,
each forward / forward and backward; the kernels of a step; how often it waits for the GPU; and the GPU's time as a
ratio to torch's avg_pool1d, to average, and to copying the bytes of the signal and the output. torch-cif and
h-net-dynamic-chunking are measured where they are installed. With --encoder a step is that of a whole encoder."""


def _add_bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("--methods", help="comma-separated methods; default: all methods and baselines")
    command.add_argument("--shapes", nargs="+", help="B,C,T each; a trailing v, as in 8,256,4000v, varies the lengths")
    command.add_argument("--lengths", choices=("equal", "different"), help="of the items of all shapes")
    command.add_argument("--stride", type=int, default=2, help="input frames per output frame (default 2)")
    command.add_argument("--repeats", type=int, default=9, help="rounds over all methods (default 9)")
    command.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    command.add_argument(
        "--dtype",
        default="float32",
        help="float32 (default), float64, bfloat16 or float16; on a GPU also several, comma-separated",
    )
    command.add_argument("--compile", action="store_true", help="run every layer through torch.compile")
    command.add_argument("--score-std", type=float, default=0.1, help="deviation of AdaStride's scores (default 0.1)")
    command.add_argument("--convolution", action="store_true", help="put a 3-tap convolution in front of each layer")
    command.add_argument(
        "--encoder", help="resnet or conformer (its front end): a step of an encoder with every method"
    )
    command.add_argument("--json", metavar="FILE", help="write the figures and a description of the machine to FILE")
    command.add_argument("--plot", metavar="FILE", help="write a log-log plot of cost against T to FILE (PNG, PDF, …)")


def _bench(arguments: argparse.Namespace) -> None:
    import json

    from seqstride.distributed import device_of_rank
    from seqstride.errors import InputError
    from seqstride.experiments import bench, bench_gpu
    from seqstride.experiments.bench_layers import Shape, default_methods
    from seqstride.layers import DOWNSAMPLERS

    device = device_of_rank(arguments.device)
    if not device.startswith(("cpu", "cuda")):
        raise InputError(f"`device` (={device!r}) must be cpu or cuda")
    on_gpu, encoder = device != "cpu", arguments.encoder
    chosen = arguments.methods.split(",") if arguments.methods else list(DOWNSAMPLERS) if encoder else default_methods()
    usual = bench_gpu.ENCODER_SHAPES if encoder else bench_gpu.SHAPES if on_gpu else bench.SWEEP
    shapes = [Shape.parse(text) for text in arguments.shapes or usual]
    if arguments.lengths:
        shapes = [replace(shape, varied=arguments.lengths == "different") for shape in shapes]
    options = {
        "stride": arguments.stride,
        "repeats": arguments.repeats,
        "compiled": arguments.compile,
        "score_std": arguments.score_std,
        "convolution": arguments.convolution,
        "encoder": encoder,
    }
    results: list[bench.Measurement] | list[bench_gpu.GpuMeasurement]
    if on_gpu:
        results = bench_gpu.measure(chosen, shapes, device=device, dtypes=arguments.dtype.split(","), **options)
        printed = bench_gpu.table(results)
    else:
        results = bench.measure(chosen, shapes, dtype=arguments.dtype, progress=sys.stderr.isatty(), **options)
        printed = bench.table(results)
    print(", ".join(f"{key} {value}" for key, value in bench.machine(device).items()))
    print(printed)
    if arguments.json:
        with whole_file(arguments.json) as part:
            part.write_text(json.dumps(bench.to_json(results, device), indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        from seqstride.experiments.pictures import plot_costs

        save_figure(plot_costs(results), arguments.plot)


COMMANDS = (Command("bench", "measure speed and memory of every method side by side", _bench, _add_bench, BENCH_HELP),)
