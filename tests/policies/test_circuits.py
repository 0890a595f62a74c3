"""The state machine of a circuit breaker: its times, what a store keeps of it, and what another policy finds."""

import math

import pytest

from resilient_tasks.policies.breaker.machine import (
    NO_RESULT,
    NO_SUCCESSES,
    Admission,
    CallResult,
    Circuit,
    Refusal,
    Rules,
    Successes,
)
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.window import CountWindow, TimeWindow, Totals

RULES = {
    "failures": None,
    "failure_rate": 0.5,
    "slow_rate": None,
    "min_calls": 2,
    "window": 60.0,
    "last": None,
    "open_for": 30.0,
    "open_at_most": 100.0,
    "probes": 2,
}
FAILED, WELL, SLOW = CallResult(False), CallResult(True), CallResult(True, slow=True)
CHANGES = Changes({"probes": 1}, "anna", 1.0)


def rules(**changed):
    return Rules(**{**RULES, **changed})


def opened(at=100.0, seconds=30.0):
    return Circuit().opened(at, seconds, "2 of 2 calls failed")


def half_open(*began):
    """Return a circuit that opened at 100 for 30 s, with probes that began at these times."""
    circuit = opened()
    for number, now in enumerate(began):
        circuit, _ = circuit.admit(rules(probes=9), now, f"p{number}")
    return circuit


def recorded(circuit, *results, by, now=200.0, pending=NO_SUCCESSES):
    """Return the circuit after these results of calls that it has admitted."""
    for result in results:
        circuit = circuit.record(by, now, Admission(circuit.generation), result, pending)
    return circuit


@pytest.mark.parametrize(
    ("circuit", "now", "refuses_for", "retry_in", "needed_for"),
    [
        (Circuit, 100.0, 0.0, 0.0, 0.0),
        (opened, 110.0, 20.0, 20.0, 320.0),
        (opened, 131.0, 0.0, 0.0, 299.0),
        (lambda: half_open(130.0, 140.0), 140.0, 30.0, None, 320.0),
        (lambda: half_open(130.0, 140.0), 200.0, 0.0, None, 260.0),
        (lambda: half_open(130.0), 1000.0, 0.0, None, 0.0),
        (lambda: Circuit().isolated(100.0, "by hand"), 110.0, math.inf, None, math.inf),
        (lambda: Circuit(changes=CHANGES), 110.0, 0.0, 0.0, math.inf),
    ],
    ids=["closed", "open", "over", "probing", "probes lost", "long ago", "isolated", "changed numbers"],
)
def test_how_long_a_circuit_refuses_calls_and_is_kept(circuit, now, refuses_for, retry_in, needed_for):
    assert (circuit().refuses_for(now), circuit().retry_in(now)) == (refuses_for, retry_in)
    assert max(0.0, circuit().needed_for(now)) == needed_for


@pytest.mark.parametrize(
    ("circuit", "seconds"),
    [
        (Circuit, 60.0),
        (lambda: Circuit(window=TimeWindow(20)), 20.0),
        (lambda: Circuit(window=CountWindow(5)), math.inf),
        (lambda: Circuit(consecutive_failures=1), math.inf),
        (opened, math.inf),
    ],
    ids=["new", "window", "last calls", "a failure", "open"],
)
def test_a_circuit_equals_a_new_one_after_its_window_if_only_its_window_differs(circuit, seconds):
    assert circuit().resets_in == seconds


def test_a_circuit_is_the_same_after_the_store():
    circuit = recorded(Circuit(), WELL, FAILED, by=rules(min_calls=9)).renumbered(CHANGES).used_by(rules(shadow=True))
    for each in (circuit, circuit.opened(300.0, 30.0, "x"), half_open(140.0).renumbered(CHANGES), Circuit()):
        again = Circuit.decode(each.encode())
        assert again.encode() == each.encode()
        assert (again.state, again.since, again.probes) == (each.state, each.since, each.probes)
        assert (again.changes, again.shadow) == (each.changes, each.shadow)


@pytest.mark.parametrize("encoded", [None, b"", b"x", b"[]", b"3", b"{}", b'{"window":3}', b'{"window":["time",1]}'])
def test_a_circuit_that_cannot_be_read_is_new(encoded):
    assert Circuit.decode(encoded).encode() == Circuit().encode()


@pytest.mark.parametrize("ahead", [3600.0, 0.5])
def test_times_of_a_fast_clock_become_the_present(ahead):
    closed = opened(50.0).closed(100.0 + ahead, "by hand")
    found = closed.corrected(100.0)
    assert (found.since, found.closed_until) == (100.0, 50.0)
    again = opened(100.0 + ahead).corrected(100.0)
    assert (again.since, again.closed_until, again.retry_in(100.0)) == (100.0, 100.0, 30.0)
    early = half_open(140.0 + ahead).corrected(140.0)
    assert (early.since, early.closed_until, early.probes) == (140.0, 100.0, {"p0": 170.0})
    for right in (found, again, early):
        assert right.corrected(140.0) is right


def test_the_counts_of_a_fast_clock_become_those_of_the_present():
    found = recorded(Circuit(), FAILED, by=rules(min_calls=9), now=3700.0).corrected(100.0)
    assert found.window.totals(100.0) == Totals(1, 1)
    assert (found.since, found.closed_until) == (0.0, 0.0)


def test_a_circuit_is_marked_by_whether_the_policy_that_changes_it_refuses_calls():
    circuit = Circuit()
    assert circuit.used_by(rules()) is circuit
    in_shadow = circuit.used_by(rules(shadow=True))
    assert in_shadow.shadow
    assert in_shadow.used_by(rules(shadow=True)) is in_shadow
    assert not in_shadow.used_by(rules()).shadow


@pytest.mark.parametrize(
    ("found", "by", "keeps"),
    [
        (TimeWindow(60.0), rules(), True),
        (TimeWindow(20.0), rules(), False),
        (CountWindow(60), rules(), False),
        (CountWindow(5), rules(last=5), True),
        (CountWindow(6), rules(last=5), False),
        (TimeWindow(5.0), rules(last=5), False),
    ],
)
def test_a_window_of_another_policy_is_replaced(found, by, keeps):
    for _ in range(2):
        assert by.match(found) is keeps
        assert rules(window=7.0).match(found) is False  # what was found for one policy holds for no other
    circuit = recorded(Circuit(window=found.add(199.0, Totals(3))), FAILED, by=by)
    assert by.match(circuit.window)
    assert circuit.window.totals(200.0).calls == (4 if keeps else 1)


@pytest.mark.parametrize(
    ("by", "results", "reason"),
    [
        (rules(failures=1), [FAILED], "a failure"),
        (rules(failures=2), [FAILED, FAILED], "2 failures in a row"),
        (rules(failures=2), [FAILED, WELL, FAILED], ""),
        (rules(failures=2), [FAILED, NO_RESULT, FAILED], "2 failures in a row"),
        (rules(), [FAILED], ""),
        (rules(), [WELL, FAILED], "1 of 2 calls failed"),
        (rules(min_calls=1), [FAILED], "1 of 1 call failed"),
        (rules(), [WELL, WELL, FAILED], ""),
        (rules(failure_rate=0.0), [WELL, SLOW, SLOW], ""),
        (rules(slow_rate=0.5), [WELL, SLOW], "1 of 2 calls was slow"),
        (rules(slow_rate=0.5), [SLOW, SLOW], "2 of 2 calls were slow"),
        (rules(slow_rate=0.5), [WELL, WELL, SLOW], ""),
        (rules(slow_rate=0.5, failures=2), [FAILED, SLOW], "1 of 2 calls was slow"),
        (rules(slow_rate=0.5, failures=2), [WELL, FAILED], ""),
        (rules(slow_rate=0.0, failures=3), [FAILED, FAILED], ""),
        (rules(failures=1, slow_rate=None), [SLOW, SLOW, SLOW], ""),
    ],
)
def test_what_opens_a_circuit(by, results, reason):
    circuit = recorded(Circuit(), *results, by=by)
    assert (circuit.state, circuit.reason) == ("open" if reason else "closed", reason)


def test_pending_successes_count_at_their_own_time():
    circuit = recorded(Circuit(), FAILED, by=rules(min_calls=9), pending=Successes(5, 150.0))
    assert circuit.window.totals(200.0) == Totals(6, 1)
    assert circuit.window.totals(215.0) == Totals(1, 1)
    alone = recorded(Circuit(), NO_RESULT, by=rules(), pending=Successes(5, 150.0))
    assert alone.window.totals(200.0) == Totals(5)


@pytest.mark.parametrize(
    ("by", "result", "state", "open_for", "reason"),
    [
        (rules(), FAILED, "open", 60.0, "a probe failed"),
        (rules(open_at_most=45.0), FAILED, "open", 45.0, "a probe failed"),
        (rules(open_for=50.0, open_at_most=20.0), FAILED, "open", 50.0, "a probe failed"),
        (rules(slow_rate=0.5), SLOW, "open", 60.0, "a probe was slow"),
        (rules(), SLOW, "half_open", 30.0, "open for 30 s"),
        (rules(), WELL, "half_open", 30.0, "open for 30 s"),
        (rules(probes=1), WELL, "closed", 0.0, "1 probe succeeded"),
        (rules(), NO_RESULT, "half_open", 30.0, "open for 30 s"),
    ],
)
def test_what_a_probe_does(by, result, state, open_for, reason):
    circuit = half_open(140.0, 141.0)
    after = circuit.record(by, 150.0, Admission(circuit.generation, "p0"), result)
    assert (after.state, after.open_for, after.reason) == (state, open_for, reason)
    if state == "half_open":
        assert (list(after.probes), after.passed) == (["p1"], int(result is not NO_RESULT))
    else:
        assert (dict(after.probes), after.passed, after.since) == ({}, 0, 150.0)


def test_the_last_of_two_probes_closes_it():
    circuit = half_open(140.0, 141.0)
    for probe in ("p0", "p0", "p1"):
        assert circuit.state == "half_open"
        circuit = circuit.record(rules(), 150.0, Admission(circuit.generation, probe), WELL)
    assert (circuit.state, circuit.reason, circuit.closed_until) == ("closed", "2 probes succeeded", 100.0)


def test_a_probe_is_lost_once_it_takes_as_long_as_the_circuit_was_open():
    circuit = half_open(140.0)
    assert isinstance(circuit.admit(rules(probes=1), 169.9, "p")[1], Refusal)
    again, answer = circuit.admit(rules(probes=1), 170.0, "p")
    assert answer == Admission(again.generation, "p")
    assert list(again.probes) == ["p"]


def test_a_result_of_an_earlier_generation_changes_nothing():
    for circuit in (opened(), half_open(140.0), opened().closed(150.0, "by hand"), Circuit().isolated(9.0, "x")):
        assert circuit.record(rules(min_calls=1), 160.0, Admission(circuit.generation - 1, "p0"), FAILED) is circuit
    for circuit in (opened(), Circuit().isolated(9.0, "x")):
        assert circuit.record(rules(min_calls=1), 160.0, Admission(circuit.generation), FAILED) is circuit


def test_a_change_of_state_begins_anew():
    circuit = recorded(Circuit(), FAILED, by=rules(min_calls=9)).opened(300.0, 30.0, "x")
    assert (circuit.consecutive_failures, circuit.window.totals(300.0), circuit.generation) == (0, Totals(), 1)
    assert (circuit.since, circuit.closed_until) == (300.0, 300.0)
    assert circuit.window.seconds == 60.0
