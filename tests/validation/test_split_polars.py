"""Splitting a polars frame, from the user's view."""

import datetime as dt
import pickle

import hypothesis
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from resilient_tasks.validation.report import Reason
from resilient_tasks.validation.split import split

Hours = pa.DataFrameSchema(
    {
        "hour": pa.Column(pl.Int64, pa.Check.in_range(0, 23), coerce=True),
        "tail": pa.Column(pl.String),
    }
)


def flights(**columns):
    return pl.DataFrame({"hour": ["1", "2", "3", "4"], "tail": ["a", "b", "c", "d"], **columns})


def accepted(frame, schema):
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors:
        return False
    return True


def test_a_clean_frame_is_good_and_coerced():
    result = split(flights(), Hours)
    assert result.good["hour"].to_list() == [1, 2, 3, 4]
    assert result.bad.height == 0


def test_a_value_that_does_not_coerce_makes_its_row_bad_and_stays_as_read():
    result = split(flights(hour=["1", "n/a", "99", "4"]), Hours)
    assert result.good["hour"].to_list() == [1, 4]
    assert result.bad["hour"].to_list() == ["n/a", "99"]
    assert result.report.rows_failed == (
        (1, (Reason("hour", "not a number", "n/a"),)),
        (2, (Reason("hour", "in_range(0, 23)", "99"),)),
    )


def test_a_null_and_a_nan_are_both_null():
    schema = pa.DataFrameSchema({"x": pa.Column(pl.Float64)})
    result = split(pl.DataFrame({"x": [1.0, None, float("nan")]}), schema)
    assert result.good["x"].to_list() == [1.0]
    assert result.report.reasons == {("x", "is null"): 2}


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (flights().drop("tail"), "column 'tail' is missing"),
        (flights().drop("hour"), "column 'hour' is missing"),
        (flights(tail=[1, 2, 3, 4]), "expected column 'tail' to have type String, got Int64"),
    ],
)
def test_a_frame_error_drops_no_row_and_leaves_the_frame_as_read(frame, words):
    result = split(frame, Hours)
    assert result.report.frame_errors == (words,)
    assert_frame_equal(result.good, frame)
    assert result.bad.height == 0


def test_a_type_without_a_cast_is_a_frame_error():
    schema = pa.DataFrameSchema({"day": pa.Column(pl.Date, coerce=True)})
    (error,) = split(pl.DataFrame({"day": [[1], [2]]}), schema).report.frame_errors
    assert error == "column 'day' has type List(Int64), which polars does not cast to Date; parse it first"


@pytest.mark.parametrize(
    "check",
    [
        pa.Check(
            lambda data: data.lazyframe.select(pl.col(data.key).mean()).collect().item() < 10, name="mean_below_10"
        ),
        pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).mean() < 10), name="mean_below_10"),
    ],
)
def test_a_failed_check_with_one_result_for_all_rows_is_a_frame_error(check):
    schema = pa.DataFrameSchema({"x": pa.Column(pl.Int64, check)})
    report = split(pl.DataFrame({"x": [1, 99]}), schema).report
    assert report.frame_errors == ("column 'x': mean_below_10 failed",)


def test_a_check_that_raises_is_a_frame_error():
    def divides(_):
        return 1 / 0

    schema = pa.DataFrameSchema({"x": pa.Column(pl.Int64, pa.Check(divides))})
    (error,) = split(pl.DataFrame({"x": [1]}), schema).report.frame_errors
    assert error == "column 'x': divides raised ZeroDivisionError: division by zero"


def test_a_panic_inside_polars_is_a_frame_error_and_does_not_end_the_run():
    def panics(_):
        raise pl.exceptions.PanicException("index out of bounds")

    schema = pa.DataFrameSchema({"x": pa.Column(pl.Int64, pa.Check(panics))})
    errors = split(pl.DataFrame({"x": [1]}), schema).report.frame_errors
    assert errors[0] == "column 'x': panics raised PanicException: index out of bounds"


def test_a_rule_over_two_columns_is_a_reason_of_the_whole_row():
    rule = pa.Check(lambda data: data.lazyframe.select(pl.col("a") < pl.col("b")), name="a_before_b")
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, coerce=True), "b": pa.Column(pl.Int64)}, rule)
    report = split(pl.DataFrame({"a": ["1", "5", "x"], "b": [2, 2, 2]}), schema).report
    assert report.reasons == {("a", "not a number"): 1, ("*", "a_before_b"): 1}


def test_duplicates_alone_or_jointly_are_bad():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, unique=True), "b": pa.Column(pl.Int64)})
    assert split(pl.DataFrame({"a": [1, 1, 2], "b": [1, 2, 3]}), schema).good["a"].to_list() == [2]
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64), "b": pa.Column(pl.Int64)}, unique=["a", "b"])
    report = split(pl.DataFrame({"a": [1, 1, 1], "b": [1, 1, 2]}), schema).report
    assert report.reasons == {("a, b", "is duplicated"): 2}


def test_columns_named_by_a_pattern_are_checked_each():
    schema = pa.DataFrameSchema({"^x_.+$": pa.Column(pl.Int64, pa.Check.ge(0), regex=True, coerce=True)})
    report = split(pl.DataFrame({"x_1": ["1", "-1", "1"], "x_2": ["1", "1", "no"]}), schema).report
    assert report.reasons == {("x_1", "greater_than_or_equal_to(0)"): 1, ("x_2", "not a number"): 1}


def test_a_default_fills_nulls_before_the_checks():
    schema = pa.DataFrameSchema({"x": pa.Column(pl.Float64, pa.Check.ge(0), default=1.0)})
    result = split(pl.DataFrame({"x": [None, -1.0, float("nan")]}), schema)
    assert result.good["x"].to_list() == [1.0, 1.0]


def test_one_type_for_the_whole_frame_is_coerced_column_by_column():
    schema = pa.DataFrameSchema({"x": pa.Column(nullable=True)}, dtype=pl.Int64, coerce=True)
    result = split(pl.DataFrame({"x": ["1", "b", None]}), schema)
    assert result.good["x"].to_list() == [1, None]
    assert result.bad["x"].to_list() == ["b"]


def test_a_schema_that_drops_rows_is_split_all_the_same():
    schema = pa.DataFrameSchema({"x": pa.Column(pl.Int64, pa.Check.ge(0))}, drop_invalid_rows=True)
    assert split(pl.DataFrame({"x": [1, -1]}), schema).bad["x"].to_list() == [-1]


def test_times_with_zones_keep_them():
    moments = [dt.datetime(2013, 1, 1, tzinfo=dt.UTC), dt.datetime(2014, 1, 1, tzinfo=dt.UTC)]
    kind = pl.Datetime("us", "UTC")
    schema = pa.DataFrameSchema({"x": pa.Column(kind, pa.Check.lt(moments[1]))})
    result = split(pl.DataFrame({"x": pl.Series(moments, dtype=kind)}), schema)
    assert result.report.rows_failed[0][1][0].value == moments[1]
    assert result.good["x"].dtype == kind


def test_an_empty_frame_and_a_frame_of_bad_rows_only_work():
    assert split(flights().clear(), Hours).report.rows == 0
    result = split(flights(hour=["a", "b", None, "99"]), Hours)
    assert (result.good.height, result.bad.height) == (0, 4)
    assert not result.report.frame_errors


def test_a_frame_of_the_other_library_is_refused_by_name():
    with pytest.raises(TypeError, match="The schema is for polars data frames"):
        split(flights().to_pandas(), Hours)


def test_a_split_can_be_pickled():
    result = pickle.loads(pickle.dumps(split(flights(hour=["1", "x", "3", "4"]), Hours)))
    assert result.report.summary() == "1 of 4 rows invalid: hour not a number ×1"


numbers = st.sampled_from(["1", "7", "22", "-3", "1.5", "n/a", "", None])
words = st.sampled_from(["a", "b", "z", None])
Loose = pa.DataFrameSchema(
    {
        "number": pa.Column(pl.Int64, pa.Check.in_range(0, 10), coerce=True),
        "word": pa.Column(pl.String, pa.Check.isin(["a", "b"]), nullable=True),
    },
    pa.Check(lambda data: data.lazyframe.select(~((pl.col("word") == "b") & (pl.col("number") > 3))), name="no_big_b"),
)


@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(rows=st.lists(st.tuples(numbers, words), max_size=5))
def test_good_and_bad_are_the_input_in_order_and_good_is_what_pandera_accepts_row_by_row(rows):
    frame = pl.DataFrame(rows, schema={"number": pl.String, "word": pl.String}, orient="row")
    result = split(frame, Loose)
    bad = [row for row, _ in result.report.rows_failed]
    good = [row for row in range(frame.height) if row not in bad]
    assert not result.report.frame_errors
    assert_frame_equal(result.bad, frame[bad])
    assert_frame_equal(result.good, Loose.validate(frame[good], lazy=True))
    assert good == [row for row in range(frame.height) if accepted(frame[[row]], Loose)]


def test_checks_against_other_columns_are_all_reported():
    bounds = [pa.Check.ge(pl.col("low")), pa.Check.le(pl.col("high")), pa.Check.ge(pl.col("low"))]
    schema = pa.DataFrameSchema({"n": pa.Column(int, bounds), "m": pa.Column(int, bounds[::-1])})
    frame = pl.DataFrame({"n": [1, 5, 9], "m": [5, 5, 5], "low": [3, 3, 3], "high": [7, 7, 7]})
    assert split(frame, schema).good["n"].to_list() == [5]
