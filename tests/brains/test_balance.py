"""What classifiers are compared by."""

from __future__ import annotations

import pytest
import torch
from brain import batch, make_brain
from sklearn.metrics import balanced_accuracy_score
from speechbrain import Stage

from seqstride.brains.balance import balanced_accuracy, check_metric, metric_record, metric_scores
from seqstride.errors import InputError
from seqstride.experiments.items import pack_items, unpack_items


def test_it_is_that_of_scikit_learn() -> None:
    truth, guess = torch.randint(3, (50,)), torch.randint(4, (50,))  # nothing is of the class 3
    confusion = torch.zeros(4, 4)
    confusion.index_put_((truth, guess), torch.ones(50), accumulate=True)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(truth, guess)
    assert balanced_accuracy(confusion) == pytest.approx(expected)


def test_a_run_is_compared_by_it_where_the_recipe_says_so() -> None:
    brain, data = make_brain(downsampler="average", metric="balanced_accuracy"), batch()
    brain.on_stage_start(Stage.TEST)
    brain.compute_objectives(brain.compute_forward(data, Stage.TEST), data, Stage.TEST)
    brain.test = {"loss": 1.0, **brain.scores(Stage.TEST)}
    record = brain.record({})
    share = 1 - sum(record["test_error_per_class"].values()) / 3
    assert record["metric"] == {
        "name": "balanced accuracy",
        "value": pytest.approx(100 * share),
        "unit": "%",
        "lower_is_better": False,
    }
    assert record["figures"] == {"accuracy, %": 100 * record["test_accuracy"]}
    assert record["test_balanced_accuracy"] == pytest.approx(share)

    plain = make_brain(downsampler="average")
    plain.on_stage_start(Stage.TEST)
    plain.test = {"loss": 1.0, "accuracy": 0.5}
    assert "metric" not in plain.record({})


def test_the_labels_count_alike_where_the_recipe_says_so() -> None:
    confusions = [torch.tensor([[3.0, 1.0], [0.0, 4.0]]), torch.tensor([[0.0, 6.0], [2.0, 0.0]])]
    assert metric_scores("label_accuracy", confusions) == {"label_accuracy": (7 / 8 + 0) / 2}
    record = metric_record("label_accuracy", {"accuracy": 7 / 8, "label_accuracy": 7 / 16})
    assert record["metric"]["name"] == "mean accuracy of the labels"
    assert record["metric"]["value"] == pytest.approx(43.75)
    assert metric_scores("accuracy", confusions) == metric_scores(None, confusions) == metric_record(None, {}) == {}


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "label_accuracy"])
def test_the_results_of_the_items_make_the_metric(metric: str) -> None:
    brain, data = make_brain(downsampler="average", metric=metric), batch()
    brain.on_stage_start(Stage.TEST)
    brain.compute_objectives(brain.compute_forward(data, Stage.TEST), data, Stage.TEST)
    items = unpack_items(pack_items(brain.item_results))
    shares = [
        (items.counts[items.groups == group] / items.totals[items.groups == group]).mean()
        for group in set(items.groups)
    ]
    assert sum(shares) / len(shares) == pytest.approx(brain.scores(Stage.TEST)[metric])


def test_another_metric_is_refused() -> None:
    with pytest.raises(InputError, match=r"`metric` \(='recall'\) must be one of accuracy, balanced_accuracy, label_"):
        check_metric({"metric": "recall"})
    check_metric({})
