"""Which rules pandera evaluates again, and that it decides on rules over several rows."""

import pickle
import warnings

import cloudpickle
import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks.validation.report import Reason
from resilient_tasks.validation.split import split


@pytest.fixture
def asked(monkeypatch):
    """Collect the sizes of the frames that pandera validates."""
    sizes = []
    validate = pa.DataFrameSchema.validate

    def counted(schema, frame, *args, **kwargs):
        sizes.append(len(frame))
        return validate(schema, frame, *args, **kwargs)

    monkeypatch.setattr(pa.DataFrameSchema, "validate", counted)
    return sizes


def of(*checks, **rules):
    return pa.DataFrameSchema({"x": pa.Column(None, list(checks), **rules)})


@pytest.mark.parametrize(
    "schema",
    [
        of(pa.Check.in_range(0, 9)),
        of(pa.Check(lambda value: value < 9, element_wise=True)),
        of(pa.Check(lambda s: s < 9)),
        of(unique=True),
        pa.DataFrameSchema({"x": pa.Column("float64", pa.Check.le(9), coerce=True)}, unique=["x"]),
        pa.DataFrameSchema({"x": pa.Column(int)}, pa.Check(lambda f: f["x"] < 9)),
    ],
)
def test_pandera_validates_one_row_where_masks_decide_the_rest(schema, asked):
    result = split(pd.DataFrame({"x": [1, 2, 30, 30, 5]}), schema)
    assert result.good["x"].tolist() == [1, 2, 5]
    assert asked == [1]


@pytest.mark.parametrize(
    "schema",
    [
        of(pa.Check.lt(9), pa.Check(lambda by: len(by) < 9, groupby=lambda frame: frame.groupby("x"))),
        of(pa.Check.lt(9), pa.Check(lambda by: len(by) < 2, groupby="x", raise_warning=True)),
        pa.DataFrameSchema({"x": pa.Column("category", pa.Check.ne(30), coerce=True)}),
        of(pa.Check.lt(9), default=1),
    ],
)
def test_pandera_validates_all_good_rows_where_masks_cannot_decide(schema, asked):
    result = split(pd.DataFrame({"x": [1, 2, 30, 30, 5]}), schema)
    assert result.good["x"].tolist() == [1, 2, 5]
    assert 3 in asked


def test_a_check_that_compares_rows_is_evaluated_again_without_the_bad_rows():
    rising = pa.Check(lambda s: s.diff().fillna(1) > 0, name="rising")
    result = split(pd.DataFrame({"x": [1, 5, 3, 4, 6]}), of(rising))
    assert result.good["x"].tolist() == [1, 5, 6]
    assert result.report.reasons == {("x", "rising"): 2}
    rising_too = pa.DataFrameSchema(
        {"x": pa.Column(int)}, pa.Check(lambda f: f["x"].diff().fillna(1) > 0, name="rising")
    )
    assert split(pd.DataFrame({"x": [1, 5, 3, 4, 6]}), rising_too).good["x"].tolist() == [1, 5, 6]


def test_a_check_that_the_remaining_rows_fail_as_a_whole_is_a_frame_error():
    checks = [pa.Check.le(50), pa.Check(lambda s: s.sum() > 90, name="enough")]
    result = split(pd.DataFrame({"x": [1, 2, 99]}), of(*checks))
    assert result.report.frame_errors == ("column 'x': enough failed",)
    assert len(result.good) == 3


def test_a_check_that_raises_on_the_remaining_rows_is_a_frame_error():
    checks = [pa.Check.le(50), pa.Check(lambda s: s <= s[s > 50].iloc[0], name="below_the_highest")]
    (error,) = split(pd.DataFrame({"x": [1, 2, 99]}), of(*checks)).report.frame_errors
    assert error.startswith("column 'x': below_the_highest raised IndexError")


def test_a_failed_check_of_groups_is_a_frame_error():
    balanced = pa.Check(lambda by: len(by["a"]) == len(by["b"]), groupby="kind", name="balanced")
    schema = pa.DataFrameSchema({"x": pa.Column(int, [pa.Check.ge(0), balanced]), "kind": pa.Column(str)})
    even = pd.DataFrame({"x": [1, 2, -3], "kind": ["a", "b", "b"]})
    assert split(even, schema).good["x"].tolist() == [1, 2]
    odd = even.assign(x=[1, 2, 3])
    assert split(odd, schema).report.frame_errors == ("column 'x': balanced failed",)


def test_a_check_that_returns_a_frame_names_each_failed_column():
    schema = pa.DataFrameSchema({}, pa.Check(lambda f: f > 0, name="positive"))
    report = split(pd.DataFrame({"a": [1, -1, 1], "b": [1, -2, None]}), schema).report
    assert report.rows_failed == ((1, (Reason("a", "positive", -1), Reason("b", "positive", -2.0))),)


@pytest.mark.parametrize(("ignore_na", "good"), [(True, 2), (False, 1)])
def test_a_null_passes_a_check_unless_the_check_includes_nulls(ignore_na, good):
    schema = of(pa.Check.ge(0, ignore_na=ignore_na), nullable=True)
    assert len(split(pd.DataFrame({"x": [1.0, None, -1.0]}), schema).good) == good


def test_the_date_that_sets_the_format_of_the_others_is_kept_with_them():
    checks = pa.Check.ne(pd.Timestamp("2013-02-13"))
    schema = pa.DataFrameSchema({"x": pa.Column("datetime64[ns]", checks, coerce=True)})
    frame = pd.DataFrame({"x": ["13/02/2013", "02/03/2013"]})
    result = split(frame, schema)
    pd.testing.assert_frame_equal(result.good, schema.validate(frame.iloc[1:], lazy=True))


def test_a_pickled_schema_splits_alike():
    schema = pickle.loads(cloudpickle.dumps(of(pa.Check.in_range(0, 9), pa.Check(lambda s: s != 2))))
    assert split(pd.DataFrame({"x": [1, 2, 30]}), schema).good["x"].tolist() == [1]


def test_a_frame_of_nothing_but_bad_objects_is_split():
    result = split(pd.DataFrame({"x": [1, 2]}, dtype=object), pa.DataFrameSchema({"x": pa.Column(str)}))
    assert (len(result.good), len(result.bad)) == (0, 2)


def test_editing_the_bad_rows_in_place_does_not_change_the_reasons():
    result = split(pd.DataFrame({"x": [1, -1]}), of(pa.Check.ge(0)))
    bad = result.bad
    bad.loc[:, "x"] = 7
    assert result.report.rows_failed[0][1][0].value == -1


@pytest.mark.parametrize("values", [["1", "-1", "x"], ["1", "2"], ["-1"], []])
def test_neither_the_split_nor_writing_to_its_parts_warns(values):
    schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0), coerce=True)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = split(pd.DataFrame({"x": values}), schema)
        for part in (result.good, result.bad):
            part["x"] = 7


def test_writing_to_the_good_rows_leaves_the_frame_alone():
    frame = pd.DataFrame({"x": [1, 2]})
    good = split(frame, of(pa.Check.ge(0))).good
    good.loc[:, "x"] = 7
    assert frame["x"].tolist() == [1, 2]


@pytest.mark.parametrize("bad_at", [0, 99_999])
def test_one_bad_date_in_a_hundred_thousand_is_not_searched_value_by_value(monkeypatch, bad_at):
    single, whole = [], []
    date = type(pa.Column("datetime64[ns]").dtype)
    coerce = date.coerce
    monkeypatch.setattr(date, "coerce_value", lambda _, value: single.append(value))
    monkeypatch.setattr(date, "coerce", lambda self, data: whole.append(len(data)) or coerce(self, data))
    dates = pd.date_range("2013-01-01", periods=100_000, freq="min").astype(str).tolist()
    dates[bad_at] = "nope"
    result = split(pd.DataFrame({"d": dates}), pa.DataFrameSchema({"d": pa.Column("datetime64[ns]", coerce=True)}))
    assert [row for row, _ in result.report.rows_failed] == [bad_at]
    assert not single
    assert sum(whole) < 5 * len(dates)
