"""Outputs that would replace inputs, collide or cannot be written are refused before any work."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from full_disks import files_of_at_most
from tiny_models import resnet, saved, tones

from seqstride.cli import main
from seqstride.cli.drawing import _stems
from seqstride.errors import FileError
from seqstride.files.outputs import check_output
from seqstride.models.folder import model_files


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(resnet("adastride"), tmp_path_factory.mktemp("model"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "x.wav", tones(0.5).numpy(), 8000)
    return tmp_path / "x.wav"


@pytest.fixture
def unchanged(tmp_path: Path, model: Path, recording: Path) -> Iterator[None]:
    """Nothing in the folders changes."""

    def content() -> dict[Path, bytes]:
        files = [path for folder in (tmp_path, model) for path in folder.rglob("*")]
        return {path: path.read_bytes() if path.is_file() else b"" for path in files}

    before = content()
    yield
    assert content() == before


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([*map(str, words)]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


@pytest.mark.usefixtures("unchanged")
def test_inputs_are_not_replaced(model: Path, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recording.parent
    read = "must not be one of the files that are read"
    assert read in refused(capsys, "classify", recording, "--model", model, "--csv", recording)
    assert read in refused(capsys, "classify", folder, "--model", model, "--csv", folder / ".." / folder.name / "x.wav")
    assert read in refused(capsys, "strides", recording, "--model", model, "-o", recording)
    assert read in refused(capsys, "strides", recording, "--model", model, "-o", "p.png", "--csv", recording)
    assert read in refused(capsys, "strides", recording, "--model", model, "-o", "p.png", "--html", recording)
    for file in model_files(model):
        assert read in refused(capsys, "export", "--model", model, "-o", file)
        assert read in refused(capsys, "classify", recording, "--model", model, "--csv", file)
        assert read in refused(capsys, "strides", recording, "--model", model, "-o", "p.png", "--csv", file)
        assert read in refused(capsys, "strides", recording, "--model", model, "-o", "p.png", "--html", file)
        assert read in refused(capsys, "resynth", recording, "--model", model, "-o", file)


@pytest.mark.usefixtures("unchanged")
def test_two_outputs_are_two_files(model: Path, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--csv", "--html"):
        picture, same = recording.parent / "p.png", recording.parent / ".." / recording.parent.name / "p.png"
        error = refused(capsys, "strides", recording, "--model", model, "-o", picture, option, same)
        assert "must be different files" in error


@pytest.mark.usefixtures("unchanged")
def test_a_table_is_none_of_the_pictures(model: Path, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recording.parent
    words = ["strides", recording, "--model", model, "-o", folder / "p.png", "--seconds", "0.1"]
    for option, name in (("--csv", "p_001.png"), ("--csv", "p.html"), ("--html", "p_001.PNG")):
        assert "must not have the extension of another output" in refused(capsys, *words, option, folder / name)
    words = ["strides", folder, "--model", model, "-o", folder / "out", "--csv", folder / "out" / "x.png"]
    assert "must not have the extension of another output" in refused(capsys, *words)


@pytest.mark.usefixtures("unchanged")
def test_outputs_with_wrong_names_are_refused(model: Path, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recording.parent
    audio = "must not have the extension of a recording"
    assert audio in refused(capsys, "classify", recording, "--model", model, "--csv", folder / "new.flac")
    assert audio in refused(capsys, "strides", recording, "--model", model, "-o", "p.png", "--csv", folder / "n.wav")
    named = "it is named like a file"
    assert named in refused(capsys, "strides", folder, "--model", model, "-o", folder / "pics.png")
    assert named in refused(
        capsys, "strides", folder, "--model", model, "-o", folder / "p", "--html", folder / "p.html"
    )
    assert "it is a file" in refused(capsys, "strides", folder, "--model", model, "-o", recording)
    assert "it is a folder" in refused(capsys, "classify", recording, "--model", model, "--csv", folder)
    assert "is not a folder" in refused(capsys, "classify", recording, "--model", model, "--csv", recording / "t.csv")


def test_files_that_cannot_be_written_are_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FileError, match=r"`--csv` \(='.*t.csv'\) cannot be written: '.*' allows no writing"):
        check_output("--csv", tmp_path / "new" / "t.csv")


def test_a_file_in_a_folder_that_allows_no_writing_and_a_link_to_nowhere_are_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is replaced by another in its folder, and a link stays: its own rights do not suffice."""
    table, link = tmp_path / "t.csv", tmp_path / "link.csv"
    table.touch()
    check_output("--csv", table)
    link.symlink_to(tmp_path / "new.csv")
    check_output("--csv", link)
    link.unlink()
    link.symlink_to(tmp_path / "missing" / "t.csv")
    with pytest.raises(FileError, match=r"`--csv` .* cannot be written: it is a link to '.*', whose folder is missing"):
        check_output("--csv", link)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) == table)
    with pytest.raises(FileError, match=rf"cannot be written: '{tmp_path}' allows no writing"):
        check_output("--csv", table)


def test_devices_are_written_to(model: Path, recording: Path) -> None:
    assert main(["classify", str(recording), "--model", str(model), "--csv", os.devnull]) == 0
    assert Path(os.devnull).is_char_device()


def test_no_two_recordings_share_a_picture() -> None:
    names = [Path(name) for name in ("a.wav", "a_001.wav", "x.wav", "x.flac", "x.wav.wav", "b/a.wav", "b_2000.ogg")]
    stems = [str(stem) for stem in _stems(names)]
    assert stems == ["a", "a_001.wav", "x.wav", "x.flac", "x.wav.wav", "b/a", "b_2000"]
    assert len(set(stems)) == len(names)


def test_numbered_pictures_do_not_meet_others(model: Path, tmp_path: Path) -> None:
    for name, seconds in (("a", 1.0), ("a_001", 0.4)):
        soundfile.write(tmp_path / f"{name}.wav", tones(seconds).numpy(), 8000)
    out = tmp_path / "pictures"
    assert main(["strides", str(tmp_path), "--model", str(model), "-o", str(out), "--seconds", "0.5"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a_001.png", "a_001.wav.png", "a_002.png"]


def test_a_terminal_that_lacks_letters_does_not_end_the_work(
    model: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = recording.rename(recording.with_name("ü.wav"))
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["classify", str(strange), "--model", str(model)]) == 0
    screen.flush()
    assert b"\\xfc.wav: digit " in screen.buffer.getvalue()  # type: ignore[attr-defined]


def test_names_in_a_model_cannot_write_to_the_terminal(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["\x1b[2J", "0\nother.wav: digit 7"]
    folder = saved(resnet("average", labels={"digit": names}), tmp_path / "model")
    assert main(["classify", str(recording), "--model", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out
    words = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**words, "task": "\x1b[2J"}))
    assert main(["classify", str(recording), "--model", str(folder)]) == 2
    assert "is a model for \\x1b[2J, where one for classification" in capsys.readouterr().err


def test_a_cell_may_be_longer_than_csv_reads_by_default(model: Path, recording: Path, tmp_path: Path) -> None:
    table, limit = tmp_path / "t.csv", csv.field_size_limit(10)
    try:
        assert main(["classify", str(recording), "--model", str(model), "--csv", str(table)]) == 0
        assert table.is_file()
        assert csv.field_size_limit() == 10
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize("table", [True, False])
def test_ctrl_c_promises_only_what_there_is(
    table: bool,
    model: Path,
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seqstride.models.classifier.classify_files", stop)
    words = ["classify", str(recording), "--model", str(model), *(["--csv", str(tmp_path / "t.csv")] if table else [])]
    assert main(words) == 130
    resumes = "stopped; run the same command again to resume" if table else "stopped"
    assert capsys.readouterr().err.strip() == f"seqstride: {resumes}"


@pytest.mark.parametrize(
    ("words", "room"),
    [
        (["classify", "{in}", "--csv", "{out}/a.csv"], 40),
        (["strides", "{in}", "-o", "{out}/a.png", "--csv", "{out}/a.csv"], 2000),
        (["strides", "{in}", "-o", "{out}/a.png"], 2000),
    ],
    ids=["classify", "a table of strides", "a picture of strides"],
)
def test_a_full_disk_leaves_what_was_there_and_nothing_half(
    words: list[str], room: int, model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = {tmp_path / "out" / name: name.encode() for name in ("a.csv", "a.png")}
    (tmp_path / "out").mkdir()
    for path, content in earlier.items():
        path.write_bytes(content)
    line = [word.format(**{"in": recording, "out": tmp_path / "out"}) for word in words]
    with files_of_at_most(room):
        assert main([*line, "--model", str(model)]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert error.endswith(" be written: File too large")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == earlier
    assert all(path.stat().st_size or path.name.endswith(".lock") for path in (tmp_path / "out").rglob("*.*"))
