"""Estimators for sktime and scikit-learn: what they learn, what they read, and what does not change a prediction."""

from __future__ import annotations

import doctest
import importlib
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.estimator_checks import check_estimator as sklearn_check
from sktime.base import load
from sktime.classification.model_selection import TSCGridSearchCV
from sktime.transformations.compose import FitInTransform
from sktime.transformations.difference import Differencer
from sktime.utils.estimator_checks import check_estimator as sktime_check

import seqstride as ss
from seqstride.estimators import batches, network, trainer
from seqstride.estimators.harmonics import RankHarmonics
from seqstride.estimators.preparation import SeriesNorm, interpolate
from seqstride.estimators.tabular import correlation_order
from tests.support.series import SMALL, series_of_waves


def as_numpy3d(count: int, *, seed: int, frames: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """The same, of equal lengths, as an array."""
    series, labels = series_of_waves(count, seed=seed, shortest=frames, longest=frames)
    return np.stack([frame.to_numpy().T for frame in series]), labels


@pytest.fixture(scope="module")
def fitted() -> Any:
    torch.manual_seed(0)
    return ss.SeqStrideClassifier(**SMALL).fit(*series_of_waves(40, seed=0))


# The contract with sktime


def test_estimators_are_names_of_the_package() -> None:
    assert "SeqStrideClassifier" in dir(ss)
    with pytest.raises(AttributeError, match="no attribute 'SeqStrideClassifer'"):
        _ = ss.SeqStrideClassifer


def sktimes_own_checks(estimator: Any, count: int, without: list[str]) -> None:
    """Runs the checks, more than `count`, and asserts that all of them pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of sktime and its checks
        results = sktime_check(estimator, verbose=False, tests_to_exclude=without)
    assert len(results) > count
    assert {name: result for name, result in results.items() if result != "PASSED"} == {}


@pytest.mark.long
@pytest.mark.parametrize(("name", "count"), [("SeqStrideClassifier", 200), ("SeqStrideRegressor", 100)])
def test_all_of_sktimes_own_checks_pass(name: str, count: int) -> None:
    sktimes_own_checks(getattr(ss, name), count, [])


@pytest.mark.parametrize(("name", "count"), [("SeqStrideClassifier", 120), ("SeqStrideRegressor", 70)])
def test_sktimes_own_checks_pass(name: str, count: int) -> None:
    kind = getattr(ss, name)
    first, *_ = kind.get_test_params()
    # examples in docstrings and several processes have tests of their own
    sktimes_own_checks(kind(**first), count, ["test_doctest_examples", "test_multiprocessing_idempotent"])


@pytest.mark.parametrize("order", ["given", pytest.param("correlation", marks=pytest.mark.long)])
def test_scikit_learns_own_checks_pass(order: str) -> None:
    quick = {"downsampler": "average", "channels": 8, "strides": (2,), "n_epochs": 3, "lr": 0.03, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its checks
        results = sklearn_check(ss.SeqStrideTabularClassifier(**quick, column_order=order), on_fail=None, on_skip=None)
    # the only check that is skipped is that of arrays that are not numpy's, which scipy has to be told of
    wrong = [result["check_name"] for result in results if result["status"] != "passed"]
    assert wrong == ["check_array_api_input"]
    assert len(results) > 50


@pytest.mark.parametrize("module", ["classifier", "regressor", "tabular"])
def test_examples_in_the_docstrings_run(module: str) -> None:
    done = doctest.testmod(importlib.import_module(f"seqstride.estimators.{module}"))
    assert done.attempted > 3
    assert done.failed == 0


# What it learns, and from what


def test_it_learns_and_tells_probabilities(fitted: Any) -> None:
    series, labels = series_of_waves(40, seed=1)
    assert fitted.score(series, labels) >= 0.95
    probabilities = fitted.predict_proba(series)
    assert fitted.classes_.tolist() == ["fast", "slow"]
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    assert (probabilities.argmax(1) == (labels == "slow")).mean() >= 0.95
    assert [record["epoch"] for record in fitted.history_] == list(range(1, 13))
    assert fitted.history_[-1]["train"]["loss"] < fitted.history_[0]["train"]["loss"]


def test_containers_say_the_same() -> None:
    array, labels = as_numpy3d(16, seed=0)
    frames = [pd.DataFrame(item.T, columns=["wave", "noise"]) for item in array]
    nested = pd.DataFrame({name: [frame[name] for frame in frames] for name in ("wave", "noise")})
    multi = pd.concat(dict(enumerate(frames)), names=["instance", "time"])
    wanted = ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2}).fit(array, labels).predict_proba(array)
    for container in (frames, nested, multi):
        estimator = ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2}).fit(container, labels)
        assert estimator.channel_names_ == ["wave", "noise"]
        np.testing.assert_allclose(estimator.predict_proba(container), wanted, rtol=1e-6)
        np.testing.assert_allclose(estimator.predict_proba(array), wanted, rtol=1e-6)


def test_channels_are_found_by_their_names(fitted: Any) -> None:
    series, _ = series_of_waves(6, seed=2)
    swapped = [frame[["noise", "wave"]] for frame in series]
    np.testing.assert_array_equal(fitted.predict_proba(swapped), fitted.predict_proba(series))
    # those of an array have no names
    array = series[0].to_numpy().T[None]
    np.testing.assert_array_equal(fitted.predict_proba(array), fitted.predict_proba(series[:1]))
    with pytest.raises(
        ValueError, match=r"series 0 with channels noise, level\) must have the channels .* wave, noise"
    ):
        fitted.predict([frame.set_axis(["noise", "level"], axis=1) for frame in series])
    with pytest.raises(ValueError, match=r"series 0 with channels wave\) must have the channels .* wave, noise"):
        fitted.predict([frame[["wave"]] for frame in series])


@pytest.mark.parametrize("key", list(ss.DOWNSAMPLERS))
def test_every_method_takes_series_of_one_frame_and_more(key: str) -> None:
    series, labels = series_of_waves(12, seed=0)
    series = [frame.iloc[: 1 + index] for index, frame in enumerate(series)]
    estimator = ss.SeqStrideClassifier(key, **{**SMALL, "n_epochs": 2, "strides": (2, 3, 2)}).fit(series, labels)
    probabilities = estimator.predict_proba(series)
    assert np.isfinite(probabilities).all()
    assert len(np.unique(probabilities.round(6), axis=0)) > 6, "series that differ must not all look alike"
    assert len(estimator.strides_) == 3
    learns = ss.DOWNSAMPLERS[key].layer.learns_stride
    assert (estimator.strides_ != [2.0, 3.0, 2.0]) == learns, "learnt strides move, others do not"


def test_every_series_may_have_one_frame() -> None:
    series = [pd.DataFrame({"x": [value]}) for value in (-1.0, 1.0, -1.1, 0.9, -0.8, 1.2, -0.9, 1.1)]
    labels = np.array([0, 1] * 4)
    settings = {**SMALL, "normalise": "training", "n_epochs": 60, "lr": 0.01}
    estimator = ss.SeqStrideClassifier(**settings).fit(series, labels)
    np.testing.assert_array_equal(estimator.predict(series), labels)


# Missing and infinite values


def test_gaps_are_bridged_by_lines_and_ends_are_level() -> None:
    nan = np.nan
    values = np.array([[nan, 1.0, nan, nan, 4.0, nan], [nan] * 6, [0.0, 1, 2, 3, 4, 5]])
    wanted = [[1.0, 1.0, 2.0, 3.0, 4.0, 4.0], [nan] * 6, [0.0, 1, 2, 3, 4, 5]]
    np.testing.assert_allclose(interpolate(values), wanted, rtol=1e-12)


def test_missing_values_are_read_as_what_is_put_there(fitted: Any) -> None:
    series, _ = series_of_waves(2, seed=3)
    filled, gappy = series[0].copy(), series[0].copy()
    gappy.loc[[4, 5], "wave"] = np.nan
    filled.loc[[4, 5], "wave"] = np.interp([4, 5], [3, 6], filled.loc[[3, 6], "wave"])
    np.testing.assert_allclose(fitted.predict_proba([gappy]), fitted.predict_proba([filled]), rtol=1e-6)

    mean = np.concatenate([frame["noise"] for frame in series_of_waves(40, seed=0)[0]]).mean()
    blank, level = series[0].assign(noise=np.nan), series[0].assign(noise=mean)
    np.testing.assert_allclose(fitted.predict_proba([blank]), fitted.predict_proba([level]), rtol=1e-6)


def test_it_learns_from_series_with_gaps() -> None:
    series, labels = series_of_waves(40, seed=0)
    random = np.random.default_rng(0)
    gappy = [frame.mask(random.random(frame.shape) < 0.1) for frame in series]
    gappy[0] = gappy[0].assign(wave=np.nan)
    estimator = ss.SeqStrideClassifier(**SMALL).fit(gappy, labels)
    assert estimator.score(*series_of_waves(40, seed=1)) >= 0.9


def test_infinite_values_are_refused(fitted: Any) -> None:
    series, labels = series_of_waves(4, seed=0)
    series[2].loc[3, "noise"] = np.inf
    with pytest.raises(ValueError, match=r"`X` \(series 2 with an infinite value\) must have finite"):
        fitted.predict(series)
    with pytest.raises(ValueError, match=r"`X` \(series 2 with an infinite value\) must have finite"):
        ss.SeqStrideClassifier(**SMALL).fit(series, labels)
    with pytest.raises(ValueError, match=r"`X` \(item 0\) must not have values so far from those that were fitted"):
        fitted.predict([series[0] * 1e200])


# What does not change a prediction


def test_predictions_do_not_depend_on_the_batch(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    series, _ = series_of_waves(30, seed=4, shortest=1)
    together = fitted.predict_proba(series)
    alone = np.concatenate([fitted.predict_proba([frame]) for frame in series])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(network, "FRAMES", 100)
    np.testing.assert_allclose(fitted.predict_proba(series), alone, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(series), fitted.transform(series[::-1])[::-1], rtol=1e-4, atol=1e-6)


def test_training_batches_hold_every_item_once_and_similar_lengths_together() -> None:
    lengths = [1 + (7 * i) % 101 for i in range(101)]
    generator = torch.Generator().manual_seed(0)
    found = list(batches.training_batches(lengths, 8, generator))
    assert sorted(i for batch in found for i in batch) == list(range(101))
    assert {len(batch) for batch in found} <= {7, 8}
    assert found != list(batches.training_batches(lengths, 8, generator)), "every epoch has batches of its own"
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in found]
    assert np.mean(spread) < 30, "batches drawn at random spread over some 80 frames"


def test_a_window_of_a_series_is_a_part_of_it() -> None:
    items = [torch.arange(2 * length).reshape(2, length) for length in (40, 40, 80, 1)]
    generator = torch.Generator().manual_seed(0)
    shares, starts = set(), set()
    for _ in range(60):
        parts = batches.crop(items, 0.5, generator)
        for item, part in zip(items, parts, strict=True):
            start = int(part[0, 0])
            assert torch.equal(part, item[:, start : start + part.shape[1]])
        lengths = [part.shape[1] for part in parts]
        assert 2 * lengths[0] == 2 * lengths[1] == lengths[2]
        assert lengths[3] == 1
        assert all(length / 2 ** math.floor(math.log2(length)) * batches.LENGTHS % 1 == 0 for length in lengths)
        shares.add(lengths[0] / 40)
        starts.add(int(parts[0][0, 0]))
    assert min(shares) == 0.5
    assert max(shares) == 1.0
    assert len(starts) > 10, "windows are anywhere"
    assert all(part is item for part, item in zip(batches.crop(items, 1.0, generator), items, strict=True))


def test_windows_are_for_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    series, labels = series_of_waves(12, seed=0)
    seen = []

    def keep(items: Any, least: float, generator: torch.Generator) -> Any:
        seen.append(least)
        return crop(items, least, generator)

    crop = batches.crop
    monkeypatch.setattr(trainer, "crop", keep)
    estimator = ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 1, "crop": 0.7}).fit(series, labels)
    steps = len(seen)
    assert set(seen) == {0.7}
    estimator.predict(series)
    assert len(seen) == steps


def test_the_softmax_of_a_pool_lies_between_mean_and_maximum() -> None:
    series, labels = series_of_waves(12, seed=0)
    settings = {**SMALL, "n_epochs": 1, "weight_decay": 0.0, "harmonics": 0}
    between, mean, largest = (
        ss.SeqStrideClassifier(**settings, pool=pool).fit(series, labels) for pool in ("softmax", "mean", "max")
    )
    for other in (mean, largest):
        other.model_.network.encoder = between.model_.network.encoder
    sharpness = between.model_.network.heads[0].sharpness
    assert bool((sharpness != 1).any()), "it must learn"
    features = between.transform(series)
    low, high = mean.transform(series), largest.transform(series)
    varies = high > low * (1 + 1e-4)
    assert varies.mean() > 0.5
    assert np.all((low < features)[varies] & (features < high)[varies])
    for value, limit in ((0.0, mean), (1e4, largest)):
        sharpness.data.fill_(value)
        np.testing.assert_allclose(between.transform(series), limit.transform(series), rtol=1e-4, atol=1e-5)


def test_a_seed_decides_everything_and_touches_nothing() -> None:
    series, labels = series_of_waves(16, seed=0)
    settings = {**SMALL, "n_epochs": 2}
    torch.manual_seed(5)
    first = ss.SeqStrideClassifier(**settings).fit(series, labels).predict_proba(series)
    after = torch.rand(())
    torch.manual_seed(6)
    second = ss.SeqStrideClassifier(**settings).fit(series, labels).predict_proba(series)
    np.testing.assert_array_equal(first, second)
    other = ss.SeqStrideClassifier(**{**settings, "random_state": 1}).fit(series, labels).predict_proba(series)
    assert np.abs(other - first).max() > 1e-3
    torch.manual_seed(5)
    assert torch.rand(()) == after


def test_normalisation_is_that_of_the_training_series(fitted: Any) -> None:
    series, _ = series_of_waves(40, seed=0)
    values = np.concatenate([frame.to_numpy() for frame in series])
    statistics = fitted.model_.norm.training_set
    np.testing.assert_allclose(statistics.mean.numpy(), values.mean(0), rtol=1e-9)
    np.testing.assert_allclose(statistics.std.numpy(), values.std(0), rtol=1e-9)


def test_normalised_series_have_no_level_and_no_scale() -> None:
    series, labels = series_of_waves(16, seed=0)
    estimator = ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2, "normalise": "series"}).fit(series, labels)
    moved = [frame * 7 - 1000 for frame in series]
    np.testing.assert_allclose(estimator.predict_proba(moved), estimator.predict_proba(series), rtol=1e-4)
    assert np.isfinite(estimator.predict_proba([frame * 0 + 1 / 3 for frame in series])).all()


def test_curves_of_ranks_are_the_cosines_of_uniform_ranks() -> None:
    random = np.random.default_rng(0)
    values = np.stack([np.exp(3 * random.normal(size=4000)), np.full(4000, 7.0)])
    norm = SeriesNorm(2, "training", harmonics=3)
    norm.fit([torch.from_numpy(part) for part in np.split(values, 4, axis=1)])
    assert norm.groups == [2, 6]
    read = norm(torch.from_numpy(values)).double().numpy()
    assert read.shape == (8, 4000)
    wanted = [math.sqrt(2) * np.cos(math.pi * k * (rankdata(values[0]) - 0.5) / 4000) for k in (1, 2, 3)]
    np.testing.assert_allclose(read[[2, 4, 6]], wanted, atol=3 * math.pi * math.sqrt(2) / 1024)
    np.testing.assert_allclose(read[[2, 4, 6]] @ read[[2, 4, 6]].T / 4000, np.eye(3), atol=0.01)
    assert (read[[3, 5, 7]] == 0).all(), "a constant channel has no ranks"
    ends = norm(torch.tensor([[-1e9, 1e9], [7.0, 9.0]]).double())
    np.testing.assert_allclose(ends[[2, 4, 6], 0], math.sqrt(2), rtol=1e-4)
    np.testing.assert_allclose(ends[[2, 4, 6], 1], [-math.sqrt(2), math.sqrt(2), -math.sqrt(2)], rtol=1e-4)
    assert (ends[[3, 5, 7]] == 0).all(), "not in prediction either"


def test_equal_values_share_the_middle_of_their_ranks() -> None:
    ranks = RankHarmonics(1, 1)
    ranks.fit([torch.tensor([[0.0, 0.0, 0.0, 1.0]])], torch.tensor([True]))
    wanted = math.sqrt(2) * np.cos(math.pi * np.array([0.375, 0.375, 0.625, 0.875, 0.875]))
    np.testing.assert_allclose(ranks(torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0]]))[0], wanted, rtol=1e-12)


def test_small_differences_between_dense_values_are_learnt() -> None:
    random = np.random.default_rng(0)
    labels = np.where(np.arange(40) % 2, "high", "low")
    level = np.where(labels == "high", 1.004, 1.0)[:, None]
    series = (random.choice([-1.0, 1.0], size=(40, 60)) * level)[:, None]
    series[:, 0, 0] = 100.0  # beside outliers the difference is invisible to a normalisation
    settings = {**SMALL, "normalise": "training", "n_epochs": 10, "n_rocket_features": 0}
    scores = [
        ss.SeqStrideClassifier(**settings, harmonics=harmonics).fit(series[:20], labels[:20]).score(series, labels)
        for harmonics in (0, 4)
    ]
    assert scores[0] < 0.8
    assert scores[1] == 1.0


def test_values_and_curves_are_two_groups_whose_logits_are_averaged() -> None:
    series, labels = series_of_waves(12, seed=0)
    estimator = ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2, "n_rocket_features": 0}).fit(series, labels)
    model = estimator.model_
    x, lengths = network.pad(model.prepare(estimator._items(series)))
    with torch.no_grad():
        outputs, encoded = model.network(x, lengths)
        touched = x.clone()
        touched[:, :4] = 0  # two channels, normalised twice
        others, _ = model.network.eval()(touched, lengths)
    assert outputs.shape == (12, 2, 2)
    assert len(encoded.plans) == 2, "both groups have the same plans"
    np.testing.assert_allclose(estimator.predict_proba(series), outputs.mean(1).softmax(1), rtol=1e-4)
    assert (others[:, 0] - outputs[:, 0]).abs().max() > 1e-3


# Training


def test_early_stopping_restores_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    series, labels = series_of_waves(40, seed=0)
    labels = np.random.default_rng(0).permutation(labels)  # nothing to learn: the validation loss soon rises
    parts = []

    def keep(*arguments: Any) -> Any:
        parts.append(split(*arguments))
        return parts[0]

    split = batches.split
    monkeypatch.setattr(trainer, "split", keep)
    settings = {**SMALL, "n_epochs": 60, "validation_fraction": 0.25, "patience": 5, "lr": 0.01, "n_rocket_features": 0}
    estimator = ss.SeqStrideClassifier(**settings).fit(series, labels)
    losses = [record["valid"]["loss"] for record in estimator.history_]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 5
    held_out = parts[0][1]
    assert sorted(labels[held_out]) == ["fast"] * 5 + ["slow"] * 5
    probabilities = estimator.predict_proba([series[i] for i in held_out])
    truth = (labels[held_out] == "slow").astype(int)
    assert -np.log(probabilities[np.arange(10), truth]).mean() == pytest.approx(losses[best], rel=1e-5)


def test_the_validation_part_takes_its_share_of_every_class() -> None:
    labels = torch.tensor([0] * 10 + [1] * 5 + [2])
    generator = torch.Generator().manual_seed(0)
    chosen, held_out = batches.split(labels, 16, 0.2, generator)
    assert sorted(chosen + held_out) == list(range(16))
    assert labels[held_out].tolist() == [0, 0, 1]
    assert batches.split(labels, 16, 0.2, generator)[1] != held_out, "it is drawn"
    assert batches.split(labels, 16, 0.0, generator)[1] == []
    assert len(batches.split(None, 16, 0.5, generator)[1]) == 8


def test_class_weights_shift_the_decision() -> None:
    random = np.random.default_rng(0)
    noise, labels = random.normal(size=(40, 1, 12)), np.array(["a"] * 20 + ["b"] * 20)
    settings = {**SMALL, "n_epochs": 8, "lr": 0.02}
    share = {}
    for heavy in ("a", "b"):
        weights = {"a": 0.01, "b": 0.01, heavy: 10.0}
        estimator = ss.SeqStrideClassifier(**settings, class_weight=weights).fit(noise, labels)
        share[heavy] = (estimator.predict(noise) == "a").mean()
    assert share["a"] > 0.7
    assert share["b"] < 0.3
    few = np.array(["a"] * 35 + ["b"] * 5)
    plain, balanced = (
        ss.SeqStrideClassifier(**settings, class_weight=weight).fit(noise, few).predict_proba(noise)
        for weight in (None, "balanced")
    )
    assert balanced[:, 1].mean() > plain[:, 1].mean() + 0.03


def test_a_warm_start_goes_on_from_the_last_weights() -> None:
    series, labels = series_of_waves(24, seed=0)
    still = {**SMALL, "n_epochs": 1, "lr": 0.0, "stride_lr": 0.0, "warm_start": True}
    estimator = ss.SeqStrideClassifier(**{**still, "lr": 0.01}).fit(series, labels)
    before = {name: value.clone() for name, value in estimator.model_.network.named_parameters()}
    estimator.lr, estimator.random_state = 0.0, 7
    estimator.fit(series, labels)
    for name, value in estimator.model_.network.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    with pytest.raises(
        ValueError, match=r"`y` \(classes \['other', 'slow'\]\) must have the classes \['fast', 'slow'\]"
    ):
        estimator.fit(series, np.where(labels == "fast", "other", labels))

    estimator = ss.SeqStrideClassifier(**still).fit(series, labels)
    with pytest.raises(ValueError, match=r"`X` \(series 0 with channels wave\) must have the channels of the fitted"):
        estimator.fit([frame[["wave"]] for frame in series], labels)
    wanted = estimator.predict_proba(series)
    estimator.fit([frame[["noise", "wave"]] for frame in series], labels)
    assert estimator.channel_names_ == ["wave", "noise"], "channels are found by their names"
    np.testing.assert_allclose(estimator.predict_proba(series), wanted, atol=0.1)
    cold = ss.SeqStrideClassifier(**{**still, "warm_start": False}).fit(series, labels)
    weight = cold.model_.network.heads[0].linear.weight.clone()
    cold.set_params(random_state=7).fit(series, labels)
    assert not torch.equal(cold.model_.network.heads[0].linear.weight, weight)


def test_complexity_lengthens_learnt_strides() -> None:
    series, labels = series_of_waves(16, seed=0)
    ends = [
        ss.SeqStrideClassifier("diffstride", **{**SMALL, "n_epochs": 6}, complexity_weight=weight, stride_lr=0.05)
        .fit(series, labels)
        .strides_
        for weight in (0.0, 5.0)
    ]
    assert all(cheap > plain + 0.1 for plain, cheap in zip(*ends, strict=True))


def test_edges_narrow_from_epoch_to_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(trainer, "anneal", lambda network, progress: seen.append(progress))
    series, labels = series_of_waves(8, seed=0)
    ss.SeqStrideClassifier("diffstride_narrowing", **{**SMALL, "n_epochs": 3}).fit(series, labels)
    assert seen == [0, 0.5, 1]


def test_progress_shows_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    series, labels = series_of_waves(8, seed=0)
    ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2}, verbose=True).fit(series, labels)
    assert "2/2" in capsys.readouterr().err
    ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2}).fit(series, labels)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_epochs": 0}, r"`n_epochs` \(=0\) must be an integer of at least 1"),
        ({"batch_size": 0}, r"`batch_size` \(=0\) must be an integer of at least 1"),
        ({"lr": -1.0}, r"`lr` \(=-1.0\) must be a number, finite and not negative"),
        ({"dropout": 1.0}, r"`dropout` \(=1.0\) must be a number, at least 0 and below 1"),
        ({"validation_fraction": 1.0}, r"`validation_fraction` \(=1.0\) must be a number, at least 0 and below 1"),
        ({"harmonics": -1}, r"`harmonics` \(=-1\) must be an integer of at least 0"),
        ({"harmonics": 2.5}, r"`harmonics` \(=2.5\) must be an integer of at least 0"),
        ({"channels": 7}, r"`channels` \(=\[7, 7\]\) must be multiples of the 2 groups"),
        ({"normalise": "none"}, r"`normalise` \(='none'\) must be one of training, series, both"),
        ({"downsampler": "magic"}, r"`downsampler` \(='magic'\) must be one of strided"),
        ({"strides": (2, 2), "channels": (8,)}, r"`strides` \(=\(2, 2\)\) must have one entry for each of the 1"),
        ({"strides": "random"}, r"`channels` \(=8\) must list the channels of every block where `strides` is 'random'"),
        ({"kernel_size": 4}, r"`kernel_size` \(=4\) must be odd"),
        ({"input_kernel_size": 0}, r"`input_kernel_size` \(=0\) must be an integer of at least 1"),
        ({"pool": "sum"}, r"`pool` \(='sum'\) must be one of mean, max, softmax"),
        ({"crop": 0.0}, r"`crop` \(=0.0\) must be a number, above 0 and at most 1"),
        (
            {"downsampler": "average", "lr": 1e30},
            r"training diverged in epoch 2: of `lr` \(=1e\+30\), .* one must be smaller",
        ),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    series, labels = series_of_waves(8, seed=0)
    with pytest.raises(ValueError, match=message):
        ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 2, **changes}).fit(series, labels)


# Copies and company


def test_copies_predict_the_same(fitted: Any, tmp_path: Path) -> None:
    series, _ = series_of_waves(10, seed=5)
    wanted = fitted.predict_proba(series)
    joblib.dump(fitted, tmp_path / "joblib")
    fitted.save(str(tmp_path / "saved"))
    copies = [pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "joblib"), load(str(tmp_path / "saved"))]
    for copy in copies:
        np.testing.assert_array_equal(copy.predict_proba(series), wanted)
        assert copy.history_ == fitted.history_
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    assert not fresh.is_fitted
    np.testing.assert_array_equal(fresh.fit(*series_of_waves(40, seed=0)).predict_proba(series), wanted)


def test_searches_and_cross_validation_take_it() -> None:
    array, labels = as_numpy3d(40, seed=0)
    estimator = ss.SeqStrideClassifier("average", **{**SMALL, "n_rocket_features": 0})
    assert cross_val_score(estimator, array, labels, cv=2).mean() > 0.7
    candidates = {"lr": [1e-9, 0.005]}
    for search in (GridSearchCV(estimator, candidates, cv=2), TSCGridSearchCV(estimator, candidates, cv=2)):
        search.fit(array, labels)
        assert search.best_params_["lr"] == 0.005
        assert search.predict(array).shape == labels.shape


def test_it_ends_a_pipeline_of_sktime() -> None:
    array, labels = as_numpy3d(40, seed=0)
    pipeline = FitInTransform(Differencer()) * ss.SeqStrideClassifier(**SMALL)
    assert pipeline.fit(array, labels).score(*as_numpy3d(20, seed=1)) > 0.8


# Features, plans and pictures


def test_features_are_what_the_last_layer_reads(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted.model_, "rocket", None)
    series, _ = series_of_waves(6, seed=6)
    features = fitted.transform(series)
    assert features.shape == (6, 8)
    values, curves = fitted.model_.network.heads
    with torch.no_grad():
        first, second = torch.from_numpy(features).split(4, dim=1)
        logits = (values.linear(first) + curves.linear(second)) / 2
    np.testing.assert_allclose(logits.softmax(1), fitted.predict_proba(series), rtol=1e-4, atol=1e-6)


def test_the_plan_says_where_frames_went(fitted: Any) -> None:
    series, _ = series_of_waves(5, seed=7)
    plan = fitted.plan(series)
    lengths = [len(frame) for frame in series]
    assert plan.input_lengths.tolist() == lengths
    assert plan.lengths.tolist() == [math.ceil(length / 4) for length in lengths]
    assert plan.durations().sum(1).tolist() == lengths
    assert not plan.features.requires_grad
    local = plan.strides()[0, : lengths[0]]
    assert local.max() > local.min() + 0.01, "AdaStride's strides vary"


def test_the_picture_shows_series_bounds_and_strides(fitted: Any, tmp_path: Path) -> None:
    series, _ = series_of_waves(2, seed=8)
    gappy = series[0].copy()
    gappy.loc[3:5, "wave"] = np.nan
    figure = fitted.plot_strides([gappy, series[1]], frame_rate=10.0)
    figure.savefig(tmp_path / "strides.png")
    above, beside, below, _ = figure.axes
    assert [text.get_text() for text in above.get_yticklabels()] == ["wave", "noise"]
    predicted = fitted.predict([gappy])[0]
    assert above.get_title() == f"series 0, predicted: {predicted}\n{len(gappy)} → {math.ceil(len(gappy) / 4)} frames"
    bounds, lines = above.get_lines()[:-2], above.get_lines()[-2:]
    assert len(bounds) == len(fitted.plan([gappy]).bounds(0))
    drawn = lines[0].get_ydata()
    assert np.isnan(drawn[3:6]).all()
    assert np.isfinite(drawn[6:]).all()
    np.testing.assert_allclose(below.get_lines()[-1].get_ydata(), fitted.plan([gappy]).strides()[0], rtol=1e-6)
    assert below.get_xlabel() == "time (s)"
    wave = beside.get_lines()[-2]
    assert wave.get_xdata()[-1] == pytest.approx((len(series[1]) - 1) / 10)


def test_the_picture_of_a_single_channel_has_its_values(fitted: Any) -> None:
    array, labels = as_numpy3d(8, seed=0)
    estimator = ss.SeqStrideClassifier(**{**SMALL, "n_epochs": 1}).fit(array[:, :1], labels)
    figure = estimator.plot_strides(array[:2, :1], titles=["a", "b"])
    np.testing.assert_allclose(figure.axes[0].get_lines()[-1].get_ydata(), array[0, 0])
    with pytest.raises(ValueError, match=r"`titles` \(=\['a'\]\) must have 2 entries"):
        estimator.plot_strides(array[:2, :1], titles=["a"])


def test_without_a_network_there_is_no_plan() -> None:
    array, _ = as_numpy3d(4, seed=0)
    with pytest.warns(UserWarning, match="single label"):
        estimator = ss.SeqStrideClassifier(**SMALL).fit(array, np.full(4, "same"))
    assert estimator.predict(array).tolist() == ["same"] * 4
    with pytest.raises(ValueError, match="has no network: `y` must have one column, of two"):
        estimator.plan(array)


# Regression


def test_regression_finds_the_level_of_a_series() -> None:
    random = np.random.default_rng(0)
    values = random.uniform(1000, 2000, size=48)
    series = [pd.DataFrame({"x": value / 1000 + 0.1 * random.normal(size=random.integers(5, 25))}) for value in values]
    settings = {**SMALL, "n_epochs": 40, "lr": 0.005}
    estimator = ss.SeqStrideRegressor(**settings).fit(series[:32], values[:32])
    error = np.abs(estimator.predict(series[32:]) - values[32:]).mean()
    assert error < 60, "the mean of all would be wrong by some 250"
    assert estimator.history_[-1]["train"].keys() == {"loss"}
    copy = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copy.predict(series), estimator.predict(series))
    assert estimator.plan(series[:2]).input_lengths.tolist() == [len(frame) for frame in series[:2]]
    with pytest.raises(ValueError, match=r"`y` \(inf at position 1\) must be finite"):
        estimator.fit(series[:2], np.array([1.0, np.inf]))


# Rows of tables


def digits() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = load_digits(return_X_y=True)
    return pixels[labels < 3], labels[labels < 3]


ROWS: dict[str, Any] = {"channels": 16, "n_epochs": 8, "lr": 0.005, "random_state": 0}


@pytest.fixture(scope="module")
def fitted_rows() -> Any:
    rows, labels = digits()
    return ss.SeqStrideTabularClassifier(**ROWS).fit(rows[::2], labels[::2])


def test_rows_are_learnt(fitted_rows: Any, tmp_path: Path) -> None:
    rows, labels = digits()
    assert fitted_rows.score(rows[1::2], labels[1::2]) > 0.95
    assert fitted_rows.strides_ == [2.0, 2.0]
    assert fitted_rows.plan(rows[:3]).lengths.tolist() == [16] * 3
    linear = fitted_rows.model_.network.heads[0].linear
    logits = torch.from_numpy(fitted_rows.transform(rows)) @ linear.weight.detach().T + linear.bias.detach()
    np.testing.assert_allclose(logits.softmax(1), fitted_rows.predict_proba(rows), rtol=1e-3, atol=1e-6)
    joblib.dump(fitted_rows, tmp_path / "joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "joblib").predict_proba(rows), fitted_rows.predict_proba(rows))


def test_missing_cells_count_as_the_mean_of_their_column(fitted_rows: Any) -> None:
    rows, _ = digits()
    gappy, filled = rows[:5].copy(), rows[:5].copy()
    gappy[:, 20:30] = np.nan
    filled[:, 20:30] = rows[::2, 20:30].mean(0)
    np.testing.assert_allclose(fitted_rows.predict_proba(gappy), fitted_rows.predict_proba(filled), rtol=1e-4)
    assert np.abs(fitted_rows.predict_proba(gappy) - fitted_rows.predict_proba(rows[:5])).max() > 1e-3
    with pytest.raises(ValueError, match="infinity"):
        fitted_rows.predict(np.full((1, 64), np.inf))


def test_columns_that_correlate_become_neighbours() -> None:
    random = np.random.default_rng(0)
    sources = random.normal(size=(200, 3))
    # columns 0, 3, 5 follow the first source (one with the opposite sign), 1, 4 the second, 2 the third
    rows = sources[:, [0, 1, 2, 0, 1, 0]] * [1, 1, 1, -3, 2, 1] + 0.1 * random.normal(size=(200, 6))
    order = correlation_order(rows).tolist()
    assert sorted(order) == list(range(6))
    first, second = (sorted(order.index(column) for column in group) for group in ((0, 3, 5), (1, 4)))
    assert first == list(range(first[0], first[0] + 3))
    assert second[1] == second[0] + 1
    constant = np.column_stack([rows, np.ones(200)])
    assert sorted(correlation_order(constant).tolist()) == list(range(7))


def test_the_order_of_columns_is_learnt_from_the_training_rows() -> None:
    rows, labels = digits()
    shuffle = np.random.default_rng(0).permutation(64)
    quick = {**ROWS, "n_epochs": 1, "column_order": "correlation"}
    estimator = ss.SeqStrideTabularClassifier(**quick).fit(rows[:, shuffle], labels)
    assert estimator.column_order_.tolist() == correlation_order(rows[:, shuffle]).tolist()
    given = ss.SeqStrideTabularClassifier(**{**quick, "column_order": "given"})
    given.fit(rows[:, shuffle][:, estimator.column_order_], labels)
    wanted = given.predict_proba(rows[:, shuffle][:, estimator.column_order_])
    np.testing.assert_allclose(estimator.predict_proba(rows[:, shuffle]), wanted, rtol=1e-4)
    with pytest.raises(ValueError, match=r"`column_order` \(='sorted'\) must be one of given, correlation"):
        ss.SeqStrideTabularClassifier(column_order="sorted").fit(rows, labels)


def test_rows_in_pipelines_searches_and_warm_starts() -> None:
    rows, labels = digits()
    quick = {**ROWS, "downsampler": "average", "n_epochs": 2}
    search = GridSearchCV(ss.SeqStrideTabularClassifier(**quick), {"lr": [1e-9, 0.005]}, cv=2).fit(rows, labels)
    assert search.best_params_ == {"lr": 0.005}
    pipeline = make_pipeline(QuantileTransformer(n_quantiles=50), clone(search.best_estimator_))
    assert pipeline.fit(rows[::2], labels[::2]).score(rows[1::2], labels[1::2]) > 0.6
    estimator = ss.SeqStrideTabularClassifier(**quick, warm_start=True).fit(rows, labels)
    before = estimator.history_[-1]["train"]["loss"]
    assert estimator.set_params(lr=1e-4).fit(rows, labels).history_[0]["train"]["loss"] < before + 0.05
    with pytest.raises(ValueError, match="X has 63 features, but SeqStrideTabularClassifier is expecting 64"):
        estimator.fit(rows[:, 1:], labels)
    with pytest.raises(ValueError, match=r"`y` \(classes \[0, 1\]\) must have the classes \[0, 1, 2\], as before"):
        estimator.fit(rows, labels % 2)
