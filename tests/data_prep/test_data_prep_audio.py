"""Preparation of audio: damaged files, downloads, and the official layouts of the public sets in miniature."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from layouts import esc_layout, speech_commands_layout, spoken_digits_layout, write
from seqstride.data_prep import esc, speech_commands, spoken_digits
from seqstride.data_prep.audio_check import check_audio
from seqstride.data_prep.audio_folder import prepare_audio_folder
from seqstride.data_prep.download import download, download_archive
from seqstride.data_prep.esc import prepare_esc
from seqstride.data_prep.manifest import file_digest, is_prepared, write_manifests
from seqstride.data_prep.speech_commands import COMMANDS, WORDS, prepare_speech_commands
from seqstride.data_prep.spoken_digits import prepare_spoken_digits, spoken_digit_folds
from serving import Server, pack_folder, tar, zipped
from speechbrain.dataio.dataio import load_data_json

SPLITS = ("train", "valid", "test")


def cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def manifests(folder: Path) -> dict[str, dict]:
    return {split: json.loads((folder / f"{split}.json").read_text(encoding="utf-8")) for split in SPLITS}


def names(folder: Path) -> dict[str, set[str]]:
    return {split: set(items) for split, items in manifests(folder).items()}


# ---- manifests


def items_of(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"wav": f"{{data_root}}/{name}"} for name in names}


@pytest.mark.parametrize("odd", ["{take}", "{data_root}", "{{data_root}}", "{"])
def test_speechbrain_reads_back_any_name(odd: str, tmp_path: Path) -> None:
    items = {split: {"a": {"wav": f"{{data_root}}/{odd}/ü.wav", "label": odd, "samples": 3}} for split in SPLITS}
    write_manifests(tmp_path, items, {})
    read = load_data_json(tmp_path / "test.json", {"data_root": "/data"})
    assert read == {"a": {"wav": f"/data/{odd}/ü.wav", "label": odd, "samples": 3}}


def test_a_split_without_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the valid part must have items"):
        write_manifests(tmp_path, {"train": items_of("a"), "valid": {}, "test": items_of("b")}, {})
    assert not list(tmp_path.iterdir())


def test_half_written_manifests_do_not_count_as_prepared(tmp_path: Path) -> None:
    items = {split: items_of(split) for split in SPLITS}
    write_manifests(tmp_path, items, {"seed": 0})
    assert is_prepared(tmp_path, {"seed": 0})
    assert not is_prepared(tmp_path, {"seed": 1})

    with pytest.raises(TypeError):  # a set is nothing that JSON knows: a stop after train.json and valid.json
        write_manifests(tmp_path, {**items, "test": {"a": {"wav": {1}}}}, {"seed": 0})
    assert not is_prepared(tmp_path, {"seed": 0})

    write_manifests(tmp_path, items, {"seed": 0})
    (tmp_path / "valid.json").unlink()
    assert not is_prepared(tmp_path, {"seed": 0})


def test_the_digest_sees_names_sizes_and_times(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("1")
    for file in (a, b):
        os.utime(file, ns=(0, 5))
    first = file_digest([a, b], tmp_path)
    assert file_digest([b, a], tmp_path) == first
    digests = {first, file_digest([a], tmp_path)}
    os.utime(b, ns=(0, 6))
    digests.add(file_digest([a, b], tmp_path))
    b.write_text("11")
    os.utime(b, ns=(0, 5))
    digests.add(file_digest([a, b], tmp_path))
    b.rename(tmp_path / "c")
    digests.add(file_digest([a, tmp_path / "c"], tmp_path))
    digests.add(file_digest([a, b], tmp_path))
    assert len(digests) == 6


# ---- sound and damaged files


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "PCM_24", "format": "WAVEX"}),
        ("a.flac", {}),
        ("a.ogg", {}),
        ("a.mp3", {}),
        ("a.aiff", {}),
        ("a.au", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_told_of_a_sound_file(name: str, kind: dict[str, str], channels: int, tmp_path: Path) -> None:
    file = write(tmp_path / "x" / name, 70001, 16000, channels, **kind)  # more than a block
    assert check_audio([file], tmp_path, tmp_path, sample_rate=16000) == {
        file: {
            "wav": f"{{data_root}}/x/{name}",
            "duration": 70001 / 16000,
            "samples": 70001,
            "sample_rate": 16000,
            "channels": channels,
        }
    }


def short_wav(path: Path) -> Path:
    return cut(write(path, 4000))


def rewritten_length(path: Path, length: int) -> Path:
    """A WAV file whose header tells another number of bytes than there are."""
    write(path, 4000)
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = struct.pack("<I", length)
    path.write_bytes(content)
    return path


def not_finite(path: Path) -> Path:
    samples = np.zeros(70000, dtype=np.float32)
    samples[66000] = np.nan
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    return path


def text(path: Path) -> Path:
    path.write_text("no audio at all")
    return path


def nothing(path: Path) -> Path:
    path.touch()
    return path


DAMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "wav cut in half.wav": (short_wav, r"cut short: it holds \d+ of 8000 bytes of samples"),
    "wav cut by one sample.wav": (lambda path: rewritten_length(path, 8002), "it holds 8000 of 8002 bytes"),
    "wav cut to its header.wav": (lambda path: cut(write(path, 4000), 44 / 8044), "cut short: it holds 0 of 8000"),
    "float wav.wav": (lambda path: cut(write(path, 4000, subtype="FLOAT"), 0.9), "cut short"),
    "flac.flac": (lambda path: cut(write(path, 70000)), "cannot be decoded after 0 of 70000 samples"),
    "flac cut late.flac": (lambda path: cut(write(path, 140000), 0.99), "cannot be decoded after"),
    "mp3.mp3": (lambda path: cut(write(path, 80000, 16000)), r"cut short: \d+ of 80000 samples can be decoded"),
    "aiff.aiff": (lambda path: cut(write(path, 4000)), "cut short"),
    "au.au": (lambda path: cut(write(path, 4000)), "cut short"),
    "missing.wav": (lambda path: path, "missing"),
    "no bytes.wav": (nothing, "cannot be opened: Format not recognised"),
    "no samples.wav": (lambda path: write(path, 0), "empty: no samples"),
    "text.wav": (text, "cannot be opened: Format not recognised"),
    "no header.raw": (text, "cannot be opened"),
    "rate.wav": (lambda path: write(path, rate=16000), "its rate is 16000 Hz and must be 8000 Hz"),
    "not finite.wav": (not_finite, "not finite within samples 65536 to 70000"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(name: str, tmp_path: Path) -> None:
    make, reason = DAMAGE[name]
    rate = 16000 if name == "mp3.mp3" else 8000
    with pytest.raises(ValueError, match=rf"1 of 1 are not .*\n  {re.escape(name)}: .*{reason}"):
        check_audio([make(tmp_path / name)], tmp_path, tmp_path, sample_rate=rate)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_is_sound(length: int, tmp_path: Path) -> None:
    """Writers that do not know the length put a placeholder into the header."""
    file = rewritten_length(tmp_path / "a.wav", length)
    assert check_audio([file], tmp_path, tmp_path)[file]["samples"] == 4000


def test_one_error_names_them_all(tmp_path: Path) -> None:
    good = [write(tmp_path / f"good-{index}.wav") for index in range(3)]
    bad = [text(tmp_path / f"bad-{index:02d}.wav") for index in range(23)]
    with pytest.raises(ValueError, match=r"23 of 26 are not") as error:
        check_audio([*good, *bad], tmp_path, tmp_path)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:21]] == [file.name for file in bad[:20]]
    assert lines[21:] == ["  … and 3 more"]


def test_skip_leaves_bad_files_out_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = write(tmp_path / "good.wav"), short_wav(tmp_path / "sub" / "bad.wav")
    save = tmp_path / "save"
    assert list(check_audio([bad, good], tmp_path, save, bad_files="skip")) == [good]
    skipped = json.loads((save / "skipped.json").read_text(encoding="utf-8"))
    assert list(skipped) == ["sub/bad.wav"]
    assert skipped["sub/bad.wav"].startswith("cut short")
    assert "left out sub/bad.wav: cut short" in caplog.text

    write(bad)
    assert list(check_audio([bad, good], tmp_path, save, bad_files="skip")) == [bad, good]
    assert not (save / "skipped.json").exists()


def test_an_unknown_way_with_bad_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`bad_files` \(='ignore'\) must be 'error' or 'skip'"):
        check_audio([], tmp_path, tmp_path, bad_files="ignore")  # type: ignore[arg-type]


# ---- downloads


@pytest.mark.parametrize("chunked", [False, True])
def test_a_download_that_breaks_goes_on(chunked: bool, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    server.cut, server.chunked = 300_000, chunked
    with pytest.raises(ConnectionError, match=r"a\.bin cannot be downloaded: .*; (\d+) bytes are kept"):
        download(server.url("a.bin"), path)
    assert not path.exists()
    kept = path.with_name("a.bin.part").stat().st_size
    assert 0 < kept <= 300_000

    server.cut = None
    download(server.url("a.bin"), path, checksum=f"sha256:{hashlib.sha256(server.content).hexdigest()}")
    assert path.read_bytes() == server.content
    assert server.asked == [None, f"bytes={kept}-"]
    assert list(path.parent.iterdir()) == [path]

    download(server.url("a.bin"), path)
    assert len(server.asked) == 2  # it is there


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = 300_000, False
    with pytest.raises(ConnectionError, match="broke after 300000 of 700160 bytes"):
        download(server.url("a.bin"), tmp_path / "a.bin")
    server.cut = None
    download(server.url("a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == server.content
    assert server.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("extra", [b"", b"of another file"])
def test_a_part_that_is_whole_or_too_long(extra: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(server.content + extra)
    download(server.url("a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == server.content
    assert len(server.asked) == (2 if extra else 1)


def test_checksums(server: Server, tmp_path: Path) -> None:
    download(server.url("a"), tmp_path / "good", checksum=f"md5:{hashlib.md5(server.content).hexdigest()}")
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(
        ValueError, match=rf"`checksum` \(='sha256:00ff'\) must be that of .*/a, whose sha256 is {found}"
    ):
        download(server.url("a"), tmp_path / "bad", checksum="sha256:00ff")
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_a_server_that_refuses_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="/missing cannot be downloaded: HTTP Error 404"):
        download(server.url("missing"), tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pack", [tar, zipped])
def test_an_archive_becomes_a_folder(pack: Callable, server: Server, tmp_path: Path) -> None:
    server.content = pack({"set-1/a.txt": b"1", "set-1/sub/b.txt": b"2", "other.txt": b"3"})
    (tmp_path / "data.unpacking" / "set-1").mkdir(parents=True)
    (tmp_path / "data.unpacking" / "set-1" / "left over").touch()
    download_archive(server.url("x.tar.gz"), tmp_path / "data", inner="set-1")
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"data/a.txt": b"1", "data/sub/b.txt": b"2"}

    (tmp_path / "data" / "a.txt").write_bytes(b"mine")
    download_archive(server.url("x.tar.gz"), tmp_path / "data", inner="set-1")
    assert (tmp_path / "data" / "a.txt").read_bytes() == b"mine"
    assert len(server.asked) == 1


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt"])
def test_an_archive_cannot_write_elsewhere(pack: Callable, name: str, server: Server, tmp_path: Path) -> None:
    server.content = pack({"a.txt": b"1", name: b"2"})
    with pytest.raises(ValueError, match=r"must keep its files to itself.*evil\.txt"):
        download_archive(server.url("x"), tmp_path / "in" / "data")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["data-x"]  # the archive itself
    assert not (tmp_path / "in" / "data").exists()


def test_an_archive_of_something_else_is_named(server: Server, tmp_path: Path) -> None:
    server.content = tar({"a.txt": b"1"})
    with pytest.raises(ValueError, match=r"`inner` \(='set'\) must be a folder inside the archive"):
        download_archive(server.url("x"), tmp_path / "data", inner="set")


# ---- Free Spoken Digit Dataset


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken_digits_layout(tmp_path_factory.mktemp("fsdd"))


def of_digits(*speakers: str, indices: range) -> set[str]:
    return {f"{digit}_{speaker}_{index}" for digit in "07" for speaker in speakers for index in indices}


EVERYONE = ("anna", "lucas", "theo")


def test_the_official_digits(digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare_spoken_digits(digits, tmp_path)
    assert names(tmp_path) == {
        "train": of_digits(*EVERYONE, indices=range(10, 12)),
        "valid": of_digits(*EVERYONE, indices=range(5, 10)),
        "test": of_digits(*EVERYONE, indices=range(5)),
    }
    assert manifests(tmp_path)["valid"]["7_theo_6"] == {
        "wav": "{data_root}/recordings/7_theo_6.wav",
        "duration": 86 / 8000,
        "samples": 86,
        "sample_rate": 8000,
        "channels": 1,
        "digit": "7",
        "speaker": "theo",
    }
    assert "has 72 recordings, the whole set has 3000" in caplog.text


def test_a_speaker_left_out(digits: Path, tmp_path: Path) -> None:
    assert spoken_digit_folds(digits) == spoken_digit_folds(digits / "recordings") == list(EVERYONE)
    prepare_spoken_digits(digits, tmp_path, split="lucas")
    assert names(tmp_path) == {
        "train": of_digits("anna", "theo", indices=range(5, 12)),
        "valid": of_digits("anna", "theo", indices=range(5)),
        "test": of_digits("lucas", indices=range(12)),
    }
    # theo is the last: the speaker that follows is the first
    for test, valid, train in (("lucas", "theo", "anna"), ("theo", "anna", "lucas")):
        prepare_spoken_digits(digits, tmp_path, split=test, valid="speaker")
        parts = {"train": train, "valid": valid, "test": test}
        assert names(tmp_path) == {part: of_digits(name, indices=range(12)) for part, name in parts.items()}


def test_the_folder_of_the_recordings_itself(digits: Path, tmp_path: Path) -> None:
    prepare_spoken_digits(digits / "recordings", tmp_path)
    assert manifests(tmp_path)["test"]["0_anna_0"]["wav"] == "{data_root}/0_anna_0.wav"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "bob"}, r"`split` \(='bob'\) must be 'official' or one of the speakers anna, lucas, theo"),
        ({"valid": "half"}, r"`valid` \(='half'\) must be 'recordings' or 'speaker'"),
        ({"valid": "speaker"}, r"`valid` \(='speaker'\) must go with a `split` that names a test speaker"),
    ],
)
def test_wrong_arguments_for_the_digits(arguments: dict, message: str, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_spoken_digits(digits, tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_digits_is_named(tmp_path: Path) -> None:
    write(tmp_path / "hello.wav")
    with pytest.raises(ValueError, match=r"`data_folder` .* must hold recordings/"):
        prepare_spoken_digits(tmp_path, tmp_path / "save")


def test_digits_are_prepared_once_and_again_when_a_file_changes(digits: Path, tmp_path: Path) -> None:
    data, save = tmp_path / "data", tmp_path / "save"
    for file in (digits / "recordings").iterdir():
        write(data / file.name, soundfile.info(file).frames)
    prepare_spoken_digits(data, save)
    before = (save / "train.json").stat().st_mtime_ns
    prepare_spoken_digits(data, save)
    assert (save / "train.json").stat().st_mtime_ns == before

    cut(data / "7_theo_6.wav")
    with pytest.raises(ValueError, match=r"1 of 72 are not .*\n  7_theo_6\.wav: cut short"):
        prepare_spoken_digits(data, save)
    assert (save / "train.json").stat().st_mtime_ns == before
    prepare_spoken_digits(data, save, bad_files="skip")
    assert names(save)["valid"] == of_digits(*EVERYONE, indices=range(5, 10)) - {"7_theo_6"}

    write(data / "7_theo_6.wav", 99)
    prepare_spoken_digits(data, save)
    assert manifests(save)["valid"]["7_theo_6"]["samples"] == 99
    assert not list(save.rglob("*.part"))


def test_digits_are_downloaded(digits: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = tar(pack_folder(digits, "free-spoken-digit-dataset-1.0.10"))
    monkeypatch.setattr(spoken_digits, "_URL", server.url("v1.0.10.tar.gz"))
    prepare_spoken_digits(tmp_path / "data", tmp_path / "save", download=True)
    prepare_spoken_digits(tmp_path / "data", tmp_path / "save", split="anna", download=True)
    assert len(server.asked) == 1
    item = manifests(tmp_path / "save")["test"]["0_anna_0"]
    assert Path(item["wav"].format(data_root=tmp_path / "data")).is_file()


@pytest.mark.skipif("SEQSTRIDE_TEST_DATA" not in os.environ, reason="SEQSTRIDE_TEST_DATA is not set")
def test_the_whole_digits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Path(os.environ["SEQSTRIDE_TEST_DATA"]) / "fsdd"
    prepare_spoken_digits(data, tmp_path)
    parts = manifests(tmp_path)
    assert {split: len(items) for split, items in parts.items()} == {"train": 2400, "valid": 300, "test": 300}
    for items in parts.values():
        assert len(set(Counter((item["digit"], item["speaker"]) for item in items.values()).values())) == 1
    seconds = [item["duration"] for items in parts.values() for item in items.values()]
    assert (round(min(seconds), 2), round(max(seconds), 2)) == (0.14, 2.28)
    # which messages below a warning are recorded depends on the tests before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    speakers = spoken_digit_folds(data)
    assert speakers == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    prepare_spoken_digits(data, tmp_path, split="yweweler", valid="speaker")
    speakers_of = {split: {item["speaker"] for item in items.values()} for split, items in manifests(tmp_path).items()}
    assert speakers_of == {"train": set(speakers[1:5]), "valid": {"george"}, "test": {"yweweler"}}


# ---- Speech Commands


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_commands_layout(tmp_path_factory.mktemp("commands"))


def test_the_35_words(commands: Path, tmp_path: Path) -> None:
    prepare_speech_commands(commands, tmp_path, task=35)
    parts = manifests(tmp_path)
    assert set(parts["valid"]) == {f"{word}-00000001_nohash_0" for word in WORDS}
    assert set(parts["test"]) == {f"{word}-00000002_nohash_0" for word in WORDS}
    counts = Counter(item["word"] for item in parts["train"].values())
    assert counts == {word: 6 if word in COMMANDS else 3 for word in WORDS}
    assert len(WORDS) == 35
    assert parts["test"]["wow-00000002_nohash_0"]["wav"] == "{data_root}/wow/00000002_nohash_0.wav"
    assert not any("start" in item for items in parts.values() for item in items.values())


def test_the_12_classes(commands: Path, tmp_path: Path) -> None:
    prepare_speech_commands(commands, tmp_path, task=12)
    parts = manifests(tmp_path)
    sizes = {"train": (6, 6), "valid": (1, 1), "test": (1, 1)}  # of a command; of unknown and of silence (a tenth)
    for split, (command, other) in sizes.items():
        counts = Counter(item["word"] for item in parts[split].values())
        assert counts == {**dict.fromkeys(COMMANDS, command), "_unknown_": other, "_silence_": other}
        index = {"valid": {1}, "test": {2}, "train": {0, *range(3, 8)}}[split]
        for name, item in parts[split].items():
            if item["word"] == "_silence_":
                continue
            word, number = re.fullmatch(r"(\w+)-(\d+)_nohash_0", name).groups()
            assert int(number) in index
            assert item["word"] == (word if word in COMMANDS else "_unknown_")


def silences(parts: dict[str, dict], split: str) -> list[dict]:
    return [item for item in parts[split].values() if item["word"] == "_silence_"]


def test_a_changed_list_is_noticed(commands: Path, tmp_path: Path) -> None:
    data, save = copy_of(commands, tmp_path / "data"), tmp_path / "save"
    prepare_speech_commands(data, save)
    content = (data / "testing_list.txt").read_text().replace("wow/00000002", "wow/00000003")
    (data / "testing_list.txt").unlink()
    (data / "testing_list.txt").write_text(content)
    prepare_speech_commands(data, save)
    assert "wow-00000003_nohash_0" in names(save)["test"]
    assert "wow-00000002_nohash_0" in names(save)["train"]


def test_silence_is_a_second_of_a_part_of_the_noise(commands: Path, tmp_path: Path) -> None:
    bounds = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
    drawn = set()
    for seed in range(5):
        prepare_speech_commands(commands, tmp_path, task=12, seed=seed)
        parts = manifests(tmp_path)
        for split, (first, last) in bounds.items():
            for item in silences(parts, split):
                whole = soundfile.info(item["wav"].format(data_root=commands)).frames
                assert item["stop"] - item["start"] == item["samples"] == 16000
                assert item["duration"] == 1
                assert first * whole <= item["start"]
                assert item["stop"] <= last * whole
                drawn.add((item["wav"], item["start"]))
    assert len(drawn) > 30  # 40 were drawn
    assert len({wav for wav, _ in drawn}) == 2


def test_the_seed_chooses_the_unknown(commands: Path, tmp_path: Path) -> None:
    chosen = []
    for seed in (0, 1, 0):
        prepare_speech_commands(commands, tmp_path, task=12, seed=seed)
        chosen.append({n: item.get("start") for n, item in manifests(tmp_path)["train"].items()})
    assert chosen[0] == chosen[2] != chosen[1]
    before = (tmp_path / "train.json").stat().st_mtime_ns
    prepare_speech_commands(commands, tmp_path, task=12, seed=0)
    assert (tmp_path / "train.json").stat().st_mtime_ns == before


def copy_of(folder: Path, to: Path) -> Path:
    """A copy by hard links: quick, and what is replaced in it leaves the original alone."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return to


def test_the_official_test_archive_is_the_test_part(commands: Path, tmp_path: Path) -> None:
    data = copy_of(commands, tmp_path / "data")
    prepare_speech_commands(data, tmp_path / "save", task=12)
    without = manifests(tmp_path / "save")
    for word in (*COMMANDS, "_unknown_", "_silence_"):
        for index in range(2):
            write(data / "speech_commands_test_set_v0.02" / word / f"{index}_nohash_0.wav.wav", 160, 16000)
    prepare_speech_commands(data, tmp_path / "save", task=12)
    parts = manifests(tmp_path / "save")
    assert Counter(item["word"] for item in parts["test"].values()) == dict.fromkeys(
        (*COMMANDS, "_unknown_", "_silence_"), 2
    )
    assert all("speech_commands_test_set_v0.02" in item["wav"] for item in parts["test"].values())
    assert not any("start" in item for item in parts["test"].values())
    assert parts["train"] == without["train"]
    assert parts["valid"] == without["valid"]


def test_what_is_missing_in_speech_commands_is_named(commands: Path, tmp_path: Path) -> None:
    data, save = copy_of(commands, tmp_path / "data"), tmp_path / "save"
    with pytest.raises(ValueError, match=r"`task` \(=10\) must be 12 or 35"):
        prepare_speech_commands(data, save, task=10)  # type: ignore[arg-type]
    (data / "wow" / "00000002_nohash_0.wav").unlink()
    with pytest.raises(ValueError, match=r"wow/00000002_nohash_0\.wav: missing"):
        prepare_speech_commands(data, save)
    for file in (data / "_background_noise_").glob("*.wav"):
        file.unlink()
    with pytest.raises(ValueError, match=r"must hold _background_noise_/\*\.wav"):
        prepare_speech_commands(data, save, task=12)
    (data / "testing_list.txt").unlink()
    with pytest.raises(ValueError, match=r"must hold testing_list\.txt"):
        prepare_speech_commands(data, save)
    for file in (data / "bed").iterdir():
        file.unlink()
    (data / "bed").rmdir()
    with pytest.raises(ValueError, match="it lacks bed "):
        prepare_speech_commands(data, save)


def test_noise_that_is_too_short_is_named(commands: Path, tmp_path: Path) -> None:
    data = copy_of(commands, tmp_path / "data")
    for file in (data / "_background_noise_").glob("*.wav"):
        file.unlink()
    write(data / "_background_noise_" / "short.wav", 16000, 16000)
    with pytest.raises(ValueError, match="_background_noise_ must hold a recording"):
        prepare_speech_commands(data, tmp_path / "save", task=12)


def test_speech_commands_are_downloaded(
    commands: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = tar(pack_folder(commands, "."))
    monkeypatch.setattr(speech_commands, "_URL", server.url("speech_commands.tar.gz"))
    with pytest.raises(ValueError, match=r"`checksum` .* must be that of"):
        prepare_speech_commands(tmp_path / "data", tmp_path / "save", download=True)
    checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    monkeypatch.setattr(speech_commands, "_SHA256", checksum)
    prepare_speech_commands(tmp_path / "data", tmp_path / "save", download=True)
    assert {split: len(items) for split, items in names(tmp_path / "save").items()} == {
        "train": 135,
        "valid": 35,
        "test": 35,
    }


# ---- ESC


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return esc_layout(tmp_path_factory.mktemp("esc"))


@pytest.mark.parametrize(("fold", "valid"), [(1, 2), (4, 5), (5, 1)])
@pytest.mark.parametrize("subset", [10, 50])
def test_the_folds_of_esc(fold: int, valid: int, subset: int, sounds: Path, tmp_path: Path) -> None:
    prepare_esc(sounds, tmp_path, fold=fold, subset=subset)
    parts = manifests(tmp_path)
    categories = {f"sound_{target}" for target in range(0, 50, 50 // subset)}
    for split, folds in (("test", {fold}), ("valid", {valid}), ("train", {1, 2, 3, 4, 5} - {fold, valid})):
        assert {int(name[0]) for name in parts[split]} == folds
        assert Counter(item["category"] for item in parts[split].values()) == dict.fromkeys(categories, len(folds))
    item = parts["test"][f"{fold}-100005-A-5"]
    assert item["wav"] == f"{{data_root}}/audio/{fold}-100005-A-5.wav"
    assert item["category"] == "sound_5"


def test_wrong_arguments_and_data_for_esc(sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`fold` \(=0\) must be 1, 2, 3, 4 or 5"):
        prepare_esc(sounds, tmp_path / "save", fold=0)
    with pytest.raises(ValueError, match=r"`subset` \(=20\) must be 10 or 50"):
        prepare_esc(sounds, tmp_path / "save", fold=1, subset=20)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`data_folder` .* the table is missing"):
        prepare_esc(tmp_path, tmp_path / "save", fold=1)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("filename,category,target\na.wav,dog,0\n")
    with pytest.raises(ValueError, match=r"must have the columns .*; it lacks fold, esc10"):
        prepare_esc(tmp_path, tmp_path / "save", fold=1)


def test_esc_is_downloaded_and_prepared_again_when_the_table_changes(
    sounds: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = zipped(pack_folder(sounds, "ESC-50-master"))
    monkeypatch.setattr(esc, "_URL", server.url("master.zip"))
    data, save = tmp_path / "data", tmp_path / "save"
    prepare_esc(data, save, fold=1, download=True)
    before = (save / "train.json").stat().st_mtime_ns
    prepare_esc(data, save, fold=1, download=True)
    assert (save / "train.json").stat().st_mtime_ns == before

    table = data / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("sound_7,", "sound_seven,"))
    prepare_esc(data, save, fold=1)
    assert manifests(save)["test"]["1-100007-A-7"]["category"] == "sound_seven"


# ---- one's own recordings


def test_a_folder_for_each_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, save = tmp_path / "data", tmp_path / "save"
    for index in range(10):
        write(data / "cat" / f"{index}.wav", 50, 8000)
        write(data / "dog" / "deep" / "down" / f"{index}.flac", 60, 22050, 2)
    for index in range(20):
        write(data / "{odd}" / f"{index}.OGG", 70, 16000)
    (data / "cat" / "notes.txt").touch()
    (data / "cat" / "._0.wav").write_bytes(b"a hidden file")
    (data / "read.me").touch()
    write(data / "stray.wav")
    bad = short_wav(data / "dog" / "bad.wav")

    prepare_audio_folder(data, save)
    parts = manifests(save)
    for split, shares in (("train", (7, 7, 14)), ("valid", (1, 1, 2)), ("test", (2, 2, 4))):
        counts = Counter(item["label"] for item in parts[split].values())
        assert counts == dict(zip(("cat", "dog", "{{odd}}"), shares, strict=True))
    every = {name: item for items in parts.values() for name, item in items.items()}
    assert len(every) == 40
    assert every["dog/deep/down/3.flac"] == {
        "wav": "{data_root}/dog/deep/down/3.flac",
        "duration": 60 / 22050,
        "samples": 60,
        "sample_rate": 22050,
        "channels": 2,
        "label": "dog",
    }
    read = load_data_json(save / "train.json", {"data_root": str(data)})
    assert all(Path(item["wav"]).is_file() for item in read.values())
    assert {item["label"] for item in read.values()} == {"cat", "dog", "{odd}"}
    assert list(json.loads((save / "skipped.json").read_text())) == ["dog/bad.wav"]
    assert all(f"1 files ({why})" in caplog.text for why in (".txt", ".me", "outside of a class folder"))

    with pytest.raises(ValueError, match=r"dog/bad\.wav: cut short"):
        prepare_audio_folder(data, save, bad_files="error")
    bad.unlink()
    prepare_audio_folder(data, save)
    assert manifests(save) == parts  # the same seed, the same choice
    prepare_audio_folder(data, save, seed=1)
    assert manifests(save) != parts


def test_folders_of_splits(tmp_path: Path) -> None:
    data, save = tmp_path / "data", tmp_path / "save"
    for split, count in (("train", 3), ("valid", 1), ("test", 2)):
        for label in ("cat", "dog"):
            for index in range(count):
                write(data / split / label / f"{index}.wav")
    write(data / "train" / "stray.wav")
    prepare_audio_folder(data, save)
    expected = {"train": 3, "valid": 1, "test": 2}
    for split, items in manifests(save).items():
        assert set(items) == {
            f"{split}/{label}/{index}.wav" for label in ("cat", "dog") for index in range(expected[split])
        }
        assert {item["label"] for item in items.values()} == {"cat", "dog"}

    write(data / "test" / "cow" / "0.wav")
    with pytest.raises(ValueError, match="the test part must only have labels of the training part; it also has cow"):
        prepare_audio_folder(data, save)


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table(tmp_path: Path) -> None:
    data, save = tmp_path / "data", tmp_path / "save"
    for index in range(6):
        write(data / f"{index}.wav")
    csv = tmp_path / "table.csv"
    table(
        csv, "label,note,path,split",
        "a,x,0.wav,train", "b,,1.wav,train", "a,,./2.wav,valid", "b,,x/../3.wav,test", "a,,4.wav,test",
    )  # fmt: skip
    prepare_audio_folder(data, save, csv=csv)
    found = {split: {name: item["label"] for name, item in items.items()} for split, items in manifests(save).items()}
    assert found == {
        "train": {"0.wav": "a", "1.wav": "b"},
        "valid": {"2.wav": "a"},
        "test": {"3.wav": "b", "4.wav": "a"},
    }

    text = csv.read_text().replace("4.wav,test", "4.wav,valid")
    csv.write_text("\ufeff" + text)
    prepare_audio_folder(data, save, csv=csv)  # the files are the same, the table is not
    assert set(names(save)["valid"]) == {"2.wav", "4.wav"}

    table(csv, "path,label", *(f"{index}.wav,{'ab'[index % 2]}" for index in range(6)))
    prepare_audio_folder(data, save, csv=csv)
    assert [sorted(item["label"] for item in items.values()) for items in manifests(save).values()] == [["a", "b"]] * 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "0.wav,a"], r"must have the columns path, label; it lacks path"),
        (["path,label", "0.wav,a", "../1.wav,b"], r"line 3: `path` \(='\.\./1\.wav'\) must be inside `data_folder`"),
        (["path,label", "x/../../1.wav,b"], r"line 2: `path` .* must be inside `data_folder`"),
        (["path,label", "/etc/1.wav,b"], r"line 2: `path` .* must be inside `data_folder`"),
        (["path,label", "0.wav,a", "./0.wav,b"], r"line 3: `path` \(='\./0\.wav'\) must be listed once"),
        (["path,label", "0.wav"], r"line 2: it must have a cell for every column"),
        (["path,label", "0.wav,"], r"line 2: `path` and `label` must not be empty"),
        (["path,label,split", "0.wav,a,deviation"], r"line 2: `split` \(='deviation'\) must be one of train, "),
        (["path,label", "0.wav,a", "1.wav,a"], r"recordings of at least 2 classes; found: a$"),
        (
            ["path,label", "0.wav,a", "1.wav,b"],
            r"class 'a' \(=1 files for training\) must have more than 1 for test and 1 for valid",
        ),
        (
            ["path,label", "0.wav,a", "1.wav,a", "2.wav,b"],
            r"class 'a' \(=2 files for training\) must have more than 1 for test and 1 for valid",
        ),
        (["path,label", "0.wav,a", "9.wav,b"], r"none of the 1 of 'b' can; 9\.wav: missing$"),
    ],
)
def test_tables_that_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / "data" / f"{index}.wav")
    with pytest.raises(ValueError, match=message):
        prepare_audio_folder(tmp_path / "data", tmp_path / "save", csv=table(tmp_path / "table.csv", *lines))
    assert not (tmp_path / "save" / "prepared.json").exists()


def test_links_to_folders_are_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_path / "data"
    for label in ("cat", "dog"):
        for index in range(3):
            write(data / label / f"{index}.wav")
    write(tmp_path / "elsewhere" / "a.wav")
    (data / "dog" / "loop").symlink_to(data, target_is_directory=True)
    (data / "cow").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(ValueError, match=r"class folder '.*cow' must have a recording; it is a link to a folder"):
        prepare_audio_folder(data, tmp_path / "save")
    assert "cow is a link to a folder and not followed" in caplog.text
    (data / "cow").unlink()
    prepare_audio_folder(data, tmp_path / "save")
    every = set().union(*names(tmp_path / "save").values())
    assert every == {f"{label}/{index}.wav" for label in ("cat", "dog") for index in range(3)}
    assert "dog/loop is a link to a folder and not followed" in caplog.text


@pytest.mark.parametrize(("valid", "test"), [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.2)])
def test_shares_that_leave_nothing_are_named(valid: float, test: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"`valid_share` \(={valid}\) and `test_share` \(={test}\) must be above 0"):
        prepare_audio_folder(tmp_path, tmp_path, valid_share=valid, test_share=test)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`data_folder` \(=.*none'\) must be a folder"):
        prepare_audio_folder(tmp_path / "none", tmp_path)
    with pytest.raises(ValueError, match=r"`csv` \(=.*none\.csv'\) must be a file"):
        prepare_audio_folder(tmp_path, tmp_path, csv=tmp_path / "none.csv")
