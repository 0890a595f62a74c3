"""A split of polars data agrees with pandera, for generated schemas and frames."""

import datetime as dt
import os
from decimal import Decimal

import hypothesis
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from resilient_tasks.validation.polars_rules import is_rowwise
from resilient_tasks.validation.polars_split import PolarsBackend
from resilient_tasks.validation.split import split

VALUES = {
    pl.Int64: st.integers(-3, 5),
    pl.Float64: st.sampled_from([-1.0, 0.0, 2.5, 4.0, float("nan"), float("inf")]),
    pl.String: st.sampled_from(["1", "2", "-3", "a", "1.5", ""]),
    pl.Boolean: st.booleans(),
    pl.Datetime("us", "UTC"): st.sampled_from([dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2012, 2013)]),
    pl.Categorical(): st.sampled_from(["a", "b"]),
    pl.List(pl.Int64): st.lists(st.integers(0, 2), max_size=2),
    pl.UInt8: st.sampled_from([0, 3, 255]),
    pl.Float32: st.sampled_from([-1.0, 0.5, 300.0, float("nan")]),
    pl.Decimal(10, 2): st.sampled_from([Decimal("-1.50"), Decimal(2)]),
    pl.Date: st.sampled_from([dt.date(2012, 1, 1), dt.date(2013, 1, 1)]),
    pl.Duration("ns"): st.sampled_from([dt.timedelta(0), dt.timedelta(1)]),
    pl.Enum(["b", "a"]): st.sampled_from(["a", "b"]),
}


def selects(expression, **options):
    return pa.Check(lambda data: data.lazyframe.select(expression(pl.col(data.key))), **options)


def raises(_):
    raise ZeroDivisionError("one by zero")


NUMBERS = [
    lambda: pa.Check.ge(0), lambda: pa.Check.in_range(0, 3), lambda: pa.Check.isin([1, 2, 3]), lambda: pa.Check.ne(2),
    lambda: pa.Check.lt(4, ignore_na=False), lambda: pa.Check(lambda value: value != 1, element_wise=True),
    lambda: selects(lambda c: c > c.mean()), lambda: selects(lambda c: c.mean() > 0), lambda: selects(lambda c: c <= 4),
    lambda: selects(lambda c: c.shift(1).is_null() | (c != c.shift(1))), lambda: pa.Check(lambda _: False),
    lambda: pa.Check.ge(pl.col("a").min()), lambda: selects(lambda c: (c >= pl.col("a")) | (c > 2)),
]  # fmt: skip
TEXTS = [
    lambda: pa.Check.isin(["1", "a"]), lambda: pa.Check.str_matches(r"\d"), lambda: pa.Check.str_length(1, 2),
    lambda: pa.Check.str_startswith("1", ignore_na=False),
]  # fmt: skip
FRAMES = [
    lambda: pa.Check(lambda data: data.lazyframe.select(pl.col("a").is_not_null())),
    lambda: pa.Check(lambda data: data.lazyframe.select(pl.col("a") == pl.col("a").max())),
    lambda: pa.Check(lambda data: data.lazyframe.select(pl.len() < 4)),
    lambda: pa.Check(lambda data: data.lazyframe.select(pl.all().is_not_null())),
]
NAMES = ["a", "b", "x_1"]
EXAMPLES = int(os.environ.get("EQUIVALENCE_EXAMPLES", "120"))


@st.composite
def columns(draw, kind):
    others = [pl.Int64, pl.Float64, pl.String, pl.UInt8, pl.Int8, pl.Float32, pl.Boolean, None]
    target = draw(st.sampled_from([kind, kind, kind, *others]))
    numbers = dict.fromkeys([pl.Int64, pl.Float64, pl.UInt8, pl.Int8, pl.Float32], NUMBERS)
    checks = {**numbers, pl.String: TEXTS}.get(target or kind, [])
    rules = draw(st.lists(st.sampled_from([*checks, lambda: pa.Check(raises)]), max_size=2)) if checks else []
    rules = [make() for make in rules]
    default = draw(st.sampled_from([None, None, 1])) if target in {pl.Int64, pl.Float64} else None
    return {
        "dtype": target, "checks": [rule for rule in rules if rule.name != "raises" or draw(st.integers(0, 4)) == 0],
        "nullable": draw(st.booleans()), "unique": draw(st.integers(0, 3)) == 0,
        "coerce": draw(st.booleans()), "required": draw(st.integers(0, 3)) > 0, "default": default,
    }  # fmt: skip


@st.composite
def cases(draw):
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
    kinds = {name: draw(st.sampled_from(list(VALUES))) for name in names}
    height = draw(st.integers(0, 6))
    data = {
        name: pl.Series(name, draw(st.lists(st.none() | VALUES[kind], min_size=height, max_size=height)), kind)
        for name, kind in kinds.items()
    }
    spoken = [name for name in NAMES if name in kinds or draw(st.integers(0, 9)) == 0]
    parts = {name: pa.Column(**draw(columns(kinds.get(name, pl.Int64)))) for name in spoken}
    if "x_1" in parts and draw(st.booleans()):
        del parts["x_1"]
        parts["^x_.$"] = pa.Column(regex=True, checks=[pa.Check.ge(0)] if draw(st.booleans()) else [])
    frame = pl.DataFrame(data)
    frame = frame[draw(st.lists(st.integers(0, height - 1), max_size=8))] if height and draw(st.booleans()) else frame
    options = {
        "checks": [make() for make in draw(st.lists(st.sampled_from(FRAMES), max_size=1))],
        "unique": draw(st.sampled_from([None, None, ["a", "b"]])),
        "strict": draw(st.sampled_from([False, True, "filter"])),
        "ordered": draw(st.integers(0, 3)) == 0, "coerce": draw(st.integers(0, 3)) == 0,
    }  # fmt: skip
    return frame, pa.DataFrameSchema(parts, **options)


def refused(schema, frame):
    try:
        schema.validate(frame, lazy=True)
    except (Exception, pl.exceptions.PanicException):
        return True
    return False


def looks_at_one_row(schema):
    rules = [*schema.checks, *(check for column in schema.columns.values() for check in column.checks)]
    unique = schema.unique or any(column.unique for column in schema.columns.values())
    return not unique and all(map(is_rowwise, rules))


@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(case=cases())
def test_good_and_bad_are_the_input_in_order_as_pandera_decides(case):
    frame, schema = case
    result = split(frame, schema)
    report = result.report
    if report.frame_errors:
        assert_frame_equal(result.good, frame)
        assert result.bad.height == 0
        assert refused(schema, frame)
        return
    bad = [row for row, _ in report.rows_failed]
    good = [row for row in range(frame.height) if row not in bad]
    assert_frame_equal(result.bad, frame[bad])
    if good or not frame.height:
        assert_frame_equal(result.good, schema.validate(frame[good], lazy=True))
    else:
        assert result.good.height == 0
    if bad:
        assert refused(schema, frame)
    if looks_at_one_row(schema):
        for row in bad:
            assert refused(schema, frame[sorted([*good, row])])


@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(case=cases(), data=st.data())
def test_with_row_wise_rules_the_other_rows_do_not_matter(case, data):
    frame, schema = case
    first = split(frame, schema)
    bad = {row for row, _ in first.report.rows_failed}
    good = [row for row in range(frame.height) if row not in bad]
    if not (good and looks_at_one_row(schema)) or first.report.frame_errors:
        return  # rules over the whole row are not evaluated on a frame of bad rows alone
    more = data.draw(st.lists(st.integers(0, frame.height - 1), max_size=12), "rows, shuffled and repeated")
    picked = [*more, good[0]]
    again = split(frame[picked], schema)
    assert not again.report.frame_errors
    assert [row for row, _ in again.report.rows_failed] == [at for at, row in enumerate(picked) if row in bad]
    given = split(pl.concat([frame, frame.clear(1)]), schema)  # and a row of nulls
    if not given.report.frame_errors:
        assert {row for row, _ in given.report.rows_failed} - {frame.height} == bad


@pytest.mark.parametrize("height", [0, 7])
def test_with_row_wise_rules_alone_pandera_does_not_validate_again(monkeypatch, height):
    schema = pa.DataFrameSchema(
        {"a": pa.Column(pl.Int64, pa.Check.ge(3), coerce=True), "b": pa.Column(pl.Float64, unique=True)},
        selects(lambda _: pl.col("a") > pl.col("b")),
        unique=["a", "b"],
        strict="filter",
    )
    monkeypatch.setattr(PolarsBackend, "validate", lambda *_: pytest.fail("validated again"))
    frame = pl.DataFrame({"c": [0] * 7, "b": [0.5] * 2 + [1.0, 2.0, 3.0, 4.0, 5.5], "a": [str(n) for n in range(7)]})
    result = split(frame[:height], schema)
    assert_frame_equal(result.good, schema.validate(frame[[row for row in (3, 4, 5, 6) if row < height]], lazy=True))


@pytest.mark.parametrize(
    ("expression", "by_row"),
    [
        (pl.col("a") > pl.col("b"), True),
        (~((pl.col("a") == 1) & pl.col("b").is_null()), True),
        (pl.when(pl.col("a") > 1).then(pl.col("b") > 1).otherwise(True), True),
        (pl.col("a").is_between(1, 2), True),
        (pl.all_horizontal(pl.col("a") > 1, pl.col("b") > 1), True),
        (pl.col("a") > pl.col("a").mean(), False),
        (pl.col("a") != pl.col("a").shift(1), False),
        (pl.col("a").is_duplicated(), False),
        (pl.col("a").max().over("b") > 1, False),
        (pl.col("a").map_batches(lambda s: s > s.mean()), False),
        (pl.col("a") > pl.lit(pl.Series([1, 2])), False),
        (pl.all() > 1, False),
        (pl.col("^a.*$") > 1, False),
        (pl.len() > 1, False),
        (pl.lit(True), False),
    ],
)
def test_an_expression_is_row_wise_only_if_every_part_of_it_is(expression, by_row):
    assert is_rowwise(pa.Check(lambda data: data.lazyframe.select(expression))) is by_row


def test_a_check_that_does_more_than_select_is_not_row_wise():
    assert not is_rowwise(pa.Check(lambda data: data.lazyframe.filter(pl.col("a") > 1).select(pl.col("a") > 1)))
    assert not is_rowwise(pa.Check(lambda data: data.lazyframe.collect().lazy().select(pl.col("a") > 1)))
    assert not is_rowwise(pa.Check(lambda data: data.lazyframe.select(pl.col("a")).select(pl.col("a") > 1)))
