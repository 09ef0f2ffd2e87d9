"""A fitted regressor as a folder: it predicts the same afterwards, and damaged folders are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import seqstride as ss
from seqstride.errors import InputError
from seqstride.estimators.labelling import load_fitted
from seqstride.estimators.saved_regressor import load_regressor, save_regressor
from tests.support.series import SMALL, series_of_waves

SERIES = series_of_waves(12, seed=0)[0]
VALUES = np.array([1000 + frame["wave"].std() for frame in SERIES])


def fitted(**changed: Any) -> ss.SeqStrideRegressor:
    return ss.SeqStrideRegressor(**{**SMALL, "n_epochs": 1, **changed}).fit(SERIES, VALUES)


@pytest.mark.parametrize(
    "changed",
    [
        {"n_members": 2},
        {"n_rocket_features": 0, "strides": "random", "channels": (4, 6), "random_state": np.random.RandomState(1)},
    ],
)
def test_a_fitted_regressor_is_the_same_after_it_was_saved(changed: dict[str, Any], tmp_path: Path) -> None:
    regressor = fitted(**changed)
    save_regressor(tmp_path, regressor)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["series.json", "series.safetensors"]
    loaded = load_regressor(tmp_path)
    np.testing.assert_array_equal(loaded.predict(SERIES), regressor.predict(SERIES))
    assert loaded.strides_ == regressor.strides_
    assert loaded.history_ == regressor.history_
    loaded.warm_start, loaded.n_epochs, loaded.lr = True, 1, 0.0
    assert np.isfinite(loaded.fit(SERIES, VALUES).predict(SERIES)).all()


def test_features_of_the_first_version_count_as_they_did(tmp_path: Path) -> None:
    """They read the values alone, and counted as much as the network."""
    regressor = fitted(n_rocket_features=252)
    save_regressor(tmp_path, regressor)
    file, described = tmp_path / "series.safetensors", tmp_path / "series.json"
    weights = load_file(file)
    first = {name: tensor for name, tensor in weights.items() if not name.startswith("rocket.")}
    first |= {
        f"rocket.transform.{name}": weights[f"rocket.transforms.0.{name}"] for name in ("scale", "mixes", "thresholds")
    }
    first |= {name: weights[name] for name in ("rocket.head.bias", "rocket.floor")}
    first["rocket.head.weight"] = weights["rocket.head.weight"][:, :84].clone()
    save_file(first, file)
    said = json.loads(described.read_text())
    del said["regressor"]["rocket_views"]
    described.write_text(json.dumps(said))
    loaded = load_regressor(tmp_path)

    model = regressor.model_
    items = regressor._items(SERIES)
    features = torch.stack([model.rocket.transforms[0](model.norm.views(item)[0]) for item in items])
    fixed = features @ first["rocket.head.weight"].T + first["rocket.head.bias"]
    model.rocket = None
    both = (model.predict(items, torch.device("cpu")) + fixed) / 2
    expected = both[:, 0].numpy() * regressor._std + regressor._mean
    np.testing.assert_allclose(loaded.predict(SERIES), expected, rtol=1e-6)
    again = tmp_path / "again"
    again.mkdir()
    save_regressor(again, loaded)
    np.testing.assert_array_equal(load_regressor(again).predict(SERIES), loaded.predict(SERIES))
    described.write_text(json.dumps({**said, "regressor": {**said["regressor"], "rocket_views": 10**9}}))
    with pytest.raises(InputError, match=r"`rocket_views` \(=1000000000\) must be an integer from 1 to 3"):
        load_regressor(tmp_path)


def test_folders_that_hold_no_regressor_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold a regressor of series; series\.json is missing"):
        load_regressor(tmp_path)
    save_regressor(tmp_path, fitted())
    with pytest.raises(InputError, match="it is that of a regressor"):
        load_fitted(tmp_path)
    file = tmp_path / "series.json"
    said = json.loads(file.read_text())
    for key, value, message in (
        ("std", 0, "`std` .* must be a number, finite and positive"),
        ("mean", "x", "`mean` "),
        ("channel_names_", ["wave"], "does not hold the regressor's weights"),
        ("arguments", {"os": 1}, r"series\.json' does not describe a fitted regressor"),
    ):
        file.write_text(json.dumps({**said, "regressor": {**said["regressor"], key: value}}))
        with pytest.raises(InputError, match=message):
            load_regressor(tmp_path)
    file.write_text(json.dumps({"format": 2, "classifier": {}}))
    with pytest.raises(InputError, match=r"series\.json' does not describe a fitted regressor: it lacks 'regressor'"):
        load_regressor(tmp_path)


@pytest.mark.parametrize("part", ["members.0", "rocket.head", "norm.training_set.std"])
def test_weights_that_give_no_finite_answers_are_blamed_not_the_series(part: str, tmp_path: Path) -> None:
    save_regressor(tmp_path, fitted(n_rocket_features=84))
    weights = load_file(tmp_path / "series.safetensors")
    for name, tensor in weights.items():
        if name.startswith(part) and tensor.is_floating_point():
            tensor.fill_(0.0 if "std" in part else torch.finfo(tensor.dtype).max)
    save_file(weights, tmp_path / "series.safetensors")
    with pytest.raises(InputError, match=r"weights: its answer to values as in training must be finite"):
        load_regressor(tmp_path)
