"""Warn-only rules are counted by rule, and drop no row."""

import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks.validation.split import split

pytestmark = pytest.mark.filterwarnings("ignore::pandera.errors.SchemaWarning")

FRAME = pd.DataFrame({"x": [1, 20, -3, 40], "g": ["a", "b", "a", "b"]}, index=[5, 6, 7, 8])
WARNS = {"raise_warning": True}
AT_LEAST_10 = pa.Check.ge(10, name="at_least_10", error="at_least_10", **WARNS)


def of(*checks, whole=None, index=None, **rules):
    return pa.DataFrameSchema({"x": pa.Column(int, [pa.Check.ge(0), *checks], **rules)}, whole, index=index)


@pytest.mark.parametrize(
    ("schema", "warned"),
    [
        (of(AT_LEAST_10), {("x", "at_least_10"): 2}),
        (of(pa.Check(lambda s: s < 30, name="low", **WARNS)), {("x", "low"): 1}),
        (of(pa.Check(lambda v: v < 30, name="low", element_wise=True, **WARNS)), {("x", "low"): 1}),
        (of(whole=pa.Check(lambda f: f["x"] < 30, name="low", **WARNS)), {("*", "low"): 1}),
        (of(pa.Check(lambda s: s.sum() > 99, name="much", **WARNS)), {("x", "much"): 0}),
        (of(index=pa.Index(int, pa.Check.ge(8, error="late", **WARNS))), {("None", "late"): 3}),
        (of(pa.Check.ge(0, **WARNS), coerce=True), {("x", "greater_than_or_equal_to(0)"): 1}),
        (of(pa.Check.ge(-9, **WARNS)), {}),
    ],
)
def test_a_warn_only_rule_is_counted_and_its_rows_are_kept(schema, warned):
    result = split(FRAME, schema)
    assert result.report.warned == warned
    assert result.good["x"].tolist() == [1, 20, 40]
    assert result.report.reasons == {("x", "greater_than_or_equal_to(0)"): 1}


@pytest.mark.parametrize(
    ("schema", "warned"),
    [
        (of(AT_LEAST_10, parsers=pa.Parser(lambda s: s + 0)), {("x", "at_least_10"): 1}),
        (of(AT_LEAST_10, default=3), {("x", "at_least_10"): 2}),
        (
            of(pa.Check(lambda by: by["a"].sum() > 99, groupby=lambda f: f.groupby("g"), name="much", **WARNS)),
            {("x", "much"): 0},
        ),
    ],
)
def test_warnings_are_counted_too_where_only_pandera_decides(schema, warned):
    result = split(FRAME, schema)
    assert result.report.warned == warned
    assert result.good["x"].tolist() == [1, 20, 40]


def test_the_values_of_warnings_are_as_read():
    report = split(FRAME.astype({"x": str}), of(AT_LEAST_10, coerce=True)).report
    (warning,) = report.warnings
    assert warning.positions.tolist() == [0, 2]
    assert list(warning.values) == ["1", "-3"]


def test_the_schema_still_warns_the_next_time():
    schema = of(AT_LEAST_10, parsers=pa.Parser(lambda s: s + 0))
    assert split(FRAME, schema).report.warned == split(FRAME, schema).report.warned
    assert schema.columns["x"].checks[1].raise_warning


def test_python_is_warned_as_pandera_warns_it():
    with pytest.warns(pa.errors.SchemaWarning, match="column 'x': at_least_10 failed: 2 rows"):
        split(FRAME, of(AT_LEAST_10))


def test_a_warn_only_rule_that_raises_is_a_failure_as_in_pandera():
    (error,) = split(FRAME, of(pa.Check(lambda s: s.nonsense, **WARNS))).report.frame_errors
    assert "raised AttributeError" in error


def test_the_summary_lists_the_warnings():
    summary = split(FRAME, of(AT_LEAST_10)).report.summary()
    assert summary == "1 of 4 rows invalid: x greater_than_or_equal_to(0) ×1; warned: x at_least_10 ×2"
