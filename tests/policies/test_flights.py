"""The attempts that calls of one process share: their names, and what the leader's events mean for the others."""

from types import SimpleNamespace

import pytest

from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.events import BulkheadRejected, FallbackUsed, RetryExhausted, TimeoutExceeded
from resilient_tasks.core.execution.runtime import SYNC
from resilient_tasks.policies.single_flight.in_process import Audience, Flights, LeaderEvents, Role, is_news

FAILURE = {"operation": "f", "kind": "transient", "error_type": "ConnectionError", "message": "refused"}


def exhausted(reason):
    return RetryExhausted(**FAILURE, reason=reason, errors={"ConnectionError": 1})


def timed_out(policy):
    return TimeoutExceeded(operation="f", policy=policy, limit=5.0, stopped=True, abandoned=False)


def rejected(reason):
    return BulkheadRejected(operation="f", bulkhead="b", limit=1, queued=0, reason=reason)


NO_TIME = "the deadline leaves no time for another attempt"


@pytest.mark.parametrize(
    ("events", "cut"),
    [
        ([], False),
        ([timed_out("deadline")], True),
        ([timed_out("timeout")], False),
        ([exhausted(NO_TIME)], True),
        ([exhausted("no attempts left")], False),
        ([rejected("the deadline came first")], True),
        ([rejected("there is no queue")], False),
        ([exhausted(NO_TIME), exhausted("no attempts left"), timed_out("timeout")], True),
        ([timed_out("deadline"), timed_out("timeout")], True),
    ],
)
def test_a_deadline_cut_the_attempt_if_one_of_its_events_says_so(events, cut):
    heard = LeaderEvents()
    for event in events:
        heard(event)
    assert (heard.cut, heard.stand_in) == (cut, {"fallback": ""})


def test_the_stand_in_of_the_leader_is_named():
    heard = LeaderEvents()
    heard(FallbackUsed(**FAILURE, fallback="the last good result", age=60.0, since=3.0))
    assert heard.stand_in == {"fallback": "the last good result", "age": 60.0, "since": 3.0}
    assert not heard.cut


def call():
    return Call(Work("f", print, (), {}, SYNC))


def test_an_attempt_is_named_after_the_leaders_task_run_or_its_call(in_run):
    flights, leader, other = Flights(), call(), call()
    with in_run(task_run="fetch-3af", flow_run="bold-hare"):
        flight, role = flights.join("key", leader, lambda: None)
    assert (role, flight.name) == (Role.LEADS, "task run fetch-3af")
    flights.leave(flight, leader)
    flight, _ = flights.join("key", other, lambda: None)
    assert flight.name == f"call {other.work.id}"
    flight.leader = None
    assert flight.name == "another call"


def test_a_flight_ends_with_its_last_call():
    flights, leader, other = Flights(), call(), call()
    flight, _ = flights.join("key", leader, lambda: None)
    assert flights.join("key", other, lambda: None) == (flight, Role.WAITS)
    assert flights.role_of(flight, other) is Role.WAITS
    assert flights.is_awaited(flight, other) is False  # it does not lead
    assert flights.is_awaited(flight, leader) is True
    flights.leave(flight, other)
    assert not flight.waiting
    assert flights.join("key", other, lambda: None)[0] is flight
    flights.leave(flight, other)
    assert flights.is_awaited(flight, leader) is False
    assert not flights._under_way
    flight, _ = flights.join("key", leader, lambda: None)
    flights.leave(flight, leader)
    assert (flights._under_way, flights._led) == ({}, {})


def test_a_waiting_call_leads_or_lands():
    bell = SimpleNamespace(ring=lambda: None)
    for lands in (True, False):
        flights, leader, other = Flights(), call(), call()
        flight, _ = flights.join("key", leader, lambda: bell)
        flights.join("key", other, lambda: bell)
        if lands:
            flights.land(flight, other, "of another", Audience.NONE)
            flights.land(flight, leader, "outcome", Audience.ALL)
            assert (flight.landed, flight.audience) == ("outcome", Audience.ALL)
        else:
            flights.leave(flight, leader)
        assert flights.role_of(flight, other) is (Role.LANDED if lands else Role.LEADS)


def test_a_call_inside_a_leading_one_waits_for_another_flight_unless_that_waits_for_it():
    flights, outer, other = Flights(), call(), call()
    flights.join("a", outer, lambda: None)
    flight, _ = flights.join("b", other, lambda: None)
    inner = Call(outer.work, outer)
    assert flights.join("b", inner, lambda: None) == (flight, Role.WAITS)
    within = Call(other.work, other)
    assert flights.join("a", within, lambda: None)[1] is Role.ALONE


def test_a_reason_is_reported_once_for_each_operation_until_very_many_were():
    assert is_news("f", "a test") is True
    assert is_news("f", "a test") is False
    assert is_news("g", "a test") is True
    for number in range(5000):
        assert is_news("f", f"{number}")
    assert is_news("f", "a test") is True
    assert is_news("f", "4999") is False
