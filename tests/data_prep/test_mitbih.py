"""The electrocardiograms: the layout of the release, de Chazal's halves, beats, events, and what must be refused."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sensor_layouts import mitbih_layout
from seqstride.data_prep import mitbih
from seqstride.data_prep.mitbih import DS1, DS2, prepare_mitbih
from serving import Server

from seqstride.cli import main
from seqstride.errors import InputError, MissingExtraError
from seqstride.files.loading import load_features
from seqstride.models.frames import load_frame_labeller

VALID = [114, 208]


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mitbih_layout(tmp_path_factory.mktemp("mitdb"))


@pytest.fixture(scope="module")
def prepared(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("prepared")
    prepare_mitbih(hearts, folder / "save", series_folder=folder / "series", valid_records=VALID)
    splits = ("train", "valid", "test")
    return {split: json.loads((folder / "save" / f"{split}.json").read_text(encoding="utf-8")) for split in splits}


def test_the_halves_are_those_of_de_chazal(prepared: dict[str, dict]) -> None:
    assert len(DS1) == len(DS2) == len({*DS1} - {*DS2}) == 22
    records = {split: {int(item["record"]) for item in items.values()} for split, items in prepared.items()}
    assert records == {"train": {*DS1} - {*VALID}, "valid": {*VALID}, "test": {*DS2}}
    assert not {102, 104, 107, 217} & set().union(*records.values())  # paced
    assert Counter(item["record"] for item in prepared["test"].values())["100"] == 2  # the last second is left


def test_beats_stand_at_their_peaks(prepared: dict[str, dict]) -> None:
    """Also in the record whose leads are in the other order."""
    for item in [*prepared["valid"].values(), *prepared["test"].values()]:
        signal = np.load(item["features"])[item["start"] : item["stop"], 0]
        assert len(signal) == item["length"] == 1200
        assert item["beat_frames"] == list(range(60, 1200, 120))
        assert len(item["beats"]) == 10
        found = [frame - 60 + int(signal[frame - 60 : frame + 60].argmax()) for frame in item["beat_frames"]]
        assert np.abs(np.array(found) - item["beat_frames"]).max() <= 2
        assert abs(np.median(signal)) < 0.2  # the baseline is gone


def test_events_are_the_ventricular_beats(prepared: dict[str, dict]) -> None:
    labels = set()
    for item in prepared["test"].values():
        assert set(item["beats"]) <= set("NSVF")
        events = [
            [frame / 120 - 0.2, frame / 120 + 0.3]
            for frame, beat in zip(item["beat_frames"], item["beats"], strict=True)
            if beat == "V"
        ]
        assert np.allclose(item["events"], events)
        assert item["ventricular"] == ("yes" if events else "no")
        labels.add(item["ventricular"])
    assert labels == {"yes", "no"}


def test_an_event_at_the_edge_of_a_window_ends_there() -> None:
    beats = mitbih.Beats(np.array([5, 100, 110]), np.array(["V", "N", "V"]))
    found = mitbih._beats_within(beats, 4, 107)
    assert found["beat_frames"] == [1, 96, 106]
    assert np.allclose(found["events"], [[0.0, 1 / 120 + 0.3], [106 / 120 - 0.2, 107 / 120]])


def test_records_are_read_once_and_shared_by_runs(
    hearts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_mitbih(hearts, tmp_path / "a", series_folder=tmp_path / "series", valid_records=VALID)
    monkeypatch.setattr(mitbih, "_read_signal", lambda record: pytest.fail("it was read before"))
    prepare_mitbih(hearts, tmp_path / "b", series_folder=tmp_path / "series", valid_records=[230], window=5.0)
    assert len(list(tmp_path.glob("series/*/*.npy"))) == 44
    assert len(json.loads((tmp_path / "b" / "test.json").read_text())) == 22 * 4


@pytest.mark.parametrize("records", [[], [100], [101, 999], list(DS1)])
def test_validation_takes_whole_records_of_the_first_half(records: list[int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`valid_records` .* must be some records of DS1, but not all"):
        prepare_mitbih(tmp_path, tmp_path / "save", series_folder=tmp_path, valid_records=records)


def test_a_missing_file_and_a_short_window_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold the files of the release; 101\.hea is missing and 131 more"):
        prepare_mitbih(tmp_path, tmp_path / "save", series_folder=tmp_path / "series", valid_records=VALID)
    with pytest.raises(InputError, match=r"`window` \(=0\.01\) must be at least 2 frames"):
        prepare_mitbih(tmp_path, tmp_path / "save", series_folder=tmp_path, valid_records=VALID, window=0.01)


def test_a_missing_package_is_named_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqstride\[sensors\]'"):
        prepare_mitbih(tmp_path, tmp_path / "save", series_folder=tmp_path, valid_records=VALID)


def test_a_damaged_record_is_named(hearts: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for file in hearts.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    (data / "101.hea").write_text("nothing\n")
    with pytest.raises(InputError, match=r"101' cannot be read as a WFDB record"):
        prepare_mitbih(data, tmp_path / "save", series_folder=tmp_path / "series", valid_records=VALID)


def test_missing_files_are_downloaded_and_checked(
    hearts: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {file.name: file.read_bytes() for file in hearts.iterdir()}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in files.items())
    server.files = {f"mitdb/{name}": content for name, content in files.items()}
    server.files |= {"mitdb/SHA256SUMS.txt": sums.encode(), "mitdb/101.dat": b"something else"}
    monkeypatch.setattr(mitbih, "_URL", server.url("mitdb"))
    arguments = {"series_folder": tmp_path / "series", "valid_records": VALID, "download": True}
    with pytest.raises(InputError, match=r"must be that of .*/101\.dat.*the file is damaged"):
        prepare_mitbih(tmp_path / "data", tmp_path / "save", **arguments)
    asked = len(server.asked)
    server.files["mitdb/101.dat"] = files["101.dat"]
    prepare_mitbih(tmp_path / "data", tmp_path / "save", **arguments)
    assert len(server.asked) - asked == 44 * 3 - 1  # 101.hea was there
    prepare_mitbih(tmp_path / "data", tmp_path / "save", **arguments)
    assert len(server.asked) - asked == 44 * 3 - 1


@pytest.mark.parametrize("recipe", ["beats", "framewise"])
def test_from_records_to_the_balanced_accuracy(recipe: str, hearts: Path, tmp_path: Path) -> None:
    keys = {"data_folder": hearts, "series_folder": tmp_path / "series", "output_folder": tmp_path / "run"}
    keys |= {"ratio": 8, "number_of_epochs": 1, "width": 4, "device": "cpu"}
    options = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    assert main(["train", f"recipes/MITBIH/{recipe}", "--downsampler", "adastride", *options, "--noprogressbar"]) == 0
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    found = [1 - error for error in record["test_error_per_class"].values()]
    assert record["metric"]["value"] == pytest.approx(100 * np.mean(found))
    assert record["test_items_per_class"].keys() == ({"no", "yes"} if recipe == "beats" else {"F", "N", "S", "V"})
    assert sum(record["test_items_per_class"].values()) == (44 if recipe == "beats" else 440)
    assert 0 < record["test_event_share_of_time"] < 0.2
    assert record["test_event_share"] > 0
    assert (tmp_path / "run" / "strides.png").stat().st_size > 1000
    if recipe == "framewise":
        assert correct_by_class(tmp_path / "run") == pytest.approx(dict(zip("FNSV", found, strict=True)))


def correct_by_class(run: Path) -> dict[str, float]:
    """The shares of the test's beats that the model in a run's folder finds."""
    model = load_frame_labeller(run)
    seen, right = Counter(), Counter()
    for item in json.loads((run / "save" / "data" / "test.json").read_text()).values():
        signal = load_features(item["features"], item["start"], item["stop"])
        [decisions] = model.decide(signal[None], torch.tensor([len(signal)]), [item["beat_frames"]])
        seen.update(item["beats"])
        right.update(name for name, found in zip(item["beats"], decisions, strict=True) if found.name == name)
    return {name: right[name] / seen[name] for name in sorted(seen)}
