"""What commands say of what is not there, is of another kind, or is misspelled: one line, with the nearest thing."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from tiny_models import resnet, saved, tones

from seqstride.cli import main
from seqstride.distributed import device_of_rank

WORK = ("classify", "transcribe", "units")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(resnet("average"), tmp_path_factory.mktemp("models") / "speech" / "1")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recordings") / "seven.wav"
    soundfile.write(file, tones(0.5).numpy(), 8000)
    return file


def line_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that must fail."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("seqstride: ")
    return captured.err


def commands(file: object, model: object, out: object) -> list[list[object]]:
    """Every command that applies a model."""
    return [
        *([name, file, "--model", model] for name in WORK),
        ["strides", file, "--model", model, "-o", out],
        ["resynth", file, "--model", model, "-o", out],
        ["export", "--model", model, "-o", out],
    ]


def test_a_model_that_is_not_there(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    misspelled = model.with_name("2")
    for words in commands(recording, misspelled, tmp_path / "out.wav"):
        line = line_of(capsys, *words)
        assert f"`--model` (={str(misspelled)!r}) must hold a trained model; model.json is missing" in line
        assert "there is no such folder" in line
    line = line_of(capsys, "classify", recording, "--model", model.parents[1] / "speach")
    assert f"there is no such folder; near matches: {str(model.parent)!r}" in line
    line = line_of(capsys, "classify", recording, "--model", model.parents[1])
    assert f"model.json is missing, but there is one in {str(model)!r}" in line
    assert "it is not a folder" in line_of(capsys, "classify", recording, "--model", recording)
    (tmp_path / "run" / "save" / "data").mkdir(parents=True)  # of a run that was refused before it began
    assert "resumes" not in line_of(capsys, "classify", recording, "--model", tmp_path / "run")
    (tmp_path / "run" / "save" / "checkpoints" / "CKPT+1").mkdir(parents=True)
    assert "its run is not finished" in line_of(capsys, "classify", recording, "--model", tmp_path / "run")
    (tmp_path / "run" / "series.json").touch()
    assert "`seqstride classify-series FILE" in line_of(capsys, "classify", recording, "--model", tmp_path / "run")


@pytest.mark.parametrize(
    ("task", "applies"), [("classification", "classify"), ("transcription", "transcribe"), ("coding", "units")]
)
def test_a_model_of_another_task(
    task: str, applies: str, model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = json.loads((model / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**words, "task": task}))
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    for words in commands(recording, tmp_path, tmp_path / "out.wav")[:-1]:
        wanted = {"strides": "classify", "resynth": "units"}.get(str(words[0]), words[0])
        if wanted != applies:
            line = line_of(capsys, *words)
            assert f"model.json' is a model for {task}, where one for " in line
            assert f"`seqstride {applies}` applies it" in line


def test_files_that_are_not_there(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    near = recording.with_name("sevn.wav")
    for words in (["classify", near], ["strides", near, "-o", tmp_path / "out.png"]):
        line = line_of(capsys, *words, "--model", model)
        assert f"{str(near)!r} cannot be read as audio: there is no such file" in line
        assert f"near matches: {str(recording)!r}" in line
    (tmp_path / "list.txt").write_text("x")
    line = line_of(capsys, "classify", "--list", tmp_path / "lst.txt", "--model", model)
    assert f"`list` (={str(tmp_path / 'lst.txt')!r}) must be a file" in line


@pytest.mark.parametrize("name", ["JapaneseVowls/speaker_id", "results/nothere"])
def test_a_table_of_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results" / "nowhere").mkdir(parents=True)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    line = line_of(capsys, "table", name)
    assert f"no folder of runs, or recipe, {name!r}, here or among the recipes" in line
    near = {"JapaneseVowls/speaker_id": "JapaneseVowels/speaker_id", "results/nothere": "'results/nowhere'"}[name]
    assert f"near matches: {near}" in line
    assert "`folder` (='file') must be a folder of runs" in line_of(capsys, "table", "file")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classify", "x.wav", "--modle", "m"], "unknown option --modle; near matches: --model"),
        (["classify", "x.wav", "--modle=m"], "unknown option --modle; near matches: --model"),
        (["bench", "--repeat", "3"], "unknown option --repeat; near matches: --repeats"),
        (["fit-series", "a.csv", "b.csv", "--lable", "x"], "unknown option --lable; near matches: --label"),
        (["recipes", "--quiet"], "unknown option --quiet"),
    ],
)
def test_misspelled_options(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {message}")


# Devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:9", "gpu", "", "cuda:-1", "cpux", "meta"])
def test_a_device_that_is_not_there(
    device: str, model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output_folder", str(tmp_path / "out")]
    series = tmp_path / "series.csv"
    series.write_text("label,a,b\nx,1,2\ny,2,1\n")
    for words in (
        ["classify", recording, "--model", model],
        ["bench", "--shapes", "1,1,2"],
        ["fit-series", series, series, "-o", tmp_path / "out"],
        ["train", "recipes/JapaneseVowels/speaker_id", *options],
        ["train", "recipes/Tabular/classification", *options],
    ):
        line = line_of(capsys, *words, f"--device={device}")
        if device or words[0] != "train":
            assert f"`device` (={device!r}) must be cpu; torch finds no GPU" in line
    assert not (tmp_path / "out").exists()


def test_devices_of_machines_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [device_of_rank(name) for name in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]
    with pytest.raises(
        ValueError, match=r"`device` \(='cuda:2'\) must be cpu, or cuda:0 to cuda:1; torch finds 2 GPUs"
    ):
        device_of_rank("cuda:2")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"`device` \(='cuda'\) must be cpu, or cuda:0 to cuda:1"):
        device_of_rank("cuda")


def test_what_a_cpu_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "recipes/JapaneseVowels/speaker_id", "--output_folder", tmp_path / "out"]
    line = line_of(capsys, *words, "--device", "cpu", "--precision", "fp16")
    assert "`--precision` (='fp16') must be fp32 or bf16 on a CPU" in line
    line = line_of(capsys, *words, "--device", "cpu", "--data_parallel_backend")
    assert "`--data_parallel_backend` must be for one process on a machine with GPUs" in line


# Places


def test_an_output_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for recipe in ("JapaneseVowels/speaker_id", "Tabular/classification"):
        words = ["train", f"recipes/{recipe}", "--output_folder", tmp_path / "file"]
        assert f"{tmp_path / 'file'}" in line_of(capsys, *words)
    line = line_of(capsys, "compare", "recipes/JapaneseVowels/speaker_id", "-o", tmp_path / "file")
    assert f"{tmp_path / 'file'}" in line


@pytest.mark.parametrize(("option", "value"), [("--stride", "0"), ("--repeats", "0"), ("--score-std", "-1")])
def test_bench_checks_its_numbers(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = option.removeprefix("--").replace("-", "_")
    assert f"`{name}` (={value}" in line_of(capsys, "bench", "--shapes", "1,1,4", "--methods", "max", option, value)


# Tables


def test_too_little_memory_while_classifying(
    model: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("seqstride.models.classifier.SequenceClassifier.decide", full)
    line = line_of(capsys, "classify", recording, "--model", model, "--csv", tmp_path / "t.csv")
    assert "out of memory" in line
    assert "written" not in line
    assert "--device cpu" in line
    assert not (tmp_path / "t.csv").exists()


def test_a_table_whose_reader_went_away(model: Path, recording: Path, tmp_path: Path) -> None:
    """`… --csv t.csv | head -1` is quiet, and stops neither its own command nor another one with this table."""
    listed = tmp_path / "list.txt"
    listed.write_text(f"{recording}\n" * 500)
    words = ["--model", str(model), "--csv", str(tmp_path / "t.csv")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "seqstride", "classify", "--list", str(listed), *words]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=environment) as running:
        os.close(writer)
        os.close(reader)
        assert running.communicate(timeout=120)[1] == b""
    assert running.returncode == 141
    assert (tmp_path / "t.csv.parts").is_dir()
    assert not (tmp_path / "t.csv").exists()

    for chosen, rows in ([str(recording)], 1), (["--list", str(listed)], 500):
        assert main(["classify", *chosen, *words]) == 0
        with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == rows
    assert {path.name for path in tmp_path.iterdir()} == {"list.txt", "t.csv"}
