"""Models of strangers: nothing large is made, nothing long is begun, and each is named."""

from __future__ import annotations

import json
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import as_older, resnet, saved

from seqstride.cli import main
from seqstride.encoders.frontend import LogMel
from seqstride.files.audio_files import Recording
from seqstride.models.classifier import classify_files, load_model
from seqstride.models.tokens import Units
from seqstride.models.vqvae import from_json

ROOM = 1 << 30
"""Memory that a refused model may take, beside what is there already."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(resnet("average"), tmp_path / "model")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A limit of the process's memory."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def altered(folder: Path, module: str, **arguments: Any) -> None:
    words = json.loads((folder / "model.json").read_text())
    entry = words[module] if module == "head" else words["modules"][module]
    entry["arguments"].update(arguments)
    (folder / "model.json").write_text(json.dumps(words))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("encoder", {"channels": [20000, 20000]}),
        ("encoder", {"channels": [6] * 3000, "strides": [1] * 3000}),
        ("encoder", {"in_channels": 10**12}),
        ("encoder", {"strides": [10**12, "x"]}),
        ("encoder", {"downsampler": "adastride"}),
        ("encoder", {"downsampler": "phase", "strides": [10**9, 2]}),
        ("normalize", {"channels": 10**10}),
        ("frontend", {"bands": 10**9}),
        ("frontend", {"bands": 0}),
        ("frontend", {"sample_rate": 10**15}),
        ("frontend", {"window_ms": 1e15}),
        ("head", {"channels": 10**10}),
    ],
)
def test_a_description_that_asks_for_other_weights_allocates_nothing(
    folder: Path, module: str, arguments: dict[str, Any]
) -> None:
    altered(folder, module, **arguments)
    with pytest.raises(ValueError, match=r"model\.(json' does not describe|safetensors' does not hold)") as refused:
        load_model(folder)
    assert "emory" not in str(refused.value)
    assert "alloc" not in str(refused.value)


@pytest.mark.parametrize("bands", [None, 64])
def test_parts_that_do_not_fit_together_are_named(folder: Path, bands: int | None) -> None:
    """The front end has no weights that could differ."""
    words = json.loads((folder / "model.json").read_text())
    if bands is None:
        del words["modules"]["frontend"]
    else:
        words["modules"]["frontend"]["arguments"]["bands"] = bands
    (folder / "model.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match=r"model\.json' does not describe a model: "):
        load_model(folder)


@pytest.mark.parametrize("name", ["", None, 3, ["a"]])
def test_units_of_a_recogniser_are_texts(name: object) -> None:
    with pytest.raises(ValueError, match=r"`names` \(one is .*\) must be texts of at least one letter"):
        Units("words", ["yes", name])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([{"codes": {}, "frames": 3}], "not a coded recording"),
        ([{"codes": [1], "frames": 10**9}], r"`frames` \(=1000000000\) must be at most 100000 in a unit"),
        ("deep", "not a coded recording: it is nested too deeply"),
    ],
)
def test_coded_recordings_of_strangers_are_read_or_named(units: Any, message: str) -> None:
    coder: Any = SimpleNamespace(sample_rate=8000)
    text = json.dumps({"format": 1, "sample_rate": 8000, "samples": 80 * 10**9, "units": units})
    with pytest.raises(ValueError, match=message):
        from_json(coder, text.replace('"deep"', "[" * 10**5 + "]" * 10**5))


@pytest.mark.usefixtures("little_memory")
def test_a_loop_that_would_not_end_is_not_begun() -> None:
    from seqstride.encoders.conformer import ConformerEncoder
    from seqstride.encoders.vqvae import Quantizer
    from seqstride.models.untrusted import outline

    with pytest.raises(ValueError, match="it has more than 1050 modules"):
        outline(lambda: ConformerEncoder(4, 8, layers=10**9, strides=[2], downsampler="average", heads=2), 10)
    with pytest.raises(ValueError, match=r"`quantizers` \(=1000000000\) must be "):
        Quantizer(8, 4, quantizers=10**9)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: weights["normalize.std"].zero_(),
        lambda weights: [tensor.fill_(3e38) for tensor in weights.values() if tensor.ndim == 3],
    ],
)
def test_finite_weights_whose_answers_are_not_are_refused(folder: Path, spoil: Callable[[Any], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    spoil(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="its answer to a short sound must be finite"):
        load_model(folder)


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = torch.load(as_older(folder))
    result = change(weights)
    torch.save(weights if result is None else result, folder / "model.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w["normalize.std"].fill_(float("nan")), "must be finite"),
        (lambda w: w.update({name: t.double() + 1e300 for name, t in w.items()}), "must be finite"),
        (lambda w: [t.fill_(-1.0) for name, t in w.items() if name.endswith("running_var")] and None, "a variance"),
        (lambda w: w.update(more=torch.ones(3)), "`more` has shape .*the model has none of this name"),
        (lambda w: w.pop(next(iter(w))) is None, "is missing"),
        (lambda w: w.update(more=3), "`more` must be a tensor"),
        (lambda w: w.update(more=torch.ones(1).expand(10**12)), "must hold all its numbers"),
        (lambda w: w.update(dict.fromkeys(map(str, range(99)), torch.ones(99))), "must have numbers of their own"),
        (lambda w: list(w.values()), "must map names to tensors"),
    ],
)
def test_weights_of_older_versions_that_are_no_weights_are_named(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], message: str
) -> None:
    def kept(weights: dict[str, torch.Tensor]) -> Any:
        result = change(weights)
        return result if isinstance(result, list) and result and isinstance(result[0], torch.Tensor) else None

    changed(folder, kept)
    with pytest.raises(ValueError, match=rf"model\.ckpt' does not hold the model's weights: .*{message}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w["normalize.std"].fill_(float("nan")), "must be finite"),
        (lambda w: w.update({name: t.double() + 1e300 for name, t in w.items()}), "must be finite"),
        (lambda w: [t.fill_(-1.0) for name, t in w.items() if name.endswith("running_var")], "a variance"),
        (lambda w: w.update(more=torch.ones(3)), "`more` has shape .*the model has none of this name"),
        (lambda w: w.pop(next(iter(w))), "is missing"),
        (lambda w: w.update({f"{number:0500}": torch.ones(1) for number in range(4000)}), "its header .* at most"),
    ],
)
def test_weights_that_are_no_weights_are_named(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], message: str
) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=rf"model\.safetensors' does not hold the model's weights: .*{message}"):
        load_model(folder)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[0,99999999999],"data_offsets":[0,0]}}',
        100_000 * b'{"a":',
        b"[]",
    ],
)
def test_headers_that_lie_are_refused(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match=r"model\.safetensors' does not hold the model's weights"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + header)
    with pytest.raises(ValueError, match=r"its header \(=1099511627776 bytes\) must have at most"):
        load_model(folder)


@pytest.mark.usefixtures("little_memory")
def test_weights_that_are_small_only_on_the_disk_are_refused(folder: Path) -> None:
    with zipfile.ZipFile(as_older(folder)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    data = max((name for name in entries if "/data/" in name), key=lambda name: len(entries[name]))
    with zipfile.ZipFile(folder / "model.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            if name == data:
                with archive.open(name, "w", force_zip64=True) as file:
                    for _ in range(64):
                        file.write(bytes(1 << 22))
            else:
                archive.writestr(name, content)
    assert (folder / "model.ckpt").stat().st_size < 1 << 20
    with pytest.raises(ValueError, match="must not be compressed"):
        load_model(folder)


def test_entries_that_lie_over_each_other_are_refused(folder: Path) -> None:
    """The directory of the archive names the same bytes again and again."""
    content = as_older(folder).read_bytes()
    with zipfile.ZipFile(folder / "model.ckpt") as archive:
        start, entries = archive.start_dir, len(archive.infolist())
    end = content.rindex(b"PK\5\6")
    directory = content[start : content.index(b"PK\6\6", start) if b"PK\6\6" in content else end]
    counts = struct.pack("<HHII", 50 * entries, 50 * entries, 50 * len(directory), start)
    (folder / "model.ckpt").write_bytes(content[:start] + 50 * directory + b"PK\5\6" + bytes(4) + counts + bytes(2))
    with pytest.raises(ValueError, match="its entries must not lie over each other"):
        load_model(folder)


def test_the_front_end_has_a_size() -> None:
    with pytest.raises(ValueError, match=r"`bands` \(=100000\) times the samples of a window \(400\) must lie in"):
        LogMel(16000, bands=100_000)


@pytest.mark.parametrize("rate", [0, -100.0, float("nan"), float("inf"), 1e12, None, True, "100"])
def test_rates_of_frames_that_cannot_be_are_refused(folder: Path, rate: Any) -> None:
    words = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**words, "frame_rate": rate}))
    with pytest.raises(ValueError, match=r"model.json' does not describe a model: `frame_rate` \(="):
        load_model(folder)


def overflowing_on(file: Path, folder: Path) -> Any:
    """A model whose features are infinite where they are as loud as those of a recording."""
    model = load_model(folder)
    loudest: list[float] = []

    def hook(_: Any, inputs: Any, x: torch.Tensor) -> torch.Tensor:
        level = inputs[0].amax((1, 2), keepdim=True)
        loudest.append(float(level.max()))
        return x * torch.where(level >= loudest[0], torch.inf, 1.0)

    model.normalize.register_forward_hook(hook)
    [_] = classify_files(model, [Recording(str(file), str(file))])
    return model


def sounds(folder: Path) -> dict[str, Path]:
    soundfile = pytest.importorskip("soundfile")
    files = {name: folder / f"{name}.wav" for name in ("first", "loud", "third")}
    for name, file in files.items():
        soundfile.write(file, torch.rand(1600).numpy() * (0.9 if name == "loud" else 0.1), 8000)
    return files


@pytest.mark.parametrize("seconds", [120.0, 0.01])
def test_a_recording_on_which_a_model_overflows_is_named_and_the_others_are_classified(
    folder: Path, tmp_path: Path, seconds: float
) -> None:
    files = sounds(tmp_path)
    model = overflowing_on(files["loud"], folder)
    recordings = [Recording(str(file), str(file)) for file in files.values()]
    answers = [answer for _, answer in classify_files(model, recordings, seconds)]
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False]
    assert str(answers[1]) == (
        f"{str(files['loud'])!r}: the model's answer must be finite; its numbers overflow on this recording"
    )


def test_classify_and_strides_tell_an_overflow_in_a_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = sounds(tmp_path)["loud"]
    model = overflowing_on(loud, folder)
    monkeypatch.setattr("seqstride.models.classifier.load_model", lambda *_: model)
    for words in (["classify", str(loud)], ["strides", str(loud), "-o", str(tmp_path / "x.png")]):
        assert main([*words, "--model", str(folder)]) == 2
        shown = capsys.readouterr()
        assert shown.err.splitlines() == [
            f"seqstride: {str(loud)!r}: the model's answer must be finite; its numbers overflow on this recording"
        ]
        assert "nan" not in shown.out
