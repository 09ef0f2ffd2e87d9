"""Manifests and lists: marks of the byte order, parts of recordings, and items that are wrong."""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from altered import altered
from tiny_models import resnet, saved, tones

from seqstride.brains.manifests import labelled_signals, open_manifests
from seqstride.brains.vqvae import VQVAEBrain
from seqstride.cli import main
from seqstride.errors import UserError
from seqstride.experiments.provenance import manifest_items
from seqstride.files.audio_files import read_list
from seqstride.files.loading import load_features
from seqstride.files.text_files import read_json, read_text

RATE = 8000
SAMPLES = 2400


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(resnet("average"), tmp_path_factory.mktemp("model"))


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", tones(SAMPLES / RATE).numpy(), RATE)
    return tmp_path / "a.wav"


def manifest(folder: Path, items: dict[str, Any]) -> Path:
    item = {"wav": "{data_root}/a.wav", "duration": 0.3, "label": "x"}
    file = folder / "train.json"
    file.write_text(json.dumps({name: {**item, **own} for name, own in items.items()}))
    return file


# Texts


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_any_ends_of_lines_are_accepted(mark: bytes, end: str, wav: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(mark + f"{wav}{end}{wav}{end}".encode())
    assert [item.path for item in read_list(listed)] == [str(wav), str(wav)]
    items = {name: {"wav": "{data_root}/a.wav", "duration": 0.3, "label": "ö"} for name in "ab"}
    for name in ("list.json", "LIST.JSON"):
        file = tmp_path / name
        file.write_bytes(mark + json.dumps(items, indent=1, ensure_ascii=False).replace("\n", end).encode())
        assert [(item.name, item.path) for item in read_list(file)] == [("a", str(wav)), ("b", str(wav))]
    datasets, classes = labelled_signals({"train": file}, ["label"], RATE)
    assert classes == {"label": ["ö"]}
    assert len(datasets["train"][0]["signal"]) == SAMPLES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ä\n".encode("utf-16"), "must be a text in UTF-8; it is in UTF-16: save it as UTF-8"),
        ("ä\n".encode("utf-32"), "must be a text in UTF-8; it is in UTF-32"),
        ("ab\n".encode("utf-16-le"), "must be a text in UTF-8; it has zero bytes"),
        (b"a\nb\n\xe4\n", r"must be a text in UTF-8; line 3 is not \(byte 0xe4\)"),
    ],
)
def test_what_is_no_utf8_is_said_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "table.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"'.*table\.txt' {message}"):
        read_text(file)


def test_a_key_that_is_there_twice_would_lose_an_item(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    file.write_text('{"a": {"wav": "1.wav", "duration": 1}, "a": {"wav": "2.wav", "duration": 1}}')
    for read in (read_json, read_list, lambda file: open_manifests({"train": file}, RATE)):
        with pytest.raises(ValueError, match="it has the key 'a' twice"):
            read(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ("9" * 5000, "it has a whole number with too many digits"),
        ("{", "Expecting property name enclosed in double quotes"),
    ],
)
def test_json_that_python_cannot_read_is_said_in_plain_words(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"train\.json' must be JSON: {message}"):
        read_json(file)


# Parts of recordings

WRONG = [
    ({"start": 0.05, "stop": 0.2}, "`start` (=0.05) must be a whole number of samples of the file (not seconds)"),
    ({"stop": 0.2}, "`stop` (=0.2) must be a whole number of samples"),
    ({"stop": 1600.0}, "`stop` (=1600.0) must be a whole number of samples"),
    ({"stop": "0.2"}, "`stop` (='0.2') must be a whole number of samples"),
    ({"stop": ""}, "`stop` (='') must be a whole number of samples"),
    ({"start": "soon"}, "`start` (='soon') must be a whole number of samples"),
    ({"start": True}, "`start` (=True) must be a whole number of samples"),
    ({"start": [3]}, "`start` (=[3]) must be a whole number of samples"),
    ({"start": -1}, "`start` (=-1) must be a whole number of samples of the file (not seconds), at least 0"),
    ({"start": "-1"}, "`start` (='-1') must be a whole number of samples"),
    ({"start": 500, "stop": 500}, "`stop` (=500) must be above `start` (=500)"),
    ({"start": "500", "stop": "100"}, "`stop` (='100') must be above `start` (=500)"),
    ({"stop": "9" * 5000}, f"`stop` (='{'9' * 79}…) must be a whole number of samples"),
]
BEYOND = [({"stop": SAMPLES + 1}, "stop"), ({"start": SAMPLES}, "start"), ({"start": 9000, "stop": 9999}, "start")]


def test_parts_are_samples_also_where_they_are_written_as_text(wav: Path, tmp_path: Path, model: Path) -> None:
    parts = {"text": ("800", " 1600 "), "numbers": (800, 1600), "open": (800, None), "all": (None, SAMPLES)}
    file = manifest(tmp_path, {name: dict(zip(("start", "stop"), part, strict=True)) for name, part in parts.items()})
    whole = tones(SAMPLES / RATE).numpy()
    signals = [np.asarray(item["signal"]) for item in labelled_signals({"train": file}, ["label"], RATE)[0]["train"]]
    for signal, (start, stop) in zip(signals, [(800, 1600), (800, 1600), (800, None), (0, None)], strict=True):
        np.testing.assert_allclose(signal, whole[start:stop], atol=1e-4)
    assert [tuple(item)[2:4] for item in read_list(file)] == [(800, 1600), (800, 1600), (800, None), (0, SAMPLES)]


@pytest.mark.parametrize(("part", "message"), WRONG)
def test_wrong_parts_stop_a_training_before_it_begins(
    part: dict[str, Any], message: str, wav: Path, tmp_path: Path
) -> None:
    file = manifest(tmp_path, {"good": {}, "bad": part})
    with pytest.raises(ValueError, match="train") as caught:
        open_manifests({"train": file}, RATE)
    assert f"item 'bad': {message}" in str(caught.value)


@pytest.mark.parametrize(("part", "key"), BEYOND)
def test_parts_beyond_the_end_stop_a_training_before_it_begins(
    part: dict[str, Any], key: str, wav: Path, tmp_path: Path
) -> None:
    file = manifest(tmp_path, {"good": {"stop": SAMPLES}, "bad": part})
    with pytest.raises(ValueError, match="train") as caught:
        open_manifests({"train": file}, RATE)
    assert f"item 'bad': `{key}` (={part[key]}) must lie within the {SAMPLES} samples of '{wav}'" in str(caught.value)


def test_items_that_are_wrong_are_named_and_the_others_are_done(
    wav: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [
        *WRONG,
        ({"stop": SAMPLES + 1}, f"`stop` (={SAMPLES + 1}) must be at most {SAMPLES}, where it ends"),
        ({"start": SAMPLES}, f"`start` (={SAMPLES}) must be before its end"),
        ({"wav": 3}, "it must have the path `wav` or `features`"),
        ({"wav": "{other}/a.wav"}, "must have no names in braces but {data_root}"),
        ({"wav": "{data_root}/absent.wav"}, "there is no such file"),
    ]
    items = {"first": {}, **{f"bad {index}": part for index, (part, _) in enumerate(bad)}, "last": {"stop": "1600"}}
    file = manifest(tmp_path, items)
    assert main(["classify", "--list", str(file), "--model", str(model)]) == 2
    captured = capsys.readouterr()
    assert [line.split(":")[0] for line in captured.out.splitlines()] == ["first", "last"]
    errors = captured.err.splitlines()
    assert len(errors) == len(bad)
    for index, ((_, message), line) in enumerate(zip(bad, errors, strict=True)):
        assert line.startswith(f"seqstride: item 'bad {index}': ")
        assert message in line

    table = tmp_path / "labels.csv"
    assert main(["classify", "--list", str(file), "--model", str(model), "--csv", str(table)]) == 2
    assert len(table.read_text().splitlines()) == 1 + len(items)


def test_parts_of_features_are_frames(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.save(tmp_path / "a.npy", values)
    item = {"features": "{data_root}/a.npy", "length": 4, "frame_rate": 100}
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"a": {**item, "start": 2, "stop": "6"}, "b": item}))
    dataset = open_manifests({"train": file})["train"]
    dataset.set_output_keys(["signal"])
    np.testing.assert_array_equal(dataset[0]["signal"], values[2:6])
    np.testing.assert_array_equal(dataset[1]["signal"], values)
    file.write_text(json.dumps({"c": {**item, "stop": 11}}))
    with pytest.raises(ValueError, match=r"item 'c': `stop` \(=11\) must lie within the 10 frames of '.*a\.npy'"):
        open_manifests({"train": file})
    with pytest.raises(ValueError, match=r"a\.npy' cannot be read as features.*`stop` \(=11\) must be at most 10"):
        load_features(tmp_path / "a.npy", 0, 11)


# Any values

TIMES = [
    ({"duration": 0}, "above 0 and below 1e+09: `duration` is 0"),
    ({"duration": True}, "`duration` is True"),
    ({"duration": 1e300}, "`duration` is 1e+300"),
    ({"duration": 10**400}, f"`duration` is 1{'0' * 79}…"),
    ({"duration": "0.3"}, "`duration` is '0.3'"),
    ({"duration": [0.3]}, "`duration` is [0.3]"),
]


@pytest.mark.parametrize(("time", "message"), TIMES)
def test_durations_that_are_none_are_named(time: dict[str, Any], message: str, wav: Path, tmp_path: Path) -> None:
    file = manifest(tmp_path, {"good": {}, "bad": time})
    with pytest.raises(ValueError, match="item 'bad' must have its `duration` in seconds") as caught:
        open_manifests({"train": file}, RATE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"length": 4.5}, "must have its `length` in frames and its `frame_rate`.*`length` is 4.5"),
        ({"frame_rate": None, "duration": 3}, "must have its `length` in frames and its `frame_rate`.*is None"),
        ({"frame_rate": 5e-324}, r"must last less than 1e\+09 s: `frame_rate` is 5e-324"),
        ({"wav": 3}, "must not have `wav`, because the first item has `features`"),
        ({"features": ""}, "must have the path `features`"),
        ({"features": "{data_root}/b.npy"}, r"'.*b\.npy' cannot be read as features \(\.npy\): there is no such file"),
    ],
)
def test_items_of_features_that_are_wrong_are_named(own: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 2), np.float32))
    item = {"features": "{data_root}/a.npy", "length": 9, "frame_rate": 100, "label": "x"}
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"good": item, "bad": {**item, **own}}))
    with pytest.raises(ValueError, match=rf"train=.*train\.json.*, item 'bad':? {message}"):
        list(labelled_signals({"train": file}, ["label"])[0]["train"])


def test_manifests_with_strange_values_are_read_or_refused_in_one_line(wav: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 2), np.float32))
    item = {"label": "x", "start": 0, "events": [[0.0, 0.01]]}
    recording = {**item, "wav": "{data_root}/a.wav", "duration": 0.3, "sample_rate": RATE, "stop": SAMPLES}
    features = {**item, "features": "{data_root}/a.npy", "length": 9, "frame_rate": 100.0, "stop": "9"}
    file, draw, errors = tmp_path / "train.json", random.Random(0), []
    for good, rate in (({"a": recording, "b": recording}, RATE), ({"a": features, "b": features}, None)):

        def train(rate: int | None = rate) -> None:
            datasets, _ = labelled_signals({"train": file}, ["label"], rate)
            manifest_items({"train": file})
            list(datasets["train"])

        for _ in range(150):
            file.write_bytes(altered(good, draw))
            errors += [error for read in (train, partial(read_list, file)) if (error := refusal(read))]
    assert 150 < len(errors) < 450
    assert all(str(file) in error or "`labels`" in error for error in errors)


def refusal(read: Callable[[], object]) -> str:
    """The error that a user reads, empty where there is none; other errors pass through."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("label", [["x"], None, 3])
def test_a_probe_needs_texts(label: Any, wav: Path, tmp_path: Path) -> None:
    hparams = {
        "manifests": {"train": manifest(tmp_path, {"a": {"label": "y"}, "b": {"label": label}})},
        **{"sample_rate": RATE, "data_root": None, "probes": {"label": "train"}},
        "modules": {"encoder": SimpleNamespace(downsamplers=[]), "decoder": None},
    }
    with pytest.raises(ValueError, match=r"\(train\) must have the text `label` in every item; b lacks it"):
        VQVAEBrain.load_data(hparams)
