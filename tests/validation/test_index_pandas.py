"""Rows that are bad through their index, and frames whose columns share a name."""

import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks.validation.split import split

CELLS = [[1, 2, "x"], [3, 4, "y"], [5, 6, "z"], [7, 8, "x"]]
LABELS = [1, -1, 2, 2]
LEVELS = pd.MultiIndex.from_arrays([LABELS, list("abaa")], names=["i", "j"])
DAY = pd.Timestamp("2013-06-01")


def frame(index=None, columns="abc"):
    made = pd.DataFrame(CELLS, index=index)
    made.columns = list(columns)
    return made


def bad(data, schema):
    result = split(data, schema)
    assert result.report.frame_errors == ()
    rows = [row for row, _ in result.report.rows_failed]
    pd.testing.assert_frame_equal(result.bad, data.iloc[rows])
    pd.testing.assert_frame_equal(result.good, data.iloc[[row for row in range(len(data)) if row not in rows]])
    return rows


@pytest.mark.parametrize("columns", ["abc", "aac", "aaa"])
@pytest.mark.parametrize(("unique", "rows"), [(False, [1]), (True, [1, 2, 3])])
def test_a_row_is_bad_through_its_label_for_any_column_names(columns, unique, rows):
    rules = pa.DataFrameSchema({}, index=pa.Index(int, pa.Check.ge(0), unique=unique))
    assert bad(frame(LABELS, columns), rules) == rows


@pytest.mark.parametrize("columns", ["abc", "aac"])
def test_a_row_is_bad_through_a_level(columns):
    levels = [pa.Index(int, pa.Check.ge(2), name="i"), pa.Index(str, name="j")]
    assert bad(frame(LEVELS, columns), pa.DataFrameSchema({}, index=pa.MultiIndex(levels))) == [0, 1]


@pytest.mark.parametrize("columns", ["abc", "aac"])
def test_a_schema_may_name_some_levels_only(columns):
    index = pa.MultiIndex([pa.Index(int, pa.Check.ge(0), name="i")])
    assert bad(frame(LEVELS, columns), pa.DataFrameSchema({}, index=index)) == [1]


@pytest.mark.parametrize(
    ("index", "rules", "rows"),
    [
        (pd.Index(pd.array([1, None, -2, 3], dtype="Int64")), pa.Index("Int64", pa.Check.ge(0), nullable=True), [2]),
        (pd.Index(pd.array([1, None, 2, 3], dtype="int64[pyarrow]")), pa.Index("int64[pyarrow]"), [1]),
        (pd.Index([1.0, None, -2.0, 3.0]), pa.Index(float, pa.Check.ge(0)), [1, 2]),
        (
            pd.DatetimeIndex(["2013-01-01", "2014-01-01", None, "2015-01-01"]),
            pa.Index("datetime64[ns]", pa.Check.ge(DAY)),
            [0, 2],
        ),
        (pd.Index(["p", "q", "p", "r"], dtype="str"), pa.Index(str, unique=True), [0, 2]),
        (pd.CategoricalIndex(["p", "q", "p", "r"]), pa.Index("category", pa.Check.ne("q")), [1]),
    ],
)
def test_an_index_of_any_type_is_checked_like_a_column(index, rules, rows):
    assert bad(frame(index), pa.DataFrameSchema({}, index=rules)) == rows


@pytest.mark.parametrize("index", [None, [7, 7, 7, 7], LEVELS])
def test_columns_with_one_name_are_all_checked(index):
    rules = pa.DataFrameSchema({"a": pa.Column(int, [pa.Check.ne(3), pa.Check.ne(6)]), "c": pa.Column(str)})
    assert bad(frame(index, "aac"), rules) == [1, 2]


PARSED = {"parsers": pa.Parser(lambda s: s), "nullable": True}


@pytest.mark.parametrize(
    ("index", "rules", "rows"),
    [
        (LABELS, pa.Index(int), [2, 3]),
        (LABELS, pa.Index(int, pa.Check.ge(0)), [1, 2, 3]),
        (LABELS, None, [2, 3]),
        ([1, 2, 2, 3], pa.Index(int, unique=True), [1, 2, 3]),
        (LEVELS, pa.MultiIndex([pa.Index(int, pa.Check.ge(0), name="i"), pa.Index(str, name="j")]), [1, 2, 3]),
        (LEVELS, None, [2, 3]),
    ],
)
def test_rows_are_identified_by_position_where_labels_repeat_and_pandera_checks_the_columns(index, rules, rows):
    data = pd.DataFrame({"x": [1.0, None, -3.0, 4.0], "y": [1, 2, 3, -4]}, index=index)
    columns = {"x": pa.Column(float, pa.Check.ge(0), **PARSED), "y": pa.Column(int, pa.Check.ge(0))}
    assert bad(data, pa.DataFrameSchema(columns, index=rules)) == rows


def test_a_check_that_reads_labels_gets_the_labels():
    even = pa.Check(lambda s: pd.Series(s.index % 2 == 0, index=s.index), name="even")
    data = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=[2, 4, 5])
    assert bad(data, pa.DataFrameSchema({"x": pa.Column(float, even, **PARSED)})) == [2]


def test_forbidden_duplicate_columns_are_a_frame_error():
    rules = pa.DataFrameSchema({"c": pa.Column(str)}, unique_column_names=True)
    (error,) = split(frame(columns="aac"), rules).report.frame_errors
    assert "multiple columns" in error


def test_labels_that_coerce_to_numbers_are_good_and_the_others_bad():
    texts = pd.Index(["1", "x", "2", "-2"], dtype=object)
    rules = pa.DataFrameSchema({}, index=pa.Index(int, pa.Check.ge(0), coerce=True))
    result = split(frame(texts), rules)
    assert result.report.reasons == {("None", "not a number"): 1, ("None", "greater_than_or_equal_to(0)"): 1}
    assert result.good.index.tolist() == [1, 2]
