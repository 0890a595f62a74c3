"""Rows that do not coerce: a split leaves out the fewest that make pandera accept the rest."""

import datetime as dt
import decimal
import warnings

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow  # noqa: ICN001 - pandera is pa
import pytest

from resilient_tasks.validation.pandas_engine import value_codes
from resilient_tasks.validation.split import split


def accepts(schema, frame):
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors:
        return False
    return True


def bad(values, dtype, given=object):
    """Return the rows left out; check that pandera accepts the others, and refuses them with any row left out."""
    schema = pa.DataFrameSchema({"x": pa.Column(dtype, coerce=True, nullable=True)})
    frame = pd.DataFrame({"x": pd.Series(values, dtype=given)})
    result = split(frame, schema)
    assert result.report.frame_errors == ()
    left_out = [row for row, _ in result.report.rows_failed]
    kept = [row for row in range(len(frame)) if row not in left_out]
    pd.testing.assert_frame_equal(result.good, schema.validate(frame.iloc[kept], lazy=True))
    for row in left_out:
        assert not accepts(schema, frame.iloc[sorted([*kept, row])])
    return left_out


WHOLE = ["Int64", "Int8", "UInt16", "int64[pyarrow]"]


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("null", [None, pd.NA, np.nan])
def test_a_null_is_good_beside_a_text_that_is_no_whole_number(dtype, null):
    alone = pa.DataFrameSchema({"x": pa.Column(dtype, coerce=True, nullable=True)})
    reads = accepts(alone, pd.DataFrame({"x": pd.Series(["5.0", "7"], dtype=object)}))  # pandas 2, for Arrow's types
    assert bad(["5.0", null, "7"], dtype) == ([] if reads else [0])


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "double[pyarrow]", "float64"])
def test_a_null_is_good_beside_a_text_that_is_no_number(dtype):
    assert bad(["5.0", None, "x"], dtype) == [2]


@pytest.mark.parametrize("dtype", ["boolean", "bool[pyarrow]"])
def test_a_null_is_good_beside_a_value_that_is_not_boolean(dtype):
    assert bad([True, None, "maybe"], dtype) == [2]


def test_null_texts_are_good_beside_a_text_that_is_not_a_number():
    assert bad(["5.0", None, "7"], "Int64", given="str") == [0]
    assert bad(["5.0", None, "7"], "Int64", given="string") == [0]


@pytest.mark.parametrize("dtype", ["Int64", "int64", "Float64", "float64"])
@pytest.mark.parametrize("others", [["x"], ["5.0"], ["x", "5.5"], [None, "x"], ["y", "1_0", "3"]])
def test_the_result_for_a_value_does_not_depend_on_the_others(dtype, others):
    if dtype == "int64":
        others = [other for other in others if other is not None]
    assert 0 not in bad(["1_0", *others], dtype)
    assert len(others) not in bad([*others, "1_0"], dtype)


@pytest.mark.parametrize(
    ("values", "left_out"),
    [
        ([1, 2, "3", None], [2]),
        (["1", "2", 3, None], [2]),
        (["1", "x", 3, None, "4"], [1, 2]),
        ([None, None, None, "1", "2", 3], [5]),
        ([1, 2.0, 4.5, "3"], [2, 3]),
    ],
)
def test_of_text_and_numbers_the_less_frequent_kind_is_left_out(values, left_out):
    assert bad(values, "Int64") == left_out


def test_arrow_takes_text_or_numbers_too():
    assert bad([1, 2, "3"], "int64[pyarrow]") == [2]
    assert bad(["1", "2", 3], "double[pyarrow]") == [2]


def test_the_order_of_rows_of_two_kinds_does_not_matter():
    values = ["1", 2, "3", 4, "5"]
    assert bad(values, "Int64") == [1, 3]
    assert bad(values[::-1], "Int64") == [1, 3]


def test_dates_in_another_format_are_left_out_and_nulls_are_not():
    values = ["2013-01-01", None, "13/02/2013", "2013-01-03", "nope"]
    assert bad(values, "datetime64[ns]") == [2, 4]


def test_a_user_defined_type_is_coerced_as_pandera_does_it():
    from pandera.engines import pandas_engine

    class Trimmed(pandas_engine.DataType):
        type = pd.StringDtype()

        def __init__(self):
            pass

        def try_coerce(self, data):
            return data.str.strip().astype("string")

        def coerce(self, data):
            raise AssertionError("pandera calls try_coerce")

        def check(self, pandera_dtype, data_container=None):
            return "string" in str(pandera_dtype)

    schema = pa.DataFrameSchema({"x": pa.Column(Trimmed(), pa.Check.str_length(1, 1), coerce=True)})
    assert split(pd.DataFrame({"x": [" a", "bb ", "c"]}), schema).good["x"].tolist() == ["a", "c"]


ARROW = {
    "timestamp": (arrow.timestamp("ns"), [pd.Timestamp("2013-01-01"), None, pd.Timestamp("2014-01-01")]),
    "zone": (arrow.timestamp("us", tz="UTC"), [dt.datetime(2013, 1, 1, tzinfo=dt.UTC), None, None]),
    "date": (arrow.date32(), [dt.date(2013, 1, 1), None, dt.date(2014, 1, 1)]),
    "decimal": (arrow.decimal128(5, 2), [decimal.Decimal("1.50"), None, decimal.Decimal("2.50")]),
    "list": (arrow.list_(arrow.int64()), [[1], None, [2, 3]]),
    "struct": (arrow.struct([("a", arrow.int64())]), [{"a": 1}, None, {"a": 2}]),
    "text": (arrow.string(), ["a", None, "bb"]),
    "bytes": (arrow.binary(), [b"a", None, b"bb"]),
    "codes": (arrow.dictionary(arrow.int32(), arrow.string()), ["a", None, "bb"]),
    "truth": (arrow.bool_(), [True, None, False]),
    "duration": (arrow.duration("ns"), [pd.Timedelta("1s"), None, pd.Timedelta("2s")]),
    "time": (arrow.time64("ns"), [dt.time(1), None, dt.time(2)]),
}


OTHERS = {
    "Int8": [1, None, 3],
    "Float32": [1.5, None, 2.5],
    "boolean": [True, None, False],
    "string": ["a", None, "b"],
    "string[pyarrow]": ["a", None, "b"],
    "str": ["a", None, "b"],
    "category": ["a", None, "b"],
    pd.CategoricalDtype(["b", "a"], ordered=True): ["a", None, "b"],
    "datetime64[ns]": [pd.Timestamp("2013-01-01"), None, pd.Timestamp("2014-01-01")],
    pd.DatetimeTZDtype("ns", "Europe/Berlin"): [pd.Timestamp("2013-03-31 03:00", tz="Europe/Berlin"), None, None],
    "timedelta64[ns]": [pd.Timedelta("1s"), None, pd.Timedelta("2s")],
    pd.PeriodDtype("M"): [pd.Period("2013-01", "M"), None, pd.Period("2013-02", "M")],
    pd.IntervalDtype("float64", "right"): [pd.Interval(0.0, 1.0), None, pd.Interval(1.0, 2.0)],
    pd.SparseDtype("float64"): [0.0, None, 2.0],
    "complex128": [1j, None, 2j],
}


@pytest.mark.parametrize("coerce", [False, True])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [*OTHERS.items(), *((pd.ArrowDtype(dtype), values) for dtype, values in ARROW.values())],
    ids=str,
)
def test_columns_of_every_type_are_split(dtype, values, coerce):
    first = pa.Check(lambda s: pd.Series([label != 0 for label in s.index], index=s.index), name="not_first")
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    schema = pa.DataFrameSchema({"x": pa.Column(dtype, first, coerce=coerce, nullable=False)})
    result = split(frame, schema)
    bad = [0, *np.flatnonzero(frame["x"].isna())]
    assert [row for row, _ in result.report.rows_failed] == bad
    pd.testing.assert_frame_equal(result.good, schema.validate(frame.drop(bad), lazy=True))
    pd.testing.assert_frame_equal(result.bad, frame.iloc[bad])


def test_a_null_is_not_left_out_because_another_kind_of_null_is():
    assert bad(["\u0663", "1,5", None, pd.NaT, decimal.Decimal("1.5")], "float64") == [1, 3]


def test_equal_values_of_two_types_are_coerced_separately():
    values = pd.Series([True, 1, 1.0, decimal.Decimal(1), None, pd.NaT, np.nan, 1, "a", "a"], dtype=object)
    numbers = value_codes(values).tolist()
    assert len(set(numbers)) == 8
    assert (numbers[1], numbers[8]) == (numbers[7], numbers[9])


def test_dates_beside_numbers_are_coerced_without_an_additional_warning():
    values = ["2013-01-01", 20130102, float("inf"), 1.5, "x", None]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        split(
            pd.DataFrame({"x": pd.Series(values, dtype=object)}),
            pa.DataFrameSchema({"x": pa.Column("datetime64[ns]", coerce=True, nullable=True)}),
        )
    assert [warning for warning in seen if "resilient_tasks" in warning.filename] == []
