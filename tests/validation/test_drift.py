"""A drift gate before training: known shifts, and everything that is not a shift."""

import datetime as dt

import numpy as np
import pandas as pd
import pandera.pandas as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from resilient_tasks import Drift
from resilient_tasks.validation.drift import Limits, ks, psi
from resilient_tasks.validation.profile import profile

SCHEMA = pa.DataFrameSchema({})


def gate(frame, **options):
    return Drift(profile(frame, SCHEMA), **options)


def normal(rows=5_000, shift=0.0, seed=1):
    return pd.DataFrame({"x": np.random.default_rng(seed).normal(shift, 1, rows)})


def judged(then, now, **options):
    """Compare a frame of one column."""
    (column,) = gate(then, **options).judge(now).columns
    return column


two_histograms = st.integers(1, 12).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 1_000), min_size=bins, max_size=bins).filter(any)] * 2)
)
numbers = st.lists(st.floats(allow_nan=False), min_size=1, max_size=60)


@given(two_histograms)
def test_the_index_is_never_negative_and_the_same_both_ways(histograms):
    one, other = histograms

    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == psi(one, [2 * count for count in one]) == 0


def test_the_index_is_the_sum_that_its_name_stands_for():
    assert psi([50, 50], [80, 20]) == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5))
    assert psi([100, 0], [99, 1]) == pytest.approx((1e-2 - 1e-4) * np.log(1e-2 / 1e-4) + 1e-2 * np.log(1 / 0.99))


@settings(max_examples=60, deadline=None)
@given(numbers, numbers)
def test_the_distance_of_small_columns_is_exactly_scipys(then, now):
    column = judged(pd.DataFrame({"x": then}), pd.DataFrame({"x": now}), min_rows=1)

    assert column.ks == ks_2samp(then, now, method="asymp").statistic


def test_the_distance_of_large_columns_is_scipys_to_a_five_hundredth():
    then, now = normal(20_000), normal(30_000, shift=0.3, seed=2)

    assert judged(then, now).ks == pytest.approx(ks_2samp(then["x"], now["x"]).statistic, abs=0.002)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.floats() | st.integers(-3, 3), min_size=1, max_size=60), st.randoms())
def test_the_same_values_in_any_order_are_no_drift(values, random):
    then = pd.DataFrame({"x": pd.array(values, "Float64")})
    random.shuffle(values)
    column = judged(then, pd.DataFrame({"x": pd.array(values, "Float64")}), min_rows=1)

    assert (column.verdict, column.psi) == ("stable", 0)
    assert not column.ks


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0, "stable"), (0.01, "stable"), (0.1, "stable"), (0.4, "shifted"), (0.7, "drifted")]
)
def test_a_shift_is_measured_by_its_size(shift, verdict):
    column = judged(normal(100_000), normal(100_000, shift=shift, seed=2))

    assert column.verdict == verdict
    assert column.psi == pytest.approx(shift**2, abs=0.03)  # for two normal distributions, the square of the shift


def test_without_drift_a_thousand_rows_do_not_raise_an_alarm():
    then, draw = normal(1_000), np.random.default_rng(3)
    weekdays = pd.DataFrame({"x": draw.choice(list("abcdefghijklmnopqrstuvwxy"), 1_000)})

    for seed in range(4, 24):
        assert judged(then, normal(1_000, seed=seed)).verdict == "stable"
        again = pd.DataFrame({"x": np.random.default_rng(seed).choice(weekdays["x"].unique(), 1_000)})
        assert judged(weekdays, again).verdict == "stable"


def test_a_wider_spread_is_drift_although_the_mean_stays():
    then = normal()
    assert judged(then, then * 3).verdict == "drifted"


@pytest.mark.parametrize("other", [6.0, 4.0, np.inf])
def test_a_constant_that_changes_is_drift_in_either_direction(other):
    then = pd.DataFrame({"x": [5.0] * 1_000})

    assert judged(then, then).verdict == "stable"
    assert judged(then, pd.DataFrame({"x": [other] * 1_000})).verdict == "drifted"
    assert judged(then, pd.DataFrame({"x": [other] * 1_000})).psi > 1


def test_values_that_go_missing_are_drift_and_the_sentence_says_so():
    then = normal()
    now = then.where(pd.DataFrame({"x": np.arange(len(then)) % 3 > 0}))

    column = judged(then, now)

    assert column.verdict == "drifted"
    assert column.ks < 0.05
    assert "missing 0.0% → 33.3%" in column.sentence


def test_a_column_that_was_always_empty_drifts_once_it_has_values():
    empty = pd.DataFrame({"x": [np.nan] * 1_000})

    assert (judged(empty, empty).verdict, judged(empty, empty).ks) == ("stable", None)
    assert judged(empty, normal(1_000)).verdict == "drifted"
    assert judged(normal(1_000), empty).verdict == "drifted"


def test_new_categories_are_drift_once_they_are_many():
    then = pd.DataFrame({"x": ["UA", "AA"] * 1_000})

    assert judged(then, pd.DataFrame({"x": ["UA", "AA"] * 999 + ["DL"] * 2})).verdict == "stable"
    assert judged(then, pd.DataFrame({"x": ["UA", "DL"] * 1_000})).verdict == "drifted"


def test_a_time_is_the_same_moment_in_another_zone():
    seen = pd.Series(pd.date_range("2013-01-01", periods=2_000, freq="h", tz="UTC"))
    later = seen + pd.Timedelta(days=30)
    berlin = pd.DataFrame({"x": seen.dt.tz_convert("Europe/Berlin")})

    column = judged(pd.DataFrame({"x": seen}), berlin)

    assert (column.psi, column.ks, column.verdict) == (0, 0, "shifted")
    assert column.sentence.endswith(f", and was {seen.dtype}")
    assert judged(pd.DataFrame({"x": seen}), pd.DataFrame({"x": later})).verdict == "drifted"


def test_few_rows_are_never_called_drift():
    for then, now in [(normal(), normal(999, shift=5)), (normal(999), normal(5_000, shift=5)), (normal(), normal(0))]:
        report = gate(then, on_drift="stop").judge(now)

        assert (report.action, report.drifted) == ("pass", ())
        assert "rows are too few to judge; 1,000 are needed" in report.summary()
    assert judged(normal(), normal(999, shift=5), min_rows=999).verdict == "drifted"


def test_with_few_values_only_the_index_is_computed():
    then = normal(2_000).where(pd.DataFrame({"x": np.arange(2_000) < 900}))

    assert judged(then, then).ks is None


def test_columns_that_are_missing_new_or_of_another_type_are_named():
    then = normal().assign(gone=1, text="a", whole=1)
    now = normal().assign(text=1, whole=1.0, fresh=0)

    report = gate(then, on_drift="stop").judge(now)

    assert {column.column: column.verdict for column in report.columns} == {
        "x": "stable", "gone": "missing", "text": "retyped", "whole": "shifted", "fresh": "new",
    }  # fmt: skip
    assert report.drifted == ("gone", "text")
    assert report.summary() == (
        f"gone is missing; text is int64 and was {then['text'].dtype}; "
        "whole is float64 (PSI 0.000, KS 0.000), and was int64; and 1 more of 5 columns"
    )


@pytest.mark.parametrize("on_drift", ["warn", "branch", "stop"])
def test_the_action_is_on_drift_only_if_a_column_drifted(on_drift):
    drift = gate(normal(), on_drift=on_drift)

    assert drift.judge(normal(seed=2)).action == "pass"
    assert drift.judge(normal(shift=0.4)).action == "warn"
    assert drift.judge(normal(shift=0.7)).action == on_drift
    assert drift.judge(normal(seed=2)).summary() == "no drift in 1 column"


def test_only_the_chosen_columns_are_compared_each_with_its_own_limits():
    then = normal().assign(y=normal(seed=2)["x"], month=1)
    now = (then + 0.7).assign(month=2)

    report = gate(then, columns=["x", "y"], limits={"y": Limits(psi=0.9, ks=0.9, warn=0.8)}).judge(now)

    assert [(column.column, column.verdict) for column in report.columns] == [("x", "drifted"), ("y", "stable")]


def test_a_baseline_of_one_library_works_for_frames_of_the_other():
    data = {"x": np.arange(2_000.0), "seen": [dt.datetime(2013, 1, 1 + n % 28) for n in range(2_000)]}  # noqa: DTZ001
    data["text"] = ["ab"[n % 2] for n in range(2_000)]
    one, other = pd.DataFrame(data), pl.DataFrame(data)

    assert gate(one).judge(other).action == gate(other).judge(one).action == gate(one).judge(other.lazy()).action
    assert gate(one).judge(other).noted == ()


def test_a_baseline_of_other_rules_is_reported():
    changed = pa.DataFrameSchema({"x": pa.Column(float)})

    assert "another version of the schema" not in gate(normal()).judge(normal(), SCHEMA).summary()
    assert gate(normal()).judge(normal(), changed).summary().endswith("made under another version of the schema)")


def test_without_scipy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.stats", None)

    with pytest.raises(ModuleNotFoundError, match=r"resilient-tasks\[drift\]"):
        ks([1.0], [2.0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"psi": 0}, "psi is a number above 0"),
        ({"warn": True}, "warn is a number above 0"),
        ({"ks": 2}, "ks is a distance"),
        ({"warn": 0.3}, "it would never warn"),
        ({"columns": "x"}, r"is a list of names: \['x'\]"),
        ({"columns": ["y"]}, r"has no column \['y'\]; it has \['x'\]"),
        ({"limits": {"y": Limits()}}, r"has no column \['y'\]"),
        ({"min_rows": 0}, "from 1 up, not 0"),
        ({"on_drift": "explode"}, "is one of warn, branch, stop, not 'explode'"),
    ],
)
def test_impossible_arguments_are_refused(options, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        gate(normal(10), **options)


def test_a_gate_needs_a_profile():
    with pytest.raises(TypeError, match="is a Profile"):
        Drift(normal(10))
