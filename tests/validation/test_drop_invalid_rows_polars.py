"""A split is correct where pandera's `drop_invalid_rows` is wrong on polars.

Each test first states what pandera does alone, and so fails once pandera corrects it.
"""

import pandera.polars as pa
import polars as pl
import pytest

from resilient_tasks.validation.split import split


def dropped(frame, columns, *checks, **options):
    return pa.DataFrameSchema(columns, checks, drop_invalid_rows=True, **options).validate(frame, lazy=True)


def raises(_):
    raise ZeroDivisionError("one by zero")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"b": pa.Column(pl.Int64)}, "column 'b' is missing"),
        ({"a": pa.Column(pl.String)}, "expected column 'a' to have type String, got Int64"),
        ({"a": pa.Column(pl.Int64, pa.Check(raises))}, "column 'a': raises raised ZeroDivisionError: one by zero"),
    ],
)
def test_a_frame_with_frame_errors_is_refused_by_pandera_too(columns, words):
    frame = pl.DataFrame({"a": [1, 2]})
    assert dropped(frame, columns).height == 2  # pandera: valid
    report = split(frame, pa.DataFrameSchema(columns)).report
    assert words in report.frame_errors


def test_rows_that_are_joint_duplicates_are_bad():
    frame = pl.DataFrame({"a": [1, 1, 2], "b": [1, 1, 2]})
    columns = {"a": pa.Column(pl.Int64), "b": pa.Column(pl.Int64)}
    assert dropped(frame, columns, unique=["a", "b"]).height == 3  # pandera: keeps them
    result = split(frame, pa.DataFrameSchema(columns, unique=["a", "b"]))
    assert (result.good["a"].to_list(), result.bad["a"].to_list()) == ([2], [1, 1])


def test_a_check_with_one_result_empties_no_frame():
    frame = pl.DataFrame({"a": [1, 2]})
    check = pa.Check(lambda data: data.lazyframe.select(pl.col("a").mean() > 10), name="mean_above_10")
    assert dropped(frame, {"a": pa.Column(pl.Int64)}, check).height == 0  # pandera: silently empty
    result = split(frame, pa.DataFrameSchema({"a": pa.Column(pl.Int64)}, check))
    assert result.report.frame_errors == ("mean_above_10 failed",)
    assert result.good.height == 2


def test_a_check_with_one_result_empties_no_frame_of_one_row():
    frame = pl.DataFrame({"a": [1]})
    check = pa.Check(lambda data: data.lazyframe.select(pl.col("a").mean() > 10), name="mean_above_10")
    result = split(frame, pa.DataFrameSchema({"a": pa.Column(pl.Int64, check)}))
    assert result.report.frame_errors == ("column 'a': mean_above_10 failed",)


def test_the_bad_rows_of_a_lazy_frame_are_found():
    lazy = pl.LazyFrame({"a": [1, -1]})
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0))})
    assert schema.validate(lazy, lazy=True).collect().height == 2  # pandera: valid
    assert split(lazy, schema).bad.collect()["a"].to_list() == [-1]


def test_a_panic_inside_a_check_is_a_frame_error():
    def panics(_):
        raise pl.exceptions.PanicException("index out of bounds")

    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check(panics))})
    frame = pl.DataFrame({"a": [1]})
    with pytest.raises(pl.exceptions.PanicException) as panic:
        schema.validate(frame, lazy=True)
    assert not isinstance(panic.value, Exception)
    assert split(frame, schema).report.frame_errors


def test_a_check_of_one_column_may_use_the_others():
    check = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key) < pl.col("b")), name="below_b")
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, check)})
    result = split(pl.DataFrame({"a": [1, 5], "b": [3, 3]}), schema)
    assert result.report.reasons == {("a", "below_b"): 1}


def test_a_check_over_all_rows_is_evaluated_again_on_the_remaining_rows():
    check = pa.Check(lambda data: data.lazyframe.select(pl.col("a") <= 2 * pl.col("a").mean()), name="near_the_mean")
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, check)})
    result = split(pl.DataFrame({"a": [1, 1, 1, 1, 8, 99]}), schema)
    assert result.good["a"].to_list() == [1, 1, 1, 1]
    assert schema.validate(result.good, lazy=True).height == 4


def test_a_default_that_does_not_fit_the_column_is_a_frame_error():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, default=1)})
    frame = pl.DataFrame({"a": pl.Series(["x"], dtype=pl.Categorical)})
    result = split(frame, schema)
    assert result.report.frame_errors
    assert result.good.height == 1
