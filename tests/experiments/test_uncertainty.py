"""Results of items in records, and intervals and p-values of means and differences that are drawn from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from seqstride.errors import InputError
from seqstride.experiments.items import ItemResult, pack_items, part_of, parts_apart, parts_inside, unpack_items
from seqstride.experiments.ranking import rankings
from seqstride.experiments.records import value_of
from seqstride.experiments.results_page import results_page
from seqstride.experiments.score_tables import score_tables
from seqstride.experiments.uncertainty import difference, estimate, holm, sample

ITEMS = 400


def run(method: str, seed: int, right: np.ndarray, **more: Any) -> dict[str, Any]:
    """A record of a run with a result for every item."""
    results = {f"item-{index}": ItemResult(bool(value)) for index, value in enumerate(right)}
    rest = {"macs": 2e6, "initial_strides": [2.0], "strides": [2.0], "seconds": 6.0, "cpu_seconds": 5.0, "epochs": 4}
    accuracy = float(np.mean(right))
    return {"method": method, "seed": seed, "test_accuracy": accuracy, "items": pack_items(results), **rest, **more}


def drawn_runs(method: str, chances: list[float], seed: int, **more: Any) -> list[dict[str, Any]]:
    """A run for each chance of an item to be right."""
    generator = np.random.default_rng(seed)
    return [run(method, index, generator.random(ITEMS) < chance, **more) for index, chance in enumerate(chances)]


# Items


@pytest.mark.parametrize(
    ("results", "counts", "totals", "groups"),
    [
        ([ItemResult(True), ItemResult(False), ItemResult(True)], [1, 0, 1], [1, 1, 1], [0, 0, 0]),
        ([ItemResult(3, 7), ItemResult(0, 300)], [3, 0], [7, 300], [0, 0]),
        ([ItemResult(True, group=2), ItemResult(True, group=0)], [1, 1], [1, 1], [2, 0]),
        ([ItemResult(0.25, 1.5), ItemResult(70000, 1)], [0.25, 70000], [1.5, 1], [0, 0]),
    ],
)
def test_items_come_back(
    results: list[ItemResult], counts: list[float], totals: list[float], groups: list[int]
) -> None:
    names = [f"{index}" for index in range(len(results))]
    packed = pack_items(dict(zip(reversed(names), reversed(results), strict=True)))
    items = unpack_items(packed)
    assert items.counts.tolist() == counts
    assert items.totals.tolist() == totals
    assert items.groups.tolist() == groups


def test_a_comparison_keeps_each_part_once_and_small() -> None:
    generator = np.random.default_rng(0)
    records = [run("a", seed, generator.random(2000) < 0.9) for seed in range(3)]
    records.append({"method": "old"})
    apart, parts = parts_apart(records)
    assert len(parts) == 1
    assert parts_inside(apart, parts) == records
    assert len(apart[0]["items"]["counts"]) < 2000 / 8 * 4 / 3 + 40
    other = run("a", 0, np.ones(3))
    assert part_of(other) != part_of(records[0])


def test_the_score_of_the_items_is_the_metric() -> None:
    """Drawn scores lie around the metric, for accuracies, for classes that count alike and for word errors."""
    generator = np.random.default_rng(0)
    right, classes = generator.random(ITEMS) < 0.7, (generator.random(ITEMS) < 0.9).astype(int)
    balanced = np.mean([right[classes == group].mean() for group in (0, 1)])
    words, errors = generator.integers(1, 20, ITEMS), generator.integers(0, 5, ITEMS)
    for results, name, expected in (
        ([ItemResult(bool(value)) for value in right], "accuracy", right.mean()),
        ([ItemResult(bool(v), group=int(c)) for v, c in zip(right, classes, strict=True)], "balanced", balanced),
        ([ItemResult(int(e), int(w)) for e, w in zip(errors, words, strict=True)], "WER", errors.sum() / words.sum()),
    ):
        metric = {"name": name, "value": 100 * expected, "unit": "%", "lower_is_better": name == "WER"}
        record = run(
            "a", 0, right, metric=metric, items=pack_items(dict(zip(map(str, range(ITEMS)), results, strict=True)))
        )
        (sampled,) = sample([record])
        assert sampled.value == pytest.approx(100 * expected)
        error = sampled.drawn.std()
        assert sampled.drawn.mean() == pytest.approx(100 * expected, abs=4 * error / len(sampled.drawn) ** 0.5 + 0.05)
        if name == "accuracy":
            assert error == pytest.approx(100 * (expected * (1 - expected) / ITEMS) ** 0.5, rel=0.06)


# Intervals


def test_without_items_they_are_students() -> None:
    first, second = (
        [{"method": "a", "seed": s, "test_accuracy": v} for s, v in enumerate(values)]
        for values in ((0.5, 0.53, 0.58, 0.6), (0.52, 0.56, 0.63, 0.62))
    )
    found = difference(sample(second), sample(first))
    test = ttest_rel([value_of(r) for r in second], [value_of(r) for r in first])
    low, high = test.confidence_interval()
    assert found.p == pytest.approx(test.pvalue)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    alone = estimate(sample(first[:1]))
    assert (alone.mean, alone.half, alone.p) == (50.0, None, None)


def test_one_run_has_the_interval_of_its_items() -> None:
    (record,) = drawn_runs("a", [0.8], 0)
    found = estimate(sample([record]))
    p = record["test_accuracy"]
    assert found.half == pytest.approx(1.96 * 100 * (p * (1 - p) / ITEMS) ** 0.5, rel=0.06)


def test_equal_runs_do_not_differ_and_other_items_are_refused() -> None:
    records = drawn_runs("a", [0.8, 0.7], 0)
    found = difference(sample(records), sample(records))
    assert (found.mean, found.half, found.p) == (0, 0, 1)
    assert difference(sample(records), sample([{**records[0], "seed": 9}])) is None
    with pytest.raises(InputError, match="must have scored the same items"):
        difference(sample(records[:1]), sample([run("b", 0, np.ones(3))]))


def test_equal_differences_prove_nothing_however_they_are_rounded() -> None:
    base = [{"method": "a", "seed": s, "test_accuracy": v} for s, v in enumerate((0.901, 0.953, 0.917))]
    better = [{**record, "test_accuracy": record["test_accuracy"] + 0.033} for record in base]
    found = difference(sample(better), sample(base))
    assert found.mean == pytest.approx(3.3)
    assert (found.half, found.p) == (None, None)
    same = [{**record, "test_accuracy": record["test_accuracy"] + 1e-16} for record in base]
    assert difference(sample(same), sample(base)).p == 1


@pytest.mark.parametrize("right", [np.ones(30), np.zeros(1)])
def test_one_run_whose_items_are_all_alike_has_no_interval(right: np.ndarray) -> None:
    assert estimate(sample([run("a", 0, right)])).half is None


def test_damaged_results_of_items_are_an_error_of_the_file() -> None:
    record = run("a", 0, np.ones(3))
    record["items"]["counts"] = "uint8:3:AAAA"
    with pytest.raises(InputError, match="the results of items in a record are damaged"):
        sample([record])


def test_a_true_null_is_rejected_as_often_as_it_should() -> None:
    """Two methods without a difference: items are hard or easy for all, and seeds differ by 3 points."""
    rejected, covered, trials = 0, 0, 100
    generator = np.random.default_rng(0)
    for _ in range(trials):
        ease = generator.normal(0.7, 0.25, ITEMS)
        both = [
            [run("a", s, generator.random(ITEMS) < ease + generator.normal(0, 0.03)) for s in range(3)] for _ in "ab"
        ]
        found = difference(sample(both[0]), sample(both[1]))
        rejected += found.p < 0.05
        covered += abs(found.mean) <= found.half
    assert covered + rejected == trials, "the interval excludes 0 where p is below 5 %"
    assert rejected / trials < 0.09


def test_folds_that_have_one_run_each_are_drawn_as_seeds_are() -> None:
    runs = [
        {"method": "a", "seed": 0, "fold": fold, "test_accuracy": v}
        for fold, v in zip("xyz", (0.5, 0.7, 0.6), strict=True)
    ]
    assert estimate(sample(runs)).half == pytest.approx(4.303 * 10 / 3**0.5, rel=1e-3)
    several = [{**run, "seed": seed} for run in runs for seed in (0, 1)]
    assert estimate(sample(several)).half == 0, "a fold that is harder for all is no uncertainty"


def test_items_of_folds_are_drawn_apart() -> None:
    """Two folds of other items whose places agree: their mean is known better than each of them by √2."""
    right = np.arange(ITEMS) < ITEMS // 2
    renamed = {f"other-{index}": ItemResult(bool(value)) for index, value in enumerate(right)}
    folds = [run("a", seed, right, fold="x") for seed in (0, 1)]
    folds += [run("a", seed, right, fold="y", items=pack_items(renamed)) for seed in (0, 1)]
    one, both = estimate(sample(folds[:2])), estimate(sample(folds))
    assert both.half == pytest.approx(one.half / 2**0.5, rel=0.1)


def test_holms_correction() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# Rankings and tables


def test_methods_are_ranked_against_the_best_fixed_one() -> None:
    records = [
        *drawn_runs("average", [0.6, 0.61, 0.59], 0, ratio=8),
        *drawn_runs("max", [0.65, 0.66, 0.64], 1, ratio=8, test_event_share=0.1, test_event_share_of_time=0.107),
        *drawn_runs("adastride", [0.9, 0.91, 0.9], 2, ratio=8, output_frames_per_second=12.5),
        *drawn_runs("diffstride", [0.5], 3, ratio=16),
    ]
    eight, sixteen = rankings(records, ["average", "max", "adastride"])
    assert [(each.method, each.kind) for each in eight.methods] == [
        ("adastride", "adaptive"),
        ("max", "fixed"),
        ("average", "fixed"),
    ]
    assert (eight.ratio, eight.reference, sixteen.ratio, sixteen.reference) == (8, "max", 16, None)
    assert eight.methods[0].p < 0.01
    assert eight.methods[0].difference.mean == pytest.approx(25, abs=3)
    assert eight.methods[1].difference is None
    text = score_tables(records, ["average", "max", "adastride", "diffstride"])
    tables = [part for part in text.split("\n\n") if part.startswith("| method")]
    assert tables[0].splitlines()[0] == "| method | 8 | 16 |"
    assert len(tables) == 3
    header = "| method | kind | test accuracy, % | difference to `max` | p | frames/s | frames on events, % "
    assert tables[1].startswith(header)
    first, second, _ = tables[1].splitlines()[2:]
    assert first.startswith("| `adastride` | adaptive | ")
    assert "| 12.5 | – | 2 | 6 | 5 | 3 | 2 |" in first
    assert "| – | – | – | 10.0 | 2 | 6 | 5 | 3 | 2 |" in second
    assert "Training took 0.014 core hours in all" in text


def test_data_sets_have_a_table_of_their_own() -> None:
    records = [
        record
        for index, fold in enumerate(("hard", "easy"))
        for method in ("average", "adastride")
        for record in drawn_runs(method, [0.5 + 0.3 * index], index, fold=fold, folds_are="data sets")
    ]
    text = score_tables(records, ["average", "adastride"])
    title, table = text.split("\n\n")[-2:]
    assert title == "Test accuracy, %, on every data set:"
    assert table.splitlines()[0] == "| method | easy | hard |"
    assert "cannot be compared" not in text
    text = score_tables(records[:-1], ["average", "adastride"])
    assert "Means over fewer data sets cannot be compared: `adastride` 1 of 2." in text


# The page of all results


def test_the_page_counts_who_leads(tmp_path: Path) -> None:
    records = [
        *drawn_runs("average", [0.6, 0.61, 0.59], 0, ratio=8),
        *drawn_runs("max", [0.9, 0.89, 0.9], 1, ratio=8),
        *drawn_runs("adastride", [0.9, 0.91, 0.9], 2, ratio=8),
        *drawn_runs("average", [0.4, 0.41, 0.42], 3, ratio=16),
        *drawn_runs("max", [0.5, 0.51, 0.52], 5, ratio=16),
        *drawn_runs("adastride", [0.8, 0.81, 0.79], 4, ratio=16),
        *drawn_runs("average", [0.2, 0.21, 0.22], 6, ratio=32),  # two methods: not counted
        *drawn_runs("adastride", [0.3, 0.31, 0.29], 7, ratio=32),
        *drawn_runs("minirocket", [0.3, 0.31, 0.29], 8, ratio=64),  # none of the three kinds: it has no row
    ]
    runs, parts = parts_apart(records)
    arguments = {"methods": ["average", "max", "adastride"]}
    folder = tmp_path / "Set" / "task" / "results" / "compare_all"
    folder.mkdir(parents=True)
    (folder / "runs.json").write_text(json.dumps({"arguments": arguments, "runs": runs, "parts": parts, "failed": []}))
    page = results_page(tmp_path)
    lines = [line for line in page.splitlines() if line.startswith("| [Set/task](Set/task/README.md) compare_all |")]
    assert [line.split(" | ")[1] for line in lines] == ["8", "16", "32"]
    assert "| `max` 88.7 ± 3.6 | – | `adastride` 88.8 ± 3.9 | +0.2 ± 4.9 (p = 0.942) |" in lines[0]
    assert "(p < 0.001)" in lines[1]
    counts = page.split("| method | kind | comparisons | first | within noise of the first |")[1].splitlines()[2:]
    assert counts == [
        "| `adastride` | adaptive | 2 | 2 | 2 |",
        "| `max` | fixed | 2 | 0 | 1 |",
        "| `average` | fixed | 2 | 0 | 0 |",
    ]
    with pytest.raises(InputError, match="must have recipes with results"):
        results_page(folder)
    (folder / "runs.json").write_text(json.dumps({"arguments": arguments, "runs": runs, "failed": []}))
    with pytest.raises(InputError, match="is not the summary of a comparison"):  # the part of its items is missing
        results_page(tmp_path)
