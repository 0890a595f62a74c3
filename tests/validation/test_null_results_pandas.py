"""Results of checks on nulls in nullable columns: a null passes, and only the wrong row is bad."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow  # noqa: ICN001 - pandera is pa
import pytest

from resilient_tasks.validation.split import split

PANDAS_2 = pd.__version__.startswith("2.")
NULLABLE = ["Int64", "UInt8", "Float64", "int64[pyarrow]", "double[pyarrow]"]
CHECKS = {
    "frame": lambda **options: {"checks": pa.Check(lambda f: f["a"] > 0, name="positive", **options)},
    "two columns": lambda **options: {"checks": pa.Check(lambda f: f["a"] > f["b"] - 3, name="above", **options)},
    "cells": lambda **options: {"checks": pa.Check(lambda f: f > 0, name="cells", **options)},
    "column": lambda **options: {"of": pa.Check(lambda s: s > 0, name="positive", **options)},
    "built in": lambda **options: {"of": pa.Check.gt(0, **options)},
    "value": lambda **options: {"of": pa.Check(lambda v: v > 0, name="positive", element_wise=True, **options)},
}


def schema(dtype, checks=None, of=None):
    return pa.DataFrameSchema({"a": pa.Column(dtype, of, nullable=True), "b": pa.Column(int)}, checks)


@pytest.mark.parametrize("ignore_na", [True, False])
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("dtype", NULLABLE)
def test_beside_a_null_the_wrong_row_alone_is_bad(dtype, check, ignore_na):
    low = 0 if dtype == "UInt8" else -3
    frame = pd.DataFrame({"a": pd.array([7, None, low], dtype=dtype), "b": [1, 2, 3]})
    result = split(frame, schema(dtype, **CHECKS[check](ignore_na=ignore_na)))
    if PANDAS_2 and check == "cells" and "pyarrow" in dtype:  # pandera raises the same error
        assert all("Unsupported cast" in error for error in result.report.frame_errors)
        return
    assert result.report.frame_errors == ()
    # Pandas 2 gives the function a NaN for a null, which is above nothing.
    as_nan = PANDAS_2 and check == "value" and not ignore_na
    assert [row for row, _ in result.report.rows_failed] == ([1, 2] if as_nan else [2])


@pytest.mark.parametrize("dtype", ["boolean", "bool[pyarrow]"])
def test_a_boolean_column_may_be_its_own_result(dtype):
    frame = pd.DataFrame({"a": pd.array([True, None, False], dtype=dtype), "b": [1, 2, 3]})
    for rules in ({"checks": pa.Check(lambda f: f["a"])}, {"of": pa.Check(lambda s: s, ignore_na=False)}):
        assert split(frame, schema(dtype, **rules)).bad["b"].tolist() == [3]


@pytest.mark.parametrize("dtype", ["string", "string[pyarrow]"])
def test_so_is_text_too_long_beside_a_null(dtype):
    frame = pd.DataFrame({"a": pd.array(["x", None, "yy"], dtype=dtype), "b": [1, 2, 3]})
    check = pa.Check(lambda f: f["a"].str.len() < 2, name="short")
    assert split(frame, schema(dtype, check)).bad["b"].tolist() == [3]


@pytest.mark.parametrize("null", [None, pd.NA, np.nan])
def test_a_result_of_objects_may_hold_nulls(null):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1, 2, 3]})
    check = pa.Check(lambda s: pd.Series([True, null, False], index=s.index, dtype=object)[: len(s)])
    later = pa.Check(lambda s: check._check_fn(s) if len(s) == 3 else s > 0)
    result = split(frame, schema(int, of=later))
    assert result.report.frame_errors == ()
    assert result.bad["b"].tolist() == [3]


def test_pandera_decides_on_nulls_alone():
    amounts = pd.array([Decimal("1.50"), None], dtype=pd.ArrowDtype(arrow.decimal128(5, 2)))
    own = pa.Check(lambda v: v == v, element_wise=True, ignore_na=False, name="itself")  # noqa: PLR0124
    rules = pa.DataFrameSchema({"a": pa.Column(amounts.dtype, [pa.Check.ge(2), own], nullable=True)})
    frame = pd.DataFrame({"a": amounts})
    with pytest.raises(pa.errors.SchemaErrors):
        rules.validate(frame.iloc[1:], lazy=True)
    report = split(frame, rules).report
    if PANDAS_2:  # the function gets a NaN, which is not itself
        assert [row for row, _ in report.rows_failed] == [0, 1]
        return
    errors = report.frame_errors
    assert errors
    assert all("itself raised TypeError" in error for error in errors)


def test_a_check_over_levels_of_columns_names_the_wrong_row():
    frame = pd.DataFrame([[1, 2], [-1, 3]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    rules = pa.DataFrameSchema({("a", "x"): pa.Column(int)}, pa.Check(lambda f: f[("a", "x")] > 0, name="positive"))
    assert split(frame, rules).bad[("a", "y")].tolist() == [3]
