"""The benchmark of a GPU: its steps, its table and its arguments, on the CPU; all of it where there is a GPU."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch

import seqstride as ss
from seqstride.cli import main
from seqstride.experiments import bench_gpu
from seqstride.experiments.bench_layers import ENCODERS, Shape, extras, make_module

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
without_a_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="on machines without a GPU")


@pytest.fixture
def _counted(monkeypatch):
    """Stand-ins on the CPU for what only a GPU can measure; they do call what they measure."""

    def called(value):
        def measured(calls, *_):
            for call in calls if isinstance(calls, list) else [calls]:
                call()
            return value

        return measured

    monkeypatch.setattr(bench_gpu, "timed", called((0.4, 0.3)))
    monkeypatch.setattr(bench_gpu, "in_graph", called(0.2))
    monkeypatch.setattr(bench_gpu, "profiled", called((0.1, 7.0, 0.0)))
    monkeypatch.setattr(bench_gpu, "peak", lambda step: step.x.nbytes)
    monkeypatch.setattr(bench_gpu, "APART", 1)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)


@pytest.mark.parametrize("method", ss.DOWNSAMPLERS)
@pytest.mark.parametrize("varied", [False, True])
def test_a_step_as_in_an_encoder_computes_the_step_of_a_user(method, varied):
    shape = Shape(3, 4, 50, varied)
    layer = make_module(method, shape, 2, 0.1)
    x = torch.randn(3, 4, 50, requires_grad=True)
    user, (checked,) = bench_gpu.make_steps(layer, [x], shape.lengths())
    assert isinstance(checked, bench_gpu.CheckedStep)
    checked.gradient = user.gradient
    assert torch.equal(user.forward(), checked.forward())
    assert not user.forward().requires_grad
    for a, b in zip(user.both(), checked.both(), strict=True):
        assert a is b is None or torch.equal(a, b)


def test_compiled_layers_are_called_as_modules():
    layer = make_module("average", Shape(2, 3, 20), 2, 0.1)
    _, steps = bench_gpu.make_steps(layer, [torch.randn(2, 3, 20, requires_grad=True)], None, compiled=True)
    assert [type(step) for step in steps] == [bench_gpu.Step]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("method", ["average", "adastride", "dct_diffstride"])
def test_a_step_of_an_encoder_gives_all_its_weights_a_gradient(encoder, method):
    shape = Shape(3, 4, 50, varied=True)
    module = make_module(method, shape, 2, 0.1, encoder=encoder)
    (signal,) = bench_gpu.make_signals(Shape(3, 4, 50), torch.float32, "cpu", learn=False)[:1]
    step, _ = bench_gpu.make_steps(module, [signal], shape.lengths())
    assert len(step.learnt) == len(list(module.parameters()))
    assert all(gradient is not None and gradient.isfinite().all() for gradient in step.both())


@pytest.mark.usefixtures("_counted")
def test_rows_ratios_and_table():
    shapes = [Shape(2, 4, 60), Shape(2, 4, 60, varied=True)]
    dtypes = "float32", "bfloat16"
    found = bench_gpu.measure(["adastride", "dense_adastride"], shapes, device="cpu", dtypes=dtypes, repeats=1)
    names = ["avg_pool1d", "average", "adastride"]
    wanted = [(n, d, v) for d in dtypes for v in (False, True) for n in names + ["dense_adastride"] * (not v)]
    assert [(r.method, r.dtype, r.shape.varied) for r in found] == wanted
    row = found[2]
    moved = (2 * 4 * 60 + 2 * 4 * 30) * 4 / (2 * (2 * 4 * 60 * 4) / 0.2)  # at the rate of a copy
    assert row.floor == pytest.approx((moved, 2 * moved))
    assert row.ratios == pytest.approx({"avg_pool1d": 1.0, "average": 1.0, "floor": 0.2 / (2 * moved)})
    assert row.both_ms == 0.4
    lines = bench_gpu.table(found).splitlines()
    assert len(lines) == 2 + len(found)
    assert len({line.count("|") for line in lines}) == 1
    assert "| (2, 4, 60) | float32 | `adastride` | 0.200 / 0.200 | 0.40 / 0.40 | 0.30 / 0.30 | 7 | 0 |" in lines[4]


@pytest.mark.usefixtures("_counted")
def test_what_cannot_be_captured_is_marked_and_measured_by_its_kernels(monkeypatch):
    monkeypatch.setattr(bench_gpu, "in_graph", lambda *_: None)
    (pool, *_) = bench_gpu.measure(["average"], [Shape(1, 2, 9)], device="cpu", repeats=1)
    assert pool.gpu == (0.1, 0.1)
    assert "0.100° / 0.100°" in bench_gpu.table([pool])
    monkeypatch.setattr(bench_gpu, "in_graph", lambda *_: pytest.fail("a step that waits was captured"))
    monkeypatch.setattr(bench_gpu, "profiled", lambda *_: (0.1, 1.0, 1.0))
    assert bench_gpu.measure(["average"], [Shape(1, 2, 9)], device="cpu", repeats=1)[0].captured == (False, False)


@pytest.mark.usefixtures("_counted")
def test_a_layer_of_another_package_that_fails_is_left_out(monkeypatch):
    class Broken(torch.nn.Module):
        def __init__(self, *_):
            super().__init__()

        def forward(self, x, *lengths):
            raise AttributeError("it needs an older torch")

    from seqstride.experiments import bench_layers

    everything = {**extras(), "broken": Broken}
    for module in (bench_gpu, bench_layers):
        monkeypatch.setattr(module, "extras", lambda: everything)
    with pytest.warns(UserWarning, match="broken is left out on .*older torch"):
        found = bench_gpu.measure(["broken"], [Shape(1, 2, 9)], device="cpu", repeats=1)
    assert [row.method for row in found] == ["avg_pool1d", "average"]


def test_peers_compute_on_a_padded_batch():
    shape = Shape(3, 8, 60, varied=True)
    for name in {"torch_cif", "h_net_dynamic_chunking"} & set(extras()):
        y = make_module(name, shape, 2, 0.1)(torch.randn(3, 8, 60), shape.lengths())
        assert y.shape[:2] == (3, 8)


@without_a_gpu
def test_a_machine_without_a_gpu_says_so_in_one_line(capsys):
    assert main(["bench", "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "`device` (='cuda') must be cpu; torch finds no GPU" in error


def test_command_with_an_encoder_and_other_lengths(tmp_path, capsys):
    figures = tmp_path / "bench.json"
    arguments = ["--encoder", "resnet", "--shapes", "2,4,40", "--lengths", "different", "--methods", "average"]
    assert main(["bench", *arguments, "--repeats", "1", "--json", str(figures)]) == 0
    assert [m["shape"]["varied"] for m in json.loads(figures.read_text())["measurements"]] == [True, True]
    assert "| (2, 4, 40) varied | `average` |" in capsys.readouterr().out
    assert main(["bench", *arguments[:-1], "dense_adastride"]) == 2
    assert "in an encoder" in capsys.readouterr().err


@on_a_gpu
@pytest.mark.parametrize("options", [[], ["--encoder", "resnet"], ["--encoder", "conformer", "--dtype", "bfloat16"]])
def test_command_on_a_gpu(tmp_path, capsys, options):
    figures = tmp_path / "bench.json"
    shapes = ["--shapes", "4,16,400", "4,16,400v"]
    assert main(["bench", "--device", "cuda", *shapes, "--repeats", "2", "--json", str(figures), *options]) == 0
    rows = json.loads(figures.read_text())["measurements"]
    assert {row["method"] for row in rows} >= set(ss.DOWNSAMPLERS)
    for row in rows:
        assert min(row["gpu"]) > 0
        assert row["kernels"] >= 2
        if row["method"] in ("average", "adastride"):
            assert row["waits"] == 0
    assert capsys.readouterr().out.count("\n| (") == len(rows)
