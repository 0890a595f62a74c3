"""Profiles as baselines: their contents, and that a file restores them."""

import datetime as dt

import numpy as np
import pandas as pd
import pandera.pandas as pa
import polars as pl
import pytest
from pandas.testing import assert_frame_equal

from resilient_tasks.validation.profile import Profile, describe, profile
from resilient_tasks.validation.schemas import fingerprint

SCHEMA = pa.DataFrameSchema({})
ROWS = 2_500


def table():
    draw = np.random.default_rng(1)
    number = draw.normal(size=ROWS)
    number[:100] = np.nan
    number[100:103] = np.inf
    since = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    return {
        "number": number,
        "whole": draw.integers(0, 5, ROWS),
        "seen": [since + dt.timedelta(minutes=int(m)) for m in draw.integers(0, 9_000, ROWS)],
        "waited": [dt.timedelta(seconds=int(s)) for s in draw.integers(0, 9_000, ROWS)],
        "text": [f"t{n}" if n else None for n in draw.integers(0, 40, ROWS)],
        "flag": draw.random(ROWS) < 0.3,
    }


def test_pandas_and_polars_frames_of_the_same_data_have_the_same_distributions():
    _, one = describe(pd.DataFrame(table()))
    _, other = describe(pl.DataFrame(table(), nan_to_null=False))
    _, lazy = describe(pl.LazyFrame(table()))

    for name, column in one.items():
        mine, theirs = column.profile(), other[name].profile()
        for fact in ("kind", "rows", "nulls", "edges", "sample", "categories", "counts"):
            assert getattr(mine, fact) == getattr(theirs, fact) == getattr(lazy[name].profile(), fact), (name, fact)


def test_every_row_is_in_one_bin_or_missing():
    for column in profile(pd.DataFrame(table()), SCHEMA).columns.values():
        assert sum(column.counts) + column.nulls == column.rows == ROWS


def test_nan_is_null_and_infinity_a_large_number():
    column = profile(pd.DataFrame(table()), SCHEMA).columns["number"]

    assert column.nulls == 100
    assert column.edges[-1] == column.sample[-1] == np.inf


def test_a_profile_is_bounded_and_spans_the_distribution():
    columns = profile(pd.DataFrame({"x": np.arange(100_000), "t": np.arange(100_000).astype(str)}), SCHEMA).columns

    assert columns["x"].edges == pytest.approx(np.linspace(0, 99_999, 11), abs=1)
    assert len(columns["x"].sample) == 1_000
    assert columns["x"].sample == pytest.approx(np.linspace(50, 99_950, 1_000), abs=1)
    assert len(columns["t"].categories) == 20
    assert columns["t"].counts[-1] == 99_980


def test_a_profile_comes_back_from_its_file_as_it_was(tmp_path):
    frame = pd.DataFrame({**table(), "nothing": [None] * ROWS, "lists": [[1]] * ROWS, 7: range(ROWS)})
    before = profile(frame, SCHEMA)
    before.save(tmp_path / "flights.json")

    assert Profile.load(tmp_path / "flights.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["flights.json"]
    assert before.schema == fingerprint(SCHEMA)
    assert before.columns["lists"].kind == "other"
    assert "7" in before.columns


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"columns": {"x": {"kind": "number"}}}'])
def test_a_file_without_a_profile_is_named(tmp_path, text):
    (tmp_path / "flights.json").write_text(text)

    with pytest.raises(ValueError, match=r"flights\.json holds no profile"):
        Profile.load(tmp_path / "flights.json")


def test_every_type_of_column_has_its_kind():
    frame = pd.DataFrame({
        "Int64": pd.array([1, None], "Int64"),
        "arrow": pd.array([1.5, None], "double[pyarrow]"),
        "arrow time": pd.array([pd.Timestamp("2013-01-01"), None], "timestamp[us][pyarrow]"),
        "zone": pd.to_datetime(["2013-01-01", None]).tz_localize("America/New_York"),
        "category": pd.Categorical(["a", None], categories=["a", "b"]),
        "boolean": pd.array([True, None], "boolean"),
        "dates": [dt.date(2013, 1, 1), None],
        "complex": [1j, None],
    })  # fmt: skip
    columns = profile(frame, SCHEMA).columns

    assert {name: column.kind for name, column in columns.items()} == {
        "Int64": "number", "arrow": "number", "arrow time": "time", "zone": "time", "category": "category",
        "boolean": "boolean", "dates": "time", "complex": "category",
    }  # fmt: skip
    assert {column.nulls for column in columns.values()} == {1}
    assert columns["zone"].sample == (pd.Timestamp("2013-01-01 05:00", tz="UTC").timestamp(),)
    assert columns["category"].categories == ("a",)


def test_a_frame_is_left_as_it_was():
    frame = pd.DataFrame(table())
    profile(frame, SCHEMA)

    assert_frame_equal(frame, pd.DataFrame(table()))


def test_columns_with_the_same_name_are_refused():
    with pytest.raises(ValueError, match="two columns are named '1'"):
        profile(pd.DataFrame([[1, 2]], columns=[1, "1"]), SCHEMA)


def test_anything_but_a_frame_is_refused():
    with pytest.raises(TypeError, match="not for a list"):
        profile([{"x": 1}], SCHEMA)
