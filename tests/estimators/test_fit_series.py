"""`seqstride fit-series` and `classify-series`: files in, predictions and a report out."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sktime.datasets
from full_disks import files_of_at_most
from matplotlib.figure import Figure
from series import SMALL, waves, wide
from tiny_models import as_older

from seqstride import SeqStrideClassifier
from seqstride.cli import main
from seqstride.errors import FileError, InputError
from seqstride.estimators.labelling import fit_series, load_fitted, save_fitted
from seqstride.estimators.series_files import Columns, Layout, read_series

HEADER = "@problemName bare\n@timeStamps false\n@univariate false\n@classLabel false\n@data\n"
GUN_POINT = Path(sktime.datasets.__file__).parent / "data" / "GunPoint"


def long(seed: int) -> pd.DataFrame:
    """A row for every frame, in a random order."""
    frames = [
        {"series": f"s{index}", "time": t, "label": label, "wave": value, "level": 3.0}
        for index, (label, values) in enumerate(waves(seed))
        for t, value in enumerate(values)
    ]
    return pd.DataFrame(frames).sample(frac=1, random_state=0)


def test_wide_and_long_tables_hold_the_same_series(tmp_path: Path) -> None:
    wide(0).to_csv(tmp_path / "wide.csv", index=False)
    long(0).to_csv(tmp_path / "long.csv", index=False)
    long(0).to_parquet(tmp_path / "long.parquet")
    by_row = read_series(tmp_path / "wide.csv", Columns())
    assert by_row.names == [str(index) for index in range(24)]
    for file in ("long.csv", "long.parquet"):
        by_frame = read_series(tmp_path / file, Columns())
        order = [by_frame.names.index(f"s{index}") for index in range(24)]
        for index, (label, values) in enumerate(waves(0)):
            assert by_row.labels[index] == by_frame.labels[order[index]] == label
            np.testing.assert_allclose(by_row.series[index]["value"], values, rtol=1e-12)
            np.testing.assert_allclose(by_frame.series[order[index]]["wave"], values, rtol=1e-12)
        assert by_frame.series[0].columns.tolist() == ["wave", "level"]


def test_empty_cells_inside_a_series_are_missing_values(tmp_path: Path) -> None:
    (tmp_path / "gaps.csv").write_text("a,b,c,d,label\n1,,3,,x\n,2,,4,y\n")
    gaps = read_series(tmp_path / "gaps.csv", Columns())
    np.testing.assert_array_equal(gaps.series[0]["value"], [1, np.nan, 3])
    np.testing.assert_array_equal(gaps.series[1]["value"], [np.nan, 2, np.nan, 4])


def test_files_of_the_archives_may_lack_labels(tmp_path: Path) -> None:
    labelled = read_series(GUN_POINT / "GunPoint_TRAIN.ts", Columns())
    assert len(labelled.series) == 50
    assert sorted(set(labelled.labels)) == ["1", "2"]
    (tmp_path / "bare.ts").write_text(HEADER + "1,2,3:4,5,6\n1,2:4,?\n")
    bare = read_series(tmp_path / "bare.ts", Columns())
    assert bare.labels is None
    assert bare.series[0].shape == (3, 2)
    assert np.isnan(bare.series[1].to_numpy()[1, 1])


def test_labels_probabilities_a_report_a_picture_and_the_estimator_come_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide(0).to_csv(tmp_path / "train.csv", index=False)
    wide(1).to_csv(tmp_path / "test.csv", index=False)
    out = tmp_path / "out"
    arguments = [str(tmp_path / "train.csv"), str(tmp_path / "test.csv"), "-o", str(out), "--epochs", "8"]
    assert main(["fit-series", *arguments, "--strides", "2,1.5", "--seed", "1"]) == 0
    with open(out / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = [row["label"] == row["predicted"] for row in rows]
    assert np.mean(right) > 0.9
    assert [row["label"] for row in rows] == [label for label, _ in waves(1)]
    for row in rows:
        shares = {name: float(row[f"probability_{name}"]) for name in ("fast", "slow")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert max(shares, key=shares.__getitem__) == row["predicted"]
    report = (out / "report.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert printed.startswith(f"{report}\n")
    lines = dict(line.split(maxsplit=1) for line in printed.removeprefix(f"{report}\n").splitlines())
    assert lines["results"] == str(out / "report.md")
    assert lines["model"].split() == [str(out / "series.json"), str(out / "series.safetensors")]
    assert lines["pictures"] == str(out / "strides.png")
    assert main(shlex.split(lines["next"])[1:]) == 0
    assert (out / "again.csv").read_text() == (out / "predictions.csv").read_text()
    assert f"**{100 * np.mean(right):.1f} % of 24 series are labelled correctly.**" in report
    assert "| fast | 12 | " in report
    assert "Method `adastride`, strides 2, 1.5 input frames per output frame, seed 1." in report
    estimator = load_fitted(out)
    predicted = estimator.predict(read_series(tmp_path / "test.csv", Columns()).series)
    assert predicted.tolist() == [row["predicted"] for row in rows]
    assert (out / "strides.png").stat().st_size > 10_000


def test_a_full_disk_is_told_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide(0).to_csv(tmp_path / "train.csv", index=False)
    monkeypatch.setattr(SeqStrideClassifier, "fit", lambda *_: pytest.fail("it was fitted"))
    with files_of_at_most(100_000):
        assert main(["fit-series", *[str(tmp_path / "train.csv")] * 2, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"seqstride: '{tmp_path / 'out'}' must have room for 16 MB: File too large\n"
    assert not (tmp_path / "out").exists()


def test_what_a_full_disk_takes_after_the_fit_is_there_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file fails in the one case, the last one in the other."""
    wide(0).to_csv(tmp_path / "a.csv", index=False)
    small = SeqStrideClassifier(**{**SMALL, "n_epochs": 1})

    def full(*_: object) -> None:
        raise FileError("'x' could not be written: no space")

    monkeypatch.setattr("seqstride.estimators.labelling._picture", lambda *_: Figure())
    for target, lacking in (("save_figure", "strides.png"), ("save_fitted", "series.json")):
        names = ["series.json", "predictions.csv", "report.md", "strides.png"]
        names.remove(lacking)
        words = f"^'x' could not be written: no space. Not written: {lacking}; written: {', '.join(names)}$"
        with monkeypatch.context() as patch:
            patch.setattr(f"seqstride.estimators.labelling.{target}", full)
            with pytest.raises(FileError, match=words):
                fit_series(tmp_path / "a.csv", tmp_path / "a.csv", tmp_path / target, small)
        assert sorted(path.name for path in (tmp_path / target).glob("[!.]*.[!s]*")) == sorted(names)


def test_a_classifier_of_which_half_was_replaced_is_none(fitted: Path, tmp_path: Path) -> None:
    shutil.copytree(fitted / "mine", tmp_path / "model")
    classifier = load_fitted(tmp_path / "model")
    with files_of_at_most(10), pytest.raises(FileError, match=r"series\.safetensors' could not be written"):
        save_fitted(tmp_path / "model", classifier, Columns(), Layout("ts", [], []))
    with pytest.raises(InputError, match=r"series\.json is missing"):
        load_fitted(tmp_path / "model")


def test_columns_have_the_names_that_are_said_and_labels_may_be_unknown(tmp_path: Path) -> None:
    names = {"series": "id", "label": "kind", "time": "hour"}
    long(0).rename(columns=names).to_csv(tmp_path / "train.csv", index=False)
    long(1).rename(columns=names).drop(columns="kind").to_csv(tmp_path / "test.csv", index=False)
    options = [part for key, name in names.items() for part in (f"--{key}", name)]
    out = tmp_path / "out"
    arguments = [str(tmp_path / "train.csv"), str(tmp_path / "test.csv"), "-o", str(out), "--epochs", "8", *options]
    assert main(["fit-series", *arguments, "--downsampler", "average"]) == 0
    with open(out / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["series", "predicted", "probability_fast", "probability_slow"]
    truth = {f"s{index}": label for index, (label, _) in enumerate(waves(1))}
    assert np.mean([truth[row["series"]] == row["predicted"] for row in rows]) > 0.9
    assert "labelled correctly" not in (out / "report.md").read_text(encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """What a command prints, on stdout or, if it fails, on stderr."""
    capsys.readouterr()
    assert main([*map(str, words)]) == code
    printed = capsys.readouterr()
    return printed.err if code else printed.out


def rows_of(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8") as table:
        return list(csv.DictReader(table))


TINY = ("--epochs", 2, "--strides", 2, "--downsampler", "average")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of long tables with odd names."""
    folder = tmp_path_factory.mktemp("fitted")
    for seed, name in enumerate(("train.csv", "test.parquet")):
        table = long(seed).rename(columns={"series": "id", "label": "kind", "time": "hour"})
        table = table.assign(id=table["id"].str.replace("s", "0"), level=[*range(len(table))])
        table.to_parquet(folder / name) if name.endswith("parquet") else table.to_csv(folder / name, index=False)
    names = ["--series", "id", "--label", "kind", "--time", "hour"]
    words = ["fit-series", folder / "train.csv", folder / "test.parquet", "-o", folder / "mine", *names, *TINY]
    assert main([*map(str, words)]) == 0
    return folder


def test_a_further_file_is_labelled_as_the_second_was(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = rows_of(fitted / "mine" / "predictions.csv")
    assert {row["series"] for row in expected} == {f"0{index}" for index in range(24)}
    table = pd.read_parquet(fitted / "test.parquet")
    table[["level", "kind", "hour", "wave", "id"]].to_csv(fitted / "new.csv", index=False)  # in another order
    for file, output in (("new.csv", "a.csv"), ("test.parquet", "deep/b.csv")):
        words = ["classify-series", fitted / file, "--model", fitted / "mine", "-o", fitted / output]
        line = run(capsys, *words)
        assert rows_of(fitted / output) == expected
        right = 100 * np.mean([row["label"] == row["predicted"] for row in expected])
        assert line.startswith(f"{fitted / output}: 24 series labelled (fast: ")
        assert line.endswith(f"{right:.1f} % of 24 series are labelled correctly.\n")
    table.drop(columns="kind").to_csv(fitted / "new.csv", index=False)
    assert "labelled correctly" not in run(capsys, "classify-series", fitted / "new.csv", *words[2:])
    assert rows_of(fitted / "deep/b.csv") == [{k: v for k, v in row.items() if k != "label"} for row in expected]


def test_files_that_are_read_are_not_replaced(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, table = fitted / "mine", tmp_path / "predictions.csv"
    before = {file: file.read_bytes() for file in model.iterdir() if file.suffix in {".json", ".safetensors"}}
    for file in before:
        words = ["classify-series", fitted / "test.parquet", "--model", model, "-o", file]
        assert "must not be one of the files that are read" in run(capsys, *words, code=2)
    assert {file: file.read_bytes() for file in before} == before
    wide(0).to_csv(table, index=False)
    wide(1).to_csv(other := tmp_path / "other.csv", index=False)
    content = table.read_bytes()
    for files in ((table, other), (other, table)):
        words = ["fit-series", *files, "-o", tmp_path, *TINY]
        assert "must not be one of the files that are read" in run(capsys, *words, code=2)
    assert table.read_bytes() == content


def test_a_spreadsheet_finds_no_formula(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(fitted / "test.parquet").drop(columns="kind")
    table["id"] = "=1+" + table["id"].astype(str)
    table.to_csv(tmp_path / "new.csv", index=False)
    words = ["classify-series", tmp_path / "new.csv", "--model", fitted / "mine", "-o"]
    run(capsys, *words, tmp_path / "plain.csv")
    run(capsys, *words, tmp_path / "safe.csv", "--spreadsheet")
    plain, safe = rows_of(tmp_path / "plain.csv"), rows_of(tmp_path / "safe.csv")
    assert {row["series"][:3] for row in plain} == {"=1+"}
    assert safe == [{**row, "series": f"'{row['series']}"} for row in plain]


def test_a_further_file_must_fit_the_model(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(fitted / "test.parquet")
    for change, message in (
        ({"wave": "waves"}, "must have the columns of the fitted file: it lacks wave; it also has waves"),
        ({"id": "series"}, "must have the column `id` of `--series`"),
        ({"hour": "time"}, "must have the column `hour` of `--time`"),
    ):
        table.rename(columns=change).to_csv(tmp_path / "new.csv", index=False)
        words = ["classify-series", tmp_path / "new.csv", "--model", fitted / "mine", "-o", tmp_path / "out.csv"]
        assert message in run(capsys, *words, code=2)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("kind", ["wide", "archive"])
def test_further_files_of_every_kind_are_labelled(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "wide":
        train, test, new = tmp_path / "train.csv", tmp_path / "test.csv", tmp_path / "new.csv"
        wide(0).to_csv(train, index=False)
        wide(1).to_csv(test, index=False)
        wide(1).iloc[:, ::-1].to_csv(new)  # the columns turned, with the data frame's count
    else:
        header = HEADER.replace("@classLabel false", "@classLabel true Fast slow")
        lines = [",".join(map(str, values)) + f":1,2:{label.replace('f', 'F')}\n" for label, values in waves(0)]
        train = test = tmp_path / "train.ts"
        train.write_text(header + "".join(lines))
        new = tmp_path / "new.ts"
        new.write_bytes(b"\xef\xbb\xbf" + (header + "".join(lines)).replace("\n", "\r\n").encode())
    run(capsys, "fit-series", train, test, "-o", tmp_path / "mine", *TINY)
    run(capsys, "classify-series", new, "--model", tmp_path / "mine", "-o", tmp_path / "new.out")
    found = rows_of(tmp_path / "new.out")
    assert found == rows_of(tmp_path / "mine" / "predictions.csv")
    assert {row["label"] for row in found} == ({"fast", "slow"} if kind == "wide" else {"Fast", "slow"})


@pytest.mark.parametrize("command", ["classify x.wav", "transcribe x.wav", "units x.wav"])
def test_other_commands_name_the_one_that_reads_the_folder(
    command: str, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = run(capsys, *command.split(), "--model", fitted / "mine", code=2)
    assert f"of series, and `seqstride classify-series FILE --model {fitted / 'mine'} -o OUT` labels series" in error
    assert len(error.splitlines()) == 1


def test_folders_that_hold_no_fitted_series_are_named(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classify-series", fitted / "test.parquet", "-o", tmp_path / "out.csv", "--model", tmp_path]
    assert "must be the output folder of `seqstride fit-series`, or of a run on series; series.json is" in run(
        capsys, *words, code=2
    )
    (tmp_path / "model.json").write_text("{}")
    assert "its model.json is for `seqstride classify`, `transcribe` or `units`" in run(capsys, *words, code=2)
    (tmp_path / "model.json").unlink()
    (tmp_path / "model.zip").touch()
    assert "its model.zip is of an older version: fit it again" in run(capsys, *words, code=2)
    (tmp_path / "series.safetensors").write_bytes((fitted / "mine" / "series.safetensors").read_bytes())
    said = (fitted / "mine" / "series.json").read_text()
    for text, message in (
        ("{", "must be JSON"),
        ("{}", "does not describe how series were read"),
        (said.replace('"format": 2', '"format": 1'), "its format (=1) must be 2: fit it again"),
        (said.replace('"wave"', '"tide"', 1), "its classifier has other channels than its series"),
        (said.replace('"classifier"', '"other"'), "does not describe how series were read"),
    ):
        (tmp_path / "series.json").write_text(text)
        assert message in run(capsys, *words, code=2)
    for key, value, message in (
        ("arguments", {"os": 1}, "series.json' does not describe a fitted classifier: "),
        ("arguments", {"downsampler": "x"}, "does not hold the classifier's weights"),
        ("arguments", {"channels": [10**6] * 2, "strides": [2, 2]}, "does not hold the classifier's weights"),
        ("classes_", ["fast", 3], "must be texts, at least two classes"),
        ("classes_", ["fast", "slow", "new"], "does not hold the classifier's weights"),
        ("classes_", ["fast", "fast"], "`classes_` must differ; one comes twice"),
        ("initial_strides_", [2, "x"], "`initial_strides_` must be numbers of at least 1"),
        ("history_", [{"epoch": "first"}], "`history_` must have a record for every epoch"),
        ("history_", [3], "`history_` must have a record for every epoch"),
    ):
        words_of = json.loads(said)
        words_of["classifier"][key] = value
        (tmp_path / "series.json").write_text(json.dumps(words_of))
        assert message in run(capsys, *words, code=2)
    for part, key, value, message in (
        ("layout", "kind", "x", "`kind` (='x') must be one of row for every series, row for every frame, .ts"),
        ("layout", "frames", 2, "`channels` and `frames` must be lists"),
        ("layout", "frames", ["t0", 1.5], "the names of columns must be texts"),
        ("columns", "label", [1], "the names of columns must be texts"),
    ):
        words_of = json.loads(said)
        words_of[part][key] = value
        (tmp_path / "series.json").write_text(json.dumps(words_of))
        assert message in run(capsys, *words, code=2)
    (tmp_path / "series.json").write_text(said)
    (tmp_path / "series.safetensors").write_bytes(b"no archive")
    assert "series.safetensors' does not hold the classifier's weights" in run(capsys, *words, code=2)
    (tmp_path / "series.safetensors").write_bytes((fitted / "mine" / "series.safetensors").read_bytes())
    as_older(tmp_path, "series")
    run(capsys, *words)
    assert (tmp_path / "out.csv").read_text() == (fitted / "mine" / "predictions.csv").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {"downsampler": "diffstride", "strides": (1.5, 2.5), "downsampler_options": {"smoothness": 2}},
        {"downsampler": "strided", "strides": "random", "channels": (4, 6), "normalise": "series", "harmonics": 0},
        {
            "downsampler": "adastride_f",
            "pool": "max",
            "class_weight": "balanced",
            "random_state": np.random.RandomState(1),
        },
    ],
)
def test_a_fitted_classifier_is_the_same_after_it_was_saved(settings: dict[str, Any], tmp_path: Path) -> None:
    wide(0).to_csv(tmp_path / "train.csv", index=False)
    classifier = SeqStrideClassifier(**{"channels": 4, "n_epochs": 2, "random_state": 0, "strides": (2, 2), **settings})
    fit_series(tmp_path / "train.csv", tmp_path / "train.csv", tmp_path / "out", classifier)
    loaded = load_fitted(tmp_path / "out")
    series = read_series(tmp_path / "train.csv", Columns()).series
    assert np.array_equal(loaded.predict_proba(series), classifier.predict_proba(series))
    assert loaded.predict(series).tolist() == classifier.predict(series).tolist()
    assert loaded.strides_ == classifier.strides_
    assert loaded.history_ == classifier.history_
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"model.zip", "model.joblib"}


def test_labels_that_the_training_lacks_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide(0).to_csv(tmp_path / "train.csv", index=False)
    other = wide(1)
    other["label"] = other["label"].replace("fast", "Fast")
    other.to_csv(tmp_path / "test.csv", index=False)
    report = run(capsys, "fit-series", tmp_path / "train.csv", tmp_path / "test.csv", "-o", tmp_path, *TINY)
    assert "12 series have labels that are not among the fitted ones (fast, slow): Fast." in report


@pytest.mark.parametrize("count", [3, 11])
def test_the_picture_has_a_series_of_every_class(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    plot = SeqStrideClassifier.plot_strides
    monkeypatch.setattr(
        SeqStrideClassifier,
        "plot_strides",
        lambda self, X, titles: (drawn.append(titles), plot(self, X, titles=titles))[1],
    )
    # sorted by class, as files of the archives are
    rows = [{"label": f"c{index:02}", "t0": index, "t1": -index, "t2": 1} for index in range(count) for _ in range(5)]
    pd.DataFrame(rows).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame(rows).drop(columns="label").to_csv(tmp_path / "bare.csv", index=False)
    run(capsys, "fit-series", tmp_path / "train.csv", tmp_path / "train.csv", "-o", tmp_path, *TINY)
    before = (tmp_path / "series.safetensors").read_bytes()
    again = ["fit-series", tmp_path / "train.csv", tmp_path / "bare.csv", "-o", tmp_path, *TINY]
    assert main([str(word) for word in again]) == 2
    assert "must not hold a classifier; --overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "series.safetensors").read_bytes() == before
    run(capsys, *again, "--overwrite")
    predicted = [row["predicted"] for row in rows_of(tmp_path / "predictions.csv")]
    shown = [0, 1, 2] if count == 3 else [0, 1, 3, 4, 6, 7, 9, 10]
    assert drawn[0] == [f"class c{index:02}, series {5 * index}\npredicted {predicted[5 * index]}" for index in shown]
    names = sorted(set(predicted))
    if len(names) <= 8:
        assert drawn[1] == [f"series {predicted.index(name)}\npredicted {name}" for name in names]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "must have labels"),
        ("a,label\n1,x\n2,x\n", "must have at least two different labels"),
        ("a,label\nword,x\n2,y\n", "must hold numbers beside its labels; not so in a: row 1 has 'word'"),
        ("label\nx\ny\n", "must hold numbers beside its labels; none of its columns does"),
        ("a,b,label\n1,2,x\n,,y\n", "must have a value in every series; row 2 has none"),
        ("a,label\n1,\n2,y\n", "must have a label in every row, or no column `label`; row 1 has none"),
        ("a,label\n", "must have at least one row"),
        ("series,a,label\n1,1,x\n1,2,y\n", "must have one label for each series; 1 has 2"),
    ],
)
def test_wrong_tables_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "train.csv").write_text(content)
    wide(1).to_csv(tmp_path / "test.csv", index=False)
    assert main(["fit-series", str(tmp_path / "train.csv"), str(tmp_path / "test.csv"), "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_wrong_files_and_strides_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit-series", "none.csv", "none.csv"]) == 2
    assert "there is no file 'none.csv'" in capsys.readouterr().err
    assert main(["fit-series", "table.xlsx", "none.csv"]) == 2
    assert "'table.xlsx' must be a file of series: .ts, .csv, .parquet" in capsys.readouterr().err
    assert main(["fit-series", "none.csv", "none.csv", "--strides", "two"]) == 2
    assert "`--strides` (='two') must be numbers between commas" in capsys.readouterr().err
