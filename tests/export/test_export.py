"""Export: graphs that compute the same, files that give what the model gives, the command, and what is refused."""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from conformers import encoder as conformer
from exporting import exporting
from helpers import ADAPTIVE, INTEGER, KEYS
from tiny_models import description, randomised, resnet, saved, spectrogram
from torch import Tensor, nn

import seqstride as ss
import seqstride.export.write
from seqstride.cli import main
from seqstride.core.lengths import zero_padding
from seqstride.encoders.frontend import LogMel
from seqstride.export.graphs import graph_of
from seqstride.export.write import FORMATS, export_model, load_trained
from seqstride.models.recogniser import Transcriber, save_transcriber
from seqstride.models.vqvae import Coder, save_coder
from seqstride.models.windows import every_window, window_starts

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "diffstride": [
        {"relative_smoothness": 0.3},
        {"length_multiple": 8},
        {"gain": "official"},
        {"smoothness": 1.3},
        {"learnable": False},
    ],
    "dct_diffstride": [{"relative_smoothness": 0.3}, {"length_multiple": 8}, {"learnable": False}],
    "adastride": [{"sigma_square": 0.7}],
    "adastride_f": [{"empty": "zero"}],
    "adastride_softpool": [{"method": "scatter"}, {"method": "scatter", "empty": "zero"}],
    "adastride_context": [{"scorer": "change"}, {"bound": 4.0}],
}


def strides(key: str) -> list[float]:
    return [1, 2, 3, 20] if key in INTEGER else [1, 2, 2.5, 1.7, 3.3333333, 40]


def layer(key: str, stride: float, **options: Any) -> ss.Downsampler:
    """A layer with random scores; a learnt stride of many digits."""
    made = ss.make_downsampler(key, channels=3, stride=stride, **options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim:
                parameter.normal_()
            elif stride > 1 and getattr(made, "learnable", True):
                parameter.add_(0.0123457)
    return made.freeze()


def batch(generator: random.Random, channels: int = 3) -> tuple[Tensor, Tensor]:
    """(B, C, T) of one to four items of any lengths, NaN behind them."""
    lengths = torch.tensor(
        [generator.randint(1, generator.choice([4, 40, 200])) for _ in range(generator.randint(1, 4))]
    )
    x = torch.randn(len(lengths), channels, int(lengths.max()) + generator.randint(0, 3))
    for item, length in enumerate(lengths):
        x[item, :, length:] = torch.nan
    return x, lengths


def assert_same(found: Tensor, expected: Tensor, tolerance: float = 5e-6) -> None:
    """The same, and zeros in what is wider."""
    inside = found[tuple(slice(size) for size in expected.shape)]
    torch.testing.assert_close(inside, expected, rtol=0, atol=tolerance)
    rest = found.clone()
    rest[tuple(slice(size) for size in expected.shape)] = 0
    assert not rest.any()


# The formulas of graphs


@torch.no_grad()
@pytest.mark.parametrize("key", KEYS)
def test_a_graph_of_a_layer_computes_the_same(key: str) -> None:
    generator = random.Random(0)
    # scores are in single precision: machines sum them in different orders, and the last bits move every frame
    bounds, moved = ((1e-6, 1e-6), 2e-5) if key in ADAPTIVE else ((0, 1e-9), 5e-6)
    for options in [{}, {}, {}, *OPTIONS.get(key, [])]:
        for stride in strides(key):
            made = layer(key, stride, **options)
            x, lengths = batch(generator)
            for given in (lengths, None):
                signal = x if given is not None else x.nan_to_num(0.5)
                plan = made.plan(signal, given)
                expected = made.pool(signal, plan)
                with exporting():
                    graph = made.plan(signal, given)
                    found = made.pool(signal, graph)
                    resampled, positions = graph(signal), graph.positions
                assert torch.equal(graph.lengths, plan.lengths)
                torch.testing.assert_close(positions, plan.positions, rtol=bounds[0], atol=bounds[1])
                assert_same(found, expected, moved)
                assert_same(resampled, plan(signal), moved)
                torch.testing.assert_close(graph.penalty, plan.penalty, rtol=bounds[0], atol=bounds[1])


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 0.15])
@pytest.mark.parametrize("rate", [None, 8000])
@pytest.mark.parametrize("key", ["strided", "spectral", "dct_diffstride", "adastride"])
def test_a_graph_of_a_classifier_computes_the_same(key: str, rate: int | None, window: float | None) -> None:
    axes = [[2, 2], [2, 3]] if key in INTEGER else [[1.7, 2], [2, 1]]
    for model in (
        resnet(key, sample_rate=rate, window=window),
        spectrogram(key, axes, sample_rate=rate, window=window),
    ):
        graph, generator = graph_of(model), random.Random(1)
        for _ in range(3):
            if rate is None:
                x, lengths = batch(generator, 12)
                signal = x.transpose(1, 2)
            else:
                x, lengths = batch(generator, 1)
                signal, lengths = x[:, 0].repeat_interleave(30, dim=1), lengths * 30
            with exporting():
                found = graph(signal, lengths)["log_probs_digit"]
            expected = model(signal, lengths)["digit"].log_softmax(1)
            torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("size", [1, 8, 13])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_windows_of_a_graph_are_those_of_every_item(most: int, size: int) -> None:
    lengths = torch.randint(1, most * size + 1, (6,))
    owners, starts, shares = every_window(lengths, size, most)
    real = shares > 0
    expected_owners, expected_starts = window_starts(lengths, size)
    assert torch.equal(owners[real], expected_owners)
    assert torch.equal(starts[real], expected_starts)
    torch.testing.assert_close(torch.zeros(6).index_add(0, owners, shares), torch.ones(6))
    assert (starts <= (lengths - size).clamp(min=0)[owners]).all()


@pytest.mark.parametrize(
    "options", [{"sample_rate": 8000}, {"sample_rate": 16000, "window_ms": 20}, {"sample_rate": 8000, "bands": 80}]
)
def test_a_graph_of_the_front_end_computes_the_same(options: dict[str, Any]) -> None:
    frontend = LogMel(**options)
    waves, lengths = torch.randn(3, 5000), torch.tensor([5000, 4321, 1])
    waves[1, 4321:] = torch.nan
    with exporting():
        graph = frontend(waves, lengths)
    for found, expected in zip(graph, frontend(waves, lengths), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@torch.no_grad()
def test_a_graph_of_the_quantiser_computes_the_same() -> None:
    quantizer, lengths = coder("average").quantizer, torch.tensor([40, 17, 1])
    features = torch.randn(3, 6, 42)
    features[1, :, 17:] = torch.nan
    expected = quantizer(features, lengths)
    with exporting():
        found = quantizer(features, lengths)
    assert torch.equal(found.codes, expected.codes)
    # behind an item's length the library leaves what it was given
    torch.testing.assert_close(found.features, zero_padding(expected.features, lengths), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.commitment, expected.commitment)


@torch.no_grad()
@pytest.mark.parametrize("key", ["strided", "diffstride", "adastride", "adastride_f"])
def test_a_graph_of_a_coder_computes_the_same(key: str) -> None:
    model = coder(key)
    graph = graph_of(model)
    lengths = torch.tensor([4000, 2113, 1])
    signal = 0.1 * torch.randn(3, 4100)
    signal[1, 2113:] = torch.nan
    with exporting():
        found = graph(signal, lengths)
    for item, length in enumerate(lengths.tolist()):
        alone = model.encode(signal[item, :length])
        count = int(found["output_lengths"][item])
        assert torch.equal(found["codes"][item, :count], alone.codes)
        assert torch.equal(found["durations"][item, :count], alone.durations)
        assert (found["codes"][item, count:] == -1).all()
        assert (found["durations"][item, count:] == 0).all()


def test_a_graph_leaves_the_model_alone() -> None:
    model = ss.ResNet1d(3, (4,), (2,), "diffstride").train()
    graph = graph_of(model)
    assert model.training
    assert model.downsamplers[0].stride_parameter.requires_grad
    assert not graph.model.training
    assert not graph.model.downsamplers[0].stride_parameter.requires_grad


# The files


class Chain(nn.Module):
    """All methods in a row; an encoder to those who export it."""

    in_channels = out_channels = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.downsamplers = nn.ModuleList(layer(key, 2 if key in INTEGER else 1.2) for key in KEYS)

    def forward(self, x: Tensor, lengths: Tensor) -> ss.Encoded:
        plans = []
        for made in self.downsamplers:
            plans.append(made.plan(x, lengths))
            x, lengths = made.pool(x, plans[-1]), plans[-1].lengths
        return ss.Encoded(x, lengths, plans[-1].penalty, plans)


class Opened:
    """A file and its own runtime, nothing of this package."""

    def __init__(self, file: Path) -> None:
        self.onnx = file.suffix == ".onnx"
        self.extra = {"seqstride.json": ""}
        if self.onnx:
            self.model = onnx.load(file)
            self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            self.extra = {entry.key: entry.value for entry in self.model.metadata_props}
        else:
            self.model = torch.export.load(file, extra_files=self.extra)
            self.module = self.model.module()

    @property
    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.extra["seqstride.json"])
        return found

    def __call__(self, signal: Tensor, lengths: Tensor) -> Mapping[str, Tensor]:
        if not self.onnx:
            outputs: Mapping[str, Tensor] = self.module(signal, lengths)
            return outputs
        values = self.session.run(None, {"signal": signal.numpy(), "lengths": lengths.numpy()})
        names = [output.name for output in self.session.get_outputs()]
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    def assert_real(self) -> None:
        """Neither complex numbers nor operators of this package."""
        if self.onnx:
            onnx.checker.check_model(self.model)
            assert {entry.domain for entry in self.model.opset_import} <= {"", "ai.onnx"}
            kinds = {v.type.tensor_type.elem_type for v in [*self.model.graph.value_info, *self.model.graph.output]}
            assert not kinds & {onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128}
            return
        for node in self.model.graph.nodes:
            assert "seqstride" not in str(node.target)
            value = node.meta.get("val")
            assert not (isinstance(value, Tensor) and value.is_complex())

    def assert_dynamic(self, signal: list[int | None]) -> None:
        """The sizes of the signal, None where they are dynamic."""
        if self.onnx:
            inputs = {value.name: value.type.tensor_type.shape.dim for value in self.model.graph.input}
            assert [None if dim.dim_param else dim.dim_value for dim in inputs["signal"]] == signal
            assert [bool(dim.dim_param) for dim in inputs["lengths"]] == [True]


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_every_method_in_one_file(format: str, tmp_path: Path) -> None:
    model, file = Chain(), tmp_path / f"chain{FORMATS[format].ending}"
    written = export_model(model, file, format)
    assert written.file == file
    assert written.size == file.stat().st_size
    assert 0 <= written.difference < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    opened = Opened(file)
    opened.assert_real()
    opened.assert_dynamic([None, 3, None])
    generator = random.Random(2)
    sizes = set()
    for _ in range(6):
        x, lengths = batch(generator)
        sizes.add(len(lengths))
        with torch.no_grad():
            expected = model(x, lengths)
        found = opened(x, lengths)
        assert torch.equal(found["output_lengths"], expected.lengths)
        assert_same(found["output"], expected.features, 2e-5)
        torch.testing.assert_close(found["positions"], expected.positions, rtol=0, atol=1e-6)
    assert 1 in sizes
    assert len(sizes) > 1


def transcriber(key: str) -> Transcriber:
    """A recogniser of waveforms with random weights."""
    words = description("ResNet1d", {"channels": [6]})
    words["modules"]["encoder"] = {
        "class": "seqstride.encoders.conformer.ConformerEncoder",
        "arguments": {
            "in_channels": 12,
            "channels": 16,
            "strides": [2, 1.5] if key not in INTEGER else [2, 2],
            "downsampler": key,
            "layers": 1,
            "feed_forward": 24,
            "kernel_size": 7,
        },
    }
    words |= {"task": "transcription", "units": {"kind": "chars", "names": [" ", "a", "b", "ü"]}}
    del words["labels"], words["head"], words["window"]
    torch.manual_seed(0)
    model = Transcriber(words)
    with torch.no_grad():
        for made in model.encoder.downsamplers:
            for parameter in made.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def coder_description(key: str) -> dict[str, Any]:
    modules = resnet(key).description["modules"]
    modules["quantizer"] = {
        "class": "seqstride.encoders.vqvae.Quantizer",
        "arguments": {"channels": 6, "size": 9, "dimension": 4, "quantizers": 2, "options": {"kmeans_init": True}},
    }
    modules["decoder"] = {
        "class": "seqstride.encoders.vqvae.ExpandDecoder",
        "arguments": {"channels": 6, "out_channels": 12, "width": 8},
    }
    return {"format": 1, "task": "coding", "sample_rate": 8000, "modules": modules}


def sample_coder_description(key: str) -> dict[str, Any]:
    """Of one without spectrograms: from samples by convolutions."""
    told, front = coder_description(key), [5, 4, 4]
    encoder = {"front_strides": front, "front_channels": [4, 4, 4], "channels": [6, 6], "downsampler": key}
    decoder = {"channels": 6, "front_strides": front, "width": 8}
    told["modules"] |= {
        "frontend": {
            "class": "seqstride.encoders.waveform.Samples",
            "arguments": {"sample_rate": 8000, "hop": 80},
        },
        "normalize": {"class": "seqstride.encoders.heads.FeatureNorm", "arguments": {"channels": 1}},
        "encoder": {"class": "seqstride.encoders.waveform.WaveEncoder", "arguments": encoder},
        "decoder": {"class": "seqstride.encoders.waveform.WaveDecoder", "arguments": decoder},
    }
    return told


def coder(key: str, description: Callable[[str], dict[str, Any]] = coder_description) -> Coder:
    """A VQ-VAE of waveforms with random weights, whose codebooks have seen what it encodes."""
    torch.manual_seed(0)
    model = Coder(description(key))
    with torch.no_grad():
        for made in model.encoder.downsamplers:
            for parameter in made.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        encoded = model.encoder(*model.features(0.1 * torch.randn(1, 8000), torch.tensor([8000])))
        model.quantizer.train()(encoded.features, encoded.lengths)
    return model.eval()


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recogniser")
    model = transcriber("adastride")
    save_transcriber(folder, model.description, dict(model.named_children()))
    return folder


@pytest.mark.long
def test_a_recogniser_by_the_command(recogniser: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--model", str(recogniser), "--format", "onnx"]) == 0
    captured = capsys.readouterr()
    file = recogniser / "model.onnx"
    assert captured.out.startswith(f"{file}: ")
    assert "largest difference" in captured.out
    assert captured.err == ""
    assert sorted(path.name for path in recogniser.iterdir()) == ["model.safetensors", "model.json", "model.onnx"]
    opened = Opened(file)
    opened.assert_real()
    opened.assert_dynamic([None, None])
    model = load_trained(recogniser)
    lengths = torch.tensor([4000, 2113, 1])
    signal = 0.1 * torch.randn(3, 4000)
    with torch.no_grad():
        log_probs, encoded = model(signal, lengths)
    found = opened(signal, lengths)
    assert torch.equal(found["output_lengths"], encoded.lengths)
    torch.testing.assert_close(found["log_probs"][:, : log_probs.shape[1]], log_probs, rtol=0, atol=1e-4)
    torch.testing.assert_close(found["positions"], encoded.positions, rtol=0, atol=1e-4)
    told = opened.metadata
    assert told["units"] == {"kind": "chars", "names": [" ", "a", "b", "ü"]}
    assert told["sample_rate"] == 8000
    assert told["signal"] == "waveforms (batch, samples) at 8000 Hz"


@pytest.mark.long
def test_a_classifier_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"digit": ["0", "7"], "日本": ["a", "ü", "c"]}
    model = resnet("diffstride", strides=(1.7,), labels=labels, sample_rate=None, window=0.5, pool="softmax")
    folder, file = saved(model, tmp_path / "model"), tmp_path / "new" / "it.pt2"
    assert main(["export", "--model", str(folder), "--format", "exported-program", "-o", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    opened = Opened(file)
    opened.assert_real()
    lengths = torch.tensor([130, 20])
    signal = torch.randn(2, 131, 12)
    found = opened(signal, lengths)
    with torch.no_grad():
        expected = model(signal, lengths)
    assert list(found) == ["log_probs_digit", "log_probs_日本"]
    for label, logits in expected.items():
        torch.testing.assert_close(found[f"log_probs_{label}"], logits.log_softmax(1), rtol=0, atol=1e-5)
    told = opened.metadata
    assert told["labels"] == labels
    assert told["frame_rate"] == 100.0
    assert told["signal"] == "mel band features (batch, frames, 12)"


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_a_coder_by_the_command(format: str, tmp_path: Path) -> None:
    model = coder("adastride")
    save_coder(tmp_path, coder_description("adastride"), dict(model.named_children()))
    assert main(["export", "--model", str(tmp_path), "--format", format]) == 0
    opened = Opened(tmp_path / f"model{FORMATS[format].ending}")
    opened.assert_real()
    assert opened.metadata["codebooks"] == [9, 9]
    signal = 0.1 * torch.randn(1, 3000)
    found, expected = opened(signal, torch.tensor([3000])), model.encode(signal[0])
    assert torch.equal(found["codes"][0], expected.codes)
    assert torch.equal(found["durations"][0], expected.durations)


@torch.no_grad()
def test_of_equally_near_codes_either_is_right() -> None:
    graph = graph_of(coder("average"))
    signal, lengths = 0.1 * torch.randn(2, 3000), torch.tensor([3000, 1700])
    right = graph(signal, lengths)
    assert graph.difference(right, signal, lengths) < 1e-6
    other = torch.where(right["codes"] >= 0, (right["codes"] + 1) % 9, -1)
    assert graph.difference({**right, "codes": other}, signal, lengths) > 1e-2
    assert graph.difference({**right, "codes": right["codes"].clamp(min=0)}, signal, lengths) == torch.inf
    for codebook in graph.model.quantizer.codebooks:
        assert codebook.shape == (9, 4)
    for quantizer in graph.model.quantizer.vq.layers:
        quantizer._codebook.embed[:, 8] = quantizer._codebook.embed[:, 7]
    right = graph(signal, lengths)
    twin = torch.where(right["codes"] == 7, 8, right["codes"])
    assert not torch.equal(twin, right["codes"])
    assert graph.difference({**right, "codes": twin}, signal, lengths) < 1e-6


@pytest.mark.parametrize(
    ("kind", "format"),
    [
        ("layer", "onnx"),
        ("encoder", "exported-program"),
        ("classifier", "onnx"),
        ("recogniser", "onnx"),
        pytest.param("recogniser", "exported-program", marks=pytest.mark.long),
        pytest.param("coder", "onnx", marks=pytest.mark.long),
        ("coder", "exported-program"),
    ],
)
def test_one_model_of_every_kind(kind: str, format: str, tmp_path: Path) -> None:
    models: dict[str, Callable[[], nn.Module]] = {
        "layer": lambda: layer("average", 2),
        "encoder": lambda: resnet("average", (2,)).encoder,
        "classifier": lambda: resnet("average", (2,)),
        "recogniser": lambda: transcriber("average"),
        "coder": lambda: coder("average"),
    }
    written = export_model(models[kind](), tmp_path / f"model{FORMATS[format].ending}", format, batches=2)
    assert written.difference < 1e-4


def test_a_head_that_normalises(tmp_path: Path) -> None:
    arguments = {"in_channels": 12, "channels": [6], "strides": [2], "downsampler": "average"}
    words = description("ResNet1d", arguments, sample_rate=None)
    words["head"]["arguments"]["normalise"] = True
    assert export_model(randomised(words), tmp_path / "x.pt2", "exported-program").difference < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("window", [pytest.param(1.0, marks=pytest.mark.long), 0.25])
def test_windows_of_batches_around_the_length_of_one(window: float, format: str, tmp_path: Path) -> None:
    model = resnet("average", (2,), sample_rate=None, window=window)
    size = model.window_size
    assert size is not None
    opened = Opened(export_model(model, tmp_path / f"model{FORMATS[format].ending}", format).file)
    for longest in (1, 5, size - 1, size, size + 1, 2 * size, 2 * size + 1, 3 * size + 5):
        for items in (1, 3):
            lengths = torch.randint(1, longest + 1, (items,))
            signal = torch.randn(items, longest + items // 2, 12)
            for item, length in enumerate(lengths):
                signal[item, length:] = torch.nan
            found = opened(signal, lengths)["log_probs_digit"]
            expected = model(signal, lengths)["digit"].log_softmax(1)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "kind", ["layer", "encoder", "classifier", "windows", "image", "recogniser", "conformer", "coder", "samples"]
)
@pytest.mark.parametrize("key", KEYS)
def test_every_model_with_every_method(key: str, kind: str, format: str, tmp_path: Path) -> None:
    pairs = [[2, 2], [2, 3]] if key in INTEGER else [[1.7, 2], [2.3, 2]]
    model: nn.Module
    if kind == "layer":
        model = layer(key, 2 if key in INTEGER else 2.3)
    elif kind == "encoder":
        model = resnet(key, tuple(time for time, _ in pairs)).encoder
    elif kind == "classifier":
        model = resnet(key, tuple(time for time, _ in pairs))
    elif kind == "windows":
        model = resnet(key, tuple(time for time, _ in pairs), window=0.2)
    elif kind == "image":
        model = spectrogram(key, pairs, sample_rate=None)
    else:
        makers = {"recogniser": transcriber, "conformer": conformer, "coder": coder}
        model = coder(key, sample_coder_description) if kind == "samples" else makers[kind](key)
    file = tmp_path / f"model{FORMATS[format].ending}"
    written = export_model(model, file, format, batches=6)
    assert written.difference < 1e-4
    Opened(file).assert_real()


# What is refused


@pytest.mark.parametrize(
    ("step", "told"), [("_program", "has no graph"), ("write", "cannot be converted"), ("load", "does not run")]
)
def test_errors_of_exporters_are_told(step: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no such operator")

    if step == "_program":
        monkeypatch.setattr(seqstride.export.write, step, refuse)
    else:
        failing = FORMATS["exported-program"]._replace(**{step: refuse})
        monkeypatch.setitem(FORMATS, "exported-program", failing)
    with pytest.raises(ValueError, match=f"was not written, .*{told}.*: no such operator"):
        export_model(ss.AvgPool1d(2), tmp_path / "x.pt2", "exported-program")
    assert not list(tmp_path.iterdir())


def test_unknown_formats_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(resnet("average"), tmp_path)
    assert main(["export", "--model", str(folder), "--format", "torchscript"]) == 2
    assert "`format` (='torchscript') must be one of onnx, exported-program" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing} is needed .* pip install 'seqstride\[export\]'"):
        export_model(ss.AvgPool1d(2))


def test_a_folder_without_a_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--model", str(tmp_path)]) == 2
    assert "must hold a trained model; model.json is missing" in capsys.readouterr().err


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`model` \(a Linear\) must be a trained model, an encoder or a layer"):
        graph_of(nn.Linear(2, 2))


@pytest.mark.parametrize("error", [3e-4, float("nan")])
def test_a_file_that_differs_is_not_written(error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = seqstride.export.write._program
    monkeypatch.setattr(seqstride.export.write, "_program", lambda graph: program(_shifted(graph, error)))
    with pytest.raises(
        ValueError, match=r"x\.pt2' was not written: its outputs differ from the model's by (3\.0e-04|nan)"
    ):
        export_model(ss.StridedConv1d(3, 2), tmp_path / "x.pt2", "exported-program")
    assert not list(tmp_path.iterdir())


def _shifted(graph: Any, error: float) -> Any:
    graph = copy.deepcopy(graph)
    with torch.no_grad():
        graph.model.conv.bias.add_(error)
    return graph


# Exporters alone


def _long_but_for(key: str, given: bool) -> Any:
    short = (key, given) in [("average", False), ("diffstride", True), ("adastride", True)]
    return pytest.param(key, given, marks=[] if short else pytest.mark.long)


class Mixed(nn.Module):
    """Layers of this package and others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3, padding=1)
        self.layers = nn.ModuleList([ss.AdaStride1d(3, 1.5), ss.DiffStride1d(2.3).freeze(), ss.AvgPool1d(2)])
        nn.init.normal_(self.layers[0].score.weight)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        for made in self.layers:
            plan = made.plan(x, lengths)
            x, lengths = made.pool(x, plan), None if lengths is None else plan.lengths
        return x


@torch.no_grad()
def test_torch_export_takes_any_module() -> None:
    module, x = Mixed(), torch.randn(2, 3, 40)
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), module(x), rtol=0, atol=5e-6)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("key", "given"), [_long_but_for(key, given) for key in KEYS for given in (True, False)])
def test_exporters_take_every_layer(key: str, given: bool, tmp_path: Path) -> None:
    """torch's own exporters, without anything of this package, for batches of any length of at least 8."""
    made, (x, lengths) = layer(key, 2 if key in INTEGER else 2.3), (torch.randn(2, 3, 40), torch.tensor([40, 23]))
    time = torch.export.Dim("time", min=8)
    shapes = ({0: torch.export.Dim.DYNAMIC, 2: time}, {0: torch.export.Dim.DYNAMIC})
    arguments, shapes = ((x, lengths), shapes) if given else ((x,), shapes[:1])
    program = torch.export.export(made, arguments, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        assert "seqstride" not in str(node.target)
    torch.onnx.export(made, arguments, tmp_path / "x.onnx", dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for frames in (40, 17, 9):
        x = torch.randn(3, 3, frames)
        arguments = (x, torch.tensor([frames, 8, 5])) if given else (x,)
        expected = made(*arguments)
        names = [value.name for value in session.get_inputs()]
        feed = {name: value.numpy() for name, value in zip(names, arguments, strict=True)}
        for found in (program.module()(*arguments), torch.from_numpy(session.run(None, feed)[0])):
            assert_same(found, expected, 2e-5)


@pytest.mark.filterwarnings("ignore:# The axis name")
@pytest.mark.parametrize("key", ["diffstride", "dct_diffstride"])
def test_a_stride_that_learns_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"must be fixed for an export: call `freeze\(\)` on the layer first"):
        torch.export.export(ss.make_downsampler(key, channels=3, stride=2), (torch.randn(2, 3, 40),))


@pytest.mark.filterwarnings("ignore:# The axis name")
@pytest.mark.parametrize("key", ["diffstride", pytest.param("dct_diffstride", marks=pytest.mark.long)])
def test_onnx_of_a_layer_with_lengths(key: str) -> None:
    """By torch's own exporter, and nothing of ours."""
    layer = ss.make_downsampler(key, channels=2, stride=2.3).freeze().eval()
    sizes = {0: "items", 2: "frames"}, {0: "items"}
    given = torch.randn(2, 2, 40), torch.tensor([40, 17])
    assert torch.onnx.export(layer, given, dynamic_shapes=sizes, dynamo=True, verbose=False) is not None
