"""A month with little or nothing in it: the flow says what is missing, and the next month goes on."""

from types import SimpleNamespace

import data
import flow
import pandas as pd
import pytest
from fetching import Gathered
from promotion import compare
from training import verdict_on


class Index:
    """Stands in for the index of a month: it writes down which airports it is asked for, and has no pages."""

    def __init__(self):
        self.asked = []

    def map(self, _month, places):
        self.asked += places
        return [SimpleNamespace(result=list) for _ in places]


@pytest.fixture
def index(monkeypatch):
    stand_in = Index()
    monkeypatch.setattr(flow, "month_index", stand_in)
    monkeypatch.setattr(flow, "outcome_of", lambda _: None)
    monkeypatch.setattr(flow, "fetch_planes", SimpleNamespace(submit=lambda _: None))
    return stand_in


@pytest.mark.usefixtures("index")
def test_a_month_without_flights_is_not_trained_and_says_so():
    result = flow._fetched_and_trained(2, "key", 1, None)

    assert (result.month, result.note) == ("2013-02", "not trained: the API has no flights of this month")


def test_an_airport_that_is_named_twice_is_asked_for_once(index):
    flow._fetched_and_trained(1, "key", 1, ["JFK", "EWR", "JFK"])

    assert index.asked == ["JFK", "EWR"]


@pytest.mark.parametrize(
    "parameters", [{"month": "2013-13"}, {"month": 7}, {"origins": ["XXX"]}, {"origins": "JFK"}, {"seed": "one"}]
)
def test_a_parameter_that_there_is_not_is_refused_by_prefect_before_the_run(parameters):
    with pytest.raises(Exception, match=next(iter(parameters))) as refused:
        flow.retrain_month.validate_parameters({"month": "next", "seed": 1, "origins": None} | parameters)

    assert type(refused.value).__name__ == "ParameterTypeError"


@pytest.fixture(scope="module")
def january():
    return data.month_of(data.load_flights(), 1)


def problems_of(flights):
    came = Gathered(flights, read=len(flights), absent=0, withheld=0, lost="", refused="")
    return flow._too_few(came)


def test_a_month_needs_days_to_train_on_and_days_to_judge_on(january):
    first_week = january[january["day"] <= 7]
    newest_unknown = january.assign(air_time=january["air_time"].where(january["day"] <= 24))

    assert problems_of(january) == []
    assert problems_of(january.head(0)) == ["no flights"]
    assert problems_of(pd.DataFrame(columns=january.columns)) == ["no flights"]
    assert problems_of(january[january["origin"] == "LGA"]) == []
    assert problems_of(first_week) == ["no flight with an air time before the newest 7 days, which are held out"]
    assert problems_of(newest_unknown) == ["no flight with an air time in the newest 7 days"]
    assert problems_of(january.assign(air_time=pd.NA)) == [
        "no flight with an air time before the newest 7 days, which are held out"
    ]


@pytest.mark.parametrize(
    ("champion", "challenger", "why"),
    [
        ([4, 4, 4], [1, 1, 1], "-50% on 3 days, and 5 are needed to tell"),
        ([4], [1], "-50% on 1 day, and 5 are needed to tell"),
        ([4, float("nan"), 4, 4, 4], [1] * 5, "unknown, as an error is 0 or no number on 5 days"),
    ],
)
def test_where_nothing_can_be_told_the_verdict_says_why(champion, challenger, why):
    verdict, said = verdict_on(compare(champion, challenger), (), SimpleNamespace(trained_until="2013-01-24"))

    assert (verdict, why in said) == ("kept", True), said
