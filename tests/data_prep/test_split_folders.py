"""Folders of recordings: the names of splits, class folders without recordings, and files that are none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import speech_commands_layout, spoken_digits_layout, write
from seqstride.data_prep.audio_folder import prepare_audio_folder
from seqstride.data_prep.librispeech import prepare_librispeech
from seqstride.data_prep.ljspeech_format import prepare_ljspeech_format
from seqstride.data_prep.speech_commands import prepare_speech_commands
from seqstride.data_prep.split_folders import split_of
from seqstride.data_prep.spoken_digits import prepare_spoken_digits

from seqstride.errors import InputError
from seqstride.files.audio_files import find_recordings, is_audio

SPLITS = ("train", "valid", "test")


def prepared(data: Path, **options: object) -> dict[str, Counter]:
    """How many recordings of each class the parts have."""
    save = data.parent / "save"
    prepare_audio_folder(data, save, **options)
    parts = {split: json.loads((save / f"{split}.json").read_text(encoding="utf-8")) for split in SPLITS}
    return {split: Counter(item["label"] for item in items.values()) for split, items in parts.items()}


def folders(data: Path, counts: dict[str, int]) -> Path:
    for folder, count in counts.items():
        (data / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write(data / folder / f"{index}.wav")
    return data


def refused(data: Path, **options: object) -> str:
    """The error, of one line."""
    with pytest.raises(InputError) as error:
        prepare_audio_folder(data, data.parent / "save", **options)
    assert "\n" not in str(error.value)
    assert not (data.parent / "save" / "prepared.json").exists()
    return str(error.value)


# Splits


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train", "val", "test"),
        ("Train", "VALIDATION", "Testing"),
        ("training", "dev", "eval"),
        ("TRAIN", "Dev", "Test"),
    ],
)
@pytest.mark.parametrize("layout", ["{split}/{label}", "{label}/{split}"])
def test_splits_have_many_names(train: str, valid: str, test: str, layout: str, tmp_path: Path) -> None:
    sizes = {train: 4, valid: 2, test: 1}
    places = {layout.format(split=split, label=label): size for split, size in sizes.items() for label in ("hi", "lo")}
    found = prepared(folders(tmp_path / "data", places))
    assert found == {split: {"hi": size, "lo": size} for split, size in zip(SPLITS, sizes.values(), strict=True)}


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ({"Train": 20, "Test": 3}, (18, 2, 3), "no split is called valid: of 40 recordings for training, 4 for valid"),
        ({"train": 20, "val": 3}, (16, 3, 4), "no split is called test: of 40 recordings for training, 8 for test"),
        ({"train": 20}, (14, 2, 4), "test or valid: of 40 recordings for training, 8 for test, 4 for valid"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", [False, True])
def test_a_split_that_is_missing_is_cut_from_training(
    given: dict[str, int],
    expected: tuple[int, ...],
    words: str,
    table: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = {f"{split}/{label}": size for split, size in given.items() for label in ("hi", "lo")}
    data = folders(tmp_path / "data", places)
    options = {}
    if table:
        options["csv"] = tmp_path / "table.csv"
        rows = [f"{file.relative_to(data)},{file.parts[-2]},{file.parts[-3]}" for file in data.rglob("*.wav")]
        options["csv"].write_text("path,label,split\n" + "\n".join(rows) + "\n")
    found = prepared(data, **options)
    assert found == {split: {"hi": size, "lo": size} for split, size in zip(SPLITS, expected, strict=True)}
    assert len([record for record in caplog.records if "no split is called" in record.getMessage()]) == 1
    assert words in caplog.text


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"yes": 4, "no": 4, "test": 4}, "or for classes only; test is named as a split, beside no, yes: rename"),
        ({"train/a": 4, "train/b": 4, "other/a": 4}, "train is named as a split, beside other: rename"),
        ({"a/train": 4, "a/x": 4, "b/train": 4}, "the class folders of `data_folder`"),
        ({"a/train": 4, "a": 1, "b/train": 4}, "train is named as a split, beside recordings"),
        ({"val/a": 4, "test/a": 4}, "must have recordings for training (train or training) beside test, val"),
        ({"train/a": 4, "val/a": 1, "dev/a": 1}, "one name for each split: dev and val both stand for valid"),
        ({"train/a": 4, "train/b": 4, "Train/a": 1}, "Train and train both stand for train"),
        ({"train/a": 4, "train/b": 4, "test/c": 1, "val/a": 1}, "only have labels of the training part; it also has c"),
        ({"train/a": 4, "train/b": 1, "test/a": 1}, "class 'b' (=1 files for training) must have more than 1"),
        ({"train": 4, "val": 4}, "recordings of at least 2 classes; found: none"),
    ],
)  # fmt: skip
def test_folders_whose_meaning_is_open_are_refused(places: dict[str, int], words: str, tmp_path: Path) -> None:
    assert words in refused(folders(tmp_path / "data", places))


def test_a_part_of_which_nothing_can_be_read_is_not_cut_from_training(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", {f"{split}/{label}": 5 for split in ("train", "val") for label in "ab"})
    for label in "ab":
        write(data / "test" / label / "0.wav").write_bytes(b"RIFF")
    assert "the test part must have items" in refused(data)


@pytest.mark.parametrize("name", ["development", "trains", "testament", "speaker", ""])
def test_other_names_are_no_splits(name: str) -> None:
    assert split_of(name) is None


# Classes


@pytest.mark.parametrize("bad_files", ["skip", "error"])
@pytest.mark.parametrize("layout", ["{label}", "{split}/{label}"])
def test_a_class_that_cannot_be_read_is_named_with_the_way_out(layout: str, bad_files: str, tmp_path: Path) -> None:
    splits = SPLITS if "split" in layout else ("",)
    data = folders(tmp_path / "data", {layout.format(split=s, label=x): 5 for s in splits for x in ("hi", "lo")})
    for split in splits:
        place = data / layout.format(split=split, label="phone")
        place.mkdir()
        for index in range(3):
            (place / f"{index}.m4a").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="phone") as error:
        prepare_audio_folder(data, tmp_path / "save", bad_files=bad_files)
    if bad_files == "skip":
        assert f"none of the {3 * len(splits)} of 'phone' can; " in str(error.value)
    for words in ("phone/0.m4a: ", "torchcodec", "ffmpeg -i old.m4a new.wav"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "it has only hidden files, or none"),
        (["a.txt", "b.txt", "u.wav~", ".hidden.wav"], "none of its files has an audio extension (2 .txt, 1 .wav~)"),
        (["deep/down/notes"], "none of its files has an audio extension (1 no extension)"),
    ],
)
def test_a_class_folder_without_a_recording_is_named(files: list[str], reason: str, tmp_path: Path) -> None:
    data = folders(tmp_path / "data", {"hi": 5, "lo": 5, "mid": 0})
    for file in files:
        (data / "mid" / file).parent.mkdir(parents=True, exist_ok=True)
        (data / "mid" / file).write_text("x")
    message = refused(data)
    assert "class folder '" in message
    assert message.endswith(f"mid' must have a recording; {reason}")


def test_results_may_lie_among_the_recordings(tmp_path: Path) -> None:
    data = folders(tmp_path, {"hi": 5, "lo": 5})
    (data / "results" / "run" / "log").mkdir(parents=True)
    prepare_audio_folder(data, data / "results" / "run" / "save")
    assert (data / "results" / "run" / "save" / "prepared.json").is_file()


def spoiled(files: list[Path]) -> None:
    for file in files:
        file.write_bytes(b"RIFF")


def test_a_word_or_digit_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    digits = spoken_digits_layout(tmp_path / "digits")
    spoiled(list(digits.rglob("7_*.wav")))
    with pytest.raises(ValueError, match=r"none of the 36 of '7' can; recordings/7_anna_0\.wav: cannot be opened"):
        prepare_spoken_digits(digits, tmp_path / "save", bad_files="skip")
    commands = speech_commands_layout(tmp_path / "commands")
    spoiled(list((commands / "bed").iterdir()))
    with pytest.raises(ValueError, match="none of the 5 of 'bed' can"):
        prepare_speech_commands(commands, tmp_path / "save", bad_files="skip")
    for file in (commands / "bed").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="a folder of recordings for each of 35 words; it lacks bed "):
        prepare_speech_commands(commands, tmp_path / "save")


# Files that are no recordings

STRAY = ["u.lab", "u.wav~", ".DS_Store", "._u.wav", "u.wav.part", "u", "u.txt"]


@pytest.mark.parametrize("name", [*STRAY, ".wav", "u.raw"])
def test_what_is_no_recording_by_its_name(name: str) -> None:
    assert not is_audio(name)


@pytest.mark.parametrize("name", ["u.wav", "u.WAV", "u.Flac", "u.sph", "u.m4a", "u.WMA", "a/.b/c d.é.Mp3"])
def test_what_is_a_recording_by_its_name(name: str) -> None:
    assert is_audio(name)


def strewn(folder: Path, stem: str = "u") -> None:
    for name in STRAY:
        (folder / name.replace("u", stem, 1)).write_bytes(b"no sound")


def test_a_folder_is_searched_for_recordings_only(tmp_path: Path) -> None:
    files = [write(tmp_path / "sub" / "u.WAV", format="WAV"), write(tmp_path / "u.flac")]
    strewn(tmp_path)
    strewn(tmp_path / "sub")
    assert find_recordings([tmp_path]) == sorted(files, key=lambda file: len(file.parts))


def ljspeech(folder: Path) -> None:
    for index in range(9):
        write(folder / "wavs" / f"{index}.flac")
    (folder / "metadata.csv").write_text("".join(f"{index}|the words {'abcdefghi'[index]}\n" for index in range(9)))


def librispeech(folder: Path) -> None:
    for part, speaker in (("train-clean-100", 1), ("dev-clean", 2), ("test-clean", 3)):
        chapter = folder / part / str(speaker) / "10"
        write(chapter / f"{speaker}-10-0000.FLAC", 160, 16000, format="FLAC")
        (chapter / f"{speaker}-10.trans.txt").write_text(f"{speaker}-10-0000 WORDS\n")


@pytest.mark.parametrize(
    ("layout", "prepare", "place", "stem"),
    [
        (ljspeech, prepare_ljspeech_format, "wavs", "0"),
        (librispeech, prepare_librispeech, "dev-clean/2/10", "2-10-0000"),
        (spoken_digits_layout, prepare_spoken_digits, "recordings", "7_theo_0"),
        (speech_commands_layout, prepare_speech_commands, "bed", "00000000_nohash_0"),
    ],
)
def test_sets_are_searched_for_recordings_only(
    layout: Callable[[Path], object], prepare: Callable[..., None], place: str, stem: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    layout(data)
    for file in (data / place).glob(f"{stem}.wav"):
        file.rename(file.with_suffix(".WAV"))
    prepare(data, tmp_path / "before")
    strewn(data / place, stem)
    prepare(data, tmp_path / "after")
    for split in SPLITS:
        assert (tmp_path / "after" / f"{split}.json").read_text() == (tmp_path / "before" / f"{split}.json").read_text()
    found = {name for split in SPLITS for name in json.loads((tmp_path / "after" / f"{split}.json").read_text())}
    assert any(name.endswith(stem) for name in found)


def test_two_recordings_of_one_sentence_are_named(tmp_path: Path) -> None:
    ljspeech(tmp_path)
    write(tmp_path / "wavs" / "3.WAV", format="WAV")
    with pytest.raises(ValueError, match=r"line 4: wavs/ must have one recording named 3; it has 3\.WAV, 3\.flac"):
        prepare_ljspeech_format(tmp_path, tmp_path / "save")
