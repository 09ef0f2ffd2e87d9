"""What estimators are given: labels, containers of series, and columns of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seqstride as ss
from seqstride.errors import InputError
from seqstride.estimators.panels import as_frames

TINY: dict[str, Any] = {"channels": 4, "n_epochs": 1, "random_state": 0}
random = np.random.default_rng(0)
SERIES = random.normal(size=(6, 2, 9))
ROWS = random.normal(size=(6, 5))
NAN = float("nan")
CLASSIFIERS = {"series": (ss.SeqStrideClassifier, SERIES), "rows": (ss.SeqStrideTabularClassifier, ROWS)}


def series_classifier() -> Any:
    return ss.SeqStrideClassifier(**TINY)


# Labels


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([1, 2, NAN, 1, 2, 1], "nan"),
        (["a", "b", None, "a", "b", "a"], "None"),
        (np.array([1, 2, NAN, 1, 2, 1]), "nan"),
        (np.array(["a", "b", None, "a", "b", "a"], dtype=object), "None"),
        (np.array(["a", "b", NAN, "a", "b", "a"], dtype=object), "nan"),
        (np.array(["a", "b", pd.NA, "a", "b", "a"], dtype=object), "<NA>"),
        (np.array(["2020", "2021", "NaT", "2020", "2021", "2020"], dtype="datetime64[D]"), "NaT"),
        (pd.Series([1, 2, None, 1, 2, 1], dtype="Int64"), "<NA>"),
        (pd.Series(["a", "b", None, "a", "b", "a"], index=list("uvwxyz")), "nan|None"),
        (pd.Series(["a", "b", None, "a", "b", "a"], dtype="category"), "nan"),
        (pd.Categorical(["a", "b", None, "a", "b", "a"]), "nan"),
        (pd.DataFrame({"label": ["a", "b", None, "a", "b", "a"]}), "nan|None"),
        (np.array([1, 2, NAN, 1, 2, 1])[:, None], "nan"),
    ],
)
def test_a_missing_label_is_refused_with_its_position(kind: str, labels: Any, shown: str) -> None:
    estimator, X = CLASSIFIERS[kind]
    with pytest.raises(InputError, match=rf"`y` \(({shown}) at position 2.*\) must have a label for every item"):
        estimator(**TINY).fit(X, labels)


def test_a_missing_label_of_several_columns_is_refused_with_its_column() -> None:
    labels = pd.DataFrame({"first": ["a", "b"] * 3, "second": ["a", None] * 3})
    with pytest.raises(InputError, match=r"`y` \((nan|None) at position 1 of column 'second'\) must have a label"):
        series_classifier().fit(SERIES, labels)
    with pytest.raises(InputError, match=r"`y` \(=None\) must have a label or a value for every series"):
        series_classifier().fit(SERIES, None)


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    ("labels", "classes", "dtype"),
    [
        (["001", "1"] * 3, ["001", "1"], "U"),
        (("001", "1") * 3, ["001", "1"], "U"),
        (np.array(["001", "1"] * 3, dtype=object), ["001", "1"], "O"),
        (pd.Series(["001", "1"] * 3), ["001", "1"], "O"),
        (pd.Index(["001", "1"] * 3), ["001", "1"], "O"),
        (pd.Series(["no", "NA"] * 3, dtype="category"), ["NA", "no"], "O"),
        ([7, 3] * 3, [3, 7], "i"),
        (np.array([7, 3] * 3, dtype=object), [3, 7], "i"),
        (pd.Series([7, 3] * 3, dtype="Int64"), [3, 7], "i"),
        (np.array([True, False] * 3), [False, True], "b"),
        (pd.Series([True, False] * 3, dtype="boolean"), [False, True], "b"),
        (np.array([1.0, 2.0] * 3), [1.0, 2.0], "f"),
    ],
)
def test_labels_stay_as_they_are(kind: str, labels: Any, classes: list[Any], dtype: str) -> None:
    estimator, X = CLASSIFIERS[kind]
    fitted = estimator(**TINY).fit(X, labels)
    predicted = fitted.predict(X)
    assert fitted.classes_.tolist() == classes
    assert fitted.classes_.dtype.kind == predicted.dtype.kind == dtype
    assert {type(label) for label in predicted.tolist()} == {type(classes[0])}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    ("labels", "shown"), [(["a", 1] * 3, "'a' at position 0 and 1 at"), ([True, 1] * 3, "True at position 0 and 1 at")]
)
def test_labels_of_two_kinds_are_refused(kind: str, labels: list[Any], shown: str) -> None:
    estimator, X = CLASSIFIERS[kind]
    for given in (labels, np.array(labels, dtype=object)):
        with pytest.raises(InputError, match=rf"`y` \({shown} position 1\) must have labels of one kind"):
            estimator(**TINY).fit(X, given)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0, NAN, 1.0, 2.0, 1.0], "nan at position 2"),
        (pd.Series([1, 2, 3, None, 5, 6], dtype="Int64"), "<NA> at position 3"),
        (np.array([1.0, 2.0, 3.0, -np.inf, 5.0, 6.0]), r"-inf at position 3\) must be finite"),
        ([1.0, None, 3.0, 4.0, 5.0, 6.0], "None at position 1"),
        (["001"] * 6, r"'001' at position 0\) must be numbers"),
        (np.array(["2020", "2021"] * 3, dtype="datetime64[D]"), "at position 0.* must be numbers"),
        (np.array([1j] * 6), "1j at position 0"),
        (np.array([1e308, -1e308] * 3), ""),
    ],
)
def test_targets_that_are_no_numbers_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"`y`.*{message}"):
        ss.SeqStrideRegressor(**TINY).fit(SERIES, values)


def test_targets_may_be_lists_and_containers_of_pandas() -> None:
    values = [3, 1, 4, 1, 5, 9]
    wanted = ss.SeqStrideRegressor(**TINY).fit(SERIES, np.array(values)).predict(SERIES)
    for given in (
        values,
        pd.Series(values, dtype="Int64"),
        pd.DataFrame({"v": values}),
        np.array(values, dtype=object),
    ):
        np.testing.assert_array_equal(ss.SeqStrideRegressor(**TINY).fit(SERIES, given).predict(SERIES), wanted)


@pytest.mark.parametrize(
    "weights", [{"a": NAN, "b": 1}, {"a": -1, "b": 1}, {"a": 0, "b": 1}, {"c": 1}, "balance", {"a": "x", "b": 1}]
)
def test_class_weights_are_checked(weights: Any) -> None:
    for estimator, X in CLASSIFIERS.values():
        with pytest.raises(InputError, match=r"`class_weight` \(="):
            estimator(**TINY, class_weight=weights).fit(X, ["a", "b"] * 3)


# Containers of series


def cells(shape: Callable[[np.ndarray], Any] = pd.Series, *, short: int = 9) -> pd.DataFrame:
    """A channel in every cell; those of the first are `short`."""
    return pd.DataFrame({"u": [shape(item[0, :short]) for item in SERIES], "v": [shape(item[1]) for item in SERIES]})


def filled(frames: list[pd.DataFrame]) -> np.ndarray:
    return np.stack([frame[["u", "v"]].to_numpy().T for frame in frames])


@pytest.mark.parametrize("shape", [pd.Series, np.asarray, list])
def test_the_longest_channel_decides_the_length(shape: Callable[[np.ndarray], Any]) -> None:
    wanted = SERIES.copy()
    wanted[:, 0, 5:] = NAN
    table = cells(shape, short=5)
    for given in (table, table[["v", "u"]], table.set_axis(list("uvwxyz")), table.set_axis([0] * 6)):
        np.testing.assert_array_equal(filled(as_frames(given)), wanted)
        estimator = series_classifier().fit(given, ["a", "b"] * 3)
        assert estimator.plan(given).input_lengths.tolist() == [9] * 6
    # the rest counts as missing, in the fit and in predictions
    same = series_classifier().fit([pd.DataFrame(item.T, columns=["u", "v"]) for item in wanted], ["a", "b"] * 3)
    fitted = series_classifier().fit(table, ["a", "b"] * 3)
    np.testing.assert_array_equal(fitted.predict_proba(table), same.predict_proba(table[["v", "u"]]))


def test_channels_are_brought_together_by_their_times() -> None:
    def dated(values: np.ndarray, start: str) -> pd.Series:
        return pd.Series(values, index=pd.date_range(start, periods=len(values)))

    early, late = dated(np.arange(3.0), "2020-01-01"), dated(np.arange(4.0), "2020-01-02")
    frame = as_frames(pd.DataFrame({"u": [early[::-1]], "v": [late]}))[0]
    np.testing.assert_array_equal(frame["u"], [0, 1, 2, NAN, NAN])
    np.testing.assert_array_equal(frame["v"], [NAN, 0, 1, 2, 3])
    with pytest.raises(InputError, match=r"`X` \(series 0.*\) must have times"):
        as_frames(pd.DataFrame({"u": [early], "v": [pd.Series([1.0, 2.0])]}))


def test_a_missing_cell_is_a_channel_without_values() -> None:
    table = cells()
    table.at[2, "u"] = None
    wanted = SERIES.copy()
    wanted[2, 0] = NAN
    np.testing.assert_array_equal(filled(as_frames(table)), wanted)
    table["u"] = [None] * 6
    table["v"] = [None, *table["v"][1:]]
    with pytest.raises(InputError, match=r"`X` \(series 0 without frames\)"):
        series_classifier().fit(table, ["a", "b"] * 3)


def below_each_other(names: Any) -> pd.DataFrame:
    frames = [pd.DataFrame(item.T, columns=["u", "v"]) for item in SERIES]
    return pd.concat(dict(zip(names, frames, strict=True)), names=["series", "time"])


@pytest.mark.parametrize(
    "names", [range(6), [5, 3, 9, 1, 0, 2], list("zyxabc"), pd.to_datetime([f"20{20 - i}-01-01" for i in range(6)])]
)
def test_series_keep_their_order_and_frames_that_of_their_times(names: Any) -> None:
    table = below_each_other(names)
    reordered = pd.concat([part[::-1] for _, part in table.groupby(level=0, sort=False)])
    interleaved = table.iloc[np.arange(54).reshape(6, 9).T.ravel()]
    in_seconds = table.rename(index=lambda time: time / 7, level=1)
    gaps = table.drop(index=[4], level=1)
    for given in (table, reordered, interleaved, in_seconds):
        np.testing.assert_array_equal(filled(as_frames(given)), SERIES)
    np.testing.assert_array_equal(filled(as_frames(gaps)), np.delete(SERIES, 4, axis=2))
    wanted = series_classifier().fit(SERIES, ["a", "b"] * 3).predict_proba(SERIES)
    found = series_classifier().fit(reordered, ["a", "b"] * 3).predict_proba(table)
    np.testing.assert_array_equal(found, wanted)


def test_lists_of_frames_are_read_in_the_order_of_time() -> None:
    frames = [pd.DataFrame(item.T, columns=["u", "v"]) for item in SERIES]
    np.testing.assert_array_equal(filled(as_frames([frame.iloc[::-1] for frame in frames])), SERIES)
    np.testing.assert_array_equal(filled(as_frames(tuple(frames))), SERIES)
    sorted_ = [frame.set_axis(np.sort(random.normal(size=9))) for frame in frames]
    estimator = series_classifier().fit([frame.sample(frac=1, random_state=0) for frame in sorted_], ["a", "b"] * 3)
    np.testing.assert_array_equal(estimator.predict_proba(sorted_), estimator.predict_proba(frames))


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (lambda: below_each_other(range(6)).rename(index={1: 0}, level=1), "series 0, with two frames at 0"),
        (lambda: below_each_other(range(6)).rename(index=str, level=1), "series 0, with the time '0'"),
        (lambda: below_each_other(range(6)).sample(frac=1, random_state=0), "with the rows of different series mixed"),
        (lambda: below_each_other([0, 1, None, 3, 4, 5]), "row 18, whose series has no name"),
        (lambda: [pd.DataFrame({"u": [1.0, 2.0]}, index=pd.to_datetime(["2020", None]))] * 6, "series 0, frame 1"),
        (lambda: [pd.DataFrame({"u": [1.0, 2.0]}, index=[3, 3])] * 6, "series 0, with two frames at 3"),
        (lambda: [pd.DataFrame({"u": ["1", "x"]})] * 6, "series 0, channel u, of type"),
        (lambda: [pd.DataFrame({"u": [1, "x"]})] * 6, "series 0, channel u, with 'x'"),
        (lambda: [pd.DataFrame({"u": pd.to_datetime(["2020", "2021"])})] * 6, "series 0, channel u, of type datetime"),
        (lambda: SERIES.astype(complex), "series 0, channel var_0, of type complex"),
        (lambda: SERIES.astype(str), "series 0, channel var_0"),
        (lambda: cells(lambda values: [*values[:-1], "x"]), "series 0, channel u, with 'x'"),
        (lambda: [], "with no series"),
        (lambda: [pd.DataFrame(index=range(3))] * 6, "with no channels"),
        (lambda: [pd.DataFrame([[1.0, 2.0]], columns=["1", 1])] * 6, "with 1, 1"),
    ],
)
def test_containers_that_say_too_little_are_refused(container: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"`X` \({message}.*\) must "):
        series_classifier().fit(container(), ["a", "b"] * 3)


def test_numbers_may_be_of_any_type() -> None:
    frames = [pd.DataFrame(item.T, columns=["u", "v"]).mask(item.T > 1) for item in SERIES]
    wanted = series_classifier().fit(frames, ["a", "b"] * 3).predict_proba(frames)
    for kind in ("Float64", object):
        given = [frame.astype(kind) for frame in frames]
        np.testing.assert_array_equal(series_classifier().fit(given, ["a", "b"] * 3).predict_proba(given), wanted)
    given = [frame.astype(object).where(frame.notna(), None) for frame in frames]
    np.testing.assert_array_equal(series_classifier().fit(given, ["a", "b"] * 3).predict_proba(given), wanted)


@pytest.mark.parametrize("names", [range(6), [5, 3, 9, 1, 0, 2]])
def test_channels_are_matched_by_name_in_every_container(names: Any) -> None:
    table = below_each_other(names)
    fitted = series_classifier().fit(table, ["a", "b"] * 3)
    wanted = fitted.predict_proba(table)
    nested = cells()
    for same in (table[["v", "u"]], nested, nested[["v", "u"]], [table.loc[name, ["v", "u"]] for name in names]):
        np.testing.assert_array_equal(fitted.predict_proba(same), wanted)
    for other in (table.set_axis(["u", "w"], axis=1), nested.set_axis(["w", "v"], axis=1), table[["u"]]):
        with pytest.raises(InputError, match=r"`X` \(series 0 with channels .*must have the channels .*: u, v"):
            fitted.predict(other)


def test_an_index_of_labels_in_another_order_is_told() -> None:
    rows = pd.DataFrame(ROWS, columns=list("abcde"), index=list("uvwxyz"))
    labels = pd.Series(["a", "b"] * 3, index=list("uvwxyz"))
    with pytest.warns(UserWarning, match="`y` has the index of `X` in another order"):
        ss.SeqStrideTabularClassifier(**TINY).fit(rows, labels[::-1])
    with pytest.warns(UserWarning, match="`y` has the index of `X` in another order"):
        series_classifier().fit(below_each_other(list("uvwxyz")), labels[::-1])
    ss.SeqStrideTabularClassifier(**TINY).fit(rows, labels)
    series_classifier().fit(below_each_other(list("uvwxyz")), labels)
    series_classifier().fit(below_each_other([5, 3, 9, 1, 0, 2]), labels)


# Columns of tables


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["x", "y"] * 3, r"column 'c', of type (str|object)|column 'c', with 'x'"),
        (["1.5", "2"] * 3, r"column 'c', of type (str|object)|column 'c', with '1.5'"),
        (pd.Categorical([1, 2] * 3), "column 'c', of type category"),
        (pd.to_datetime(["2020", "2021"] * 3), "column 'c', of type datetime64"),
        (pd.Series([1, "x"] * 3, dtype=object), "column 'c', with 'x'"),
        (np.array([1j] * 6), "column 'c', of type complex128"),
    ],
)
def test_columns_that_are_no_numbers_are_named(column: Any, message: str) -> None:
    rows = pd.DataFrame(ROWS, columns=list("abcde"))
    with pytest.raises(InputError, match=rf"`X` \(({message}).*\) must hold numbers: encode it"):
        ss.SeqStrideTabularClassifier(**TINY).fit(rows.assign(c=column), ["a", "b"] * 3)
    fitted = ss.SeqStrideTabularClassifier(**TINY).fit(rows, ["a", "b"] * 3)
    with pytest.raises(InputError, match=rf"`X` \(({message}).*\) must hold numbers: encode it"):
        fitted.predict(rows.assign(c=column))


def test_columns_of_a_data_frame_have_the_order_of_the_fit() -> None:
    rows = pd.DataFrame(ROWS, columns=list("abcde"))
    rows["b"] = (rows["b"] > 0).astype("boolean").where(rows.index != 3)
    fitted = ss.SeqStrideTabularClassifier(**TINY).fit(rows, ["a", "b"] * 3)
    assert fitted.feature_names_in_.tolist() == list("abcde")
    wanted = fitted.predict_proba(rows)
    objects = rows.astype(object).where(rows.notna(), None)
    np.testing.assert_array_equal(fitted.predict_proba(objects), wanted)
    for other in (rows[list("bacde")], rows.rename(columns={"a": "f"})):
        with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
            fitted.predict(other)
