"""Validate of Arrow tables, which stay tables, and of lazy frames, which stay lazy where the split does."""

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pyarrow as arrow  # noqa: ICN001  # pa is pandera
import pytest

from resilient_tasks import Degraded, Drift, InvalidData, Split, Validate, resilient
from resilient_tasks.validation.profile import profile

PANDAS = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})
POLARS = pap.DataFrameSchema({"n": pap.Column(int, pap.Check.gt(0))})
KINDS = {
    "lazy": (lambda numbers, name="n": pl.LazyFrame({name: numbers}), POLARS),
    "arrow by polars": (lambda numbers, name="n": arrow.table({name: numbers}), POLARS),
    "arrow by pandas": (lambda numbers, name="n": arrow.table({name: numbers}), PANDAS),
}


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def numbers(frame):
    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    return frame["n"].to_pylist() if isinstance(frame, arrow.Table) else frame["n"].to_list()


@pytest.mark.parametrize(("on_invalid", "left"), [("drop", [1]), ("warn", [1, 0]), ("quarantine", [1])])
def test_the_good_rows_have_the_type_of_the_input(kind, quarantine, resilient_events, on_invalid, left):
    make, schema = kind
    given = make([1, 0])
    value = resilient(validate=Validate(output=schema, on_invalid=on_invalid, quarantine=quarantine))(lambda: given)()
    assert type(value) is type(given)
    assert numbers(value) == left
    (event,) = resilient_events
    assert (event.rows, event.invalid, event.reasons) == (2, 1, {"n: greater_than(0)": 1})
    assert quarantine.rows() == (1 if on_invalid == "quarantine" else 0)


def test_so_have_the_parts_of_a_split(drive, kind, quarantine):
    make, schema = kind
    given = make([1, 0])
    parts = drive(lambda: given, validate=Validate(output=schema, on_invalid="branch", quarantine=quarantine))()
    assert isinstance(parts, Split)
    assert type(parts.good) is type(parts.bad) is type(given)
    assert (numbers(parts.good), numbers(parts.bad), quarantine.rows()) == ([1], [0], 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "result: 1 of 2 rows invalid: n greater_than"),
        ({"min_rows": 3}, "result: 2 rows; at least 3 were expected"),
        ({"on_invalid": "drop", "max_invalid": 0.4}, "1 row more than max_invalid=0.4 allows"),
        ({"on_invalid": "drop", "max_invalid": {"n": 0}}, r"1 row more than max_invalid\['n'\]=0 allows"),
    ],
)
def test_it_is_refused_as_others_are(drive, kind, options, said):
    make, schema = kind
    with pytest.raises(InvalidData, match=said):
        drive(lambda: make([1, 0]), validate=Validate(output=schema, **options))()


def test_of_the_wrong_columns_it_is_refused_as_a_whole(drive, kind):
    make, schema = kind
    with pytest.raises(InvalidData, match="result as a whole: column 'n'"):
        drive(lambda: make([1], "m"), validate=Validate(output=schema, on_invalid="drop"))()


def test_arguments_and_parts_of_a_value_too(drive, kind):
    make, schema = kind

    def train(frame):
        return {"good": frame, "bad": make([0])}

    policy = Validate(input=schema, output={"good": schema, "bad": schema}, on_invalid="drop")
    value = drive(train, validate=policy)(make([1, 0]))
    assert (numbers(value["good"]), numbers(value["bad"])) == ([1], [])


def test_a_drift_gate_compares_the_good_rows(drive, kind):
    make, schema = kind
    baseline = profile(pd.DataFrame({"n": range(1, 101)}), PANDAS)
    gate = Drift(baseline, min_rows=50, on_drift="branch")
    policy = Validate(output=schema, on_invalid="drop", drift=gate)
    assert not isinstance(drive(lambda: make([*range(-50, 101)]), validate=policy).outcome(), Degraded)
    outcome = drive(lambda: make([*range(51, 151)]), validate=policy).outcome()
    assert isinstance(outcome, Degraded)
    assert type(outcome.value) is type(make([1]))
