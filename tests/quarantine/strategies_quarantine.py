"""Frames with columns of every dtype of pandas and polars, for round trips through the quarantine."""

import datetime as dt
import uuid
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "=1", "'=1", "-5", "NA", "nan", "null", "a,b", 'a "b"\nc', "\tx", "ü", "x\r", "\ufeff", " "]
    ),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
INTS = st.sampled_from([0, 1, -1, 127, 2**53 + 1, -(2**63), 2**63 - 1])
SMALL = st.integers(0, 100)
FLOATS = st.sampled_from([0.0, 1.5, -2.0, 0.1, 1e300, 5e-324, float("inf"), float("-inf")])
DAYS = st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1))
MOMENTS = st.builds(dt.datetime.combine, DAYS, st.times())
SPANS = st.timedeltas(dt.timedelta(days=-1000), dt.timedelta(days=1000))
DECIMALS = st.decimals(-(10**6), 10**6, places=2)
BYTES = st.binary(max_size=3)
NANOS = st.integers(-(2**60), 2**60)
ODD = st.sampled_from(
    [
        (1, (2,)),
        {1, 2},
        frozenset("a"),
        [1, None],
        {"a": 1, "$": 2},
        {1: "x"},
        uuid.UUID(int=3),
        1 + 2j,
        2**70,
        True,
        5,
        1.5,
        "text",
        Decimal("1.10"),
        dt.date(2013, 1, 1),
        dt.time(5),
        dt.timedelta(1),
        b"\xff",
        np.int64(3),
        np.float32(0.1),
        dt.datetime(2013, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        pd.Timestamp(1, tz="UTC"),
        pd.Timedelta(1),
        pd.Period("2013-01", "M"),
        pd.Interval(0, 1),
        float("nan"),
        pd.NA,
        pd.NaT,
        None,
        "\ud800",
        np.array([1, 2]),
    ]
)

_ARROW = [
    (pa.int8(), SMALL),
    (pa.uint64(), SMALL),
    (pa.float16(), st.sampled_from([0.5, 1.0])),
    (pa.float64(), FLOATS),
    (pa.bool_(), st.booleans()),
    (pa.string(), TEXTS),
    (pa.large_binary(), BYTES),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.decimal128(12, 2), DECIMALS),
    (pa.decimal256(50, 2), DECIMALS),
    (pa.date32(), DAYS),
    (pa.date64(), DAYS),
    (pa.timestamp("s"), MOMENTS.map(lambda moment: moment.replace(microsecond=0))),
    (pa.timestamp("us", "Europe/Berlin"), MOMENTS),
    (pa.time64("us"), st.times()),
    (pa.time32("s"), st.times().map(lambda time: time.replace(microsecond=0))),
    (pa.duration("us"), SPANS),
    (pa.list_(pa.int64()), st.lists(st.one_of(INTS, st.none()), max_size=3)),
    (pa.list_(pa.int8(), 2), st.lists(SMALL, min_size=2, max_size=2)),
    (pa.large_list(pa.string()), st.lists(TEXTS, max_size=2)),
    (
        pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]),
        st.fixed_dictionaries({"a": SMALL, "b": st.lists(TEXTS, max_size=2)}),
    ),
    (pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(TEXTS, SMALL), max_size=2)),
    (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    (pa.struct([]), st.just({})),
]

PANDAS = [
    *(
        ("int8", SMALL),
        ("uint64", SMALL),
        ("int64", INTS),
        ("bool", st.booleans()),
        ("complex128", st.sampled_from([1j, 2.5])),
    ),
    *((kind, st.one_of(FLOATS, st.just(float("nan")))) for kind in ("float32", "float64")),
    *(
        (kind, st.one_of(NANOS, st.none()))
        for kind in ("datetime64[ns]", "datetime64[us]", "timedelta64[ns]", "timedelta64[s]")
    ),
    *((kind, st.one_of(NANOS, st.none())) for kind in ("datetime64[ns, Europe/Berlin]", "datetime64[ns, UTC+02:00]")),
    *((kind, st.one_of(SMALL, st.none())) for kind in ("Int8", "Int64", "UInt16", "Float64")),
    ("boolean", st.one_of(st.booleans(), st.none())),
    *(
        (kind, st.one_of(TEXTS, st.none()))
        for kind in ("str", "category", pd.StringDtype("python"), pd.StringDtype("pyarrow"))
    ),
    (pd.CategoricalDtype([3, 1, 2], ordered=True), st.sampled_from([1, 2, None])),
    (pd.CategoricalDtype(pd.interval_range(0, 3)), st.sampled_from([pd.Interval(0, 1), pd.Interval(2, 3), None])),
    ("period[M]", st.one_of(st.sampled_from(["2013-01", "1999-12"]), st.none())),
    (pd.IntervalDtype("int64", "left"), st.just(pd.Interval(0, 1, "left"))),
    ("Sparse[int64]", SMALL),
    (pd.SparseDtype("float64", 1.5), FLOATS),
    *(
        (object, st.one_of(values, st.none()))
        for values in (TEXTS, INTS, DECIMALS, DAYS, MOMENTS, SPANS, st.times(), BYTES, ODD)
    ),
    *((object, st.one_of(values, st.just(float("nan")))) for values in (TEXTS, st.booleans())),
    (object, st.one_of(TEXTS, st.just(pd.NA))),
    *((pd.ArrowDtype(kind), st.one_of(values, st.none())) for kind, values in _ARROW),
]

POLARS = [
    (pl.Int8, SMALL),
    (pl.UInt64, SMALL),
    (pl.Int64, INTS),
    (pl.Int128, st.sampled_from([2**100, 0])),
    (pl.Float32, st.sampled_from([0.5, -1.5, float("inf")])),
    (pl.Float64, st.one_of(FLOATS, st.just(float("nan")))),
    (pl.Boolean, st.booleans()),
    (pl.String, TEXTS),
    (pl.Binary, BYTES),
    (pl.Decimal(12, 2), DECIMALS),
    (pl.Date, DAYS),
    (pl.Time, st.times()),
    (pl.Categorical, TEXTS),
    (pl.Enum(["b", "a"]), st.sampled_from(["a", "b"])),
    *((pl.Datetime(unit), MOMENTS) for unit in ("ms", "us", "ns")),
    (pl.Datetime("ns", "Europe/Berlin"), NANOS),
    *((pl.Duration(unit), SPANS) for unit in ("ms", "us", "ns")),
    (pl.Null, st.none()),
    (pl.List(pl.Int16), st.lists(st.one_of(SMALL, st.none()), max_size=3)),
    (pl.List(pl.Enum(["a"])), st.lists(st.just("a"), max_size=2)),
    (pl.Array(pl.Int8, 2), st.lists(SMALL, min_size=2, max_size=2)),
    (pl.Struct([]), st.just({})),
    (pl.Object, ODD),
    (
        pl.Struct({"a": pl.Int8, "b": pl.List(pl.String)}),
        st.fixed_dictionaries({"a": SMALL, "b": st.lists(TEXTS, max_size=2)}),
    ),
]

LABELS = ["x", "y", "y", "", 3, None, ("a", 1), "$", "value", "record", "__quarantine_row", "__quarantine__row", "=x"]
LEVELS = [("int64", INTS), ("str", TEXTS), ("datetime64[ns]", NANOS)]
NAMES = ["x", "y", "", "$", "value", "record", "__quarantine_row", "__quarantine__row", "=x", "index"]


def _of(dtype, cells):
    if isinstance(dtype, str) and "64[" in dtype and "Sparse" not in dtype:
        whole = np.array([np.iinfo("int64").min if cell is None else cell for cell in cells], dtype="int64")
        kind, zone = ("m8", None) if dtype.startswith("timedelta") else ("M8", dtype.partition(", ")[2].rstrip("]"))
        series = pd.Series(whole.view(f"{kind}[{'s' if '[s]' in dtype else 'us' if '[us]' in dtype else 'ns'}]"))
        return series.dt.tz_localize("UTC").astype(dtype) if zone else series
    if dtype is object:
        items = np.empty(len(cells), dtype=object)
        for at, cell in enumerate(cells):
            items[at] = cell
        return pd.Series(items, dtype=object)
    return pd.Series(cells, dtype=dtype)


@st.composite
def pandas_frames(draw):
    """Draw a pandas frame; rows are bad by the column `bad`."""
    rows, number = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    drawn = [draw(st.sampled_from(PANDAS)) for _ in range(number)]
    columns = [_of(dtype, draw(st.lists(cells, min_size=rows, max_size=rows))) for dtype, cells in drawn]
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=number, max_size=number))
    frame = pd.concat(columns, axis=1)
    frame.columns = pd.Index(labels, dtype=object, tupleize_cols=False)
    index = draw(st.sampled_from(["range", "drawn", "levels"]))
    if index != "range":
        levels = [
            _of(kind, draw(st.lists(cells, min_size=rows, max_size=rows)))
            for kind, cells in (("int64", INTS), ("str", TEXTS), ("datetime64[ns]", NANOS))
        ]
        names = draw(st.lists(st.sampled_from([None, "x", 7, "__quarantine_row"]), min_size=3, max_size=3))
        one = draw(st.integers(0, 2))
        frame.index = (
            pd.MultiIndex.from_arrays(levels, names=names)
            if index == "levels"
            else pd.Index(levels[one], name=names[0])
        )
    return frame


@st.composite
def polars_frames(draw):
    """Draw a polars frame."""
    rows = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    columns = {}
    for name in names:
        dtype, cells = draw(st.sampled_from(POLARS))
        values = draw(st.lists(st.one_of(cells, st.none()), min_size=rows, max_size=rows))
        columns[name] = pl.Series(name, values, dtype=dtype)
    return pl.DataFrame(columns)
