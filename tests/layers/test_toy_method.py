"""A new method is one class and one registration: everything else in the package and its tests runs on it by itself."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import RECIPE
from toy import METHOD

import seqstride as ss
from seqstride.cli import main
from seqstride.export.write import FORMATS, export_model
from seqstride.layers.base import Downsampler
from seqstride.layers.pooling import WholeStride

TESTS = Path(__file__).parents[1]
PACKAGE = Path(ss.__file__).parent


@pytest.fixture
def toy(monkeypatch):
    """The toy method, registered for the duration of a test."""
    monkeypatch.setitem(ss.DOWNSAMPLERS, "toy", METHOD)


@pytest.mark.long
def test_the_tests_of_all_methods_run_on_it():
    files = [
        file for room in ("core", "layers", "encoders", "export") for file in sorted((TESTS / room).glob("test_*.py"))
    ]
    command = [sys.executable, "-m", "pytest", "-p", "toy", "-n", "0", "-q", "--no-header", "-k", "toy"]
    command += [str(file) for file in files if file.name != Path(__file__).name]
    environment = {**os.environ, "PYTHONPATH": str(TESTS / "support")}
    run = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, env=environment, timeout=200)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert int(run.stdout.split(" passed")[0].split()[-1]) > 80, run.stdout[-500:]


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_exported(toy, format, tmp_path):
    for package in FORMATS[format].packages:
        pytest.importorskip(package)
    layer = ss.make_downsampler("toy", channels=2, stride=3)
    written = export_model(layer, tmp_path / "layer", format)
    assert written.difference < 1e-6


def test_what_an_author_forgot_is_named():
    class Bare(Downsampler):
        stride = 2

    with pytest.raises(NotImplementedError, match="Bare must define `_output_lengths`"):
        Bare()(torch.ones(1, 1, 4))
    with pytest.raises(ValueError, match="its class has no stream"):
        Bare().stream()

    class Forgetful(WholeStride):
        @staticmethod
        def pool_frames(x, stride, lengths, width):
            return x[..., ::stride]

    assert Forgetful(2)(torch.ones(1, 1, 4)).shape == (1, 1, 2)
    with pytest.raises(NotImplementedError, match="Forgetful must define `_reach` to stream"):
        Forgetful(2).stream()


def test_it_is_timed(toy, capsys):
    assert main(["bench", "--methods", "toy,average", "--shapes", "2,3,40v", "--repeats", "1"]) == 0
    assert "toy" in capsys.readouterr().out


def test_a_recipe_trains_with_it(toy, tmp_path):
    options = ["--downsampler", "toy", "--number_of_epochs", "1", "--output_folder", str(tmp_path), "--device", "cpu"]
    assert main(["train", str(RECIPE / "hparams" / "train.yaml"), *options, "--noprogressbar"]) == 0
    assert json.loads((tmp_path / "results.json").read_text())["method"] == "toy"
    layers = ss.export.load_trained(tmp_path).encoder.downsamplers
    assert {type(layer) for layer in layers} == {METHOD.layer}


def asked_by_name(source):
    """Lines that compare with a key of the registry, or ask whether an object is of a layer's class."""
    classes = {base.__name__ for method in ss.DOWNSAMPLERS.values() for base in method.layer.__mro__}
    classes -= {"object", "Module", "Downsampler"}
    for node in ast.walk(ast.parse(source)):
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in ("isinstance", "issubclass")
            and names & classes
        ):
            yield node.lineno
        if isinstance(node, ast.Compare):
            constants = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            if constants & (ss.DOWNSAMPLERS.keys() - SHARED):
                yield node.lineno


SHARED = {"max", "dct"}
"""Keys that are also names of other things: the maximum over time, a transform."""


def test_nobody_asks_for_a_method_by_its_name():
    found = {}
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name == "cli":  # help texts choose their examples
            continue
        lines = list(asked_by_name(file.read_text()))
        if lines:
            found[str(file.relative_to(PACKAGE))] = lines
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "isinstance(layer, ss.layers.AvgPool1d) or isinstance(layer, LearntStride)",
        "key in ('adastride', 'adastride_f')",
        "key == 'strided'",
    ],
)
def test_a_question_by_name_is_found(line):
    assert list(asked_by_name(f"if {line}:\n    pass"))
