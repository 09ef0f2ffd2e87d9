"""Data preparation: what it writes, when it writes again, what it refuses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from seqstride.data_prep.japanese_vowels import FRAME_RATE, prepare_japanese_vowels


def manifest(folder: Path, split: str) -> dict:
    return json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare_japanese_vowels(folder, valid_per_speaker=6)
    return folder


@pytest.fixture(scope="module")
def ts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the set, as a user would have downloaded them."""
    import sktime.datasets

    folder = tmp_path_factory.mktemp("download")
    shipped = Path(sktime.datasets.__file__).parent / "data" / "JapaneseVowels"
    for part in ("TRAIN", "TEST"):
        shutil.copy(shipped / f"JapaneseVowels_{part}.ts", folder)
    return folder


def test_the_official_split_with_a_balanced_validation_part(prepared: Path) -> None:
    train, valid, test = (manifest(prepared, split) for split in ("train", "valid", "test"))
    assert len(train) + len(valid) == 270
    assert len(test) == 370
    assert not set(train) & set(valid)
    assert set(Counter(item["speaker"] for item in train.values()).values()) == {24}
    assert set(Counter(item["speaker"] for item in valid.values()).values()) == {6}
    # UCI's description of the set gives the test utterances of speakers 1 … 9
    counts = Counter(item["speaker"] for item in test.values())
    assert [counts[str(speaker)] for speaker in range(1, 10)] == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_features_are_the_recordings(prepared: Path) -> None:
    lengths = []
    for split in ("train", "valid", "test"):
        for item in manifest(prepared, split).values():
            features = np.load(item["features"].format(data_root=prepared))
            assert features.shape == (item["length"], 12)
            assert features.dtype == np.float32
            assert np.isfinite(features).all()
            assert item["frame_rate"] == FRAME_RATE == 156.25
            lengths.append(item["length"])
    assert min(lengths) == 7
    assert max(lengths) == 29
    # the first values of the training file
    first = np.load(prepared / "features" / "train_000.npy")
    np.testing.assert_allclose(first[:2, :2], [[1.860936, -0.207383], [1.891651, -0.193249]], rtol=1e-6)


def test_a_data_folder_gives_the_same(prepared: Path, ts_folder: Path, tmp_path: Path) -> None:
    prepare_japanese_vowels(tmp_path, data_folder=ts_folder, valid_per_speaker=6)
    for split in ("train", "valid", "test"):
        assert manifest(tmp_path, split) == manifest(prepared, split)
    name = "test_123.npy"
    np.testing.assert_array_equal(np.load(tmp_path / "features" / name), np.load(prepared / "features" / name))


@pytest.mark.long
def test_it_works_once_and_again_when_something_changed(tmp_path: Path) -> None:
    prepare_japanese_vowels(tmp_path, valid_per_speaker=3)
    before = (tmp_path / "train.json").stat().st_mtime_ns
    chosen = set(manifest(tmp_path, "valid"))

    prepare_japanese_vowels(tmp_path, valid_per_speaker=3)
    assert (tmp_path / "train.json").stat().st_mtime_ns == before

    prepare_japanese_vowels(tmp_path, valid_per_speaker=3, seed=1)
    assert set(manifest(tmp_path, "valid")) != chosen
    prepare_japanese_vowels(tmp_path, valid_per_speaker=3)
    assert set(manifest(tmp_path, "valid")) == chosen

    (tmp_path / "features" / "test_007.npy").unlink()
    prepare_japanese_vowels(tmp_path, valid_per_speaker=3)
    assert (tmp_path / "features" / "test_007.npy").is_file()
    assert not list(tmp_path.rglob("*.part"))


def test_changed_files_are_noticed(ts_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ts_folder, source)
    prepare_japanese_vowels(tmp_path / "save", data_folder=source)
    assert len(manifest(tmp_path / "save", "test")) == 370
    path = source / "JapaneseVowels_TEST.ts"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    prepare_japanese_vowels(tmp_path / "save", data_folder=source)
    assert len(manifest(tmp_path / "save", "test")) == 369


@pytest.mark.parametrize("count", [0, -1, 30])
def test_a_wrong_validation_size_is_named(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"`valid_per_speaker` \(={count}\) must be between 1 and 29"):
        prepare_japanese_vowels(tmp_path, valid_per_speaker=count)
    assert not (tmp_path / "prepared.json").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`data_folder` .* JapaneseVowels_TRAIN.ts is missing"):
        prepare_japanese_vowels(tmp_path / "save", data_folder=tmp_path)
