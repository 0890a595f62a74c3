"""Validate with a pydantic model: lists of JSON records are treated as frames are."""

import pytest
from pydantic import BaseModel, Field

from resilient_tasks import InvalidData, PolicyError, Quarantine, Validate


class Flight(BaseModel):
    carrier: str
    distance: int = Field(ge=1)


GOOD = {"carrier": "UA", "distance": 1400}
BAD = {"carrier": "DL", "distance": -5}


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def test_a_list_with_a_bad_record_is_refused(drive):
    with pytest.raises(InvalidData, match="result: 1 of 2 rows invalid: distance"):
        drive(lambda: [GOOD, BAD], validate=Flight)()


def test_bad_records_are_quarantined_as_they_were_read(drive, tmp_path, resilient_events):
    policy = Validate(output=Flight, on_invalid="quarantine", quarantine=tmp_path)
    assert drive(lambda: [GOOD, BAD], validate=policy)() == [GOOD]
    (batch,) = Quarantine(tmp_path).list()
    kept = Quarantine(tmp_path).read(batch)
    assert kept["values"].tolist() == [BAD]
    assert kept["reasons"][0][0]["column"] == "distance"
    assert resilient_events[0].schema == f"{__name__}:Flight"


def test_the_caller_can_get_both(drive):
    parts = drive(lambda: [GOOD, BAD], validate=Validate(output=Flight, on_invalid="branch"))()
    assert (parts.good, parts.bad) == ([GOOD], [BAD])


def test_an_argument_is_checked_too(drive):
    def counted(rows):
        return len(rows)

    call = drive(counted, validate=Validate(input={"rows": Flight}, on_invalid="drop"))
    assert call([GOOD, BAD, GOOD]) == 2


def test_a_value_that_is_no_list_of_records_is_refused_by_its_type(drive):
    with pytest.raises((InvalidData, TypeError), match="list"):
        drive(lambda: GOOD, validate=Flight)()


def test_a_class_that_is_no_model_is_refused_with_a_hint():
    with pytest.raises(PolicyError, match="pydantic"):
        Validate(output=dict)
