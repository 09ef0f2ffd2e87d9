"""Several networks and MiniRocket features behind one estimator."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pytest
import torch

import seqstride as ss
from seqstride.errors import InputError
from seqstride.estimators.rocket import Rocket
from seqstride.models.untrusted import outline
from tests.support.series import SMALL, series_of_waves

QUICK: dict[str, Any] = {**SMALL, "n_epochs": 2}


def probabilities(**changed: Any) -> np.ndarray:
    train, test = series_of_waves(16, seed=0), series_of_waves(6, seed=1)[0]
    return ss.SeqStrideClassifier(**{**QUICK, **changed}).fit(*train).predict_proba(test)


def test_the_hybrid_is_the_geometric_mean_of_its_parts() -> None:
    """The features count three times as much as the network."""
    train, test = series_of_waves(16, seed=0), series_of_waves(6, seed=1)[0]
    hybrid = ss.SeqStrideClassifier(**QUICK).fit(*train)
    network = probabilities(n_rocket_features=0)  # the same network: its random numbers come first
    fixed = hybrid.model_.rocket.predict(hybrid.model_.views(hybrid._items(test))).exp().numpy()
    expected = (network * fixed**3) ** 0.25
    np.testing.assert_allclose(
        hybrid.predict_proba(test), expected / expected.sum(1, keepdims=True), rtol=1e-5, atol=1e-7
    )
    assert np.abs(network - fixed).max() > 1e-3


def test_members_differ_and_are_averaged() -> None:
    train, test = series_of_waves(16, seed=0), series_of_waves(6, seed=1)[0]
    settings = {**QUICK, "n_rocket_features": 0}
    classifier = ss.SeqStrideClassifier(**settings, n_members=3).fit(*train)
    members = classifier.model_.members
    logits = []
    for member in members:
        classifier.model_.members = [member]
        logits.append(np.log(classifier.predict_proba(test)))
    classifier.model_.members = members
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    expected = np.exp(np.mean(logits, 0))
    np.testing.assert_allclose(classifier.predict_proba(test), expected / expected.sum(1, keepdims=True), rtol=1e-5)
    assert [(epoch["member"], epoch["epoch"]) for epoch in classifier.history_] == [
        (member, epoch) for member in (1, 2, 3) for epoch in (1, 2)
    ]
    assert classifier.transform(test).shape == (6, 3 * 8)
    assert classifier.plan(test).strides().shape[0] == 6


def test_the_other_series_change_no_prediction() -> None:
    test = series_of_waves(6, seed=1)[0]
    classifier = ss.SeqStrideClassifier(**QUICK, n_members=2).fit(*series_of_waves(16, seed=0))
    whole = classifier.predict_proba(test)
    for index in (0, 5):
        np.testing.assert_allclose(classifier.predict_proba([test[index]])[0], whole[index], atol=1e-6)


def test_a_warm_start_needs_as_many_members() -> None:
    series, labels = series_of_waves(16, seed=0)
    classifier = ss.SeqStrideClassifier(**QUICK, warm_start=True).fit(series, labels)
    classifier.fit(series, labels)
    before = classifier.predict_proba(series)
    classifier.n_members = 2
    with pytest.raises(InputError, match="warm start"):
        classifier.fit(series, labels)
    classifier.n_members = 1
    np.testing.assert_array_equal(classifier.predict_proba(series), before)


@pytest.mark.parametrize("digits", [4, 7, 16])
def test_the_last_digits_of_normalised_series_tell_nothing(digits: int) -> None:
    """Their means differ by rounding; one channel without values once brought predictions of 10⁵."""
    series = np.random.default_rng(0).normal(size=(40, 2, 60))
    series = (series - series.mean(2, keepdims=True)) / series.std(2, keepdims=True)
    regressor = ss.SeqStrideRegressor(**QUICK).fit(series.round(digits), series[:, 0].max(1))
    other = series[:6].copy()
    other[:3, 1] = np.nan
    other[3:, 1] *= 1.1
    assert np.abs(regressor.predict(other) - series[:6, 0].max(1)).max() < 2
    single = series.astype(np.float32).astype(float)
    np.testing.assert_allclose(regressor.predict(single), regressor.predict(series), rtol=1e-3)


@pytest.mark.parametrize(("name", "value"), [("normalise", "training"), ("harmonics", 0)])
def test_a_warm_start_needs_the_same_views(name: str, value: object) -> None:
    """Normalisation and ranks stay those of the first fit; so do the views that the features read."""
    series, labels = series_of_waves(16, seed=0)
    classifier = ss.SeqStrideClassifier(**{**QUICK, name: value}, warm_start=True).fit(series, labels)
    before = classifier.predict_proba(series)
    vars(classifier)[name] = ss.SeqStrideClassifier().get_params()[name]
    with pytest.raises(InputError, match=f"`{name}` .* must be as before, for a warm start"):
        classifier.fit(series, labels)
    np.testing.assert_array_equal(classifier.predict_proba(series), before)


def test_a_regression_from_one_series_has_the_network_alone() -> None:
    regressor = ss.SeqStrideRegressor(**QUICK)
    with pytest.warns(UserWarning, match="only single label seen"):
        regressor.fit(np.ones((1, 1, 20)), np.array([3.0]))
    assert regressor.model_.rocket is None
    assert np.isfinite(regressor.predict(np.zeros((2, 1, 20)))).all()


def test_a_warm_start_makes_the_features_anew() -> None:
    """Their regression has nothing to go on from, so that their number may change."""
    series, labels = series_of_waves(16, seed=0)
    classifier = ss.SeqStrideClassifier(**QUICK, warm_start=True).fit(series, labels)
    for features in (672, 0, 336):
        classifier.n_rocket_features = features
        classifier.fit(series, labels)
        rocket = classifier.model_.rocket
        levels = 8  # mean, deviation, smallest and largest value of two channels
        assert (0 if rocket is None else rocket.head.in_features) == (features and features + levels)


@pytest.mark.parametrize(
    ("changed", "views"),
    [({}, 4), ({"normalise": "training"}, 3), ({"normalise": "series", "harmonics": 0}, 2), ({"harmonics": 0}, 3)],
)
def test_every_view_has_an_equal_share_of_the_features(changed: dict[str, Any], views: int) -> None:
    """Values, differences, values normalised by series, and ranks."""
    train = series_of_waves(16, seed=0)
    model = ss.SeqStrideClassifier(**{**QUICK, **changed, "n_rocket_features": 2000}).fit(*train).model_
    share = 2000 // views // 84 * 84
    assert [part.features for part in model.rocket.transforms] == [*[share] * views, 8]
    item = torch.randn(2, 30, generator=torch.Generator().manual_seed(0)).double()
    seen = model.norm.views(item)
    assert [view.shape for view in seen] == [item.shape] * views
    torch.testing.assert_close(seen[1][:, 1:], seen[0].diff(dim=1))
    assert float(seen[1][:, 0].abs().max()) == 0
    if changed.get("harmonics") is None:
        assert 0 <= float(seen[-1].min()) < float(seen[-1].max()) <= 1


def fitted_members(n_jobs: int | None) -> ss.SeqStrideClassifier:
    return ss.SeqStrideClassifier(**QUICK, n_members=3, n_jobs=n_jobs).fit(*series_of_waves(16, seed=0))


def test_members_trained_side_by_side_are_those_trained_one_after_the_other() -> None:
    """Threads stand for processes, which take seconds to start."""
    test = series_of_waves(6, seed=1)[0]
    one = fitted_members(None)
    with joblib.parallel_config("threading"):
        several = fitted_members(3)
    np.testing.assert_array_equal(several.predict_proba(test), one.predict_proba(test))
    assert [epoch["train"] for epoch in several.history_] == [epoch["train"] for epoch in one.history_]


@pytest.mark.long  # processes that import torch
def test_members_in_processes_are_those_of_one_process() -> None:
    test = series_of_waves(6, seed=1)[0]
    np.testing.assert_array_equal(fitted_members(2).predict_proba(test), fitted_members(1).predict_proba(test))
    with pytest.raises(InputError, match="training diverged"):
        ss.SeqStrideClassifier(**{**QUICK, "lr": 1e30}, n_members=2, n_jobs=2).fit(*series_of_waves(16, seed=0))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_members", 0), ("n_members", 1.5), ("n_rocket_features", -1), ("n_jobs", 0), ("n_jobs", 1.5), ("n_jobs", True)],
)
def test_wrong_numbers_are_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"`{name}` "):
        ss.SeqStrideClassifier(**{**QUICK, name: value}).fit(*series_of_waves(8, seed=0))


def test_the_regressor_averages_both() -> None:
    series = series_of_waves(24, seed=0)[0]
    values = np.array([frame["wave"].std() for frame in series])
    regressor = ss.SeqStrideRegressor(n_epochs=2, channels=8, random_state=0, n_rocket_features=500)
    predicted = regressor.fit(series, values).predict(series)
    assert np.corrcoef(predicted, values)[0, 1] > 0.8


def test_equal_class_weights_change_nothing() -> None:
    """A ridge penalty has a scale; only the ratios of the weights count."""
    generator = torch.Generator().manual_seed(0)
    items = [[torch.randn(1, 20, generator=generator, dtype=torch.float64)] for _ in range(8)]
    targets = torch.eye(2).repeat(4, 1)
    found = []
    for weight in (None, torch.tensor([1e-6, 1e-6]), torch.tensor([1e6, 1e6])):
        rocket = Rocket(1, 1, [(1, 1)], 2, classes=True)
        rocket.fit(items, targets, torch.Generator().manual_seed(0), weight)
        found.append(rocket.predict(items))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_the_outline_of_features_allocates_nothing() -> None:
    head = outline(lambda: Rocket(1, 1, [(1, 10**9)], 2, classes=True), 10).head
    assert isinstance(head, torch.nn.Module)
    assert all(parameter.is_meta for parameter in head.parameters())


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(InputError, match="`n_threads` "):
        ss.SeqStrideClassifier(**QUICK, n_threads=10**9).fit(*series_of_waves(8, seed=0))
