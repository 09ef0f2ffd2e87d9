"""Corpora of GitHub in their official layouts: splits, labels, and what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_layouts import kathleen_layout, mboshi_layout, philharmonia_layout, speech_to_intent_layout, wuw_layout
from seqstride.data_prep import download, kathleen, mboshi, philharmonia, speech_to_intent, wuw
from seqstride.data_prep.groups import hold_out, split_groups
from seqstride.data_prep.kathleen import prepare_kathleen
from seqstride.data_prep.mboshi import prepare_mboshi
from seqstride.data_prep.philharmonia import prepare_philharmonia
from seqstride.data_prep.speech_to_intent import SLOTS, prepare_speech_to_intent
from seqstride.data_prep.wuw import KEYWORDS, prepare_wuw
from serving import Server, pack_folder, tar

from recipes import words_for
from seqstride.cli import main

SPLITS = ("train", "valid", "test")
SHARES = {"valid_share": 0.2, "test_share": 0.2}
OPTIONS = {"download": True, **SHARES}


def manifests(folder: Path) -> dict[str, dict]:
    return {split: json.loads((folder / f"{split}.json").read_text(encoding="utf-8")) for split in SPLITS}


# ---- groups


def test_parts_share_no_group_and_have_their_items() -> None:
    groups = [f"g{index}" for index in range(100) for _ in range(1 + index % 3)]
    parts = split_groups(groups, valid_share=0.15, test_share=0.25, seed=0)
    assert set(parts) == set(groups)
    held = Counter(parts[group] for group in groups)
    assert held["test"] == pytest.approx(0.25 * len(groups), abs=3)
    assert held["valid"] == pytest.approx(0.15 * len(groups), abs=3)
    assert split_groups(groups, valid_share=0.15, test_share=0.25, seed=1) != parts


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "b"], ["a"] * 50 + ["b"]])
def test_too_few_groups_are_refused(groups: list[str]) -> None:
    with pytest.raises(ValueError, match=r"there must be more groups \(=\d\)"):
        split_groups(groups, **SHARES, seed=0)


# ---- WUW Corpus II


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wuw_layout(tmp_path_factory.mktemp("wuw"))


def test_sentences_with_their_keyword(calls: Path, tmp_path: Path) -> None:
    prepare_wuw(calls, tmp_path / "save", wav_folder=tmp_path / "wav", **SHARES)
    items = manifests(tmp_path / "save")
    every = {name: item for part in items.values() for name, item in part.items()}
    assert len(every) == 29  # one of six callers left out a keyword
    assert "WUWII00005_006" not in every
    assert all(item["keyword"] == KEYWORDS[int(name[-3:]) - 6] for name, item in every.items())
    item = every["WUWII00003_008"]
    assert item["events"] == [[0.2, 0.3]]
    assert (item["samples"], item["duration"], item["sample_rate"]) == (3043, 3043 / 8000, 8000)
    told, rate = soundfile.read(tmp_path / "wav" / "WUWII00003_008.wav", dtype="int16")
    raw = {"format": "RAW", "subtype": "ULAW", "channels": 1, "samplerate": 8000, "dtype": "int16"}
    assert rate == 8000
    assert np.array_equal(told, soundfile.read(calls / "calls/00003/WUWII00003_008.ulaw", **raw)[0])


def test_who_calls_twice_is_in_one_part(calls: Path, tmp_path: Path) -> None:
    for seed in range(4):
        prepare_wuw(calls, tmp_path / "save", wav_folder=tmp_path / "wav", **SHARES, seed=seed)
        callers = [{item["caller"] for item in part.values()} for part in manifests(tmp_path / "save").values()]
        assert set.union(*callers) == {"byron", "turing", "hopper", "noether", "00005"}
        assert sum(map(len, callers)) == 5


def test_keywords_alone_are_for_training_only(calls: Path, tmp_path: Path) -> None:
    prepare_wuw(calls, tmp_path / "save", wav_folder=tmp_path / "wav", **SHARES, alone=True)
    items = manifests(tmp_path / "save")
    alone = {split: sum(int(name[-3:]) < 6 for name in part) for split, part in items.items()}
    sessions = {item["session"] for item in items["train"].values()}
    assert alone == {"train": 5 * len(sessions), "valid": 0, "test": 0}
    for part in items.values():
        assert [item["samples"] for item in part.values()] == sorted(item["samples"] for item in part.values())


def test_damaged_calls_are_named(tmp_path: Path) -> None:
    folder = wuw_layout(tmp_path / "wuw")
    (folder / "calls/00002/WUWII00002_007.ulaw").write_bytes(b"\0" * 5000)
    (folder / "calls/00001/WUWII00001_009.ulaw").unlink()
    with pytest.raises(ValueError, match=r"2 are not:\n  .*WUWII00001_009\.ulaw: missing.*\n  .*its md5 must be"):
        prepare_wuw(folder, tmp_path / "save", wav_folder=tmp_path / "wav", **SHARES)
    with pytest.raises(ValueError, match=r"must hold data\.json and calls/"):
        prepare_wuw(tmp_path, tmp_path / "save", wav_folder=tmp_path / "wav")
    (folder / "data.json").write_text('{"entries": [{"sessionNumber": "00000"}]}')
    with pytest.raises(ValueError, match=r"data\.json must be that of the corpus, with its entries: KeyError"):
        prepare_wuw(folder, tmp_path / "save", wav_folder=tmp_path / "wav")


# ---- Speech-to-Intent


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_to_intent_layout(tmp_path_factory.mktemp("commands"))


def test_every_slot_is_a_label(commands: Path, tmp_path: Path) -> None:
    prepare_speech_to_intent(commands, tmp_path, groups=6, **SHARES)
    every = {name: item for part in manifests(tmp_path).values() for name, item in part.items()}
    assert len(every) == 24
    slots = {name: tuple(every[name][label] for label in SLOTS) for name in ("0003-0000", "0003-0003")}
    assert slots == {
        "0003-0000": ("latte", "none", "none", "none", "none", "none"),
        "0003-0003": ("iced mocha", "double shot", "dark roast", "small", "soy milk", "brown sugar"),
    }


def test_who_sounds_alike_is_in_one_part(commands: Path, tmp_path: Path) -> None:
    prepare_speech_to_intent(commands, tmp_path, groups=6, **SHARES)
    speakers = [{name[:4] for name in part} for part in manifests(tmp_path).values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 6


def test_labels_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold data/label/label\.json and data/speech/clean"):
        prepare_speech_to_intent(tmp_path, tmp_path / "save")
    folder = speech_to_intent_layout(tmp_path / "set")
    table = folder / "data/label/label.json"
    whole = table.read_text()
    for wrong, message in (("slots", "must have the `slots` of 0000-0000"), ("roast", "must have no slots but")):
        table.write_text(whole.replace(f'"{wrong}"', '"other"'))
        with pytest.raises(ValueError, match=message):
            prepare_speech_to_intent(folder, tmp_path / "save")
    table.write_text(whole)
    with pytest.raises(ValueError, match=r"there must be more recordings \(=24\) than groups \(=50\)"):
        prepare_speech_to_intent(folder, tmp_path / "save")


# ---- Philharmonia


def test_a_pitch_of_an_instrument_is_in_one_part(tmp_path: Path) -> None:
    notes = philharmonia_layout(tmp_path / "notes")
    for seed in range(3):
        prepare_philharmonia(notes, tmp_path / "save", **SHARES, seed=seed)
        parts = manifests(tmp_path / "save")
        assert sum(map(len, parts.values())) == 42
        pairs = [{(item["instrument"], item["pitch"]) for item in part.values()} for part in parts.values()]
        assert sum(map(len, pairs)) == len(set.union(*pairs)) == 14
        assert {("flute", "G7"), ("percussion", "none")} <= pairs[0]  # no other group has these classes
    item = parts["train"]["flute_G7_phrase_forte_normal"]
    assert (item["start"], item["stop"], item["duration"]) == (0, 88200, 2.0)
    assert parts["train"]["flute_G7_05_forte_normal"]["duration"] < 0.4


def test_notes_that_cannot_be_read_or_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"must hold audio/<instrument>/\*\.mp3; there are none"):
        prepare_philharmonia(tmp_path, tmp_path / "save")
    notes = philharmonia_layout(tmp_path / "notes")
    (notes / "audio/flute/flute_C4_05_forte_normal.mp3").rename(notes / "audio/flute/piccolo.mp3")
    (notes / "audio/flute/flute_C4_1_forte_normal.mp3").write_bytes(b"")
    with pytest.raises(ValueError, match=r"flute_C4_1_forte_normal\.mp3: cannot be opened"):
        prepare_philharmonia(notes, tmp_path / "save", **SHARES)
    assert "ignored 1 files" in caplog.text
    with pytest.raises(ValueError, match=r"`seconds` \(=0\) must be above 0"):
        prepare_philharmonia(notes, tmp_path / "save", seconds=0)


# ---- Mboshi and Kathleen


def test_the_official_parts_of_mboshi(tmp_path: Path) -> None:
    corpus = mboshi_layout(tmp_path / "corpus")
    for seed in range(3):
        prepare_mboshi(corpus, tmp_path / "save", valid_share=0.2, seed=seed)
        parts = manifests(tmp_path / "save")
        assert set(parts["test"]) == {f"ada_2015_Dico_{index}" for index in (13, 14, 15)}
        assert len(parts["train"]) + len(parts["valid"]) == 13
        words = [{item["words"] for item in part.values()} for part in parts.values()]
        assert sum(map(len, words)) == len(set.union(*words)) == 15
    assert parts["test"]["ada_2015_Dico_13"]["words"].endswith(" Ω13")
    assert parts["test"]["ada_2015_Dico_13"]["speaker"] == "ada"


def test_prompts_and_words_are_in_one_part(tmp_path: Path) -> None:
    corpus = kathleen_layout(tmp_path / "corpus")
    for seed in range(3):
        prepare_kathleen(corpus, tmp_path / "save", **SHARES, seed=seed)
        parts = manifests(tmp_path / "save")
        assert sum(map(len, parts.values())) == 13
        words = [{item["words"] for item in part.values()} for part in parts.values()]
        assert sum(map(len, words)) == len(set.union(*words)) == 10


@pytest.mark.parametrize(
    ("layout", "prepare", "text"),
    [
        (mboshi_layout, prepare_mboshi, "full_corpus_newsplit/train/ada_2015_Dico_4.mb.cleaned"),
        (kathleen_layout, prepare_kathleen, "data/arctic_a0002_1592748001.txt"),
    ],
)
def test_recordings_without_words_are_named(layout: Callable, prepare: Callable, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold .*\*\.wav.*there are none"):
        prepare(tmp_path, tmp_path / "save")
    corpus = layout(tmp_path / "corpus")
    (corpus / text).write_text(" -- \n")
    with pytest.raises(ValueError, match=rf"{re.escape(text)} must have the words of"):
        prepare(corpus, tmp_path / "save")
    (corpus / text).unlink()
    with pytest.raises(ValueError, match=rf"{re.escape(text)} must have the words of"):
        prepare(corpus, tmp_path / "save")


@pytest.mark.parametrize(
    ("groups", "share", "message"), [(["a"], 0.5, "more groups"), (["a", "b"], 1.0, "`valid_share`")]
)
def test_a_part_beside_an_official_one_needs_room(groups: list[str], share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hold_out(groups, share, 0)


# ---- downloads

SETS = {
    "mboshi": (mboshi, mboshi_layout, lambda data, save: prepare_mboshi(data, save, download=True)),
    "kathleen": (kathleen, kathleen_layout, lambda data, save: prepare_kathleen(data, save, **OPTIONS)),
    "wuw": (wuw, wuw_layout, lambda data, save: prepare_wuw(data, save, wav_folder=save / "wav", **OPTIONS)),
    "commands": (
        speech_to_intent,
        speech_to_intent_layout,
        lambda data, save: prepare_speech_to_intent(data, save, groups=6, **OPTIONS),
    ),
    "notes": (
        philharmonia,
        philharmonia_layout,
        lambda data, save: prepare_philharmonia(data, save, **OPTIONS),
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_the_archive_of_a_commit_becomes_the_set(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, layout, prepare = SETS[name]
    monkeypatch.setattr(download, "_GITHUB", server.url("github"))
    folder = f"{module.REPOSITORY.split('/')[1]}-{module.COMMIT}"
    packed = tar(pack_folder(layout(tmp_path / "official"), folder))
    server.files[f"github/{module.REPOSITORY}/archive/{module.COMMIT}.tar.gz"] = packed
    server.cut = 5000
    with pytest.raises(ConnectionError, match=r"5000 bytes are kept"):
        prepare(tmp_path / "data", tmp_path / "save")
    server.cut = None
    prepare(tmp_path / "data", tmp_path / "save")
    assert server.asked == [None, "bytes=5000-"]
    assert sum(map(len, manifests(tmp_path / "save").values())) > 12


# ---- recipes


def test_a_run_says_how_many_frames_were_on_the_keyword(calls: Path, tmp_path: Path) -> None:
    options = {"data_folder": calls, "wav_folder": tmp_path / "wav", "output_folder": tmp_path / "out", "ratio": 4}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    small = ["--width", "4", "--number_of_epochs", "1", "--device", "cpu", "--noprogressbar"]
    assert main(["train", *words_for("WUW/keywords", "average"), *words, *small]) == 0
    record = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert record["test_event_share_of_time"] == pytest.approx(0.1 / 0.38, abs=0.03)
    assert record["test_event_share"] == pytest.approx(record["test_event_share_of_time"], abs=0.1)
