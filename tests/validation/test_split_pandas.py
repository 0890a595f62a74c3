"""Splitting a pandas frame, from the user's view."""

import datetime as dt
import pickle

import hypothesis
import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import strategies as st

from resilient_tasks.validation.report import Reason
from resilient_tasks.validation.split import split

Hours = pa.DataFrameSchema(
    {
        "hour": pa.Column("int64", pa.Check.in_range(0, 23), coerce=True),
        "day": pa.Column("datetime64[ns]", coerce=True),
        "tail": pa.Column(str),
    }
)


def flights(**columns):
    whole = {"hour": ["1", "2", "3", "4"], "day": ["2013-01-01"] * 4, "tail": ["a", "b", "c", "d"]}
    return pd.DataFrame({**whole, **columns})


def accepted(frame, schema):
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors:
        return False
    return True


def test_a_clean_frame_is_good_and_coerced():
    result = split(flights(), Hours)
    assert result.good["hour"].tolist() == [1, 2, 3, 4]
    assert result.good["day"].dtype == "datetime64[ns]"
    assert len(result.bad) == 0
    assert result.report.summary() == "0 of 4 rows invalid"


def test_a_value_that_does_not_coerce_makes_its_row_bad_and_stays_as_read():
    result = split(flights(hour=["1", "n/a", "3", "4"]), Hours)
    assert result.good["hour"].tolist() == [1, 3, 4]
    assert result.bad["hour"].tolist() == ["n/a"]
    assert result.report.rows_failed == ((1, (Reason("hour", "not a number", "n/a"),)),)


def test_every_reason_of_a_row_is_named_with_its_value_as_read():
    frame = flights(hour=["1", "99", "3", "4"], day=["2013-01-01", "nope", "2013-01-01", "2013-01-01"])
    ((row, reasons),) = split(frame, Hours).report.rows_failed
    assert row == 1
    assert set(reasons) == {Reason("hour", "in_range(0, 23)", "99"), Reason("day", "not a date", "nope")}


def test_the_summary_counts_rows_by_reason_most_frequent_first():
    frame = flights(hour=["99", "98", "x", "4"], tail=["a", "b", "c", None])
    text = split(frame, Hours).report.summary()
    assert text.startswith("4 of 4 rows invalid: hour in_range(0, 23) ×2, ")
    assert "hour not a number ×1" in text
    assert "tail is null ×1" in text


def test_a_long_check_is_shortened_in_the_summary_but_not_in_the_reasons():
    schema = pa.DataFrameSchema({"x": pa.Column(str, pa.Check.isin([f"value {i}" for i in range(50)]))})
    report = split(pd.DataFrame({"x": ["no"]}), schema).report
    assert report.summary() == "1 of 1 row invalid: x isin(…) ×1"
    assert "value 49" in next(iter(report.reasons))[1]


def test_rows_with_the_same_label_are_kept_apart():
    frame = flights(hour=["1", "99", "3", "4"]).set_axis([7, 7, 7, 8])
    result = split(frame, Hours)
    assert result.good.index.tolist() == [7, 7, 8]
    assert result.good["tail"].tolist() == ["a", "c", "d"]
    assert result.bad["tail"].tolist() == ["b"]


def test_a_multi_index_with_time_stamps_survives():
    index = pd.MultiIndex.from_arrays([pd.to_datetime(["2013-01-01"] * 4), [1, 1, 2, 2]], names=["day", "part"])
    result = split(flights(hour=["1", "2", "3", "99"]).set_index(index), Hours)
    assert result.bad.index.tolist() == [(pd.Timestamp("2013-01-01"), 2)]
    assert result.good.index.equals(index[:3])


@pytest.mark.parametrize(
    ("frame", "schema", "words"),
    [
        (flights().drop(columns="tail"), Hours, "column 'tail' is missing"),
        (
            flights(late=[1, 2, 3, 4]),
            Hours.add_columns({"late": pa.Column("float64")}),  # not text: pandas 2 checks it value by value
            "expected series 'late' to have type float64, got int64",
        ),
    ],
)
def test_a_frame_error_drops_no_row_and_leaves_the_frame_as_read(frame, schema, words):
    result = split(frame, schema)
    assert result.report.frame_errors == (words,)
    pd.testing.assert_frame_equal(result.good, frame)
    assert len(result.bad) == 0
    assert words in result.report.summary()


def test_bad_rows_beside_a_missing_column_are_left_to_the_caller_too():
    frame = flights(hour=["1", "99", "3", "4"]).drop(columns="tail")
    result = split(frame, Hours)
    assert result.report.frame_errors == ("column 'tail' is missing",)
    assert len(result.good) == 4
    assert result.report.invalid == 0


def test_a_failed_check_with_one_result_for_all_rows_is_a_frame_error():
    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check(lambda s: s.mean() < 10, name="mean_below_10"))})
    assert split(pd.DataFrame({"x": [1, 99]}), schema).report.frame_errors == ("column 'x': mean_below_10 failed",)


def test_a_check_that_raises_is_a_frame_error():
    def divides(_):
        return 1 / 0

    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check(divides))})
    (error,) = split(pd.DataFrame({"x": [1]}), schema).report.frame_errors
    assert error == "column 'x': divides raised ZeroDivisionError: division by zero"


def test_an_aggregate_check_that_only_the_good_rows_fail_is_a_frame_error():
    checks = [pa.Check(lambda s: s.mean() > 10, name="mean_above_10"), pa.Check.le(50)]
    result = split(pd.DataFrame({"x": [1, 2, 99]}), pa.DataFrameSchema({"x": pa.Column(int, checks)}))
    assert result.report.frame_errors == ("column 'x': mean_above_10 failed",)


def test_a_rule_over_two_columns_is_a_reason_of_the_whole_row():
    schema = pa.DataFrameSchema(
        {"a": pa.Column(int), "b": pa.Column(int)}, pa.Check(lambda f: f["a"] < f["b"], name="a_before_b")
    )
    report = split(pd.DataFrame({"a": [1, 5], "b": [2, 2]}), schema).report
    assert report.rows_failed == ((1, (Reason("*", "a_before_b", None),)),)


@pytest.mark.parametrize(("which", "good"), [("all", [2]), ("exclude_first", [1, 2]), ("exclude_last", [2, 1])])
def test_duplicates_are_bad_as_the_schema_counts_them(which, good):
    schema = pa.DataFrameSchema({"x": pa.Column(int, unique=True, report_duplicates=which)})
    result = split(pd.DataFrame({"x": [1, 2, 1]}), schema)
    assert result.good["x"].tolist() == good


def test_rows_that_repeat_a_joint_key_are_bad():
    schema = pa.DataFrameSchema({"a": pa.Column(int), "b": pa.Column(int)}, unique=["a", "b"])
    result = split(pd.DataFrame({"a": [1, 1, 1], "b": [1, 1, 2]}), schema)
    assert result.good["b"].tolist() == [2]
    assert result.report.reasons == {("a, b", "is duplicated"): 2}


def test_columns_named_by_a_pattern_are_checked_each():
    schema = pa.DataFrameSchema({"x_.+": pa.Column(int, pa.Check.ge(0), regex=True)})
    report = split(pd.DataFrame({"x_1": [1, -1, 1], "x_2": [1, 1, -1]}), schema).report
    assert report.reasons == {("x_1", "greater_than_or_equal_to(0)"): 1, ("x_2", "greater_than_or_equal_to(0)"): 1}


def test_a_column_parser_runs_before_the_checks():
    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0), parsers=pa.Parser(lambda s: s - 10))})
    result = split(pd.DataFrame({"x": [5, 10, 15]}, index=[1, 1, 1]), schema)
    assert result.good["x"].tolist() == [0, 5]
    assert result.bad["x"].tolist() == [5]


def test_a_parser_that_hides_values_that_do_not_coerce_still_gives_reasons():
    schema = pa.DataFrameSchema(
        {"x": pa.Column(int, pa.Check.ge(0), coerce=True, parsers=pa.Parser(lambda s: s.str.strip()))}
    )
    result = split(pd.DataFrame({"x": [" 5", "x ", "-3 "]}, index=[9, 9, 8]), schema)
    assert result.good["x"].tolist() == [5]
    assert result.report.reasons == {("x", "not a number"): 1, ("x", "greater_than_or_equal_to(0)"): 1}


def test_an_index_is_checked_like_a_column():
    schema = pa.DataFrameSchema({"x": pa.Column(int)}, index=pa.Index(int, pa.Check.ge(0), unique=True))
    result = split(pd.DataFrame({"x": [1, 2, 3, 4]}, index=[0, -1, 5, 5]), schema)
    assert result.good["x"].tolist() == [1]
    assert result.bad.index.tolist() == [-1, 5, 5]


def test_the_limit_on_failure_cases_hides_no_bad_row():
    checks = [pa.Check.ge(0, n_failure_cases=1)]
    schema = pa.DataFrameSchema({"x": pa.Column(int, checks, parsers=pa.Parser(lambda s: s))})
    assert split(pd.DataFrame({"x": [-1, -2, -3, 4]}), schema).report.invalid == 3


def test_a_schema_that_drops_rows_is_split_all_the_same():
    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0))}, drop_invalid_rows=True)
    result = split(pd.DataFrame({"x": [1, -1]}), schema)
    assert result.bad["x"].tolist() == [-1]
    assert schema.drop_invalid_rows


def test_a_check_that_only_warns_makes_no_row_bad():
    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0, raise_warning=True))})
    with pytest.warns(pa.errors.SchemaWarning):
        result = split(pd.DataFrame({"x": [1, -1]}), schema)
    assert result.report.invalid == 0


def test_an_empty_frame_is_good():
    result = split(flights().iloc[:0], Hours)
    assert result.report.rows == 0
    assert not result.report.frame_errors
    assert result.good["hour"].dtype == "int64"


def test_an_empty_column_with_a_default_is_checked_as_pandera_fills_it():
    near = pa.Check(lambda texts: texts > texts.mean() - 50)
    schema = pa.DataFrameSchema({"y": pa.Column(object, near, default="a")})
    empty = pd.DataFrame({"y": pd.Series([], dtype=str)})
    assert schema.validate(empty, lazy=True) is not None
    assert split(empty, schema).report.frame_errors == ()


def test_a_frame_of_bad_rows_only_leaves_an_empty_good_part():
    schema = pa.DataFrameSchema(
        {"x": pa.Column(int, [pa.Check.ge(0), pa.Check(lambda s: s.mean() < 5)], coerce=True, nullable=False)}
    )
    result = split(pd.DataFrame({"x": ["a", None, "b"]}), schema)
    assert (len(result.good), len(result.bad)) == (0, 3)
    assert not result.report.frame_errors


def test_categories_time_zones_and_names_that_are_not_text_work():
    frame = pd.DataFrame(
        {
            0: pd.Categorical(["a", "b", "c"]),
            1: pd.to_datetime(["2013-01-01", None, "2013-01-03"]).tz_localize("Europe/Berlin"),
        }
    )
    schema = pa.DataFrameSchema(
        {
            0: pa.Column(pd.CategoricalDtype(["a", "b", "c"]), pa.Check.isin(["a", "b"])),
            1: pa.Column(frame[1].dtype, nullable=False),
        }
    )
    result = split(frame, schema)
    assert result.good[0].tolist() == ["a"]
    assert [row for row, _ in result.report.rows_failed] == [1, 2]
    assert result.bad[1].tolist()[1] == pd.Timestamp("2013-01-03", tz="Europe/Berlin")


@pytest.mark.filterwarnings("ignore:Constructing a Categorical")  # pandera's own coercion warns
def test_values_outside_fixed_categories_are_found():
    schema = pa.DataFrameSchema({"x": pa.Column(pd.CategoricalDtype(["a", "b"]), coerce=True)})
    result = split(pd.DataFrame({"x": ["a", "z", "b"]}), schema)
    assert result.bad["x"].tolist() == ["z"]
    assert result.good["x"].dtype == pd.CategoricalDtype(["a", "b"])


def test_a_fraction_is_not_a_nullable_integer():
    schema = pa.DataFrameSchema({"x": pa.Column("Int64", coerce=True, nullable=True)})
    result = split(pd.DataFrame({"x": [1.0, 1.5, None]}), schema)
    assert result.bad["x"].tolist() == [1.5]
    assert result.report.reasons == {("x", "not a number"): 1}


def test_values_that_only_python_reads_as_numbers_are_left_to_pandera():
    schema = pa.DataFrameSchema({"x": pa.Column(float, coerce=True)})
    result = split(pd.DataFrame({"x": ["1_000", "nope"]}, dtype=object), schema)
    assert result.good["x"].tolist() == [1000.0]


def test_dates_kept_as_objects_are_checked_value_by_value():
    schema = pa.DataFrameSchema({"x": pa.Column(pa.Date)})
    result = split(pd.DataFrame({"x": [dt.date(2013, 1, 1), "2013-01-02"]}, dtype=object), schema)
    assert result.bad["x"].tolist() == ["2013-01-02"]


def test_a_default_fills_nulls_before_the_checks():
    schema = pa.DataFrameSchema({"x": pa.Column(float, pa.Check.ge(0), default=1.0)})
    result = split(pd.DataFrame({"x": [None, -1.0, 2.0]}), schema)
    assert result.good["x"].tolist() == [1.0, 2.0]


def test_columns_outside_a_filtering_schema_are_left_out_of_the_good_part_only():
    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0))}, strict="filter")
    result = split(pd.DataFrame({"x": [1, -1], "y": [1, 2]}), schema)
    assert result.good.columns.tolist() == ["x"]
    assert result.bad.columns.tolist() == ["x", "y"]


def test_two_columns_with_one_name_are_split_by_pandera():
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"])
    result = split(frame, pa.DataFrameSchema({"x": pa.Column(int)}))
    assert result.report.invalid == 0
    assert result.good.shape == (2, 2)


def test_a_model_is_a_schema():
    class Model(pa.DataFrameModel):
        x: int = pa.Field(ge=0)

        @pa.check("x")
        def odd(cls, series):
            return series % 2 == 1

    report = split(pd.DataFrame({"x": [1, 2, -1]}), Model).report
    assert report.reasons == {("x", "odd"): 1, ("x", "greater_than_or_equal_to(0)"): 1}


def test_a_frame_of_the_other_library_is_refused_by_name():
    with pytest.raises(TypeError, match="The schema is for pandas data frames"):
        split({"hour": [1]}, Hours)


def test_anything_but_a_schema_is_refused():
    with pytest.raises(TypeError, match="a dict is n"):
        split(flights(), {"hour": int})


def test_a_split_can_be_pickled():
    result = pickle.loads(pickle.dumps(split(flights(hour=["1", "x", "3", "4"]), Hours)))
    assert result.report.rows_failed == ((1, (Reason("hour", "not a number", "x"),)),)
    assert result.report.summary() == "1 of 4 rows invalid: hour not a number ×1"


def test_the_given_frame_is_unchanged():
    frame = flights(hour=["1", "x", "3", "4"])
    before = frame.copy(deep=True)
    split(frame, Hours)
    pd.testing.assert_frame_equal(frame, before)


cells = st.sampled_from(["1", "7", "22", "-3", "1.5", "n/a", "", None, "1e3", 4, 2.5, float("nan"), True])
days = st.sampled_from(["2013-01-01", "2013-02-30", "nope", None, "2013-12-31"])
words = st.sampled_from(["a", "b", "z", None])
Loose = pa.DataFrameSchema(
    {
        "number": pa.Column(float, [pa.Check.in_range(0, 10), pa.Check(lambda s: s != 7, name="not_7")], coerce=True),
        "day": pa.Column("datetime64[ns]", pa.Check.ge(pd.Timestamp("2013-01-01")), coerce=True, nullable=True),
        "word": pa.Column(object, pa.Check.isin(["a", "b"]), nullable=True),
    },
    pa.Check(lambda f: ~((f["word"] == "b") & (f["number"] > 3)), name="no_big_b"),
)


@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    rows=st.lists(st.tuples(cells, days, words), max_size=5), labels=st.lists(st.integers(0, 2), min_size=6, max_size=6)
)
def test_good_and_bad_are_the_input_in_order_and_good_is_what_pandera_accepts_row_by_row(rows, labels):
    frame = pd.DataFrame(rows, columns=["number", "day", "word"], index=labels[: len(rows)], dtype=object)
    result = split(frame, Loose)
    bad = [row for row, _ in result.report.rows_failed]
    good = [row for row in range(len(frame)) if row not in bad]
    assert not result.report.frame_errors
    pd.testing.assert_frame_equal(result.bad, frame.iloc[bad])
    pd.testing.assert_frame_equal(result.good, Loose.validate(frame.iloc[good], lazy=True))
    assert good == [row for row in range(len(frame)) if accepted(frame.iloc[[row]], Loose)]
    assert result.report.invalid == len(bad)
    assert np.all(np.diff(bad) > 0)
