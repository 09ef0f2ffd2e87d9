"""Sets made from a seed: the same for everybody, shared by runs, and what they must be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from seqstride.data_prep.bursts import BURST, FRAMES, make_bursts, prepare_bursts, templates
from seqstride.data_prep.generated import FRAME_RATE
from seqstride.data_prep.tones import prepare_tones, tones

from seqstride.cli import main
from seqstride.errors import InputError
from seqstride.models.classifier import load_model

FEW = {"train": 5, "valid": 3, "test": 4}


def manifest(folder: Path, split: str) -> dict:
    return json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))


def test_codes_differ_in_enough_places() -> None:
    signs = templates()[:, ::2].sum(2).sign()
    assert signs.shape == (16, 10)
    assert not signs.sum(1).any()  # balanced: the mean of a burst says nothing
    distances = (signs[:, None] != signs).sum(2)
    assert distances[~np.eye(16, dtype=bool)].min() >= 4
    assert np.allclose(templates().norm(dim=2), 1.0)


def test_a_burst_stands_where_the_manifest_says() -> None:
    part, silent = make_bursts(50, seed=3, amplitude=2.0), make_bursts(50, seed=3, amplitude=0.0)
    for signal, noise, facts in zip(part.signals, silent.signals, part.facts, strict=True):
        start, stop = (round(FRAME_RATE * time) for time in facts["events"][0])
        burst = (signal - noise)[start:stop]
        assert np.allclose(burst, 2 * templates()[int(facts["code"])], atol=1e-5)
        assert stop - start == BURST
        assert np.count_nonzero((signal != noise).any(1)) == BURST
    assert abs(silent.signals.std() - 1) < 0.02


def test_manifests_name_parts_of_one_array_per_split(tmp_path: Path) -> None:
    prepare_bursts(tmp_path / "run", data_folder=tmp_path / "set", items=FEW)
    seen = []
    for split, count in FEW.items():
        items = manifest(tmp_path / "run", split)
        assert len(items) == count
        for item in items.values():
            array = np.load(item["features"])
            assert array.shape == (count * FRAMES, 8)
            assert item["stop"] - item["start"] == item["length"] == FRAMES
            seen.append(array[item["start"] : item["stop"]].tobytes())
    assert len(set(seen)) == sum(FEW.values())  # no item is in two splits


def test_a_set_is_made_once_and_shared(tmp_path: Path) -> None:
    for run in ("a", "b"):
        prepare_bursts(tmp_path / run, data_folder=tmp_path / "set", items=FEW)
    arrays = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()}
    assert len(arrays) == 3
    assert manifest(tmp_path / "a", "train") == manifest(tmp_path / "b", "train")
    prepare_bursts(tmp_path / "a", data_folder=tmp_path / "set", items=FEW, seed=1)
    assert len(list((tmp_path / "set").iterdir())) == 6
    assert {path: path.stat().st_mtime_ns for path in arrays} == arrays
    assert manifest(tmp_path / "a", "train") != manifest(tmp_path / "b", "train")


@pytest.mark.parametrize("items", [{"train": 5, "valid": 3}, {**FEW, "test": 0}, {**FEW, "test": 1.5}])
def test_items_must_be_given_for_each_split(items: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`items` .* must give train, valid, test a whole number"):
        prepare_bursts(tmp_path, data_folder=tmp_path, items=items)
    with pytest.raises(InputError, match="`amplitude`"):
        prepare_bursts(tmp_path, data_folder=tmp_path, items=FEW, amplitude=float("nan"))


def test_tones_are_those_of_the_generator(tmp_path: Path) -> None:
    prepare_tones(tmp_path / "run", data_folder=tmp_path / "set", items=FEW, seed=2)
    signals, labels = tones(FEW["test"], torch.Generator().manual_seed(3 * 2 + 2))
    items = manifest(tmp_path / "run", "test").values()
    assert [item["tone"] for item in items] == [str(label) for label in labels.tolist()]
    for item, signal in zip(items, signals, strict=True):
        stored = np.load(item["features"])[item["start"] : item["stop"]]
        assert np.allclose(stored, signal.T, atol=2e-3)
    with pytest.raises(InputError, match="`amplitude`"):
        prepare_tones(tmp_path, data_folder=tmp_path, items=FEW, amplitude=-1)


@pytest.mark.parametrize("recipe", ["bursts", "tones"])
def test_a_recipe_trains_at_a_stride(recipe: str, tmp_path: Path) -> None:
    keys = {"items": "{train: 32, valid: 16, test: 16}", "number_of_epochs": 1, "width": 4, "device": "cpu"}
    keys |= {"ratio": 4, "data_folder": tmp_path / "set", "output_folder": tmp_path / "run"}
    options = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    recipe = f"recipes/Synthetic/{recipe}"
    assert main(["train", recipe, "--downsampler", "adastride", *options, "--noprogressbar"]) == 0
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["strides"][0] == record["ratio"] == 4
    if recipe.endswith("bursts"):
        assert record["test_event_share_of_time"] == pytest.approx(BURST / FRAMES)
        assert record["test_event_share"] > 0
    assert load_model(tmp_path / "run").encoder.downsamplers[0].stride == 4
