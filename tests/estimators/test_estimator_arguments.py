"""What estimators are told: arguments as searches pass them, training that goes wrong, fits that fail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import seqstride as ss
from seqstride.errors import InputError
from seqstride.estimators import trainer
from seqstride.estimators.network import resolve_device

TINY: dict[str, Any] = {"channels": 4, "n_epochs": 1, "random_state": 0}
random = np.random.default_rng(0)
SERIES = random.normal(size=(6, 2, 9))
CLASSIFIERS = {
    "series": (ss.SeqStrideClassifier, SERIES),
    "rows": (ss.SeqStrideTabularClassifier, random.normal(size=(6, 5))),
}
NAN = float("nan")


# Arguments


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_numbers_of_numpy_are_numbers(kind: str) -> None:
    estimator, X = CLASSIFIERS[kind]
    plain: dict[str, Any] = {"downsampler": "average", "strides": (2, 2), "channels": (4, 8), "kernel_size": 3}
    plain |= {"n_epochs": 2, "batch_size": 4, "lr": 0.01, "dropout": 0.5, "patience": 3, "random_state": 1}
    plain |= {"mixup_alpha": 0.5, "validation_fraction": 0.25, "n_threads": 1, "weight_decay": 0.5}
    given: dict[str, Any] = {
        "downsampler": np.str_("average"),
        "strides": np.array([2.0, 2.0]),
        "channels": np.array([4, 8]),
        "kernel_size": np.int32(3),
        "n_epochs": np.uint8(2),
        "batch_size": np.array(4),
        "lr": np.float64(0.01),
        "dropout": np.float32(0.5),
        "patience": np.int64(3),
        "random_state": np.int64(1),
        "mixup_alpha": np.float16(0.5),
        "validation_fraction": np.array(0.25),
        "n_threads": np.int64(1),
        "weight_decay": np.float32(0.5),
    }
    if kind == "series":
        plain |= {"harmonics": 2, "input_kernel_size": 5, "pool": "max", "crop": 0.75}
        given |= {"harmonics": np.int64(2), "input_kernel_size": np.int64(5), "pool": np.str_("max")}
        given |= {"crop": np.float32(0.75), "normalise": np.str_("both"), "device": np.str_("cpu")}
    wanted = estimator(**plain).fit(X, ["a", "b"] * 3).predict_proba(X)
    made = estimator(**given)
    np.testing.assert_array_equal(made.fit(X, ["a", "b"] * 3).predict_proba(X), wanted)
    assert made.get_params()["strides"] is given["strides"], "arguments stay as they were given"
    assert clone(made).get_params()["kernel_size"] == np.int32(3)


@pytest.mark.parametrize(
    ("channels", "strides"),
    [
        (np.int64(8), [np.int64(2), np.float64(2.0)]),
        ([np.int64(8), np.int32(8)], (2, 2)),
        (np.array([8, 8]), np.array([2, 2])),
        (range(8, 9), np.array([2])),
        (8, np.array([1.5, 2.0])),
        (8, [1.5, np.float32(2.0)]),
    ],
)
def test_channels_and_strides_may_be_of_numpy(channels: Any, strides: Any) -> None:
    for estimator, X in CLASSIFIERS.values():
        options = {"smoothness": np.float64(3.0), "length_multiple": np.int64(1)}
        fitted = estimator("diffstride", strides, channels, n_epochs=1, downsampler_options=options).fit(
            X, list("ababab")
        )
        assert fitted.initial_strides_ == pytest.approx([float(stride) for stride in strides])


def test_searches_pass_numbers_of_numpy() -> None:
    candidates = {
        "channels": np.array([4, 8]),
        "strides": [np.array([2]), np.array([2, 2])],
        "n_epochs": np.arange(1, 2),
        "downsampler": np.array(["average"]),
    }
    for estimator, X in CLASSIFIERS.values():
        search = GridSearchCV(estimator(random_state=0), candidates, cv=2).fit(X, ["a", "b"] * 3)
        assert len(search.best_estimator_.strides_) == len(search.best_params_["strides"])


INTEGERS = ["kernel_size", "input_kernel_size", "n_epochs", "batch_size", "patience", "harmonics", "n_threads"]
RATES = ["lr", "stride_lr", "weight_decay", "mixup_alpha", "complexity_weight"]
SHARES = ["dropout", "validation_fraction", "crop"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in INTEGERS
            for value in (True, np.bool_(True), 3.0, np.float64(3), NAN, -1, "3", None)
        ),
        *((name, value) for name in RATES for value in (True, NAN, np.float32(NAN), -0.1, np.inf, "fast", None, [0.1])),
        *((name, value) for name in SHARES for value in (True, NAN, -0.1, 1.5, "half", None, 1j)),
        *(("channels", value) for value in (True, 0, -4, 8.0, NAN, "many", None, [8, True], [8, 8.5], np.ones((2, 2)))),
        *(
            ("strides", value)
            for value in (2, True, [2, True], [2, NAN], [2, 0.5], [], "two", [2, "2"], np.ones((2, 2)))
        ),
        *(("downsampler", value) for value in ("magic", None, 3, ["average"])),
        *(("downsampler_options", value) for value in (3, "smooth", {"smoothnes": 3})),
        *(("pool", value) for value in ("sum", None)),
        *(("normalise", value) for value in ("none", None)),
        *(("random_state", value) for value in (-1, "seed", 1.5)),
        *(("device", value) for value in ("gpu", "cuda:99", "meta", 1.5)),
    ],
)
def test_arguments_that_make_no_sense_are_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^`{name}` ") as caught:
        ss.SeqStrideClassifier(**{**TINY, "n_epochs": 1, name: value}).fit(SERIES, ["a", "b"] * 3)
    assert "\n" not in str(caught.value)


def test_devices_are_found_or_refused() -> None:
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"`device` \(='cuda'\) must be cpu"):
            resolve_device("cuda")


# Losses that are not finite


def fit_with_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> Any:
    """Fits with these losses of the validation part."""
    following = iter(losses)
    loss = trainer._Training.loss

    def given(training: Any, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return loss(training, outputs, targets) if outputs.requires_grad else torch.tensor(next(following))

    monkeypatch.setattr(trainer._Training, "loss", given)
    settings = {**TINY, "n_epochs": len(losses), "validation_fraction": 0.4, "patience": 3}
    return ss.SeqStrideClassifier(**settings).fit(SERIES, ["a", "b"] * 3)


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_an_epoch_whose_validation_loss_is_not_finite_is_not_the_best(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = fit_with_losses(monkeypatch, [bad, bad, 0.5, bad, 0.4, bad])
    assert len(fitted.history_) == 6
    assert fitted.history_[4]["valid"]["loss"] == pytest.approx(0.4)
    assert len(fit_with_losses(monkeypatch, [bad, 0.5, bad, bad, bad, bad, bad]).history_) == 5, "patience counts on"


@pytest.mark.parametrize("losses", [[NAN], [NAN, NAN], [math.inf] * 5])
def test_validation_losses_that_are_never_finite_are_an_error(
    losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="the loss of the validation part was finite in no epoch: `X` must not"):
        fit_with_losses(monkeypatch, losses)


@pytest.mark.parametrize("key", ["average", "diffstride", "adastride"])
@pytest.mark.parametrize(
    "changes", [{"lr": 1e38}, {"lr": 1e30, "validation_fraction": 0.4}, {"weight_decay": 1e300, "n_epochs": 3}]
)
def test_training_that_diverges_is_an_error(key: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"training diverged|the loss of the validation part was finite in no epoch"):
        ss.SeqStrideClassifier(key, **{**TINY, "n_epochs": 2, **changes}).fit(SERIES, ["a", "b"] * 3)


def test_the_last_step_must_leave_finite_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    step = torch.optim.AdamW.step

    def broken(optimizer: Any, *arguments: Any) -> Any:
        done = step(optimizer, *arguments)
        optimizer.param_groups[0]["params"][0].data.fill_(NAN)
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    with pytest.raises(InputError, match="training diverged in the last step: of `lr`"):
        ss.SeqStrideClassifier(**TINY).fit(SERIES, ["a", "b"] * 3)


def test_predictions_are_finite_or_refused() -> None:
    fitted = ss.SeqStrideClassifier(**TINY).fit(SERIES, ["a", "b"] * 3)
    fitted.model_.network.heads[0].linear.weight.data.fill_(3e38)
    with pytest.raises(InputError, match=r"`X` \(item 0\) must not have values so far from those that were fitted"):
        fitted.predict(SERIES * 1e3)


# Fits that fail


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_fit_that_fails_loses_nothing(kind: str, warm_start: bool) -> None:
    estimator, X = CLASSIFIERS[kind]
    fitted = estimator(**TINY, warm_start=warm_start).fit(X, ["a", "b"] * 3)
    wanted = fitted.predict_proba(X)
    attributes = set(vars(fitted))
    fitted.lr = 1e38
    fitted.n_epochs = 2
    for data, labels in (
        (X, ["a", None] * 3),
        (np.where(X.max() == X, np.inf, X), ["a", "b"] * 3),
        (X, ["a", "b"] * 2),
        (X * 1e300, ["a", "b"] * 3),
        (X, ["a", "b"] * 3),  # it diverges
    ):
        with pytest.raises(ValueError, match=r"."):
            fitted.fit(data, labels)
        assert set(vars(fitted)) == attributes
        np.testing.assert_array_equal(fitted.predict_proba(X), wanted)
    unfitted = estimator(**{**TINY, "lr": -1.0})
    with pytest.raises(InputError, match="`lr`"):
        unfitted.fit(X, ["a", "b"] * 3)
    assert vars(unfitted).keys() == vars(estimator(**TINY)).keys()


@pytest.mark.filterwarnings("ignore:only single label seen:UserWarning")
def test_a_warm_start_from_one_class_loses_nothing() -> None:
    fitted = ss.SeqStrideClassifier(**TINY, warm_start=True).fit(SERIES, ["a", "b"] * 3)
    wanted = fitted.predict_proba(SERIES)
    with pytest.raises(InputError, match=r"`y` \(of one class, or with several columns\) must be as before"):
        fitted.fit(SERIES, ["a"] * 6)
    np.testing.assert_array_equal(fitted.predict_proba(SERIES), wanted)


def test_a_warm_start_of_a_regression_keeps_its_scale() -> None:
    values = np.arange(6.0)
    fitted = ss.SeqStrideRegressor(**{**TINY, "n_rocket_features": 0}, warm_start=True).fit(SERIES, values)
    wanted = fitted.predict(SERIES)
    fitted.lr = fitted.stride_lr = 0.0
    for statistics in (module for module in fitted.model_.network.modules() if hasattr(module, "momentum")):
        statistics.momentum = 0.0
    np.testing.assert_allclose(fitted.fit(SERIES, 1000 + 50 * values).predict(SERIES), wanted, rtol=1e-5)
