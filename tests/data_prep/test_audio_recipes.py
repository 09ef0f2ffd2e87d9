"""The audio recipes from files in the official layouts to results, and what their keys do."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from layouts import esc_layout, speech_commands_layout, spoken_digits_layout, write

import seqstride as ss
from recipes import words_for
from seqstride.cli import main
from seqstride.experiments.recipe import list_recipes

SMALL = {"number_of_epochs": 1, "width": 4, "device": "cpu"}
SMALL_2D = {"number_of_epochs": 1, "width": 4, "channels": "[2, 2, 2, 2, 2, 4]", "device": "cpu"}


def run(recipe: str, method: str, data: Path, output: Path, **overrides: object) -> dict:
    """Trains, and gives the record."""
    options = {"data_folder": data, "output_folder": output, **overrides}
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    assert main(["train", *words_for(f"{recipe}/classification", method), *argv, "--noprogressbar"]) == 0
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken_digits_layout(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize("recipe", ["SpokenDigits", "SpeechCommands", "ESC", "AudioFolder"])
def test_every_method_and_variant_is_there(recipe: str) -> None:
    methods = list_recipes()[f"{recipe}/classification"]
    assert set(ss.DOWNSAMPLERS) | {"spectrogram2d"} <= set(methods)


@pytest.mark.parametrize(
    ("recipe", "layout", "keys", "label_counts"),
    [
        ("SpokenDigits", spoken_digits_layout, {"fold": "anna"}, (2, 24)),
        ("SpeechCommands", speech_commands_layout, {"task": 35}, (35, 35)),
        ("SpeechCommands", speech_commands_layout, {"task": 12}, (12, 12)),
        ("ESC", esc_layout, {"subset": 10, "fold": 5}, (10, 10)),
    ],
)
def test_from_the_official_layout_to_results(
    recipe: str, layout: Callable[[Path], Path], keys: dict, label_counts: tuple[int, int], tmp_path: Path
) -> None:
    data = layout(tmp_path / "data")
    record = run(recipe, "adastride", data, tmp_path / "out", **SMALL, **keys)
    classes, items = label_counts
    assert len(record["test_items_per_class"]) == classes
    assert sum(record["test_items_per_class"].values()) == items
    assert 0 <= record["test_accuracy"] <= 1
    assert record["scored"] == "test"
    for name in ("model.json", "model.safetensors", "hyperparams.yaml", "strides.png", "training.png", "train.yaml"):
        assert (tmp_path / "out" / name).stat().st_size > 100


@pytest.mark.parametrize("recipe", ["SpeechCommands", "ESC"])
def test_the_2d_encoder_learns_strides_of_both_axes(recipe: str, tmp_path: Path) -> None:
    layout, keys = {
        "SpeechCommands": (speech_commands_layout, {"task": 12}),
        "ESC": (partial(esc_layout, samples=4410), {"subset": 10}),
    }[recipe]
    record = run(recipe, "spectrogram2d", layout(tmp_path / "data"), tmp_path / "out", **SMALL_2D, **keys)
    for axis in ("strides", "frequency_strides"):
        start, end = record[f"initial_{axis}"], record[axis]
        assert start == [2.0, 2.0, 1.0, 2.0, 1.0, 2.0]
        assert len(end) == 6
        assert end != start
    assert record["strides"] != record["frequency_strides"]


def test_shared_strides_are_one(digits: Path, tmp_path: Path) -> None:
    record = run("SpokenDigits", "spectrogram2d", digits, tmp_path, **SMALL_2D, shared_strides=True)
    assert record["strides"] == record["frequency_strides"] != record["initial_strides"]


@pytest.mark.long
def test_random_strides_depend_on_the_seed_alone(digits: Path, tmp_path: Path) -> None:
    starts = {}
    for seed in (0, 1, 2):
        for method in ("average", "diffstride"):
            output = tmp_path / f"{method}{seed}"
            record = run("SpokenDigits", method, digits, output, **SMALL, strides="random", seed=seed)
            starts[method, seed] = tuple(record["initial_strides"])
    assert all(starts["average", seed] == starts["diffstride", seed] for seed in (0, 1, 2))
    assert len(set(starts.values())) > 1
    assert all(stride in (1, 2, 3) for strides in starts.values() for stride in strides)


def test_several_labels_share_an_encoder(digits: Path, tmp_path: Path) -> None:
    record = run("SpokenDigits", "average", digits, tmp_path, **SMALL, labels="[digit, speaker]")
    assert set(record["test_items_per_class"]) == {"0", "7"}
    assert 0 <= record["test_speaker_accuracy"] <= 1
    description = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert description["labels"] == {"digit": ["0", "7"], "speaker": ["anna", "lucas", "theo"]}


def test_augmentation_and_windows_run(digits: Path, tmp_path: Path) -> None:
    keys = {"wav_augment": "!ref <speed_perturb>", "fea_augment": "!ref <spec_augment>", "mixup_alpha": 0.3}
    record = run("SpokenDigits", "adastride", digits, tmp_path, **SMALL, **keys, window=0.005)
    assert np.isfinite([record["test_loss"], record["valid_loss"]]).all()


def test_settings_are_chosen_without_the_test_part(digits: Path, tmp_path: Path) -> None:
    record = run("SpokenDigits", "average", digits, tmp_path, **SMALL, fold="theo", valid="speaker", score="valid")
    assert record["scored"] == "valid"
    assert record["fold"] == "theo"
    assert record["test_accuracy"] == record["valid_accuracy"]


def test_a_complexity_price_raises_learnt_strides(digits: Path, tmp_path: Path) -> None:
    keys = {**SMALL, "number_of_epochs": 3, "stride_lr": 0.1}
    free = run("SpokenDigits", "diffstride", digits, tmp_path / "free", **keys)
    dear = run("SpokenDigits", "diffstride", digits, tmp_path / "dear", **keys, complexity="{weight: 10, kind: frames}")
    assert sum(dear["strides"]) > sum(free["strides"])


def test_one_folder_with_everything_in_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rates, formats, stereo and a damaged file; low and high tones are told apart."""
    data = tmp_path / "recordings"
    kinds = [("wav", 8000, 1), ("flac", 16000, 2), ("ogg", 22050, 1), ("aiff", 44100, 2), ("wav", 48000, 1)]
    for index in range(20):
        suffix, rate, channels = kinds[index % len(kinds)]
        for name, tone in (("low", 300), ("high", 2500)):
            time = np.arange(int(rate * (0.2 + 0.01 * index))) / rate
            wave = 0.3 * np.sin(2 * np.pi * (tone + 10 * index) * time)
            path = data / name / f"{index}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.stack([wave] * channels, 1), rate)
    broken = write(data / "low" / "torn.wav", 4000)
    broken.write_bytes(broken.read_bytes()[:3000])
    record = run(
        "AudioFolder", "adastride", data, tmp_path / "out", number_of_epochs=8, width=16, centred=False, device="cpu"
    )
    assert record["test_accuracy"] == 1.0
    assert sum(record["test_items_per_class"].values()) == 8
    assert list(json.loads((tmp_path / "out/save/data/skipped.json").read_text())) == ["low/torn.wav"]
    assert "low/torn.wav" in "".join(capfd.readouterr())
