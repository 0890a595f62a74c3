"""Validate with limits by column and by check: `max_invalid={"distance": 0.01, ("tail", "is null"): 5, "*": 0.05}`."""

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest
from pydantic import AliasChoices, BaseModel, Field

from resilient_tasks import InvalidData, PolicyError, Validate, resilient


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture(params=["pandas", "polars"])
def flights(request):
    """`flights(max_invalid, distances, delays)` checks a frame of flights: `distance > 0`, `0 <= delay < 100`."""
    module, make = (pa, pd.DataFrame) if request.param == "pandas" else (pap, pl.DataFrame)
    schema = module.DataFrameSchema(
        {
            "distance": module.Column(int, module.Check.gt(0)),
            "delay": module.Column(int, [module.Check.ge(0), module.Check.lt(100)]),
        }
    )

    def checked(max_invalid, distances, delays):
        policy = Validate(output=schema, on_invalid="drop", max_invalid=max_invalid)
        frame = make({"distance": distances, "delay": delays})
        return len(resilient(validate=policy)(lambda: frame)())

    return checked


SCHEMA = pa.DataFrameSchema({"distance": pa.Column(int, pa.Check.gt(0)), "tail": pa.Column(str)})
OTHER = pa.DataFrameSchema({"month": pa.Column(int, pa.Check.gt(0))})
DISTANCES, DELAYS = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1], [-1, 100, 1, 100, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"distance": 2}, r"1 row more than max_invalid\['distance'\]=2 allows"),
        ({"distance": 0.1}, r"2 rows more than max_invalid\['distance'\]=0.1 allows"),
        ({"delay": 2}, r"1 row more than max_invalid\['delay'\]=2 allows"),
        ({"greater_than(0)": 0}, r"3 rows more than max_invalid\['greater_than\(0\)'\]=0 allows"),
        ({"gt(0)": 0}, r"3 rows more than max_invalid\['gt\(0\)'\]=0 allows"),
        ({"less_than": 1}, r"1 row more than max_invalid\['less_than'\]=1 allows"),
        ({("delay", "lt(100)"): 1}, r"1 row more than max_invalid\[\('delay', 'lt\(100\)'\)\]=1 allows"),
        ({"*": 0.3}, r"1 row more than max_invalid\['\*'\]=0.3 allows"),
        ({"*": 4, "distance": 0, "delay": 2}, r"3 rows more than .*distance.*; 1 row more than .*delay.*\]=2 allows$"),
        (0.3, "1 row more than max_invalid=0.3 allows"),
        (3, "1 row more than max_invalid=3 allows"),
    ],
)
def test_the_error_names_the_limit_and_by_how_much_it_was_exceeded(flights, limits, said):
    with pytest.raises(InvalidData, match=said) as info:
        flights(limits, DISTANCES, DELAYS)
    assert "4 of 10 rows invalid" in str(info.value)


@pytest.mark.parametrize(
    "limits",
    [
        {"distance": 3, "delay": 3, "*": 4},
        {"distance": 0.3, "delay": 0.3, "*": 0.4},
        {"gt(0)": 3, ("delay", "ge(0)"): 1, ("delay", "greater_than_or_equal_to(0)"): 1},
        {"is null": 0},
    ],
)
def test_within_the_limits_the_good_rows_are_passed_on(flights, limits):
    assert flights(limits, DISTANCES, DELAYS) == 6


def test_a_fraction_is_an_exact_share_of_the_rows(flights):
    assert flights(0.29, [0] * 29 + [1] * 71, [1] * 100) == 71, "0.29 * 100 is 28.999999999999996 in floating point"


def test_each_part_of_a_value_has_these_limits():
    schema = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})
    other = pa.DataFrameSchema({"m": pa.Column(int, pa.Check.gt(0))})
    policy = Validate(output={"a": schema, "b": other}, on_invalid="drop", max_invalid={"n": 1, "m": 0})
    fetch = resilient(validate=policy)(lambda m: {"a": pd.DataFrame({"n": [0, 1]}), "b": pd.DataFrame({"m": [m]})})
    assert len(fetch(1)["a"]) == 1
    with pytest.raises(InvalidData, match=r"result\['b'\]: .*; 1 row more than max_invalid\['m'\]=0 allows"):
        fetch(0)


def test_a_limit_may_name_a_column_of_one_way_only(drive):
    policy = Validate(input={"frame": SCHEMA}, output=OTHER, on_invalid="drop", max_invalid={"tail": 0, "month": 1})
    call = drive(lambda frame: pd.DataFrame({"month": [0, 1, 0][: len(frame) + 1]}), validate=policy)
    good = pd.DataFrame({"distance": [1, 2], "tail": ["a", "b"]})
    with pytest.raises(InvalidData, match=r"result: .*; 1 row more than max_invalid\['month'\]=1 allows"):
        call(good)
    assert len(call(good.assign(distance=[0, 1]))) == 1


class TestNames:
    def of(self, limits, schema):
        return Validate(output=schema, on_invalid="drop", max_invalid=limits)

    def test_of_columns_that_match_a_pattern(self):
        schema = pa.DataFrameSchema({"price_.*": pa.Column(int, pa.Check.gt(0), regex=True)})
        frame = pd.DataFrame({"price_a": [0, 1], "price_b": [0, 0]})
        for limits, passes in [({"price_b": 1}, True), ({"price_a": 1}, False), ({"price_.*": 1}, True)]:
            fetch = resilient(validate=self.of(limits, schema))(lambda: frame)
            if passes:
                with pytest.raises(InvalidData, match="1 row more than"):
                    fetch()
            else:
                assert len(fetch()) == 0

    def test_of_rules_for_rows_as_a_whole_and_for_several_columns(self):
        schema = pa.DataFrameSchema(
            {"a": pa.Column(int), "b": pa.Column(int)},
            checks=pa.Check(lambda frame: frame["a"] < frame["b"], error="a before b"),
            unique=["a", "b"],
        )
        frame = pd.DataFrame({"a": [1, 1, 3], "b": [2, 2, 2]})
        for limits in ({("*", "a before b"): 0}, {"a before b": 0}, {"a, b": 1}, {("a, b", "is duplicated"): 1}):
            with pytest.raises(InvalidData, match="1 row more than"):
                resilient(validate=self.of(limits, schema))(lambda: frame)()

    def test_of_columns_that_are_not_text(self):
        schema = pa.DataFrameSchema({5: pa.Column(int, pa.Check.gt(0))})
        with pytest.raises(InvalidData, match=r"1 row more than max_invalid\[5\]=0"):
            resilient(validate=self.of({5: 0}, schema))(lambda: pd.DataFrame({5: [0]}))()

    def test_of_a_level_of_the_index(self):
        schema = pa.DataFrameSchema({"n": pa.Column(int)}, index=pa.Index(int, pa.Check.gt(0), name="day"))
        frame = pd.DataFrame({"n": [1, 1]}, index=pd.Index([0, 1], name="day"))
        with pytest.raises(InvalidData, match="1 row more than"):
            resilient(validate=self.of({"day": 0}, schema))(lambda: frame)()

    def test_of_fields_of_a_model(self):
        class Leg(BaseModel):
            miles: int = Field(ge=1)

        class Trip(BaseModel):
            who: str = Field(validation_alias=AliasChoices("name", "who"))
            legs: list[Leg]

        trips = [{"name": "x", "legs": [{"miles": 0}, {"miles": 0}]}, {"name": 7, "legs": []}]
        for limits in ({"legs": 0}, {"legs[].miles": 0}, {("legs[].miles", "should be greater than or equal to 1"): 0}):
            with pytest.raises(InvalidData, match="1 row more than"):
                resilient(validate=self.of(limits, Trip))(lambda: trips)()
        assert resilient(validate=self.of({"legs": 1, "name": 1}, Trip))(lambda: trips)() == []
        with pytest.raises(PolicyError, match=r"'leg', which is neither a column nor a check.*did you mean 'legs'\?"):
            self.of({"leg": 0}, Trip)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({}, r"has no limit: give one, such as \{'\*': 0.05\}"),
        ({"distance": 1.5}, r"\['distance'\] is a fraction from 0.0 to 1.0"),
        ({"distance": "5%"}, r"\['distance'\] is a fraction .* It is not '5%'"),
        ({"distnace": 1}, r"names 'distnace', which is neither a column nor a check: .*; did you mean 'distance'\?"),
        (
            {"month": 1},
            r"the columns are \['distance', 'tail'\] and the checks are \['greater_than\(0\)'\]; write '\*' for all",
        ),
        ({"gt(5)": 1}, r"names 'gt\(5\)', which is neither a column nor a check"),
        (
            {("distance", "lt(5)"): 1},
            r"and 'distance' has the checks \['greater_than\(0\)', 'is duplicated', 'is null'",
        ),
        ({("tail", "gt(0)"): 1}, r"and 'tail' has the checks"),
        ({("month", "gt(0)"): 1}, "which is neither a column nor a check"),
        ({("distance", "gt(0)", "x"): 1}, "which is neither a column nor a check"),
    ],
)
def test_a_limit_without_effect_is_refused_at_decoration(limits, sentence):
    with pytest.raises(PolicyError, match=sentence):
        Validate(output=SCHEMA, on_invalid="drop", max_invalid=limits)


def test_limits_need_an_on_invalid_that_passes_rows_on():
    with pytest.raises(PolicyError, match="needs on_invalid="):
        Validate(output=SCHEMA, max_invalid={"distance": 1})
