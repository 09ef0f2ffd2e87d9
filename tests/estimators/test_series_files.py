"""Series in files: labels and ids as written, times that are parsed, columns by their names, and nothing guessed."""

from __future__ import annotations

import codecs
import datetime
import logging
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from full_disks import files_of_at_most

from seqstride.errors import FileError, InputError
from seqstride.estimators.series_files import Columns, SeriesFile, read_series
from seqstride.estimators.table_times import times_of
from seqstride.files.table_files import Table

ODD = ["001", "1", "1.0", "1e3", "True", "NA", "None", "null", "nan", "NaN", "a", "A", "ä b", "1,5", "-", "?"]
TS = "@problemName x\n@timeStamps false\n@univariate {one}\n@classLabel {classes}\n@data\n"


def read(folder: Path, content: str | bytes, name: str = "x.csv", **options: object) -> SeriesFile:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    columns = options.pop("columns", Columns())
    return read_series(file, columns, **options)  # type: ignore[arg-type]


def quoted(text: str) -> str:
    return f'"{text}"' if "," in text else text


def ts(lines: str, classes: str = "true a b", one: str = "false") -> str:
    return TS.format(one=one, classes=classes) + lines


# Labels and ids


def test_labels_and_ids_are_text_as_written(tmp_path: Path) -> None:
    wide = read(tmp_path, "t0,t1,label\n" + "".join(f"1,2,{quoted(text)}\n" for text in ODD))
    assert wide.labels.tolist() == ODD
    rows = "".join(f"{quoted(text)},{t},{t},{quoted(text)}\n" for t in range(2) for text in ODD)
    long = read(tmp_path, "series,time,x,label\n" + rows)
    assert long.names == ODD
    assert long.labels.tolist() == ODD
    assert [frame["x"].tolist() for frame in long.series] == [[0, 1]] * len(ODD)
    classes = [text for text in ODD if text != "?"]
    archive = read(tmp_path, ts("".join(f"1,2:{text}\n" for text in classes), "true " + " ".join(classes)), "x.ts")
    assert archive.labels.tolist() == classes


def test_spaces_around_a_label_do_not_belong_to_it(tmp_path: Path) -> None:
    padded = read(tmp_path, "series, x, label \n s1 , 1, walking\ns1,2,  walking \ns 2,3,run\n")
    assert padded.names == ["s1", "s 2"]
    assert padded.labels.tolist() == ["walking", "run"]
    assert padded.series[0]["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("series,x,label\ns,1,a\n,2,a\ns,3,b\n", "must have an id in every row, or no column `series`; row 2 has none"),
        ("series,x,label\ns,1,a\n  ,2,a\n", "must have an id in every row, or no column `series`; row 2 has none"),
        ("series,x,label\ns,1,a\ns,2,\n", "must have a label in every row, or no column `label`; row 2 has none"),
        ("x,y,label\n1,2,a\n1,2,b\n1,2\n", "must have a label in every row, or no column `label`; row 3 has none"),
        ("series,time,x\ns,1,1\ns,,2\n", "must have a time in every row, or no column `time`; row 2 has none"),
        ("series,x,label\ns,1,a\nr,1,b\ns,2,b\n", "s has 2: 'a' in row 1, 'b' in row 3"),
        ("series,x\ns,1\nr,\n", "must have a value in every series; 'r' has none"),
    ],
)
def test_what_is_missing_is_refused_with_its_row(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)


def test_typed_columns_become_the_texts_that_they_stand_for(tmp_path: Path) -> None:
    kinds = {
        "integers": ([7, 8], ["7", "8"]),
        "floats": ([7.0, 8.5], ["7.0", "8.5"]),
        "texts": (["007", "NA"], ["007", "NA"]),
        "categories": (pd.Categorical(["b", "a"]), ["b", "a"]),
        "numbered categories": (pd.Categorical([2, 1]), ["2", "1"]),
        "truths": ([True, False], ["True", "False"]),
        "dates": ([datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)], ["2024-01-02", "2024-01-03"]),
        "decimals": ([Decimal("1.10"), Decimal("2.00")], ["1.10", "2.00"]),
    }
    for name, (values, texts) in kinds.items():
        frame = pd.DataFrame({"series": values, "label": values, "x": [1, 2]})
        pd.concat([frame, frame]).to_parquet(tmp_path / "x.parquet", index=False)
        found = read_series(tmp_path / "x.parquet", Columns())
        assert found.names == texts, name
        assert found.labels.tolist() == texts
        assert [len(series) for series in found.series] == [2, 2]


@pytest.mark.parametrize("gap", [None, float("nan"), "", " "])
@pytest.mark.parametrize(("column", "what"), [("series", "an id"), ("label", "a label"), ("time", "a time")])
def test_typed_columns_have_no_gaps(gap: object, column: str, what: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"series": ["s", "s"], "label": ["a", "a"], "time": ["1", "2"], "x": [1, 2]})
    frame[column] = [frame[column][0], gap]
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=f"must have {what} in every row, or no column `{column}`; row 2 has none"):
        read_series(tmp_path / "x.parquet", Columns())


def test_integers_with_a_gap_are_no_floats(tmp_path: Path) -> None:
    frame = pd.DataFrame({"series": pd.array([1, 2, 2], "Int64"), "x": pd.array([1, None, 3], "Int64")})
    frame.to_parquet(tmp_path / "x.parquet")
    found = read_series(tmp_path / "x.parquet", Columns())
    assert found.names == ["1", "2"]
    np.testing.assert_array_equal(found.series[1]["x"], [np.nan, 3])


@pytest.mark.parametrize("value", [b"a", [1, 2]])
def test_labels_that_are_no_text_are_refused(value: object, tmp_path: Path) -> None:
    pd.DataFrame({"label": [value, value], "x": [1, 2]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="must have a label in column 'label'; row 1 has"):
        read_series(tmp_path / "x.parquet", Columns())


# Times

ORDERED = {
    "numbers": ["-3", "2", "10", "1.05e1", "100"],
    "nanoseconds": ["1700000000000000001", "1700000000000000002", "1700000000000000010"],
    "dates": ["2023-12-31", "2024-01-02", "2024-10-01"],
    "months": ["2023-12", "2024-01", "2024-10"],
    "hours": ["2024-01-02T09:00", "2024-01-02 09:00:00.5", "2024-01-02T10:00:00,75", "2024-01-02T21"],
    "zones": ["2024-01-02T09:00:00+02:00", "2024-01-02T08:00Z", "2024-01-02 04:30-0500", "2024-01-02T10:00+00"],
    "compact": ["20240102T0900", "20240102T1000"],
}


@pytest.mark.parametrize("kind", ORDERED)
def test_times_are_ordered_by_what_they_stand_for(kind: str, tmp_path: Path) -> None:
    times = ORDERED[kind]
    shuffled = np.random.default_rng(len(times)).permutation(len(times))
    rows = "".join(f'{name},"{times[index]}",{index}\n' for index in shuffled for name in ("r", "s"))
    found = read(tmp_path, "series,time,x\n" + rows)
    assert [frame["x"].tolist() for frame in found.series] == [[*range(len(times))]] * 2


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_typed_times_are_ordered(zone: str | None, tmp_path: Path) -> None:
    typed = {
        "times": pd.Series(pd.to_datetime(["2024-10-01", "2024-09-30"])).dt.tz_localize(zone),
        "dates": [datetime.date(2024, 10, 1), datetime.date(2024, 9, 30)],
        "durations": pd.to_timedelta([10, 9], unit="s"),
        "floats": [1.5, 1.25],
        "integers": [10, 9],
    }
    for times in typed.values():
        pd.DataFrame({"series": "s", "time": times, "x": [1.0, 2.0]}).to_parquet(tmp_path / "x.parquet")
        assert read_series(tmp_path / "x.parquet", Columns()).series[0]["x"].tolist() == [2, 1]


@pytest.mark.parametrize(
    "time",
    [*("9/30/2024", "30.9.2024", "2024/09/30", "2024-9-30", "9:00 AM", "09:00", "noon", "nan", "inf", "-inf", "1_000")]
    + ["2024-02-31", "2024-13-01", "1,5", "2024-01-01T25:00", "0x10", "Monday", "True"],
)
def test_other_times_are_refused_with_an_example(time: str, tmp_path: Path) -> None:
    other = "2024-09-30" if time[:1] == "2" else "7"
    with pytest.raises(InputError) as caught:
        read(tmp_path, f'series,time,x\ns,{other},1\ns,"{time}",2\n')
    assert "must have times in column 'time' that are numbers, or dates of ISO 8601 such as 2024-09-30 " in str(
        caught.value
    )
    assert f"row 2 has {time!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("7", "2024-09-30", "row 1 has a number ('7') and row 2 has a date without a zone ('2024-09-30')"),
        ("2024-09-30T10:00", "2024-09-30T10:00Z", "row 1 has a date without a zone"),
        ("2024", "2024-09", "row 1 has a number ('2024') and row 2"),
    ],
)
def test_times_of_several_kinds_are_refused(one: str, other: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"series,time,x\ns,{one},1\nr,{other},2\n")
    assert "must have times of one kind in column 'time'; " + message in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("2024-01-02T09:00+01:00", "2024-01-02T08:00Z")])
def test_a_time_that_a_series_has_twice_is_refused(one: str, other: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows 2 and 4 of series 's' have the same in column 'time'"):
        read(tmp_path, f"series,time,x\nr,{one},0\ns,{one},1\nq,{one},0\ns,{other},2\n")


def test_without_a_series_times_have_no_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must have a column of ids beside `time`.*\(`--series` gives its name\)"):
        read(tmp_path, "time,x,label\n1,2,a\n2,3,b\n")


def test_equal_times_have_equal_ranks() -> None:
    table = Table("'x'", pd.DataFrame({"t": ["2", "1", "2.0", "10"]}), None)
    assert times_of(table, "t").tolist() == [1, 0, 1, 2]


# The index of a data frame


def frame_of_rows() -> pd.DataFrame:
    return pd.DataFrame({"t0": [1.0, 2.0, 3.0], "t1": [4.0, 5.0, 6.0], "label": ["a", "b", "a"]})


def test_the_count_that_data_frames_write_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = frame_of_rows()
    frame.to_csv(tmp_path / "x.csv")
    with caplog.at_level(logging.WARNING):
        found = read_series(tmp_path / "x.csv", Columns())
    assert [series["value"].tolist() for series in found.series] == [[1, 4], [2, 5], [3, 6]]
    assert "the first column has no name and counts 0, 1, 2, …; it is left out" in caplog.text
    pd.read_csv(tmp_path / "x.csv").to_csv(tmp_path / "again.csv", index=False)  # names it "Unnamed: 0"
    assert read_series(tmp_path / "again.csv", Columns()).layout.frames == ["t0", "t1"]
    long = pd.DataFrame({"series": ["s", "s", "r"], "x": [1.0, 2.0, 3.0]})
    long.to_csv(tmp_path / "long.csv")
    assert read_series(tmp_path / "long.csv", Columns()).layout.channels == ["x"]


@pytest.mark.parametrize(
    "index", [[2, 0, 1], [1, 2, 3], ["p", "q", "r"], [0.0, 1.0, 2.5]], ids=["shuffled", "from 1", "ids", "floats"]
)
def test_another_column_without_a_name_is_refused(index: list[object], tmp_path: Path) -> None:
    frame_of_rows().set_axis(index).to_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="must have a name for every column; column 1 has none and does not count"):
        read_series(tmp_path / "x.csv", Columns())


def test_columns_behind_the_first_need_a_name_even_if_they_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 2 has none"):
        read(tmp_path, "t0,,label\n5,0,a\n6,1,b\n")


def test_an_index_of_its_own_names_the_rows(tmp_path: Path) -> None:
    frame = frame_of_rows()
    for index, names in {
        "named": (pd.Index(["p1", "p2", "p3"], name="patient"), ["p1", "p2", "p3"]),
        "without a name": (pd.Index([7, 3, 5]), ["7", "3", "5"]),
        "levels": (pd.MultiIndex.from_tuples([("p", 1), ("p", 2), ("q", 1)]), ["p 1", "p 2", "q 1"]),
        "default": (None, ["0", "1", "2"]),
    }.values():
        (frame if index is None else frame.set_axis(index)).to_parquet(tmp_path / "x.parquet")
        found = read_series(tmp_path / "x.parquet", Columns())
        assert found.names == names
        assert found.series[1]["value"].tolist() == [2, 5]


def test_ids_that_stand_once_name_the_rows(tmp_path: Path) -> None:
    indexed = frame_of_rows().set_axis(pd.Index(["01", "1", "x"], name="series"))
    indexed.to_parquet(tmp_path / "x.parquet")
    indexed.to_csv(tmp_path / "x.csv")
    for name in ("x.parquet", "x.csv"):
        found = read_series(tmp_path / name, Columns())
        assert found.names == ["01", "1", "x"]
        assert [series["value"].tolist() for series in found.series] == [[1, 4], [2, 5], [3, 6]]


@pytest.mark.parametrize("levels", [["series"], ["series", "time"], ["series", "frame"]])
def test_levels_of_an_index_are_columns_where_they_have_their_names(levels: list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame({"series": ["s", "r", "s"], "time": [2, 1, 1], "frame": [0, 0, 1], "x": [1.0, 2.0, 3.0]})
    frame.set_index(levels).drop(columns={"time", "frame"} - set(levels)).to_parquet(tmp_path / "x.parquet")
    found = read_series(tmp_path / "x.parquet", Columns())
    assert found.names == ["s", "r"]
    assert found.series[0]["x"].tolist() == ([3, 1] if "time" in levels else [1, 3])
    assert found.layout.channels == ["x"]


# Columns by their names


def test_columns_of_rows_are_put_in_the_order_of_the_other_file(tmp_path: Path) -> None:
    like = read(tmp_path, "label,t0,t1,t2\na,1,2,3\n").layout
    other = read(tmp_path, "t2,t0,label,t1\n3,1,b,2\n,1,b,2\n", like=like)
    assert [series["value"].tolist() for series in other.series] == [[1, 2, 3], [1, 2]]
    with pytest.raises(InputError, match="columns of the fitted file: it lacks t1, t2; it also has t9"):
        read(tmp_path, "t0,t9\n1,2\n", like=like)


def test_channels_are_found_by_their_names(tmp_path: Path) -> None:
    like = read(tmp_path, "series,x,y\ns,1,2\ns,3,4\n").layout
    other = read(tmp_path, "y,series,x\n20,s,10\n40,s,30\n", like=like)
    assert other.series[0].columns.tolist() == ["x", "y"]
    assert other.series[0].to_numpy().tolist() == [[10, 20], [30, 40]]
    for content, message in (
        ("series,x,z\ns,1,2\ns,3,4\n", "it lacks y; it also has z"),
        ("series,x\ns,1\ns,3\n", "it lacks y"),
        ("series,x,y,note\ns,1,2,3\ns,3,4,5\n", "it also has note"),
        ("id,x,y\n7,1,2\n7,3,4\n", "must have a row for every frame, like the fitted file: there is no column"),
    ):
        with pytest.raises(InputError, match=message):
            read(tmp_path, content, like=like)


def test_an_id_of_another_name_does_not_make_rows_of_frames(tmp_path: Path) -> None:
    like = read(tmp_path, "series,x\ns,1\ns,3\n").layout
    with pytest.raises(InputError, match="must have a row for every frame, like the fitted file"):
        read(tmp_path, "id,x\n7,1\n7,3\n", like=like)


def test_single_frames_of_the_second_file_are_frames_where_those_of_the_first_are(tmp_path: Path) -> None:
    like = read(tmp_path, "series,x,y\ns,1,2\ns,3,4\n").layout
    other = read(tmp_path, "series,x,y\nr,1,2\ns,3,4\n", like=like)
    assert [frame.shape for frame in other.series] == [(1, 2), (1, 2)]


def test_one_channel_needs_no_name_in_files_that_have_none(tmp_path: Path) -> None:
    archive = read(tmp_path, ts("1,2,3:a\n", one="true"), "x.ts").layout
    rows = read(tmp_path, "t0,t1,label\n1,2,a\n").layout
    assert read(tmp_path, "t0,t1\n1,2\n", like=archive).series[0].columns.tolist() == ["dim_0"]
    assert read(tmp_path, "series,x\ns,1\ns,2\n", like=archive).series[0].columns.tolist() == ["dim_0"]
    assert read(tmp_path, ts("1,2:a\n", one="true"), "x.ts", like=rows).series[0].columns.tolist() == ["value"]
    with pytest.raises(InputError, match="channels of the fitted file, dim_0; it has dim_0, dim_1"):
        read(tmp_path, ts("1,2:3,4:a\n"), "x.ts", like=archive)


def test_names_that_were_given_must_be_there(tmp_path: Path) -> None:
    for columns, message in (
        (
            Columns(series="id"),
            "must have the column `id` of `--series`: there is no column `id`, but `ID`; it has ID, x",
        ),
        (Columns(series="ID", time="when"), "must have the column `when` of `--time`"),
        (Columns(label="x", series="x"), "must be different names"),
    ):
        with pytest.raises(InputError) as caught:
            read(tmp_path, "ID,x\ns,1\ns,2\n", columns=columns)
        assert message in str(caught.value)
    with pytest.raises(
        InputError, match=r"must have labels \(`--label`\): there is no column `label`, but `Label`; it has Label, x"
    ):
        read(tmp_path, "Label,x\na,1\n", labelled=True)


# Texts and numbers


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("x.csv", "label,t0,t1\nä,1,2\nb,3,4\n"), ("X.CSV", '"label",t0,t1\n"ä",1,2\nb,3,4\n')]
    + [("x.ts", ts("1,2:ä\n3,4:b\n", "true ä b", "true"))],
)
def test_marks_of_the_byte_order_and_ends_of_lines(
    mark: bytes, end: str, name: str, content: str, tmp_path: Path
) -> None:
    found = read(tmp_path, mark + content.replace("\n", end).encode(), name)
    assert found.labels.tolist() == ["ä", "b"]
    assert [series.to_numpy().ravel().tolist() for series in found.series] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("t0;t1;label\n1,5;2;a\n", "must have commas between its columns, not semicolons, and a point in decimals"),
        ("t0\tt1\tlabel\n1\t2\ta\n", "must have commas between its columns, not tabs"),
        ('t0,t1,label\n1,2,a\n1,"2,5",a\n', "not so in t1: row 2 has '2,5', without a point in decimals"),
        ("t0,t1,label\n1,2,a\n1,two,a\n", "must hold numbers beside its labels; not so in t1: row 2 has 'two'"),
        ("t0,t1,label\n1,2,a\n1,2 3,a\n", "not so in t1: row 2 has '2 3'"),
        ("t0,t1,label\n1,2,a\n1,0x1F,a\n", "not so in t1: row 2 has '0x1F'"),
        ("t0,t1,label\n1,2,a\n1,2024-01-01,a\n", "not so in t1: row 2 has '2024-01-01'"),
        ("t0,t1,label\n1,2,a\n1,inf,a\n", "must have finite or missing values; row 2 of column 't1' has inf"),
        ("t0,t1,label\n1,2,a\n1,1e999,a\n", "must have finite or missing values; row 2 of column 't1' has inf"),
        ("t0,t0,label\n1,2,a\n", "must have unique names of columns; t0 comes twice"),
        ("t0,label, label\n1,2,a\n", "must have unique names of columns; label comes twice"),
        ("t0,t1,label\n1,2,3,a\n", "must not have more cells in a row than the 3 of its header"),
        ("t0,t1,label\n", "must have at least one row below its header"),
        ("", "must be a table with a header; it is empty"),
        ("\n \n", "must be a table with a header; it is empty"),
        ("ä,label\n1,a\n".encode("latin-1"), "must be a text in UTF-8; line 1 is not"),
        ("t0,label\n1,a\n".encode("utf-16"), "must be a text in UTF-8; it is in UTF-16"),
    ],
)
def test_what_is_no_table_of_numbers_is_named(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)
    assert f"'{tmp_path / 'x.csv'}'" in str(caught.value)


def test_numbers_are_read_to_their_last_digit_and_say_when_they_are_missing(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b,c,d,e\n0.1234567890123456789,NA, 3e-5 ,nan,2.2250738585072014e-308\n1,,2,,\n")
    np.testing.assert_array_equal(
        found.series[0]["value"], [0.1234567890123456789, np.nan, 3e-5, np.nan, 2.2250738585072014e-308]
    )
    np.testing.assert_array_equal(found.series[1]["value"], [1, np.nan, 2])


@pytest.mark.parametrize("values", [[[1, 2]], ["x"], [datetime.date(2024, 1, 1)], [pd.Timestamp(0)], [b"1"]])
def test_typed_columns_of_values_must_be_numbers(values: list[object], tmp_path: Path) -> None:
    pd.DataFrame({"t0": values, "label": ["a"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="must hold numbers beside its labels; not so in t0: row 1 has"):
        read_series(tmp_path / "x.parquet", Columns())


# .ts


def test_labels_of_ts_keep_their_case(tmp_path: Path) -> None:
    found = read(tmp_path, ts("1,2:Walking\n3,4:A\n5,6:a\n7,8:what?\n", "true Walking A a what?", "true"), "x.ts")
    assert found.labels.tolist() == ["Walking", "A", "a", "what?"]


def test_the_longest_channel_of_ts_decides(tmp_path: Path) -> None:
    found = read(tmp_path, ts("1,2,3:1,2,3,4,5,6,7,8,9:a\n1,2:?:b\n:?,5:a\n"), "x.ts")
    assert [frame.shape for frame in found.series] == [(9, 2), (2, 2), (2, 2)]
    np.testing.assert_array_equal(found.series[0]["dim_0"], [1, 2, 3] + [np.nan] * 6)
    np.testing.assert_array_equal(found.series[0]["dim_1"], np.arange(1.0, 10))
    assert found.series[1]["dim_1"].isna().all()
    np.testing.assert_array_equal(found.series[2].to_numpy(), [[np.nan, np.nan], [np.nan, 5]])


def test_headers_of_ts_may_be_written_in_any_way(tmp_path: Path) -> None:
    content = "# a\n%b\n\n@PROBLEMNAME  x y\n@timestamps FALSE\n@Univariate\tfalse\n@classlabel  TRUE  a b\n@DATA\n"
    found = read(tmp_path, content + "\n1,2:3,4: B \n# c\n  5,6:7,8:b\n", "X.TS")
    assert found.labels.tolist() == ["B", "b"]
    assert found.series[1].to_numpy().tolist() == [[5, 7], [6, 8]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ts("1,2:a\n", one="true").replace("Stamps false", "Stamps true"), "must have values without time stamps"),
        (ts("1,2:3\n", one="true").replace("@classLabel true a b", "@targetLabel true"), "must have classes"),
        (ts("1,2:a\n1,2:\n", one="true"), "line 7: it must have a label behind the last colon"),
        (ts("1,2:a\n1,2:?\n", one="true"), "line 7: it must have a label, as other series have"),
        (ts("1,2:a\n\n1,inf:b\n", one="true"), "line 8: it must have finite or missing values"),
        (ts("1,2:a\n:b\n", one="true"), "line 7: it must have at least one frame"),
        (ts("1,two:a\n", one="true"), "cannot be read as series: could not convert string to float: 'two'"),
        (ts("1,2:3:a\n1,2:b\n"), "cannot be read as series: inconsistent number of dimensions"),
        (ts("1,2:a\n@problemName y\n1,2:b\n", one="true"), "line 7: there must be no tags below `@data`"),
        ("", "cannot be read as series"),
    ],
)
def test_what_is_no_ts_of_classes_is_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content, "x.ts")
    assert message in str(caught.value)
    assert f"'{tmp_path / 'x.ts'}'" in str(caught.value)


def test_labels_that_nobody_knows_are_none(tmp_path: Path) -> None:
    assert read(tmp_path, ts("1,2:?\n1,2:?\n", one="true"), "x.ts").labels is None
    with pytest.raises(InputError, match="must have labels"):
        read(tmp_path, ts("1,2:?\n1,2:?\n", one="true"), "x.ts", labelled=True)


def test_a_full_temporary_folder_is_no_fault_of_the_series(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text(ts("1,2,3:a\n4,5,6:b\n"))
    with files_of_at_most(10), pytest.raises(FileError, match=r"series\.ts' could not be written: File too large"):
        read_series(tmp_path / "a.ts", Columns())
