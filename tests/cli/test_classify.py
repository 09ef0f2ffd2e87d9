"""`seqstride classify`: decisions file by file, whatever the batches, and what happens to bad files."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import resnet, saved, tones

from seqstride.cli import main
from seqstride.files.audio_files import Recording, find_recordings
from seqstride.files.loading import load_audio
from seqstride.models.batches import BATCH_SECONDS
from seqstride.models.classifier import classify_files, load_model

LABELS = {"digit": ["0", "7"], "speaker": ["anna", "lucas", "theo"]}
SECONDS = (0.3, 0.05, 1.0, 0.2, 0.6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(resnet("adastride", labels=LABELS), tmp_path_factory.mktemp("model"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Five recordings at several depths, rates and formats, two that are none, and a file that is no audio."""
    folder = tmp_path / "in"
    (folder / "sub" / "deep").mkdir(parents=True)
    names = ("a.wav", "b.flac", "sub/c.ogg", "sub/deep/d.WAV", "sub/e.wav")
    for index, (name, seconds) in enumerate(zip(names, SECONDS, strict=True)):
        rate = (8000, 16000, 44100)[index % 3]
        wave = tones(seconds, rate, seed=index).numpy()
        soundfile.write(folder / name, np.stack([wave, wave], 1) if index == 3 else wave, rate)
    (folder / "broken.wav").write_bytes(b"no audio at all")
    soundfile.write(folder / "sub" / "empty.wav", np.zeros(0), 8000)
    (folder / "notes.txt").write_text("x")
    return folder


ORDER = ["a.wav", "b.flac", "broken.wav", "sub/c.ogg", "sub/e.wav", "sub/empty.wav", "sub/deep/d.WAV"]
BAD = {"broken.wav": "cannot be read as audio", "sub/empty.wav": "must have at least one sample"}


def whole_files(folder: Path) -> list[Recording]:
    return [Recording(str(file), str(file)) for file in find_recordings([folder])]


def classify(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[list[str], list[str]]:
    """The lines on stdout and stderr."""
    assert main(["classify", *map(str, words)]) == code
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def test_folders_are_searched_and_files_are_taken_as_they_are(recordings: Path) -> None:
    assert [file.relative_to(recordings).as_posix() for file in find_recordings([recordings])] == ORDER
    odd = recordings / "notes.txt"
    assert find_recordings([odd, recordings / "sub" / "deep", "absent.wav"]) == [
        odd,
        recordings / "sub" / "deep" / "d.WAV",
        Path("absent.wav"),
    ]
    (recordings / "none").mkdir()
    with pytest.raises(ValueError, match=r"folder '.*none' must hold audio files; there are none"):
        find_recordings([recordings / "none"])


@pytest.mark.parametrize("batch_seconds", [0.01, 0.5, 1.3, 1000])
def test_results_do_not_depend_on_the_batches(model: Path, recordings: Path, batch_seconds: float) -> None:
    classifier = load_model(model)
    results = list(classify_files(classifier, whole_files(recordings), batch_seconds))
    assert [Path(recording.path).relative_to(recordings).as_posix() for recording, _ in results] == ORDER
    for recording, decisions in results:
        name = Path(recording.path).relative_to(recordings).as_posix()
        if name in BAD:
            assert isinstance(decisions, ValueError)
            assert BAD[name] in str(decisions)
            assert recording.path in str(decisions)
            continue
        assert isinstance(decisions, dict)
        waveform = load_audio(8000, recording.path)
        [expected] = classifier.decide(waveform[None], torch.tensor([len(waveform)]))
        assert list(decisions) == ["digit", "speaker"]
        for label, decision in decisions.items():
            assert decision.name == expected[label].name
            assert decision.probability == pytest.approx(expected[label].probability, abs=1e-5)


def test_batches_have_a_limited_duration(model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, sizes = load_model(model), []
    decide, read = classifier.decide, classifier.decide_read
    monkeypatch.setattr(classifier, "decide", lambda x, lengths: (sizes.append(tuple(x.shape)), decide(x, lengths))[1])
    monkeypatch.setattr(classifier, "decide_read", lambda x: (sizes.append((1, len(x))), read(x))[1])
    for limit, expected in {
        1000: [(5, 8000)],
        # a 0.3 with b 0.05; c alone, longer than the limit; e 0.6; d 0.2 would make it 1.2
        0.7: [(2, 2400), (1, 8000), (1, 4800), (1, 1600)],
    }.items():
        sizes.clear()
        list(classify_files(classifier, whole_files(recordings), limit))
        assert sizes == expected
    assert BATCH_SECONDS < 1000, "minutes, not hours"


def test_a_spreadsheet_finds_no_formula(
    model: Path,
    recordings: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.wav", "@a.wav", "+b.wav", "c.wav"]
    for name in names:
        shutil.copy(recordings / ORDER[0], name)
    for words, mark in (([], ""), (["--spreadsheet"], "'")):
        classify(capsys, *names, "--model", model, "--csv", tmp_path / f"o{mark}.csv", *words)
        with open(tmp_path / f"o{mark}.csv", encoding="utf-8", newline="") as file:
            found = [row["file"] for row in csv.DictReader(file)]
        assert found == [*(mark + name for name in names[:3]), "c.wav"]


def test_the_command_prints_and_writes_every_label(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "new" / "labels.csv"
    out, err = classify(capsys, recordings, "absent.wav", "--model", model, "--csv", table, code=2)
    expected = {
        Path(recording.path): decisions
        for recording, decisions in classify_files(load_model(model), whole_files(recordings))
        if isinstance(decisions, dict)
    }
    lines = []
    for file, decisions in expected.items():
        digit, speaker = decisions.values()
        lines.append(
            f"{file}: digit {digit.name} ({100 * digit.probability:.1f} %), "
            f"speaker {speaker.name} ({100 * speaker.probability:.1f} %)"
        )
    assert out == lines
    assert len(err) == 3
    for line, name in zip(err, ["broken.wav", "sub/empty.wav", "absent.wav"], strict=True):
        assert line.startswith("seqstride: ")
        assert name in line

    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "digit", "digit_probability", "speaker", "speaker_probability", "error"]
    assert [row["file"] for row in rows] == [*(str(recordings / name) for name in ORDER), "absent.wav"]
    for row in rows:
        decisions = expected.get(Path(row["file"]), {})
        if decisions:
            assert row["error"] == ""
            for label, (name, probability) in decisions.items():
                assert row[label] == name
                assert float(row[f"{label}_probability"]) == pytest.approx(probability, abs=1e-5)
        else:
            assert row["digit"] == row["speaker_probability"] == ""
            assert row["file"] in row["error"]


def test_good_files_alone_are_a_success(model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = classify(capsys, recordings / "a.wav", recordings / "sub" / "deep", "--model", model)
    assert len(out) == 2
    assert err == []


def test_samples_that_are_no_numbers_are_an_error(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wave = tones(0.1).numpy()
    wave[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, 8000, subtype="FLOAT")
    (tmp_path / "headless.raw").write_bytes(bytes(1000))
    out, err = classify(capsys, tmp_path / "nan.wav", tmp_path / "headless.raw", "--model", model, code=2)
    assert out == []
    assert "nan.wav' cannot be read as audio: not finite within samples" in err[0]
    assert "headless.raw' cannot be read as audio" in err[1]


def test_what_concerns_all_files_stops_at_once(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    [line] = classify(capsys, recordings, "--model", tmp_path, code=2)[1]
    assert "must hold a trained model" in line
    features = saved(resnet("average", sample_rate=None), tmp_path / "features")
    [line] = classify(capsys, recordings, "--model", features, code=2)[1]
    assert "`model` must read recordings; this one reads features (mel band)" in line
    (tmp_path / "none").mkdir()
    [line] = classify(capsys, tmp_path / "none", "--model", model, code=2)[1]
    assert "there are none" in line
