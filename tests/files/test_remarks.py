"""What is said of recordings that can be used all the same: once, with a count, an example and what helps."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from layouts import write
from tiny_models import resnet, saved

from seqstride.brains.manifests import open_manifests
from seqstride.cli import main
from seqstride.files.loading import load_audio
from seqstride.files.remarks import remark, remarks
from seqstride.models.recogniser import Transcriber
from seqstride.models.vqvae import Coder

LOW = (
    "recordings, such as {}: sampled at 4000 Hz, where 8000 Hz are expected: the upper part of the spectrum stays "
    "empty (a model that is trained with --sample_rate 4000 fits)"
)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for index in range(3):
        write(folder / f"low {index}.wav", 1600, 4000)
    write(folder / "equal.wav", 3200, 8000)
    write(folder / "high.wav", 6400, 16000)
    return folder


def transcriber() -> Transcriber:
    words = resnet("average").description
    encoder = {"in_channels": 12, "channels": 8, "strides": [2], "downsampler": "average", "layers": 1, "heads": 2}
    words["modules"]["encoder"] = {
        "class": "seqstride.encoders.conformer.ConformerEncoder",
        "arguments": {**encoder, "feed_forward": 8, "kernel_size": 3},
    }
    return Transcriber({**words, "task": "transcription", "units": {"kind": "words", "names": ["yes", "no"]}})


def coder() -> Coder:
    modules = resnet("average").description["modules"]
    quantizer = {"channels": 6, "size": 9, "dimension": 4, "options": {}}
    decoder = {"channels": 6, "out_channels": 12, "width": 8}
    modules["normalize"]["arguments"]["centred"] = False
    modules["quantizer"] = {"class": "seqstride.encoders.vqvae.Quantizer", "arguments": quantizer}
    modules["decoder"] = {"class": "seqstride.encoders.vqvae.ExpandDecoder", "arguments": decoder}
    return Coder({"format": 1, "task": "coding", "sample_rate": 8000, "modules": modules}).eval()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("seqstride.models.recogniser.load_transcriber", lambda *_: transcriber())
    monkeypatch.setattr("seqstride.models.vqvae.load_coder", lambda *_: coder())
    return saved(resnet("average"), tmp_path / "model")


@pytest.mark.parametrize("command", ["classify", "classify --csv", "transcribe", "units", "units --csv", "strides"])
def test_a_command_says_once_that_recordings_are_at_a_low_rate(
    command: str, model: Path, recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, *table = command.split()
    table += [str(tmp_path / "table.csv")] if table else []
    output = ["-o", str(tmp_path / "pictures")] if name == "strides" else []
    assert main([name, str(recordings), "--model", str(model), *table, *output]) == 0
    assert warnings(caplog) == ["3 " + LOW.format(recordings / "low 0.wav")]


def test_resynth_says_it_too(model: Path, recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = recordings / "low 1.wav"
    assert not main(["resynth", str(file), "--model", str(model), "-o", str(tmp_path / "x.wav")])
    [text] = warnings(caplog)
    assert text.startswith(f"{file}: sampled at 4000 Hz")


@pytest.mark.parametrize("name", ["equal.wav", "high.wav"])
def test_nothing_is_said_of_rates_that_are_high_enough(
    name: str, model: Path, recordings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["classify", str(recordings / name), "--model", str(model)]) == 0
    assert not warnings(caplog)


def manifests(folder: Path, recordings: Path, told: bool) -> dict[str, Path]:
    made = {}
    for split, names in (("train", ["high", "low 0", "low 1"]), ("valid", ["low 2"]), ("test", ["equal"])):
        rates = {"high": 16000, "equal": 8000}
        items: dict[str, dict[str, Any]] = {
            name: {"wav": f"{{data_root}}/{name}.wav", "duration": 0.4, "sample_rate": rates.get(name, 4000)}
            for name in names
        }
        if not told:
            items = {name: {key: item[key] for key in ("wav", "duration")} for name, item in items.items()}
        made[split] = folder / f"{split}.json"
        made[split].write_text(json.dumps(items))
    return made


@pytest.mark.parametrize(("told", "which"), [(True, "3 recordings, such as {}/low 0.wav"), (False, "{}/low 2.wav")])
def test_a_training_says_it_once_before_it_begins(
    told: bool, which: str, recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of all parts together; where the manifests do not tell the rates, by each part's first recording."""
    datasets = open_manifests(manifests(tmp_path, recordings, told), 8000, recordings)
    [text] = warnings(caplog)
    assert text.startswith(f"{which.format(recordings)}: sampled at 4000 Hz, where 8000 Hz are expected")
    assert "--sample_rate 4000" in text
    caplog.clear()
    for dataset in datasets.values():
        dataset.set_output_keys(["signal"])
        assert all(len(item["signal"]) == 3200 for item in dataset)
    open_manifests(manifests(tmp_path, recordings, told), 4000, recordings)
    assert not warnings(caplog)


def test_remarks_are_collected_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    remark("lost", "a.wav")  # nobody collects
    with remarks():
        with remarks():
            remark("odd", "a.wav")
            remark("odd", "a.wav")  # read again
            remark("strange", "new\nline.wav")
        remark("odd", "b.wav")
        assert not warnings(caplog)
    assert warnings(caplog) == ["2 recordings, such as a.wav: odd", "new\\nline.wav: strange"]


def test_remarks_are_said_where_the_work_ends_in_an_error(caplog: pytest.LogCaptureFixture) -> None:
    @remarks()
    def work() -> None:
        remark("odd", "a.wav")
        raise KeyError

    with pytest.raises(KeyError):
        work()
    assert warnings(caplog) == ["a.wav: odd"]
    remark("lost", "a.wav")
    with remarks():
        pass
    assert len(warnings(caplog)) == 1


def test_a_recording_at_a_low_rate_is_used_all_the_same(recordings: Path) -> None:
    assert len(load_audio(8000, recordings / "low 0.wav")) == 3200
