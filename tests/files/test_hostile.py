"""Broken files and strange names at every command: an error that names the file, never a traceback, never a hang."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import hostile
import numpy as np
import pytest
import soundfile
import torch
from hostile import (
    BROKEN_AUDIO,
    BROKEN_FEATURES,
    BROKEN_MANIFESTS,
    BROKEN_METHODS,
    BROKEN_SERIES,
    BROKEN_TABLES,
    SOUND_AUDIO,
    SOUND_FEATURES,
    SOUND_SERIES,
)
from seqstride.data_prep import download
from seqstride.data_prep.audio_folder import prepare_audio_folder
from seqstride.data_prep.manifest import file_digest
from tiny_models import resnet, saved

from seqstride.brains.manifests import labelled_signals, open_manifests
from seqstride.cli import main
from seqstride.encoders.frontend import LogMel
from seqstride.errors import InputError, shown
from seqstride.estimators.series_files import Columns, read_series
from seqstride.experiments.comparison_report import read_comparison
from seqstride.experiments.provenance import read_made_from
from seqstride.experiments.recipe import recipes_folder
from seqstride.files.audio_files import with_root
from seqstride.files.loading import load_audio
from seqstride.models.recogniser import Transcriber, save_transcriber

PATIENCE = 60  # s; the slowest takes a few, a hang takes for ever


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A test that waits for a pipe fails."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(resnet("adastride"), tmp_path_factory.mktemp("model"))


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that must fail; an exception that `main` lets through is a failure of the test."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert "it hangs" not in captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("seqstride: ")]
    assert len(lines) == 1
    return lines[0]


# Recordings


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile.audio(tmp_path_factory.mktemp("recordings") / "in")


def test_a_folder_of_everything_is_classified_or_reported(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "all.csv"
    assert main(["classify", str(recordings), "--model", str(model), "--csv", str(table)]) == 2
    captured = capsys.readouterr()
    refused = [name for name in BROKEN_AUDIO if name != "folder.wav"]  # a folder without recordings has none
    assert len(captured.out.splitlines()) == len(SOUND_AUDIO), "one line each, whatever the name"
    assert len(captured.err.splitlines()) == len(refused)
    for name in refused:
        lines = [line.split("; near matches")[0] for line in captured.err.splitlines()]
        [line] = [line for line in lines if f"/{name}'" in line]
        assert BROKEN_AUDIO[name][1] in line
    for name in SOUND_AUDIO:
        assert f"{shown(recordings / name)}: digit " in captured.out
    with open(table, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {*refused, *SOUND_AUDIO}, "names come out as they are"
    usual = float(rows["flac inside.wav"]["digit_probability"])
    for name, row in rows.items():
        assert bool(row["error"]) == (name in refused)
        if name in ("24 bit.wav", "double.wav", "six channels.wav", "streamed.wav", "loud.wav", "new\nline.wav"):
            assert float(row["digit_probability"]) == pytest.approx(usual, abs=1e-3)


@pytest.mark.parametrize("name", ["pipe.wav", "hours.flac", "cut.wav", "enormous.wav", "folder.wav", "rate 2 GHz.wav"])
def test_one_recording_that_cannot_be_drawn_is_named(
    name: str, model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "new.png"
    assert name in failure(capsys, "strides", recordings / name, "--model", model, "-o", picture)
    assert not picture.exists()


def test_pictures_tables_and_pages_stay_in_their_folders(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    odd = ["$x^{$ %s {0} <b>&amp;.wav", os.fsdecode(b"latin\xfc.wav"), "\x1b[31mred\t.wav"]
    for name in [*odd, "one sample.wav"]:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(recordings / name, tmp_path / "in")
    arguments = ["--html", tmp_path / "pages", "--csv", tmp_path / "t.csv"]
    assert (
        main([str(w) for w in ["strides", tmp_path / "in", "--model", model, "-o", tmp_path / "out", *arguments]]) == 0
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{Path(name).stem}.png" for name in [*odd, "one sample.wav"]
    }
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "pages", "t.csv"}
    [page] = (tmp_path / "pages").glob("$x*.html")
    assert "<b>&amp;.wav:" not in page.read_text(encoding="utf-8"), "a name is no markup"
    [page] = (tmp_path / "pages").glob("latin*.html")
    assert r"latin\\udcfc" in page.read_text(encoding="utf-8"), "writers of JSON other than Python's take UTF-8 only"
    assert len(capsys.readouterr().out.splitlines()) == 2 * (len(odd) + 1)


def test_a_name_that_is_too_long_for_a_page_keeps_no_other_from_being_drawn(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a" * 251 + ".wav", "b.wav"):
        shutil.copy(recordings / "one sample.wav", tmp_path / "in" / name)
    words = ["strides", tmp_path / "in", "--model", model, "-o", tmp_path / "out", "--html", tmp_path / "pages"]
    assert main([*map(str, words)]) == 2
    told = capsys.readouterr()
    assert re.fullmatch(r"seqstride: '.*aaa\.html' could not be written: File name too long\n", told.err)
    drawn = ["out/" + "a" * 251 + ".png", "out/b.png", "pages/b.html"]
    assert told.out.split() == [str(tmp_path / name) for name in drawn]


def test_an_unreadable_file_is_named() -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own is for its user only
        os.chmod(place, 0o755)
        file = hostile.sound(Path(place, "secret.wav"))
        file.chmod(0)
        root = os.geteuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)
        try:
            with pytest.raises(ValueError, match=r"secret\.wav' cannot be read as audio: permission denied"):
                load_audio(8000, file)
        finally:
            if root:
                os.setresuid(0, 0, 0)


@pytest.mark.parametrize(("rate", "wanted"), [(44101, 16000), (11127, 8000), (8000, 44101), (44100, 16000)])
def test_any_rate_is_resampled_in_little_memory(rate: int, wanted: int, tmp_path: Path) -> None:
    t = np.arange(rate // 2) / rate
    soundfile.write(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * 440 * t), rate, subtype="FLOAT")
    found = load_audio(wanted, tmp_path / "x.wav").numpy()
    assert abs(len(found) - wanted / 2) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(found)) / wanted)
    inner = slice(wanted // 20, -wanted // 20)
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3)


@pytest.mark.parametrize(
    ("rate", "wanted"), [(16000, 8000), (8000, 16000), (44100, 16000), (16000, 44100), (48000, 500)]
)
def test_hours_are_resampled_in_pieces_as_they_would_be_at_once(
    rate: int, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 30_011), rate, subtype="FLOAT")
    whole = load_audio(wanted, tmp_path / "x.wav")
    monkeypatch.setattr("seqstride.files.loading.PIECE", 1000)
    torch.testing.assert_close(load_audio(wanted, tmp_path / "x.wav"), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", ["", "/", ".", ".."])
def test_a_path_without_a_name_is_no_recording(path: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read as audio: (there is no such file|it is not a regular file)"):
        load_audio(8000, path)


def test_preparation_skips_what_is_broken_and_reports_it(
    recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in ("low", "high"):
        for index in range(3):
            hostile.sound(tmp_path / "data" / label / f"{index}.wav")
    shutil.copytree(recordings, tmp_path / "data" / "odd", symlinks=True, ignore=shutil.ignore_patterns("pipe.wav"))
    hostile.fifo(tmp_path / "data" / "odd" / "pipe.wav")
    prepare_audio_folder(tmp_path / "data", tmp_path / "save")
    skipped = json.loads((tmp_path / "save" / "skipped.json").read_text(encoding="utf-8"))
    # a rate that is far from a model's is no fault of a file
    sound = {"rate 1.wav", "rate 2 GHz.wav"}
    assert set(skipped) == {f"odd/{name}" for name in set(BROKEN_AUDIO) - {"folder.wav"} - sound}
    manifests = {split: tmp_path / "save" / f"{split}.json" for split in ("train", "valid", "test")}
    datasets = open_manifests(manifests, 8000, tmp_path / "data")
    found = {name for dataset in datasets.values() for name in dataset.data}
    assert {f"odd/{name}" for name in SOUND_AUDIO} <= found
    for dataset in datasets.values():
        dataset.set_output_keys(["id", "signal"])
        for name in set(dataset.data) - {f"odd/{name}" for name in sound}:
            index = list(dataset.data).index(name)
            assert dataset[index]["id"] == name


def test_prepared_names_are_read_again(recordings: Path) -> None:
    for name in SOUND_AUDIO:
        assert load_audio(8000, recordings / name).isfinite().all()


# Features


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser of features with 5 channels, without the training."""
    folder = tmp_path_factory.mktemp("transcriber")
    encoder = {"in_channels": 5, "channels": 16, "strides": [2], "downsampler": "adastride", "layers": 1, "heads": 2}
    words = {
        "format": 1,
        "task": "transcription",
        "units": {"kind": "words", "names": ["yes", "no"]},
        "sample_rate": None,
        "frame_rate": 100.0,
        "feature_name": "cepstrum",
        "modules": {
            "normalize": {"class": "seqstride.encoders.heads.FeatureNorm", "arguments": {"channels": 5}},
            "encoder": {
                "class": "seqstride.encoders.conformer.ConformerEncoder",
                "arguments": {**encoder, "feed_forward": 16, "kernel_size": 3, "dropout": 0.0},
            },
        },
    }
    made = Transcriber(words)
    save_transcriber(folder, words, {"normalize": made.normalize, "encoder": made.encoder, "output": made.output})
    return folder


def test_features_are_transcribed_or_reported(
    transcriber: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {make(tmp_path / name): words for name, (make, words) in BROKEN_FEATURES.items() if name != "folder.npy"}
    sound = [make(tmp_path / name) for name, make in SOUND_FEATURES.items()]
    assert main(["transcribe", *map(str, [*broken, *sound]), "--model", str(transcriber)]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == len(broken)
    for line, (file, words) in zip(captured.err.splitlines(), broken.items(), strict=True):
        assert f"{file}'" in line
        assert words in line
    texts = [line.removeprefix(f"{file}: ") for line, file in zip(captured.out.splitlines(), sound, strict=True)]
    assert len(set(texts)) == 1, "the same numbers in other containers"


# Tables and series


@pytest.mark.parametrize("name", BROKEN_SERIES)
def test_broken_series_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = BROKEN_SERIES[name]
    file = hostile.put(tmp_path / name, content)
    line = failure(capsys, "fit-series", file, file, "-o", tmp_path / "out")
    assert f"'{file}'" in line
    assert words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SOUND_SERIES)
def test_odd_series_are_read(name: str, tmp_path: Path) -> None:
    found = read_series(hostile.put(tmp_path / name, SOUND_SERIES[name]), Columns())
    expected = read_series(hostile.put(tmp_path / "plain.csv", SOUND_SERIES["plain.csv"]), Columns())
    if name.endswith(".csv"):
        for mine, theirs in zip(found.series, expected.series, strict=True):
            np.testing.assert_array_equal(mine["value"], theirs["value"])
    assert len(set(found.labels)) == 2


def test_labels_of_series_are_no_formulas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = hostile.put(tmp_path / "dollars.csv", SOUND_SERIES["dollars.csv"])
    options = ["-o", tmp_path / "out", "--epochs", 1, "--strides", 2, "--downsampler", "average"]
    assert main([str(word) for word in ["fit-series", file, file, *options]]) == 0
    assert (tmp_path / "out" / "strides.png").is_file()


def test_a_series_file_that_is_a_pipe_or_a_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (hostile.fifo(tmp_path / "pipe.csv"), hostile.folder(tmp_path / "folder.ts")):
        assert f"'{path}'" in failure(capsys, "fit-series", path, path)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for label in "ab":
        for index in range(3):
            hostile.sound(folder / f"{label}{index}.wav", seconds=0.05)
    return folder


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_broken_tables_of_recordings_are_named(name: str, two_classes: Path, tmp_path: Path) -> None:
    content, words = BROKEN_TABLES[name]
    table = hostile.put(tmp_path / name, content)
    with pytest.raises(ValueError, match=r"\.csv|at least 2 classes") as caught:
        prepare_audio_folder(two_classes, tmp_path / "save", csv=table)
    assert words in str(caught.value)
    assert not (tmp_path / "save").exists()


def test_a_broken_table_stops_the_run_with_one_line(
    two_classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = hostile.put(tmp_path / "latin.csv", BROKEN_TABLES["latin.csv"][0])
    options = ["--data_folder", two_classes, "--csv", table, "--output_folder", tmp_path / "out", "--noprogressbar"]
    assert str(table) in failure(capsys, "train", "AudioFolder/classification", *options)


def test_a_table_may_start_with_a_mark_of_the_byte_order(two_classes: Path, tmp_path: Path) -> None:
    table = hostile.put(tmp_path / "bom.csv", b"\xef\xbb\xbf" + f"path,label\r\n{hostile.ROWS}".encode())
    prepare_audio_folder(two_classes, tmp_path / "save", csv=table)
    assert len(json.loads((tmp_path / "save" / "train.json").read_text())) == 2


@pytest.mark.parametrize("name", BROKEN_MANIFESTS)
def test_broken_manifests_are_named(name: str, tmp_path: Path) -> None:
    content, words = BROKEN_MANIFESTS[name]
    manifest = hostile.put(tmp_path / "train.json", content)
    with pytest.raises(ValueError, match="train") as caught:
        labelled_signals({"train": manifest}, ["label"])
    assert words in str(caught.value)


def test_manifests_may_name_files_anywhere_but_only_read_them(tmp_path: Path) -> None:
    """Paths outside of the folder are usual in SpeechBrain; ids and labels never become names of files."""
    elsewhere = hostile.npy(tmp_path / "elsewhere.npy", np.ones((4, 5), np.float32))
    item = {"length": 4, "frame_rate": 100.0, "label": "../../label"}
    items = {
        "../../id": {"features": str(elsewhere), **item},
        "/etc/id": {"features": "{data_root}/../elsewhere.npy", **item},
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.json").write_text(json.dumps(items))
    datasets, classes = labelled_signals({"train": tmp_path / "data" / "train.json"}, ["label"])
    assert [tuple(item["signal"].shape) for item in datasets["train"]] == [(4, 5), (4, 5)]
    assert classes == {"label": ["../../label"]}


@pytest.mark.parametrize("name", ["../x.wav", "a/../../x.wav", "/etc/x.wav"])
def test_lists_of_a_set_name_nothing_outside_of_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.wav', which the data name, must be inside"):
        file_digest([tmp_path / name], tmp_path)


# Recipes


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe's folder of method files that the tests may fill."""
    source = recipes_folder() / "JapaneseVowels" / "speaker_id"
    shutil.copytree(source, tmp_path / "recipe", ignore=shutil.ignore_patterns("results"))
    return tmp_path / "recipe" / "hparams"


@pytest.mark.parametrize("name", sorted(set(BROKEN_METHODS) - {"minus.yaml"}))
def test_broken_recipes_are_one_line(
    name: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, words = BROKEN_METHODS[name]
    file = hostile.put(recipe / name, content)
    line = failure(capsys, "train", file, "--output_folder", tmp_path / "out", "--noprogressbar")
    assert str(file) in line
    assert words in line
    assert not (tmp_path / "out" / "save").exists()


@pytest.mark.parametrize("value", ["[", "{a: *b}", "!new:nothing.at.all", "!ref <nothing>"])
def test_broken_overrides_are_one_line(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = "JapaneseVowels/speaker_id"
    line = failure(capsys, "train", recipe, "--lr", value, "--output_folder", tmp_path / "out")
    assert "train.yaml" in line or "command line" in line


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{", b"\xff\xfe", b'{"arguments": 3}'])
@pytest.mark.parametrize("name", ["results.json", "runs.json"])
def test_records_that_are_none_are_named(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile.put(tmp_path / name, content)
    assert name in failure(capsys, "table", tmp_path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff"])
@pytest.mark.parametrize(("name", "read"), [("runs.json", read_comparison), ("made_from.json", read_made_from)])
def test_files_of_runs_that_are_no_json_are_named(
    name: str, read: Callable[[Path], object], content: bytes, tmp_path: Path
) -> None:
    hostile.put(tmp_path / name, content)
    with pytest.raises(InputError, match=name):
        read(tmp_path)


STRANGE = (None, -1, 0, 1e-9, 1e30, float("nan"), "16000", [], {}, True, [[[]]])


def places_in(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a record, the first two of every list."""
    yield path
    for key in node if isinstance(node, dict) else range(min(2, len(node))) if isinstance(node, list) else ():
        yield from places_in(node[key], (*path, key))


def test_records_with_strange_values_are_shown_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    committed = recipes_folder() / "Synthetic" / "tones" / "results" / "compare_6" / "runs.json"
    comparison = json.loads(committed.read_text(encoding="utf-8"))
    comparison["runs"] = comparison["runs"][:2]
    strange = (*STRANGE, "\x1b[2J", 10**400)
    draw = random.Random(0)
    for content, name in ((comparison, "runs.json"), (comparison["runs"][0], "results.json")):
        paths = [path for path in places_in(content) if path]
        for path in draw.sample(paths, min(60, len(paths))):
            altered = copy.deepcopy(content)
            node = altered
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = draw.choice(strange)
            (tmp_path / name).write_text(json.dumps(altered))
            code = main(["table", str(tmp_path)])
            captured = capsys.readouterr()
            assert code in (0, 2), (path, node[path[-1]], captured.err)
            assert "\x1b" not in captured.out + captured.err
        (tmp_path / name).unlink()


# Models from a stranger


LEAVES = ("sample_rate", "frame_rate", "window", "feature_name", "labels", "modules", "head")


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_model_with_a_strange_value_is_refused_or_works(
    leaf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(resnet("average"), tmp_path / "model")
    words = json.loads((folder / "model.json").read_text())
    file = hostile.sound(tmp_path / "x.wav")
    for value in STRANGE:
        (folder / "model.json").write_text(json.dumps({**words, leaf: value}))
        code = main(["classify", str(file), "--model", str(folder)])
        captured = capsys.readouterr()
        assert code in (0, 2), value
        assert "nan" not in captured.out, value
        if code == 2:
            named = any(name in captured.err for name in ("model.json", "model.safetensors", "`model`", "its rate"))
            assert named, (value, captured.err)


# Archives


def tar_of(path: Path, *members: tarfile.TarInfo, data: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def bomb_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/zeros", bytes(5_000_000))
    return path


def nested_link(path: Path) -> Path:
    return tar_of(path, member("set/out", tarfile.SYMTYPE, ".."), member("set/out/../../evil.txt", size=1), data=b"1")


ARCHIVES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "up": (lambda path: tar_of(path, member("../evil.txt", size=1), data=b"1"), "keep its files to itself"),
    "link out": (
        lambda path: tar_of(path, member("set/a", tarfile.SYMTYPE, "/etc/passwd")),
        "keep its files to itself",
    ),
    "hard link out": (
        lambda path: tar_of(path, member("set/a", tarfile.LNKTYPE, "../../x")),
        "keep its files to itself",
    ),
    "link to above": (nested_link, "keep its files to itself"),
    "device": (lambda path: tar_of(path, member("set/a", tarfile.CHRTYPE)), "keep its files to itself"),
    "pipe": (lambda path: tar_of(path, member("set/a", tarfile.FIFOTYPE)), "keep its files to itself"),
    "bomb": (lambda path: tar_of(path, member("set/a", size=5_000_000), data=bytes(5_000_000)), "times its size"),
    "zip bomb": (bomb_zip, "times its size"),
    "page": (lambda path: hostile.put(path, b"<html>404</html>"), "is no archive"),
    "empty": (lambda path: hostile.put(path, b""), "is no archive"),
    "cut": (lambda path: hostile.cut(tar_of(path, member("set/a", size=9000), data=os.urandom(9000))), "is damaged"),
    "cut zip": (lambda path: hostile.cut(bomb_zip(path)), "is no archive"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_stay_in_their_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, words = ARCHIVES[name]
    archive = make(tmp_path / "made")
    monkeypatch.setattr(download, "download", lambda url, path, checksum: shutil.copy(archive, path))
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=words):
        download.download_archive("http://x/set.tar.gz", tmp_path / "in" / "data", inner="set")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} - {"made", "in"}
    assert left <= {"in/data-set.tar.gz"}


def test_an_absolute_name_lands_below_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar_of(tmp_path / "made", member("/set/a", size=1), data=b"1")
    monkeypatch.setattr(download, "download", lambda url, path, checksum: shutil.copy(archive, path))
    download.download_archive("http://x/set.tar.gz", tmp_path / "data", inner="set")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["a"]


def test_pieces_of_a_spectrogram_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours are transformed in pieces, so that memory goes by the features and not by the spectra."""
    frontend = LogMel(8000, bands=12)
    for samples in (1, 79, 80, 1000, 1600, 4321):
        waves, lengths = torch.randn(2, samples), torch.tensor([samples, max(1, samples // 2)])
        whole, frames = frontend(waves, lengths)
        monkeypatch.setattr("seqstride.encoders.frontend.PIECE", 7)
        torch.testing.assert_close(frontend(waves, lengths)[0], whole)
        monkeypatch.undo()
        assert whole.shape[2] == samples // 80 + 1 == int(frames[0])


@pytest.mark.parametrize(
    "text", ["{data_root:>2000000000}", "{data_root.__class__}", "{data_root!r}", "{data_root[0]}", "{}", "{x}", "{"]
)
def test_braces_in_manifests_hold_data_root_and_nothing_else(text: str) -> None:
    assert with_root({"wav": ["{data_root}/{{a}}.wav", 3]}, "/{r}") == {"wav": ["/{r}/{a}.wav", 3]}
    with pytest.raises(ValueError, match=r"must have no names in braces but {data_root}: "):
        with_root({"wav": text}, "/r")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("\udcffcls", "must be UTF-8"),
        (" ", "must not be empty"),
        ("a\nb", "must not have line breaks"),
        ("\x1b[2J", "must not have line breaks or control characters"),
        ("a => b", "must not have the arrow"),
    ],
)
def test_names_of_classes_that_a_model_cannot_keep_are_refused_before_the_training(
    name: str, rule: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2), dtype=np.float32))
    item = {"features": "{data_root}/x.npy", "length": 4, "frame_rate": 100.0}
    items = {"a": {**item, "class": "fine: ü\u00a0= 👩\u200d🔬"}, "b": {**item, "class": name}}
    (tmp_path / "train.json").write_text(json.dumps(items))
    with pytest.raises(ValueError, match=rf"`labels` \(class='.*'\) {rule}"):
        labelled_signals({"train": tmp_path / "train.json"}, ["class"])
