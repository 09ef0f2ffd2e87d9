"""Export of fitted classifiers of series: the normalisation is inside, and the outputs are the estimator's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from seqstride import SeqStrideClassifier, SeqStrideRegressor
from seqstride.cli import main
from seqstride.estimators.labelling import save_fitted
from seqstride.estimators.saved_regressor import save_regressor
from seqstride.estimators.series_files import TS, Columns, Layout
from seqstride.export.series import SeriesClassifierGraph, SeriesRegressorGraph

Estimator = TypeVar("Estimator", SeqStrideClassifier, SeqStrideRegressor)

SMALL = {
    **{"channels": 4, "n_epochs": 1, "strides": (2, 2), "kernel_size": 3, "input_kernel_size": 3},
    **{"n_rocket_features": 500, "random_state": 0},
}


def fitted(**settings: object) -> SeqStrideClassifier:
    """On series of two channels, of other units each, with equal values."""
    rng = np.random.default_rng(0)
    series = [
        pd.DataFrame(np.round(rng.normal(size=(rng.integers(1, 40), 2)) * [1, 5] + [0, 100], 1), columns=["a", "b"])
        for _ in range(12)
    ]
    return all_counted(SeqStrideClassifier(**{**SMALL, **settings}).fit(series, np.array([*"xyz"] * 4)))


def all_counted(estimator: Estimator) -> Estimator:
    """Gives every MiniRocket feature a weight: those of a view that tells nothing have the weight 0."""
    rocket = estimator.model_.rocket
    if rocket is not None:
        rocket.head.weight.normal_(generator=torch.Generator().manual_seed(0)).div_(20)
    return estimator


@pytest.mark.parametrize(
    "settings",
    [
        {"downsampler": "adastride", "n_members": 2},
        {"downsampler": "average", "normalise": "series", "n_rocket_features": 0},
        {"downsampler": "average", "normalise": "series"},
        {"downsampler": "diffstride", "normalise": "training", "harmonics": 0},
    ],
)
def test_the_graph_computes_what_the_estimator_does(settings: dict) -> None:
    """Also for a single frame, a constant channel, and one without any value."""
    graph = SeriesClassifierGraph(fitted(**settings))
    lengths = torch.tensor([1, 7, 40, 23])
    signal = graph.signal(4, 43, torch.Generator().manual_seed(0))
    for series, length in zip(signal, lengths.tolist(), strict=True):
        series[length:] = torch.nan
    signal[2, :, 0] = torch.nan
    signal[3, :23, 1] = 5.0
    with torch.no_grad():
        assert float(graph.difference(graph(signal, lengths), signal, lengths)) < 1e-5


def test_the_graph_of_a_regressor_has_the_values_in_their_unit() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2, 20)), rng.normal(size=12) * 1e6 + 1e7
    regressor = all_counted(SeqStrideRegressor(**{**SMALL, "downsampler": "average"}).fit(X, y))
    graph = SeriesRegressorGraph(regressor)
    signal, lengths = torch.from_numpy(X[:3]).transpose(1, 2).float(), torch.tensor([20, 20, 20])
    with torch.no_grad():
        found = graph(signal, lengths)
        assert float(graph.difference(found, signal, lengths)) < 1e-5
    np.testing.assert_allclose(found["value"].numpy(), regressor.predict(signal.transpose(1, 2).numpy()), rtol=1e-6)


@pytest.mark.long  # the exporter takes a quarter of a minute
def test_onnxruntime_labels_series_of_any_length_as_the_estimator_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = fitted(downsampler="average")
    save_fitted(tmp_path, classifier, Columns(), Layout(TS, ["a", "b"], []))
    assert main(["export", "--model", str(tmp_path)]) == 0
    assert "model.onnx" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    told = json.loads(session.get_modelmeta().custom_metadata_map["seqstride.json"])
    assert told["labels"] == {"label": ["x", "y", "z"]}
    assert told["channels"] == ["a", "b"]
    rng = np.random.default_rng(1)
    for frames in ([1], [9, 9], [30, 2, 1], [200]):
        series = [(rng.normal(size=(count, 2)) * [1, 5] + [0, 100]).astype(np.float32) for count in frames]
        signal = np.full((len(frames), max(frames), 2), np.nan, np.float32)
        for row, values in zip(signal, series, strict=True):
            row[: len(values)] = values
        [found] = session.run(["log_probs_label"], {"signal": signal, "lengths": np.array(frames)})
        expected = classifier.predict_proba([pd.DataFrame(values, columns=["a", "b"]) for values in series])
        np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)


@pytest.mark.long  # the exporter takes a quarter of a minute
def test_onnxruntime_predicts_as_the_regressor_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 2, 20)).astype(np.float32)
    regressor = all_counted(SeqStrideRegressor(**{**SMALL, "downsampler": "average"}).fit(X, rng.normal(size=12)))
    save_regressor(tmp_path, regressor)
    assert main(["export", "--model", str(tmp_path)]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [found] = session.run(["value"], {"signal": X.transpose(0, 2, 1), "lengths": np.full(12, 20)})
    np.testing.assert_allclose(found, regressor.predict(X), atol=1e-5)
