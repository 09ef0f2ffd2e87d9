"""What works after `pip install seqstride` alone, and how the rest says which extra it needs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
import torch
from tiny_models import resnet, saved

import seqstride as ss
from seqstride.cli import main
from seqstride.errors import MissingExtraError, require

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "JapaneseVowels" / "speaker_id"


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, without those of other extras."""
    return {normalised(re.match(r"[\w.-]+", each)[0]) for each in requirements if "extra ==" not in each}  # type: ignore[index]


def installed_without_extras() -> set[str]:
    """The importable names of the package's own dependencies and of all that they depend on."""
    found: set[str] = set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pending = requirement_names(project["dependencies"])
    while pending:
        name = pending.pop()
        found.add(name)
        try:
            needed = requirement_names(distribution(name).requires or [])
        except ModuleNotFoundError:  # of another platform
            continue
        pending |= needed - found
    packages = packages_distributions()
    return {module for module, owners in packages.items() if {normalised(owner) for owner in owners} & found}


BARE = """
import sys
from importlib.machinery import PathFinder

allowed = set({allowed!r}) | set(sys.stdlib_module_names) | {{"seqstride"}}

class Installed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        package = name.partition(".")[0]
        return PathFinder.find_spec(name, path, target) if package in allowed or package.startswith("_") else None

sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
"""

LAYERS = """
import torch
import seqstride as ss
import seqstride.lobes

x, lengths = torch.randn(2, 4, 40, requires_grad=True), torch.tensor([40, 23])
for key in ss.DOWNSAMPLERS:
    layer = ss.make_downsampler(key, channels=4, stride=2)
    layer(x, lengths)[0].sum().backward()
    ss.lobes.Downsample(layer)(x.transpose(1, 2), torch.tensor([1.0, 0.575]))
encoded = ss.ResNet1d(4, channels=(8, 8), strides=(2, 2), downsampler="adastride")(x, lengths)
encoded.features.sum().backward()
print("all work")
"""

MODULES = """
import importlib, json, sys
from seqstride.errors import MissingExtraError

told = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except MissingExtraError as error:
        told[name] = str(error)
print(json.dumps(told))
"""

COMMANDS = """
import json, sys
from seqstride.cli import main

print(json.dumps([main(words) for words in json.loads(sys.argv[1])]))
"""


def run_bare(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code where no third party but torch and numpy can be imported."""
    before = BARE.format(allowed=sorted(installed_without_extras()))
    done = subprocess.run(
        [sys.executable, "-c", before + code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_layers_need_torch_and_numpy_alone(tmp_path: Path) -> None:
    assert "all work" in run_bare(LAYERS, tmp_path).stdout


def test_every_module_loads_or_names_its_extra(tmp_path: Path) -> None:
    """No module fails to import in another way, and those of the layers are not among them."""
    files = [*(ROOT / "seqstride").rglob("*.py"), *(ROOT / "data_prep").glob("*.py")]
    paths = [file.relative_to(ROOT).with_suffix("") for file in files if not file.name.startswith("__")]
    names = [".".join(path.parts) for path in sorted(paths)]
    names = [name if name.startswith("seqstride") else f"seqstride.{name}" for name in names]
    told = json.loads(run_bare(MODULES, tmp_path, json.dumps(names)).stdout.splitlines()[-1])
    for name, message in told.items():
        assert re.search(r"pip install 'seqstride\[(speech|series)\]'", message), (name, message)
    for room in (
        "core",
        "layers",
        "plots.strides",
        "plots.runs",
        "export.graphs",
        "export.write",
        "cli.command",
        "experiments.recipe",
    ):
        assert not [name for name in told if name.startswith(f"seqstride.{room}")]


def test_commands_name_the_extra_that_they_need(tmp_path: Path) -> None:
    recording, table = tmp_path / "a.wav", tmp_path / "a.csv"
    recording.write_bytes(b"RIFF")
    table.write_text("t0,t1,label\n1,2,a\n3,4,b\n")
    model = saved(resnet("average"), tmp_path / "model")
    of_model = ["--model", str(model)]
    expected = {
        ("train", str(RECIPE)): "speech",
        ("compare", str(RECIPE), "--output", str(tmp_path / "compared")): "speech",
        ("classify", str(recording), *of_model): "speech",
        ("strides", str(recording), *of_model, "-o", str(tmp_path / "x.png")): "speech",
        ("fit-series", str(table), str(table), "-o", str(tmp_path / "fitted")): "series",
        ("classify-series", str(table), *of_model, "-o", str(tmp_path / "x.csv")): "series",
    }
    works = [("recipes",), ("table", str(RECIPE)), ("bench", "--repeats", "1", "--shapes", "1,2,8")]
    done = run_bare(COMMANDS, tmp_path, json.dumps([*expected, *works]))
    assert json.loads(done.stdout.splitlines()[-1]) == [2] * len(expected) + [0] * len(works)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == len(expected), done.stderr
    for words, line in zip(expected, lines, strict=True):
        assert line.startswith("seqstride: "), line
        assert "Error" not in line
        assert f"pip install 'seqstride[{expected[words]}]'" in line, (words[0], line)


def draw() -> None:
    from seqstride.plots import plot_series

    x = torch.randn(1, 2, 20)
    encoded = ss.ResNet1d(2, channels=(4,), strides=(2,), downsampler="average").eval()(x)
    plot_series([x[0].numpy()], encoded, titles=["a"], channel_names=["b", "c"])


def export() -> None:
    from seqstride.export import export_model

    export_model(ss.AvgPool1d(2))


def quantise() -> None:
    from seqstride.encoders.vqvae import Quantizer

    Quantizer(8, size=4)


def read_parquet() -> None:
    from seqstride.files.table_files import read_table

    read_table("x.parquet", [])


def make_page() -> None:
    from seqstride.plots.page import require_plotly

    require_plotly()


@pytest.mark.parametrize(
    ("extra", "package", "use"),
    [
        ("plots", "matplotlib", draw),
        ("export", "onnx", export),
        ("export", "onnxscript", export),
        ("export", "onnxruntime", export),
        ("vq", "vector_quantize_pytorch", quantise),
        ("parquet", "pyarrow", read_parquet),
        ("html", "plotly", make_page),
    ],
)
def test_parts_name_the_extra_that_they_need(
    extra: str, package: str, use: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'seqstride[{extra}]'")) as caught:
        use()
    assert package in str(caught.value)


def test_a_package_that_is_broken_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("from math import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"broken_package is needed .* cannot be imported \(cannot import"):
        require("broken_package", "series")


def pyproject() -> dict[str, list[str]]:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("runs in a checkout")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["optional-dependencies"]


def required() -> Iterator[tuple[Path, str, str]]:
    """Every call of `require` with two texts: file, module, extra."""
    for folder in ("seqstride", "data_prep"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
                    module, extra = (getattr(argument, "value", None) for argument in node.args)
                    if isinstance(module, str):
                        yield file, module, str(extra)


def test_every_extra_installs_what_the_code_requires_of_it() -> None:
    extras = {name: requirement_names(needed) for name, needed in pyproject().items()}
    owners = packages_distributions()
    calls = list(required())
    assert len(calls) > 20
    for file, module, extra in calls:
        package = module.partition(".")[0]
        distributions = {normalised(owner) for owner in owners.get(package, [package])}
        assert distributions & extras[extra], (file.name, module, extra)


def test_all_holds_every_extra_that_pip_installs_anywhere() -> None:
    extras = pyproject()
    [everything] = extras["all"]
    named = set(re.fullmatch(r"seqstride\[(.*)\]", everything)[1].split(","))  # type: ignore[index]
    assert named == set(extras) - {"all", "test", "dev", "codecs", "lm", "archive"}
    assert "seqstride[all]" in extras["test"]


def test_a_run_whose_pictures_cannot_be_drawn_fails_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    assert main(["train", str(RECIPE), "--output_folder", str(tmp_path / "out")]) == 2
    assert "pip install 'seqstride[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
