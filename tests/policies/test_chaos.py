"""Chaos: faults on purpose, and the same ones each time."""

import pytest

from resilient_tasks import Chaos, Degraded, Fallback, Ok, Pipeline, PolicyError, Retry
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def hits(policy, calls=40):
    """Return which of `calls` calls were hit, in a fresh process."""
    pipeline = Pipeline(policy)
    with use_store(MemoryStore()):
        return [not isinstance(pipeline.outcome(_work), Ok) for _ in range(calls)]


def _work():
    return "true"


def test_the_same_seed_hits_the_same_calls():
    first = hits(Chaos(0.3, fault=ConnectionError, seed=7))
    assert first == hits(Chaos(0.3, fault=ConnectionError, seed=7))
    assert first != hits(Chaos(0.3, fault=ConnectionError, seed=8))
    assert 4 <= sum(first) <= 20


@pytest.mark.parametrize(("rate", "hit"), [(0, 0), (1, 40)])
def test_none_and_all_are_exact(rate, hit):
    assert sum(hits(Chaos(rate, fault=ConnectionError))) == hit


@pytest.mark.parametrize("fault", [ConnectionError("x"), ConnectionError, lambda: ConnectionError("x")])
def test_a_fault_is_an_error_its_type_or_a_function_that_makes_one(drive, fault, resilient_events):
    with pytest.raises(ConnectionError):
        drive(lambda: pytest.fail("the function ran"), policies=[Chaos(fault=fault)])()
    assert resilient_events.names == ["chaos.injected", "call.failed"]


def test_a_function_that_returns_no_error_is_reported(drive):
    with pytest.raises(TypeError, match="returned 503, which is not an exception"):
        drive(_work, policies=[Chaos(fault=lambda: 503)])()


def test_latency_passes_before_the_function_runs(drive, clock, resilient_events):
    assert drive(_work, policies=[Chaos(latency=2.5)])() == "true"
    assert clock.waits == [2.5]
    assert resilient_events[0].fault == "latency of 2.5 s"


def test_latency_does_not_outlast_the_deadline(drive, clock):
    drive(_work, policies=[Chaos(latency=60)], deadline=5).outcome()
    assert clock.waits == [5]


def test_latency_comes_before_the_fault(drive, clock, resilient_events):
    with pytest.raises(ConnectionError):
        drive(_work, policies=[Chaos(latency=2, fault=ConnectionError)])()
    assert clock.waits == [2]
    assert resilient_events[0].sentence() == "injected latency of 2 s and fault ConnectionError"


def test_a_result_can_be_replaced(drive, resilient_events):
    assert drive(_work, policies=[Chaos(outcome=str.upper)])() == "TRUE"
    assert resilient_events[0].fault == "outcome upper"


def test_a_change_that_raises_fails_the_attempt(drive):
    with pytest.raises(ValueError, match="invalid literal"):
        drive(_work, policies=[Chaos(outcome=int)])()


def test_only_a_result_is_changed(drive, flaky):
    chaos = Chaos(outcome=str.upper)
    with pytest.raises(KeyError):
        drive(flaky(KeyError()), policies=[chaos])()
    degraded = drive(flaky(OSError()), policies=Pipeline(chaos, Fallback(value="low", on=OSError))).outcome()
    assert isinstance(degraded, Degraded)
    assert degraded.value == "low"


def test_each_attempt_is_drawn_separately(drive, resilient_events):
    call = drive(_work, policies=[Chaos(0.5, fault=ConnectionError, seed=3)], retry=Retry(attempts=30, wait=0))
    assert call() == "true"
    for _ in range(10):
        call()
    assert len(resilient_events.named("retry.recovered")) >= 1


def test_the_other_policies_treat_it_like_a_real_fault(drive, resilient_events):
    call = drive(
        _work, policies=[Chaos(fault=ConnectionError)], retry=Retry(attempts=2, wait=0), fallback=lambda: "low"
    )
    assert call() == "low"
    assert resilient_events.names == [
        "chaos.injected",
        "retry.scheduled",
        "retry.started",
        "chaos.injected",
        "retry.exhausted",
        "fallback.used",
    ]


def test_several_can_be_combined(drive, clock):
    call = drive(_work, policies=[Chaos(latency=1), Chaos(outcome=str.upper)])
    assert call() == "TRUE"
    assert clock.waits == [1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "injects nothing: give fault=ConnectionError"),
        ({"fault": KeyError, "outcome": str}, "takes fault= or outcome=, not both"),
        ({"fault": "down"}, r"Chaos\(fault=...\) is an exception, its type, or a function"),
        ({"outcome": 7}, r"Chaos\(outcome=...\) is a function of the result, not 7"),
        ({"latency": 0}, r"Chaos\(latency=...\) is a number of seconds above 0"),
        ({"rate": 1.5, "fault": KeyError}, r"Chaos\(rate\) is a fraction from 0 to 1"),
        ({"rate": -0.1, "fault": KeyError}, r"Chaos\(rate\) is a fraction from 0 to 1"),
        ({"rate": True, "fault": KeyError}, r"Chaos\(rate\) is a fraction from 0 to 1"),
    ],
)
def test_contradictory_options_are_refused(arguments, sentence):
    with pytest.raises(PolicyError, match=sentence):
        Chaos(**arguments)
