"""Pandas frames and schemas for Hypothesis, drawn independently, so that they fit only sometimes."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow  # noqa: ICN001 - pandera is pa
from hypothesis import strategies as st

NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 7, 100])
FLOATS = st.sampled_from([0.0, 1.5, 2.0, -3.0, 100.0, float("nan"), float("inf")])
TEXTS = st.sampled_from(["a", "b", "zz", "", None])
DIRTY = st.sampled_from(["1", "2.5", "n/a", "", None, 3, 4.5, True, float("nan"), "2013-01-01", (1,)])
TEXT_NUMBERS = st.sampled_from(["1", "5.0", "1_0", " 7 ", "x", "300", "-1", None])
TRUTHS = st.sampled_from([True, False, None])
AMOUNTS = st.sampled_from([Decimal("1.50"), Decimal("2.25"), Decimal(7), None])
DATES = st.sampled_from([dt.date(2013, 1, 1), dt.date(2014, 6, 1), None])
DAYS = st.sampled_from(["2013-01-01", "2013-01-02", "13/02/2013", "02/03/2013", "2013-02-30", "nope", "NaT", None])
MOMENTS = st.sampled_from([pd.Timestamp("2013-01-01"), pd.Timestamp("2014-06-01"), None])


AMOUNT, DATE = pd.ArrowDtype(arrow.decimal128(5, 2)), pd.ArrowDtype(arrow.date32())
CELLS = [
    ("numbers", "int64", NUMBERS),
    ("numbers", "Int64", st.one_of(NUMBERS, st.none())),
    ("numbers", "int64[pyarrow]", st.one_of(NUMBERS, st.none())),
    ("numbers", "float64", FLOATS),
    ("numbers", "Float64", st.one_of(NUMBERS, st.none())),
    ("numbers", "double[pyarrow]", st.one_of(NUMBERS, st.none())),
    ("numbers", "bool", st.booleans()),
    ("truths", "boolean", TRUTHS),
    ("truths", "bool[pyarrow]", TRUTHS),
    ("truths", "object", TRUTHS),
    ("text numbers", "object", TEXT_NUMBERS),
    ("text numbers", "str", TEXT_NUMBERS),
    ("text numbers", "string[pyarrow]", TEXT_NUMBERS),
    ("amounts", "object", AMOUNTS),
    ("amounts", AMOUNT, AMOUNTS),
    ("dates", "object", DATES),
    ("dates", DATE, DATES),
    ("texts", "str", TEXTS),
    ("texts", "string", TEXTS),
    ("texts", pd.ArrowDtype(arrow.string()), TEXTS),
    ("texts", "object", TEXTS),
    ("texts", "category", TEXTS),
    ("texts", "object", st.one_of(TEXTS, NUMBERS)),
    ("dirty", "object", DIRTY),
    ("days", "str", DAYS),
    ("days", "object", DAYS),
    ("moments", "datetime64[ns]", MOMENTS),
    ("moments", "datetime64[ns, Europe/Berlin]", MOMENTS),
]

TYPES = {
    "numbers": [
        "int64", "float64", "Int64", "int8", "str", "bool", "category", "int64[pyarrow]", "UInt8", "Float64", "boolean",
        "double[pyarrow]", "string",
    ],
    "truths": ["boolean", "bool", "Int64", "object", "bool[pyarrow]", "string"],
    "text numbers": ["Int64", "Int8", "int64", "Float64", "float64", "int64[pyarrow]", "double[pyarrow]", "boolean"],
    "amounts": [pa.Decimal(5, 2), AMOUNT, "float64", "Float64", "string", object],
    "dates": [pa.Date, DATE, "datetime64[ns]", "string", object],
    "texts": [str, object, "category", pd.CategoricalDtype(["a", "b"]), np.str_],
    "dirty": [
        "int64", "float64", "Int64", "str", "datetime64[ns]", "bool", object, "Float64", "UInt8", "boolean", "string",
        "int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]",
    ],
    "days": ["datetime64[ns]", pd.DatetimeTZDtype("ns", "Europe/Berlin"), pa.Date, str],
    "moments": ["datetime64[ns]", pd.DatetimeTZDtype("ns", "Europe/Berlin"), str],
}  # fmt: skip
SEVERAL = [
    lambda: pa.Check(lambda s: (s != s.shift()).fillna(value=True), name="changing", ignore_na=False),
    lambda: pa.Check(lambda s: s != s.iloc[0] if len(s) else s.astype(bool), name="not_the_first"),
    lambda: pa.Check(lambda s: len(s) < 6, name="few"),
    lambda: pa.Check(lambda s: s.notna().all(), name="whole"),
    lambda: pa.Check(lambda s: s.duplicated(keep=False) | s.isna(), name="in_company", ignore_na=False),
    lambda: pa.Check(lambda v: v is not None and v == v, element_wise=True, ignore_na=False),  # noqa: PLR0124
    lambda: pa.Check(lambda s: s.str.len() > 0, name="long"),
    lambda: pa.Check(lambda by: all(len(group) < 4 for group in by.values()), groupby="k", name="small_groups"),
    lambda: pa.Check(lambda s: s > s.mean() - 50, name="near_the_mean"),
    lambda: pa.Check.ne(1, raise_warning=True),
]
CHECKS = {
    "numbers": [
        lambda: pa.Check.ge(0),
        lambda: pa.Check.in_range(0, 3),
        lambda: pa.Check.isin([0, 1, 2, 3]),
        lambda: pa.Check.ge(0, ignore_na=False),
    ],
    "texts": [
        lambda: pa.Check.isin(["a", "b"]),
        lambda: pa.Check.notin(["zz"]),
        lambda: pa.Check.str_matches("[a-z]"),
        lambda: pa.Check.str_length(1, 1),
        lambda: pa.Check.ne("b"),
    ],
    "dirty": [lambda: pa.Check.ne("n/a"), lambda: pa.Check.le(3)],
    "truths": [lambda: pa.Check.eq(value=True), lambda: pa.Check(lambda s: s, name="itself", ignore_na=False)],
    "text numbers": [lambda: pa.Check.ne(5), lambda: pa.Check.ge(0), lambda: pa.Check.ne("x")],
    "amounts": [lambda: pa.Check.ge(Decimal(2)), lambda: pa.Check.isin([Decimal("1.50"), Decimal(7)])],
    "dates": [lambda: pa.Check.ge(dt.date(2014, 1, 1)), lambda: pa.Check.ne(dt.date(2013, 1, 1))],
    "days": [lambda: pa.Check.ge(pd.Timestamp("2013-01-02")), lambda: pa.Check.str_startswith("2013")],
    "moments": [lambda: pa.Check.ge(pd.Timestamp("2013-06-01")), lambda: pa.Check.ne(pd.Timestamp("2013-01-01"))],
}
WHOLE = [
    lambda: pa.Check(lambda f: f.notna(), name="cells"),
    lambda: pa.Check(lambda f: f.notna(), name="cells_and_nulls", ignore_na=False),
    lambda: pa.Check(lambda f: f.iloc[:, 0].notna(), name="first_column", ignore_na=False),
    lambda: pa.Check(lambda f: len(f) < 7, name="short"),
    lambda: pa.Check(lambda row: row.notna().any(), element_wise=True, name="by_row"),
    lambda: pa.Check(lambda f: ~f.iloc[:, 0].duplicated(), name="news", ignore_na=False),
    lambda: pa.Check(lambda f: f.iloc[:, 0] == f.iloc[:, 0], name="null_or_true"),
    lambda: pa.Check(lambda f: f.iloc[:, 0] != f.iloc[0, 0], name="not_the_first_row", ignore_na=False),
    lambda: pa.Check(lambda f: f["absent"] > 0, name="raises"),
]


def _series(values, dtype):
    if "Berlin" in str(dtype):
        return pd.Series(pd.to_datetime(values)).dt.tz_localize("Europe/Berlin").astype(dtype)
    return pd.Series(values, dtype=dtype)


@st.composite
def _column(draw, rows, calm):
    kind, dtype, values = draw(st.sampled_from(CELLS))
    cells = draw(st.lists(values, min_size=rows, max_size=rows))
    wanted = draw(st.sampled_from([dtype, None] if calm else [dtype, dtype, None, *TYPES[kind]]))
    some = draw(st.lists(st.sampled_from([*CHECKS[kind], *CHECKS[kind], *SEVERAL]), max_size=2))
    default = draw(st.sampled_from([None, None, None, 1 if kind == "numbers" else "a"])) if not calm else None
    rules = {
        "nullable": draw(st.booleans()),
        "unique": draw(st.sampled_from([False, False, False, True])),
        "coerce": draw(st.booleans()),
        "required": draw(st.sampled_from([True, True, True, False])),
        "report_duplicates": draw(st.sampled_from(["all", "exclude_first", "exclude_last"])),
        "default": default,
    }
    return _series(cells, dtype), wanted, [make() for make in some], rules


@st.composite
def _index(draw, rows):
    kind = draw(st.sampled_from(["range", "range", "labels", "texts", "levels", "Int64", "int64[pyarrow]", "float64"]))
    labels = draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows))
    if kind == "levels":
        return pd.MultiIndex.from_arrays(
            [pd.Timestamp("2013-01-01") + pd.to_timedelta(labels, unit="D"), list(range(rows))], names=["day", "n"]
        )
    name = draw(st.sampled_from([None, "row"]))
    if kind in {"Int64", "int64[pyarrow]", "float64"}:  # with nulls
        return pd.Index(pd.array([label or None for label in labels], dtype=kind), name=name)
    index = {"range": range(rows), "labels": labels, "texts": [f"row {label}" for label in labels]}[kind]
    return pd.Index(index, name=name)


@st.composite
def _index_schema(draw, index):
    if draw(st.integers(0, 3)):
        return None
    unique, coerce = draw(st.booleans()), draw(st.booleans())
    if index.nlevels > 1 and draw(st.integers(0, 5)):
        levels = [pa.Index("datetime64[ns]", coerce=coerce, name="day"), pa.Index(int, pa.Check.ge(1), name="n")]
        return pa.MultiIndex(levels, unique=unique or None)
    checks = [pa.Check.ge(1)] if draw(st.booleans()) else []
    wanted = draw(st.sampled_from([None, None, "Int64", "float64", "string"]))
    return pa.Index(wanted, checks, unique=unique, coerce=coerce, nullable=draw(st.booleans()))


def _disturbed(draw, frame):
    """Return the frame with shuffled and repeated rows, and with nulls."""
    rows = draw(st.lists(st.integers(0, len(frame) - 1), max_size=len(frame) + 3)) if len(frame) else []
    frame = frame.iloc[rows] if draw(st.booleans()) else frame
    holes = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3)) if len(frame) else []
    for row, column in holes:
        at = column % frame.shape[1]
        series = frame.iloc[:, at].copy()
        if series.dtype.kind not in "iub" or pd.api.types.is_extension_array_dtype(series.dtype):
            series.iloc[row % len(frame)] = None
            frame = pd.concat([frame.iloc[:, :at], series, frame.iloc[:, at + 1 :]], axis=1)
    return frame


@st.composite
def frames_and_schemas(draw):
    """Draw a frame and a schema, which sometimes disagree on more than rows."""
    calm = draw(st.booleans())  # a schema that fits the frame except for some rows
    rows = draw(st.integers(3 if calm else 0, 7))
    names = draw(st.lists(st.sampled_from(["x_1", "x_2", "y", 3, ("p", 1)]), min_size=1, max_size=3, unique=True))
    drawn = {name: draw(_column(rows, calm)) for name in names}
    frame = pd.concat([series.rename(None) for series, *_ in drawn.values()], axis=1).set_axis(
        pd.Index(names, dtype=object, tupleize_cols=False), axis=1
    )
    frame["k"] = pd.Series(["u", "v"] * rows, dtype="str")[:rows]
    frame = _disturbed(draw, frame)
    frame.index = draw(_index(len(frame)))
    columns = {name: pa.Column(wanted, checks, **rules) for name, (_, wanted, checks, rules) in drawn.items()}
    columns["k"] = pa.Column(str)
    if not draw(st.integers(0, 6)):
        columns["x_."] = pa.Column(None, pa.Check(lambda s: s.notna(), ignore_na=False), regex=True, required=False)
    if not draw(st.integers(0, 12)):
        columns["missing"] = pa.Column(int, required=draw(st.booleans()))
    if not draw(st.integers(0, 12)):
        frame = frame.rename(columns={"x_1": "y"})  # sometimes two columns with one name
    if calm:
        return frame, pa.DataFrameSchema(
            columns, [make() for make in draw(st.lists(st.sampled_from(WHOLE[:-1]), max_size=1))]
        )
    texts = [name for name in names if isinstance(name, str)]
    schema = pa.DataFrameSchema(
        columns,
        [make() for make in draw(st.lists(st.sampled_from(WHOLE[:-1] * 3 + WHOLE[-1:]), max_size=1))],
        index=draw(_index_schema(frame.index)),
        coerce=draw(st.sampled_from([False, False, True])),
        strict=draw(st.sampled_from([False, False, False, False, "filter", True])),
        ordered=draw(st.sampled_from([False, False, False, True])),
        unique=draw(st.sampled_from([None, None, None, texts or None])),
        add_missing_columns=draw(st.sampled_from([False, False, False, True])),
    )
    return frame, schema
