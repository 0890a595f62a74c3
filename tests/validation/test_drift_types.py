"""The same values in another type are no drift: they are compared in a common type."""

import datetime as dt
from decimal import Decimal

import pandas as pd
import pandera.pandas as pp
import polars as pl
import pyarrow as pa
import pytest

from resilient_tasks import Drift
from resilient_tasks.validation.profile import Profile, profile

SCHEMA = pp.DataFrameSchema({})
ROWS = 1_500
RATES = [(0.1, 0.2, 0.7)[n % 3] for n in range(ROWS)]
WHOLE = [n % 4 for n in range(ROWS)]
HUGE = [2**60 + n % 2 for n in range(ROWS)]
FLAGS = [n % 3 == 0 for n in range(ROWS)]
NAMES = ["ab"[n % 2] for n in range(ROWS)]
MOMENTS = [dt.datetime(2013, 1, 1 + n % 3, 5, 30, 15, 123_456 * (n % 3)) for n in range(ROWS)]  # noqa: DTZ001
DAYS = [dt.date(2013, 1, 1 + n % 3) for n in range(ROWS)]
CLOCK = [dt.time(5 + n % 3, 30) for n in range(ROWS)]


def pandas(values, kind=None):
    return pd.DataFrame({"x": pd.Series(values, dtype=kind)})


def polars(values, kind=None):
    return pl.DataFrame({"x": pl.Series(values).cast(kind) if kind else pl.Series(values)})


def table(values):
    return pa.table({"x": values})


STORED = {
    "rates": [
        pandas(RATES), pandas(RATES, "float32"), pandas(RATES, "Float32"), pandas(RATES, "float[pyarrow]"),
        pandas(RATES, "float32").astype("float64"), pandas(RATES, "float16"),
        pandas([Decimal(str(rate)) for rate in RATES]), pandas(RATES, "category"),
        pandas([Decimal(str(rate)) for rate in RATES], pd.ArrowDtype(pa.decimal128(10, 3))),
        pandas(RATES, "object"), pl.DataFrame({"x": pl.Series(RATES, dtype=pl.Object)}),
        polars(RATES), polars(RATES, pl.Float32), polars(RATES, pl.Decimal(10, 3)),
        polars(RATES, pl.Float32).cast(pl.Float64), polars(RATES).lazy(),
        table(pa.array(RATES, pa.float32())),
        table(RATES),
    ],
    "whole": [
        pandas(WHOLE), pandas(WHOLE, "int8"), pandas(WHOLE, "UInt16"), pandas(WHOLE, "float64"),
        pandas(WHOLE, "object"),
        pandas(WHOLE, "int64[pyarrow]"), pandas(WHOLE, "category"), polars(WHOLE), polars(WHOLE, pl.UInt8),
        polars(WHOLE, pl.Float32), polars(WHOLE, pl.Int128), table(pa.array(WHOLE, pa.int8())),
    ],
    "large": [
        pandas([16_777_217 + value for value in WHOLE]), pandas([16_777_217 + value for value in WHOLE], "float32"),
        polars([16_777_217 + value for value in WHOLE], pl.Float32),
    ],
    "huge": [
        pandas(HUGE), pandas(HUGE, "uint64"), pandas(HUGE, "object"), pandas(HUGE, "Int64"),
        pandas(HUGE, "float64"), pandas(HUGE, "float32"), pandas([Decimal(value) for value in HUGE]),
        polars(HUGE), polars(HUGE, pl.UInt64), polars(HUGE, pl.Int128), polars(HUGE, pl.Decimal(30, 2)),
        table(HUGE), table(pa.array(HUGE).dictionary_encode()),
    ],
    "flags": [
        pandas(FLAGS), pandas(FLAGS, "boolean"), pandas(FLAGS, "object"), pandas(FLAGS, "bool[pyarrow]"),
        pandas(FLAGS, "int8"), pandas(FLAGS, "float64"), pandas(FLAGS, "category"), polars(FLAGS),
        polars(FLAGS, pl.UInt8), table(FLAGS),
    ],
    "names": [
        pandas(NAMES), pandas(NAMES, "object"), pandas(NAMES, "category"), pandas(NAMES, "string[pyarrow]"),
        pandas(NAMES, pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
        polars(NAMES), polars(NAMES, pl.Categorical()), polars(NAMES, pl.Enum(["b", "a"])),
        table(pa.array(NAMES).dictionary_encode()), table(pa.array(NAMES, pa.large_string())),
        table(pa.array(NAMES, pa.string_view())),
    ],
    "moments": [
        pandas(MOMENTS, "datetime64[us]"), pandas(MOMENTS, "datetime64[ns]"), pandas(MOMENTS, "datetime64[ms]"),
        pandas(MOMENTS, "datetime64[s]"), pandas(MOMENTS, "timestamp[ms][pyarrow]"), pandas(MOMENTS, "object"),
        pandas(pd.Series(MOMENTS).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        pandas(MOMENTS, "category"), polars(MOMENTS), polars(MOMENTS, pl.Datetime("ms")),
        polars(MOMENTS, pl.Datetime("ns")),
        table(pa.array(MOMENTS, pa.timestamp("us", "UTC"))),
    ],
    "days": [
        pandas(DAYS), pandas(DAYS, "date32[pyarrow]"), pandas(DAYS, "datetime64[s]"), polars(DAYS),
        polars(DAYS, pl.Datetime("us")), pandas(pd.PeriodIndex(DAYS, freq="D")), table(DAYS),
    ],
    "clock": [pandas(CLOCK), pandas(CLOCK, "time64[us][pyarrow]"), polars(CLOCK), table(CLOCK)],
    "waits": [
        pandas([dt.timedelta(seconds=value) for value in WHOLE]),
        pandas([dt.timedelta(seconds=value) for value in WHOLE], "duration[ms][pyarrow]"),
        pandas([dt.timedelta(seconds=value) for value in WHOLE], "object"),
        polars([dt.timedelta(seconds=value) for value in WHOLE]),
    ],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("values", STORED)
def test_the_same_values_in_another_type_have_not_drifted(values):
    for then in STORED[values]:
        baseline = profile(then, SCHEMA)
        for now in STORED[values]:
            (column,) = Drift(baseline).judge(now).columns
            assert column.verdict in {"stable", "shifted"}, column.sentence
            assert column.psi < 0.01, column.sentence
            assert (column.ks or 0) < 0.01, column.sentence


@pytest.mark.parametrize("kind", ["float64", "float32", "Float32"])
def test_another_distribution_in_another_type_has_drifted(kind):
    now = pandas([(0.1, 0.2, 0.7)[min(n % 5, 2)] for n in range(ROWS)], kind)
    (column,) = Drift(profile(pandas(RATES), SCHEMA)).judge(now).columns
    assert column.verdict == "drifted"


@pytest.mark.parametrize(
    ("then", "now"),
    [(123_456_789, 123_456_790), (1.0, 1.001), (2**40, 2**40 + 4_000), (2**53, 2**53 + 1), (2**60, 2**60 + 1)],
)
def test_a_constant_that_changes_by_little_has_drifted(then, now):
    (column,) = Drift(profile(pandas([then] * ROWS), SCHEMA)).judge(pandas([now] * ROWS)).columns
    assert column.verdict == "drifted"


@pytest.mark.parametrize("kind", [None, "Int64", "uint64", "object", "int64[pyarrow]", "category"])
@pytest.mark.parametrize("make", [lambda values: pandas(values, "int64"), polars, table])
def test_integers_beyond_floats_are_compared_exactly_in_any_type(make, kind, tmp_path):
    then = [2**60 + n % 2 for n in range(ROWS)]
    now = [2**60 + (n % 4 > 0) for n in range(ROWS)]
    profile(pandas(then, kind), SCHEMA).save(tmp_path / "baseline.json")
    gate = Drift(Profile.load(tmp_path / "baseline.json"))
    assert gate.judge(make(then)).columns[0].psi == 0
    assert gate.judge(make(now)).columns[0].verdict == "drifted"


def test_the_bounds_of_64_bits_are_compared_exactly():
    (column,) = Drift(profile(polars([2**64 - 1] * ROWS), SCHEMA)).judge(polars([2**64 - 2] * ROWS)).columns
    assert column.verdict == "drifted"


@pytest.mark.parametrize("then", [pa.list_view(pa.int64()), pa.month_day_nano_interval()], ids=str)
def test_a_type_that_pandas_does_not_support_is_profiled_for_nulls_alone(then):
    values = [[1]] * ROWS if then == pa.list_view(pa.int64()) else [(1, 2, 3)] * ROWS
    baseline = profile(table(pa.array(values, then)), SCHEMA)
    assert baseline.columns["x"].kind == "other"
    assert Drift(baseline).judge(table(pa.array([None] * ROWS, then))).columns[0].verdict == "drifted"


@pytest.mark.parametrize("now", [pandas([None] * ROWS), polars([None] * ROWS, pl.Null), table([None] * ROWS)])
def test_a_column_that_lost_all_its_values_has_drifted_in_any_type(now):
    for then in (RATES, FLAGS, NAMES, MOMENTS):
        (column,) = Drift(profile(pandas(then), SCHEMA)).judge(now).columns
        assert column.verdict == "drifted", column.sentence
        assert "missing 0.0% → 100.0%" in column.sentence


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (pandas(WHOLE), pandas([str(value) for value in WHOLE])),
        (pandas(FLAGS), pandas([str(value) for value in FLAGS])),
        (polars(NAMES), polars(WHOLE)),
        (pandas(RATES), polars(MOMENTS)),
    ],
)
def test_text_of_a_value_is_another_type(then, now):
    assert Drift(profile(then, SCHEMA)).judge(now).columns[0].verdict == "retyped"
    assert Drift(profile(now, SCHEMA)).judge(then).columns[0].verdict == "retyped"
