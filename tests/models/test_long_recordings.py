"""Long recordings are read as they are needed: the answers are those of the whole signal, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import resnet, tones
from torchaudio.functional import resample

from seqstride.files.audio_files import Recording
from seqstride.files.loading import PIECE, _resampled_length, load_audio, open_audio, open_features
from seqstride.models.classifier import classify_files
from seqstride.models.recogniser import Transcriber, transcribe_files


@pytest.fixture(params=[8000, 11025], ids=["same rate", "resampled"])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Forty seconds in two channels."""
    wave = tones(40.0, request.param).numpy()
    soundfile.write(tmp_path / "long.wav", np.stack([wave, 0.5 * wave], 1), request.param)
    return tmp_path / "long.wav"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seams wherever there can be any."""
    monkeypatch.setattr("seqstride.files.loading.PIECE", 20_000)
    monkeypatch.setattr("seqstride.files.decoding._BLOCK", 3001)
    monkeypatch.setattr("seqstride.encoders.frontend.PIECE", 601)
    monkeypatch.setattr("seqstride.models.classifier.FRAMES", 30_000)


def recogniser() -> Transcriber:
    """Two words, with random weights."""
    words = dict(resnet("average").description)
    words["modules"]["encoder"] = {
        "class": "seqstride.encoders.conformer.ConformerEncoder",
        "arguments": {"in_channels": 12, "channels": 8, "layers": 1, "heads": 2, "kernel_size": 3, "strides": [2, 2]},
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Transcriber({**words, "task": "transcription", "units": {"kind": "words", "names": ["yes", "no"]}})


@pytest.mark.parametrize("window", [None, 1.0, 50.0])
def test_a_classifier_decides_the_same(window: float | None, recording: Path) -> None:
    model = resnet("adastride", window=window)
    waveform = load_audio(8000, recording)
    [expected] = model.decide(waveform[None], torch.tensor([len(waveform)]))
    [(_, decisions)] = classify_files(model, [Recording("long", str(recording))], batch_seconds=1.0)
    assert decisions == expected


def test_a_recogniser_writes_the_same(recording: Path) -> None:
    model = recogniser()
    expected = model.transcribe_long(load_audio(8000, recording))
    [(_, transcript)] = transcribe_files(model, [Recording("long", str(recording))], batch_seconds=1.0)
    assert expected.tokens, "random weights write something"
    assert transcript == expected


def test_features_are_read_as_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqstride.files.loading.FEATURE_VALUES", 70)
    features = np.random.default_rng(1).normal(size=(500, 5)).astype(np.float64)
    np.save(tmp_path / "a.npy", features)
    expected = torch.from_numpy(features.astype(np.float32))
    with open_features(tmp_path / "a.npy", 3, 490) as reader:
        assert len(reader) == 487
        for start in range(0, 480, 29):
            assert torch.equal(reader.read(start, min(start + 40, 487)), expected[3:490][start : start + 40])


def test_a_recording_that_is_damaged_in_the_middle_is_named_and_the_others_are_done(
    recording: Path, tmp_path: Path
) -> None:
    wave, rate = soundfile.read(recording, dtype="float32")
    wave[200_000, 0] = np.nan
    soundfile.write(tmp_path / "bad.wav", wave, rate, subtype="FLOAT")
    listed = [Recording("one", str(tmp_path / "bad.wav")), Recording("two", str(recording))]
    (_, error), (_, decisions) = classify_files(resnet("average", window=1.0), listed, batch_seconds=1.0)
    assert isinstance(error, ValueError)
    assert str(error).startswith(f"item 'one': '{tmp_path}/bad.wav' cannot be read as audio: not finite within")
    assert isinstance(decisions, dict)


@pytest.mark.parametrize("length", [1, 29_999, 30_001, 3_000_003])
@pytest.mark.parametrize(("before", "behind"), [(2, 1), (441, 160), (160, 441)])
def test_the_length_of_a_resampled_recording_is_known_before(length: int, before: int, behind: int) -> None:
    if before < behind:
        length = length // 10 + 1
    assert _resampled_length(length, before, behind) == len(resample(torch.zeros(length), before, behind))


@pytest.fixture
def peak() -> Callable[[], int]:
    """The peak of this process's memory since the fixture was made, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of the memory cannot be reset")

    def highest() -> int:
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    return highest


@pytest.mark.parametrize(("rate", "most"), [(8000, 20_000_000), (16000, 80_000_000)], ids=["same rate", "resampled"])
def test_memory_does_not_grow_with_the_duration(
    rate: int, most: int, tmp_path: Path, peak: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour at 8 kHz, or half of it at 16 kHz, is 115 MB as float32."""
    monkeypatch.setattr("seqstride.files.decoding._BLOCK", 1 << 16)
    monkeypatch.setattr("seqstride.files.loading.PIECE", PIECE)
    soundfile.write(tmp_path / "a.wav", np.zeros(3600 * 8000, np.int16), rate)
    before = peak()
    with open_audio(8000, tmp_path / "a.wav") as reader:
        for start in range(0, len(reader) - 40_000, 30_000):
            assert len(reader.read(start, start + 40_000)) == 40_000
    assert peak() - before < most
