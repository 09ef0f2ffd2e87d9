"""The benchmark measures what it says, and its figures, table, JSON and picture agree."""

from __future__ import annotations

import json
import re
import time

import pytest
import torch

import seqstride as ss
from seqstride.cli import main
from seqstride.experiments import bench, bench_layers

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:torch.profiler.*")


def test_the_dense_reference_is_the_banded_alignment():
    dense = bench_layers.DenseAdaStride(4, 2)
    banded = ss.AdaStride1d(4, 2)
    banded.score.weight.data.copy_(dense.score.weight.data)
    x = torch.randn(2, 4, 300)
    torch.testing.assert_close(dense(x), banded(x), rtol=1e-3, atol=1e-4)  # its positions are float32


def test_memory_is_what_average_pooling_allocates():
    (average, *_) = bench.measure(["average"], [bench_layers.Shape(2, 8, 1000)], repeats=1)
    output, gradient = 2 * 8 * 500 * 4, 2 * 8 * 1000 * 4
    assert average.method == "average"
    assert output + gradient <= average.peak_bytes <= 1.1 * (output + gradient)
    assert average.ratios["average"] == {"forward": 1.0, "both": 1.0, "memory": 1.0}


def test_command(tmp_path, capsys):
    figures, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    arguments = ["--methods", "adastride,dense_adastride", "--shapes", "2,4,60", "2,4,90v", "--repeats", "2"]
    assert main(["bench", *arguments, "--json", str(figures), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    record = json.loads(figures.read_text())
    rows = [(m["method"], m["shape"]["varied"]) for m in record["measurements"]]
    names = ("average", "strided", "adastride")
    assert rows == [(n, False) for n in (*names, "dense_adastride")] + [(n, True) for n in names]
    assert all(m["both_ms"] >= m["forward_ms"] > 0 and m["peak_bytes"] > 0 for m in record["measurements"])
    assert printed.count("\n| (") == len(rows)
    assert record["machine"]["name"] in printed
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--methods", "nothing"], "methods.*nothing.*among"),
        (["--shapes", "8,256"], "shapes.*8,256.*must"),
        (["--shapes", "0,8,9"], "shapes.*0,8,9.*at least 1"),
        (["--repeats", "0"], "repeats.*0.*at least 1"),
        (["--dtype", "int8"], "dtype.*int8.*one of"),
        (["--device", "toaster"], "device.*toaster.*cpu"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, named, capsys):
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(named, error)


def _seconds(layer, x):
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        layer(x).sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


def test_alignment_is_linear_in_time():
    """Sixteen times the frames in at most 30 times the time (a dense matrix would take 256 times as long)."""
    layer = ss.AdaStride1d(16, 2)
    assert _seconds(layer, torch.randn(1, 16, 64_000)) < 30 * _seconds(layer, torch.randn(1, 16, 4000))


def test_one_peak_in_a_flat_signal_costs_no_more_than_the_dense_matrix():
    channels, frames = 16, 1500
    signal = torch.zeros(1, channels, frames)
    signal[0, 0, frames // 2] = 30.0
    x = (signal + 1e-3 * torch.randn(signal.shape)).requires_grad_()
    peaks = {}
    for name, layer in (("ours", ss.AdaStride1d(channels, 2)), ("dense", bench_layers.DenseAdaStride(channels, 2))):
        with torch.no_grad():
            layer.score.weight.zero_()
            layer.score.weight[0, 0] = 1.0
        runner = bench.Runner(layer, x, None)
        assert runner.forward().isfinite().all()
        peaks[name] = runner.peak()
    assert peaks["ours"] <= peaks["dense"]
