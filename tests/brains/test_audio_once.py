"""Runs that decode and transform every recording once: the same results, and nothing stays behind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from layouts import spoken_digits_layout
from runs import assert_same
from safetensors.torch import load_file
from seqstride.data_prep import audio_check
from seqstride.data_prep.audio_check import check_audio
from torch import nn
from torch.testing import assert_close

from seqstride.brains.manifests import lasting_front
from seqstride.cli import main
from seqstride.encoders.frontend import LogMel
from seqstride.experiments.recipe import recipes_folder
from seqstride.files import audio_cache

RECIPE = recipes_folder() / "SpokenDigits" / "classification"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken_digits_layout(tmp_path_factory.mktemp("digits"))


def train(data: Path, output: Path, **overrides: object) -> dict[str, Any]:
    """Trains on resampled recordings, and gives all that a run ends with but what was measured by the clock."""
    options = {"data_folder": data, "output_folder": output, "number_of_epochs": 2, "width": 4, "sample_rate": 6000}
    argv = [part for key, value in {**options, **overrides}.items() for part in (f"--{key}", str(value))]
    assert main(["train", str(RECIPE), *argv, "--device", "cpu", "--noprogressbar"]) == 0
    record = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert record.pop("seconds") > 0
    assert record.pop("cpu_seconds") > 0
    return {"record": record, "model": load_file(output / "model.safetensors")}


def test_a_run_keeps_features_and_agrees_with_one_that_keeps_nothing(
    digits: Path, decoded: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(audio_cache.ENVIRONMENT, raising=False)
    once = train(digits, tmp_path / "once")
    assert set(decoded.values()) == {1}
    items = len(decoded)
    log = (tmp_path / "once" / "log.txt").read_text(encoding="utf-8")
    assert f"audio     decoded once, 1 MiB of features at most in {tmp_path / 'once' / 'save' / 'decoded'}" in log
    assert not (tmp_path / "once" / "save" / "decoded").exists()

    decoded.clear()
    monkeypatch.setenv(audio_cache.ENVIRONMENT, "off")
    often = train(digits, tmp_path / "often")
    assert len(decoded) == items
    assert max(decoded.values()) >= 3  # for the statistics and both epochs
    # a front end gives other last bits for a batch than for one recording
    assert_close(once["model"], often["model"], rtol=1e-3, atol=1e-4)
    assert once["record"]["test_loss"] == pytest.approx(often["record"]["test_loss"], rel=1e-4)

    decoded.clear()
    shared = tmp_path / "shared"
    monkeypatch.setenv(audio_cache.ENVIRONMENT, str(shared))
    assert_same(train(digits, tmp_path / "first"), once)
    assert set(decoded.values()) == {1}
    # and what the check of every recording found
    assert len(list(shared.glob("*.f32"))) == len(list(shared.glob("*.json"))) == items


AUGMENTED = {
    "window": {"window": 0.2},
    "wav_augment": {"wav_augment": "!new:speechbrain.augment.time_domain.DropChunk"},
}


@pytest.mark.parametrize("hparams", [{}, *AUGMENTED.values()], ids=["plain", *AUGMENTED])
def test_features_are_kept_only_where_every_epoch_makes_the_same(hparams: dict[str, Any]) -> None:
    front = LogMel(8000, 8)
    found = lasting_front({"modules": {"frontend": front}, "window": None, "wav_augment": None, **hparams})
    assert (found is None) == bool(hparams)
    assert found is not front  # which goes to the GPU


def test_other_front_ends_may_learn() -> None:
    assert lasting_front({"modules": {"frontend": nn.Conv1d(1, 4, 9)}}) is None
    assert lasting_front({"modules": {}}) is None


def test_waveforms_are_kept_where_training_cuts_windows(
    digits: Path, decoded: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(audio_cache.ENVIRONMENT, raising=False)
    once = train(digits, tmp_path / "once", window=0.1)
    assert set(decoded.values()) == {1}
    log = (tmp_path / "once" / "log.txt").read_text(encoding="utf-8")
    assert "1 MiB of samples at most" in log
    monkeypatch.setenv(audio_cache.ENVIRONMENT, "off")
    assert_same(once, train(digits, tmp_path / "often", window=0.1))


def test_another_run_finds_what_the_check_of_the_recordings_found(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((digits / "recordings").glob("*.wav"))
    monkeypatch.setenv(audio_cache.ENVIRONMENT, str(tmp_path))
    first = check_audio(files, digits, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(audio_check, "open_recording", None)
        assert check_audio(files, digits, tmp_path) == first
        with pytest.raises(ValueError, match="its rate is 8000 Hz and must be 16000 Hz"):
            check_audio(files, digits, tmp_path, sample_rate=16000)
    monkeypatch.setenv(audio_cache.ENVIRONMENT, "off")
    assert check_audio(files, digits, tmp_path) == first


def test_a_run_that_was_stopped_goes_on_with_what_it_kept(
    digits: Path, decoded: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(audio_cache.ENVIRONMENT, raising=False)
    from seqstride.brains.base import DownsamplingBrain

    with monkeypatch.context() as stopping:
        stopping.setattr(DownsamplingBrain, "on_stage_end", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        options = {"data_folder": digits, "output_folder": tmp_path, "width": 4, "sample_rate": 6000, "device": "cpu"}
        argv = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        main(["train", str(RECIPE), *argv, "--number_of_epochs", "2", "--noprogressbar"])
    assert list((tmp_path / "save" / "decoded").iterdir())
    train(digits, tmp_path)
    assert set(decoded.values()) == {1}
