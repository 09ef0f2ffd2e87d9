"""AN4 in the layouts of its releases: features and audio, the official lists, held-out speakers."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from an4_release import Spoken, write_release
from seqstride.data_prep.an4 import prepare_an4

TRAIN = {"fash": ["an251", "cen1"], "mabc": ["an1", "an2", "cen7"], "mxyz": ["an9"]}
TEST = {"fcaw": ["an406", "cen2"]}
WORDS = {"an251": "YES", "cen1": "H I N I C H", "an1": "TWO SIX", "an2": "GO", "cen7": "Z O", "an9": "RUBOUT G"}
WORDS |= {"an406": "ERASE C Q", "cen2": "NO"}


def frames(name: str) -> np.ndarray:
    """The cepstra of an utterance, (T, 13)."""
    generator = np.random.default_rng(sum(name.encode()))
    return generator.normal(size=(20 + len(name), 13)).astype(np.float32)


def samples(name: str) -> np.ndarray:
    """The samples of an utterance, among them the extremes of 16 bits."""
    generator = np.random.default_rng(sum(name.encode()))
    return np.concatenate([[-32768, 32767, 1], generator.integers(-3000, 3000, 4000)]).astype(np.int16)


def release(folder: Path, kind: str, train: dict = TRAIN, marks: bool = False) -> Path:
    """Writes the set as it is published: kind "mfc", "raw" or "sph"."""

    def spoken(speakers: dict) -> list[Spoken]:
        content = frames if kind == "mfc" else samples
        names = [(start, speaker, f"{start}-{speaker}-b") for speaker, starts in speakers.items() for start in starts]
        return [
            Spoken(name, speaker, f"<s> {WORDS[start]} </s>" if marks else WORDS[start], content(name))
            for start, speaker, name in names
        ]

    return write_release(folder, spoken(train), spoken(TEST), kind)


def manifests(folder: Path) -> dict[str, dict]:
    return {split: json.loads((folder / f"{split}.json").read_text()) for split in ("train", "valid", "test")}


def test_features_words_and_speakers(tmp_path: Path) -> None:
    prepare_an4(release(tmp_path / "an4", "mfc"), tmp_path / "out", valid_speakers=1)
    parts = manifests(tmp_path / "out")
    assert set(parts["test"]) == {"an406-fcaw-b", "cen2-fcaw-b"}
    assert set(parts["train"]) | set(parts["valid"]) == {f"{n}-{s}-b" for s, names in TRAIN.items() for n in names}
    held_out = {item["speaker"] for item in parts["valid"].values()}
    assert len(held_out) == 1
    assert not held_out & {item["speaker"] for item in parts["train"].values()}
    for name, item in {**parts["train"], **parts["valid"], **parts["test"]}.items():
        stored = np.load(item["features"].format(data_root=tmp_path / "out"))
        np.testing.assert_array_equal(stored, frames(name))
        assert stored.dtype == np.float32
        assert (item["length"], item["frame_rate"]) == (len(stored), 100.0)
        assert item["words"] == WORDS[name.split("-")[0]]
        assert item["speaker"] == name.split("-")[1]


@pytest.mark.parametrize("kind", ["raw", "sph"])
def test_both_forms_of_the_audio_sample_by_sample(kind: str, tmp_path: Path) -> None:
    prepare_an4(release(tmp_path / "an4", kind, marks=True), tmp_path / "out", source="audio", valid_speakers=1)
    for part in manifests(tmp_path / "out").values():
        for name, item in part.items():
            stored, rate = soundfile.read(item["wav"].format(data_root=tmp_path / "out"), dtype="int16")
            np.testing.assert_array_equal(stored, samples(name))
            assert item["sample_rate"] == rate == 16000
            assert item["duration"] == len(stored) / 16000
            assert item["words"] == WORDS[name.split("-")[0]]


def test_audio_that_was_cut_is_named(tmp_path: Path) -> None:
    file = release(tmp_path / "an4", "sph") / "wav" / "an4_clstk" / "mabc" / "an1-mabc-b.sph"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"1 are not:\n  .*an1-mabc-b\.sph: cut short: it holds 3503 of 4003 samples"):
        prepare_an4(tmp_path / "an4", tmp_path / "out", source="audio", valid_speakers=1)


def test_the_choice_of_speakers_follows_the_seed(tmp_path: Path) -> None:
    source = release(tmp_path / "an4", "mfc")
    chosen = []
    for seed in range(6):
        for attempt in ("a", "b"):
            prepare_an4(source, tmp_path / f"{seed}{attempt}", valid_speakers=1, seed=seed)
            chosen.append(tuple(manifests(tmp_path / f"{seed}{attempt}")["valid"]))
        assert chosen[-1] == chosen[-2]
    assert len(set(chosen)) > 1


def test_speakers_of_the_test_list_are_left_out_of_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = release(tmp_path / "an4", "mfc", {**TRAIN, "fcaw": ["an251"]})
    with caplog.at_level(logging.WARNING):
        prepare_an4(source, tmp_path / "out", valid_speakers=1)
    parts = manifests(tmp_path / "out")
    assert "fcaw" not in {item["speaker"] for split in ("train", "valid") for item in parts[split].values()}
    assert "left out 1 training utterances of speakers in the test list: fcaw" in caplog.text


def test_a_second_call_writes_only_what_changed(tmp_path: Path) -> None:
    source = release(tmp_path / "an4", "mfc")
    prepare_an4(source, tmp_path / "out", valid_speakers=1)
    manifest = tmp_path / "out" / "train.json"
    os.utime(manifest, (1, 1))
    prepare_an4(source, tmp_path / "out", valid_speakers=1)
    assert manifest.stat().st_mtime == 1
    (tmp_path / "out" / "features" / "an1-mabc-b.npy").unlink()
    prepare_an4(source, tmp_path / "out", valid_speakers=1)
    assert manifest.stat().st_mtime > 1
    os.utime(manifest, (1, 1))
    prepare_an4(source, tmp_path / "out", valid_speakers=2)
    assert manifest.stat().st_mtime > 1
    assert len({item["speaker"] for item in manifests(tmp_path / "out")["valid"].values()}) == 2


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    source = release(tmp_path / "an4", "mfc")
    whole = source / "feat" / "an4_clstk" / "mabc" / "an1-mabc-b.mfc"
    content = whole.read_bytes()
    whole.write_bytes(content[:-4])
    (source / "feat" / "an4test_clstk" / "fcaw" / "cen2-fcaw-b.mfc").unlink()
    with pytest.raises(ValueError, match=r"2 are not:") as error:
        prepare_an4(source, tmp_path / "out", valid_speakers=1)
    assert "an1-mabc-b.mfc: its header says" in str(error.value)
    assert "cen2-fcaw-b.mfc: missing" in str(error.value)
    assert not (tmp_path / "out" / "prepared.json").exists()
    with pytest.raises(ValueError, match=r"`valid_speakers` \(=3\) must be between 1 and 2"):
        prepare_an4(source, tmp_path / "out", valid_speakers=3)
    with pytest.raises(ValueError, match=r"`source` \(='mfcc'\)"):
        prepare_an4(source, tmp_path / "out", source="mfcc")
    lines = (source / "etc" / "an4_train.transcription").read_text().splitlines()
    (source / "etc" / "an4_train.transcription").write_text("\n".join(lines[1:]))
    with pytest.raises(ValueError, match="an251-fash-b has none"):
        prepare_an4(source, tmp_path / "out", valid_speakers=1)
    (source / "etc" / "an4_train.fileids").unlink()
    with pytest.raises(ValueError, match=r"must hold etc/an4_train\.fileids"):
        prepare_an4(source, tmp_path / "out", valid_speakers=1)


@pytest.mark.skipif("SEQSTRIDE_TEST_DATA" not in os.environ, reason="SEQSTRIDE_TEST_DATA names no recordings")
def test_the_real_set(tmp_path: Path) -> None:
    prepare_an4(Path(os.environ["SEQSTRIDE_TEST_DATA"]) / "an4_mfcc", tmp_path)
    parts = manifests(tmp_path)
    assert {split: len(items) for split, items in parts.items()} == {"train": 844, "valid": 104, "test": 130}
    speakers = {split: {item["speaker"] for item in items.values()} for split, items in parts.items()}
    assert {split: len(names) for split, names in speakers.items()} == {"train": 66, "valid": 8, "test": 10}
    assert not speakers["train"] & speakers["valid"]
    assert not speakers["test"] & (speakers["train"] | speakers["valid"])
    assert parts["test"]["an406-fcaw-b"]["words"] == "RUBOUT G M E F THREE NINE"
    minutes = sum(item["length"] for items in parts.values() for item in items.values()) / 6000
    assert minutes == pytest.approx(48, abs=1)
