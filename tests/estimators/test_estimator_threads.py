"""Estimators beside other work: a seed decides everything, nothing else is disturbed, and one CPU thread is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_predict
from torch import nn

import seqstride as ss
from seqstride.encoders.mixup import mixup
from seqstride.estimators.cpu_threads import cpu_threads
from seqstride.estimators.randomness import DrawnFrom, own_generator

RANDOM: dict[str, Any] = {"channels": 8, "n_epochs": 2, "random_state": 0, "dropout": 0.3, "validation_fraction": 0.2}
"""Everything that draws, with `SERIES` and `ROWS`."""
SERIES: dict[str, Any] = {**RANDOM, "kernel_size": 3, "crop": 0.5, "mixup_alpha": 0.3}
ROWS: dict[str, Any] = {**RANDOM, "mixup_alpha": 0.3}

random = np.random.default_rng(0)
X = random.normal(size=(12, 2, 12))
LABELS = np.where(np.arange(12) % 2, "a", "b")
MAKERS: dict[str, Callable[[], np.ndarray]] = {
    "series": lambda: ss.SeqStrideClassifier(**SERIES).fit(X, LABELS).predict_proba(X),
    "random strides": lambda: (
        ss.SeqStrideClassifier(**{**SERIES, "channels": (8, 8), "downsampler": "average"}, strides="random")
        .fit(X, LABELS)
        .predict_proba(X)
    ),
    "regression": lambda: ss.SeqStrideRegressor(**SERIES).fit(X, X.mean((1, 2))).predict(X),
    "rows": lambda: ss.SeqStrideTabularClassifier(**ROWS).fit(X[:, 0], LABELS).predict_proba(X[:, 0]),
}


@contextmanager
def others_draw() -> Iterator[None]:
    """Another thread seeds torch's global generator and draws from it, all the time."""
    done = threading.Event()

    def draw() -> None:
        while not done.is_set():
            torch.manual_seed(3)
            torch.rand(7)
            time.sleep(0.0002)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", MAKERS)
def test_a_fit_learns_where_gradients_are_switched_off(name: str, switched_off: Callable[[], Any]) -> None:
    with switched_off():
        inside = MAKERS[name]()
    np.testing.assert_array_equal(inside, MAKERS[name]())


@pytest.mark.parametrize("name", MAKERS)
def test_whatever_else_draws_a_seed_gives_the_same(name: str) -> None:
    alone = MAKERS[name]()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(MAKERS[name](), alone)
    assert torch.equal(torch.get_rng_state(), state), "the global generator has not moved"
    with others_draw():
        np.testing.assert_array_equal(MAKERS[name](), alone)


def test_fits_in_threads_are_fits_alone() -> None:
    alone = {name: make() for name, make in MAKERS.items()}
    names = list(MAKERS)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda name: MAKERS[name](), names))
    for name, result in zip(names, together, strict=True):
        np.testing.assert_array_equal(result, alone[name])


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.long)])
def test_parallel_cross_validation_is_the_sequential_one(backend: str) -> None:
    estimator = ss.SeqStrideClassifier(**SERIES)
    wanted = cross_val_predict(estimator, X, LABELS, cv=3, method="predict_proba")
    with joblib.parallel_config(backend=backend):
        found = cross_val_predict(estimator, X, LABELS, cv=3, method="predict_proba", n_jobs=3)
    np.testing.assert_array_equal(found, wanted)


def test_one_estimator_predicts_in_many_threads() -> None:
    estimator = ss.SeqStrideClassifier(**SERIES).fit(X, LABELS)
    wanted = estimator.predict_proba(X)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(estimator.predict_proba, [X] * 8):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("key", list(ss.DOWNSAMPLERS))
def test_all_weights_are_drawn_from_the_generator(key: str) -> None:
    def weights() -> list[torch.Tensor]:
        with DrawnFrom(own_generator(7)):
            return list(ss.ResNet1d([1, 2], (4, 4), (2, 2), key).parameters())

    torch.manual_seed(0)
    first = weights()
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert all(map(torch.equal, first, weights()))
    torch.manual_seed(0)
    weights()
    assert torch.equal(torch.get_rng_state(), state)
    outside = torch.cat([value.flatten() for value in ss.ResNet1d([1, 2], (4, 4), (2, 2), key).parameters()])
    assert not torch.equal(torch.cat([value.flatten() for value in first]), outside)


def test_weights_are_those_of_torchs_own_draw() -> None:
    torch.manual_seed(int(np.random.RandomState(5).randint(np.iinfo(np.int32).max)))
    wanted = nn.Conv1d(3, 4, 5)
    with DrawnFrom(own_generator(5)):
        found = nn.Conv1d(3, 4, 5)
    assert torch.equal(found.weight, wanted.weight)
    assert torch.equal(found.bias, wanted.bias)  # type: ignore[arg-type]


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    from seqstride.estimators.batches import dropout

    estimator = ss.SeqStrideClassifier(**{**SERIES, "n_epochs": 1}).fit(X, LABELS)
    factors = dropout(estimator.model_.network, 4000, 0.25, own_generator(0))
    assert factors is not None
    assert [part.shape for part in factors] == [(4000, 4)] * 2
    assert sorted(set(factors[0].flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert float(factors[0].mean()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(*factors)
    assert dropout(estimator.model_.network, 4, 0.0, own_generator(0)) is None
    # training hands them to the network, whose outputs follow
    x, lengths = torch.randn(4, 4 + 8, 20), torch.full((4,), 20)
    network = estimator.model_.network.eval()
    none = network(x, lengths, [torch.zeros(4, 4)] * 2)[0]
    for group, head in enumerate(network.heads):
        torch.testing.assert_close(none[:, group], head.linear.bias.expand(4, -1))


def test_mixup_draws_from_a_generator_of_ones_own() -> None:
    x, targets, lengths = torch.randn(4000, 1, 3), torch.eye(4000), torch.full((4000,), 3)
    state = torch.get_rng_state()
    first = mixup(x, lengths, targets, 0.2, own_generator(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, first, mixup(x, lengths, targets, 0.2, own_generator(1))))
    wanted = random.beta(0.2, 0.2, size=100_000)
    assert float(first[2].diag().mean()) == pytest.approx(np.maximum(wanted, 1 - wanted).mean(), abs=0.01)


# CPU threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(ask: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


@pytest.mark.usefixtures("two_threads")
def test_threads_are_limited_inside_and_for_this_thread_alone() -> None:
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
        assert in_a_new_thread(torch.get_num_threads) == 2
    assert torch.get_num_threads() == 2

    def limited() -> int:
        with cpu_threads(1):
            assert torch.get_num_threads() == 1
        return torch.get_num_threads()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: limited(), range(12))) == [2] * 12
    assert in_a_new_thread(torch.get_num_threads) == 2
    with pytest.raises(ZeroDivisionError), cpu_threads(1):
        _ = 1 / 0
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("count", [1, np.int64(3)])
def test_fit_and_predict_use_the_threads_of_their_argument(count: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = ss.ResNet1d.forward

    def watched(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return forward(*arguments)

    monkeypatch.setattr(ss.ResNet1d, "forward", watched)
    few = {"channels": 4, "n_epochs": 1, "n_threads": count}
    series = ss.SeqStrideClassifier(**few).fit(X, LABELS)
    rows = ss.SeqStrideTabularClassifier(**few).fit(X[:, 0], LABELS)
    number = ss.SeqStrideRegressor(**few).fit(X, X.mean((1, 2)))
    for call in (series.predict, series.predict_proba, series.transform, series.plan, number.predict):
        call(X[:2])
    series.plot_strides(X[:1])
    for call in (rows.predict, rows.transform, rows.plan):
        call(X[:2, 0])
    assert set(seen) == {int(count)}
    assert torch.get_num_threads() == 2
    assert ss.SeqStrideClassifier().n_threads == 1
