"""Sets of sensors: their official layouts, splits by person, and what they must refuse."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import seglearn.datasets
from sensor_layouts import PEOPLE, wharf_layout
from seqstride.data_prep import wharf
from seqstride.data_prep.stored_series import split_by_person
from seqstride.data_prep.watch import prepare_watch
from seqstride.data_prep.wharf import ACTIVITIES, prepare_wharf
from serving import Server, pack_folder, zipped

from seqstride.cli import main
from seqstride.errors import InputError

SPLITS = ("train", "valid", "test")


def manifests(folder: Path) -> dict[str, dict]:
    return {split: json.loads((folder / f"{split}.json").read_text(encoding="utf-8")) for split in SPLITS}


def series(item: dict) -> np.ndarray:
    return np.load(item["features"])[item.get("start", 0) : item.get("stop")]


@pytest.mark.parametrize(
    ("valid", "test"), [(["a"], ["z"]), (["a"], ["a"]), ([], ["a"]), (["a"], []), (["a", "b"], ["c"])]
)
def test_people_are_in_one_part_each_and_some_are_for_training(valid: list, test: list) -> None:
    with pytest.raises(InputError, match=r"must be different people, some in each and some left for training, of a, b"):
        split_by_person({"a", "b", "c"}, valid, test)
    assert split_by_person({"1", "2", "3"}, [2], [3]) == {"1": "train", "2": "valid", "3": "test"}


# ---- WHARF


@pytest.fixture(scope="module")
def wrists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wharf_layout(tmp_path_factory.mktemp("wharf"))


SPLIT = {"valid_people": ["m2"], "test_people": ["m1", "f4"]}


def test_people_of_the_test_are_not_trained_on(wrists: Path, tmp_path: Path) -> None:
    prepare_wharf(wrists, tmp_path / "save", series_folder=tmp_path / "series", **SPLIT)
    parts = manifests(tmp_path / "save")
    people = {split: {item["person"] for item in items.values()} for split, items in parts.items()}
    assert people == {"train": {*PEOPLE} - {"m1", "f4", "m2"}, "valid": {"m2"}, "test": {"m1", "f4"}}
    activities = Counter(item["activity"] for items in parts.values() for item in items.values())
    assert activities == dict.fromkeys(ACTIVITIES, len(PEOPLE))  # neither the activity of one person, nor the model


def test_series_are_in_g_and_shared_by_runs(wrists: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        prepare_wharf(wrists, tmp_path / run, series_folder=tmp_path / "series", **SPLIT)
    assert len(list(tmp_path.glob("series/*/*.npy"))) == len(PEOPLE) * len(ACTIVITIES)
    name, item = next(iter(manifests(tmp_path / "a")["test"].items()))
    assert manifests(tmp_path / "b")["test"][name] == item
    [file] = (wrists / "WHARF Data Set" / "Data").glob(f"*/{name}.txt")
    codes = np.loadtxt(file)
    assert series(item).shape == (item["length"], 3)
    assert np.allclose(series(item), 3 * codes / 63 - 1.5, atol=1e-6)
    assert item["frame_rate"] == 32


@pytest.mark.parametrize("line", ["1 2", "1 2 64", "-1 2 3", "1 2 x"])
def test_a_recording_of_something_else_is_named(line: str, tmp_path: Path) -> None:
    data = wharf_layout(tmp_path / "data", 3)
    [file] = data.glob("*/Data/Walk/*-walk-m1.txt")
    file.write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"walk-m1\.txt' must"):
        prepare_wharf(data, tmp_path / "save", series_folder=tmp_path / "series", **SPLIT)
    assert not (tmp_path / "save").exists()


def test_a_folder_without_wharf_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`data_folder` .* must be a checkout of the repository"):
        prepare_wharf(tmp_path, tmp_path / "save", series_folder=tmp_path / "series", **SPLIT)


def test_wharf_is_downloaded(wrists: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = zipped(pack_folder(wrists, f"WHARF-{wharf._COMMIT}"))
    monkeypatch.setattr(wharf, "_URL", server.url("wharf.zip"))
    for run in ("a", "b"):
        prepare_wharf(tmp_path / "data", tmp_path / run, series_folder=tmp_path / "series", download=True, **SPLIT)
    assert len(server.asked) == 1
    assert len(manifests(tmp_path / "b")["test"]) == 2 * len(ACTIVITIES)


def test_wharf_from_recordings_to_the_balanced_accuracy(wrists: Path, tmp_path: Path) -> None:
    keys = {"data_folder": wrists, "series_folder": tmp_path / "series", "output_folder": tmp_path / "run"}
    keys |= {"ratio": 4, "number_of_epochs": 1, "width": 4, "device": "cpu"}
    options = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    assert main(["train", "recipes/WHARF/activities", "--downsampler", "adastride", *options, "--noprogressbar"]) == 0
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["metric"]["name"] == "balanced accuracy"
    found = [1 - error for error in record["test_error_per_class"].values()]
    assert record["metric"]["value"] == pytest.approx(100 * np.mean(found))
    assert record["strides"][0] == record["ratio"] == 4


# ---- the watch of seglearn


@pytest.fixture
def few_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    data = {
        "X": [noise.normal(size=(450 + person, 6)) for person in range(1, 11)],
        "y": np.arange(10) % 7,
        "subject": np.arange(1, 11),
        "side": np.arange(10) % 2,
        "y_labels": ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"],
    }
    monkeypatch.setattr(seglearn.datasets, "load_watch", lambda: data)


@pytest.mark.parametrize(("fold", "test", "valid"), [(1, "12", "34"), (4, "78", ["9", "10"]), (5, ["9", "10"], "12")])
def test_two_people_are_tested_and_the_next_two_validate(
    fold: int, test: list, valid: list, few_watches: None, tmp_path: Path
) -> None:
    prepare_watch(tmp_path / "save", series_folder=tmp_path / "series", fold=fold)
    parts = manifests(tmp_path / "save")
    people = {split: {item["person"] for item in items.values()} for split, items in parts.items()}
    assert people["test"] == {*test}
    assert people["valid"] == {*valid}
    assert people["train"] == {str(number) for number in range(1, 11)} - {*test, *valid}


def test_windows_of_training_overlap_and_the_others_do_not(few_watches: None, tmp_path: Path) -> None:
    prepare_watch(tmp_path / "save", series_folder=tmp_path / "series", fold=1)
    parts = manifests(tmp_path / "save")
    starts = {split: sorted({item["start"] for item in items.values()}) for split, items in parts.items()}
    assert starts == {"train": [0, 100, 200], "valid": [0, 200], "test": [0, 200]}
    data = seglearn.datasets.load_watch()["X"]
    for name, item in parts["test"].items():
        whole = data[int(name[:3])]
        assert np.allclose(series(item), whole[item["start"] : item["stop"]], atol=1e-6)
        assert len(series(item)) == item["length"] == 200


@pytest.mark.parametrize("window", [0.0, 9.1, 1000])
def test_windows_must_fit_into_series(window: float, few_watches: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`window` \(=.*\) must be at least 2 frames, and at most 9.02 s"):
        prepare_watch(tmp_path / "save", series_folder=tmp_path / "series", fold=1, window=window)


def test_an_unknown_fold_of_the_watch_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`fold` \(=6\) must be 1, 2, 3, 4 or 5"):
        prepare_watch(tmp_path, series_folder=tmp_path, fold=6)


def test_the_whole_watch(tmp_path: Path) -> None:
    tested = 0
    for fold in range(1, 6):
        prepare_watch(tmp_path / "save", series_folder=tmp_path / "series", fold=fold)
        parts = manifests(tmp_path / "save")
        tested += len(parts["test"])
        assert all(len({item["exercise"] for item in items.values()}) == 7 for items in parts.values())
    assert tested == 1149
    assert len(list(tmp_path.glob("series/*/*.npy"))) == 140
