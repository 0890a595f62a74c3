"""Validate with drift=...: a result that satisfies its schema and differs from the baseline."""

import cloudpickle
import pytest
from pydantic import BaseModel

from resilient_tasks import (
    Degraded,
    Drift,
    DriftDetected,
    Failed,
    Fallback,
    Kind,
    Ok,
    PolicyError,
    Retry,
    RunReport,
    Split,
    Validate,
    classify,
)
from resilient_tasks.validation.profile import profile

USUAL, UNUSUAL = (*range(1, 101),), (*range(51, 151),)


@pytest.fixture
def gate(library):
    """`gate(on_drift)` makes the policy of a result that should look like the numbers from 1 to 100."""
    baseline = profile(library.frame(*USUAL), library.schema)

    def make(on_drift, *, min_rows=50, **options):
        drift = Drift(baseline, on_drift=on_drift, columns=["n"], min_rows=min_rows)
        return Validate(output=library.schema, drift=drift, **options)

    return make


@pytest.mark.parametrize("on_drift", ["warn", "branch", "stop"])
def test_without_drift_there_is_no_event(drive, library, gate, resilient_events, on_drift):
    outcome = drive(library.frame, validate=gate(on_drift)).outcome(*USUAL)

    assert isinstance(outcome, Ok)
    assert resilient_events == []


def test_warn_reports_the_drift_and_passes_the_data_on(drive, library, gate, resilient_events):
    outcome = drive(library.frame, validate=gate("warn")).outcome(*UNUSUAL)

    assert isinstance(outcome, Ok)
    (event,) = resilient_events
    assert (event.name, event.action, event.rows, list(event.columns)) == ("data.drifted", "warn", 100, ["n"])
    assert event.columns["n"].startswith("n drifted (PSI ")
    assert event.sentence() == f"drift (warn): {event.columns['n']}"


def test_branch_returns_the_data_with_the_drift(drive, library, gate, resilient_events):
    outcome = drive(library.frame, validate=gate("branch")).outcome(*UNUSUAL)

    match outcome:
        case Degraded(frame, because=DriftDetected(report=report)):
            assert library.numbers(frame) == [*UNUSUAL]
            assert report.drifted == ("n",)
        case other:
            pytest.fail(f"got {other}")
    assert outcome.because.__traceback__ is None
    assert resilient_events.names == ["data.drifted", "fallback.used"]
    assert resilient_events[1].sentence() == "degraded: the result as it is stands in after DriftDetected"
    assert RunReport(resilient_events).degraded == 1


def test_stop_fails_the_call_with_the_report(drive, library, gate, resilient_events):
    outcome = drive(library.frame, validate=gate("stop")).outcome(*UNUSUAL)

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DriftDetected)
    assert "result: n drifted (PSI" in str(outcome.error)
    assert outcome.error.report.action == "stop"
    assert resilient_events.names == ["data.drifted", "call.failed"]


def test_drift_is_malformed_data_and_is_not_retried(drive, library, gate, resilient_clock):
    calls = []

    def fetch():
        calls.append(1)
        return library.frame(*UNUSUAL)

    outcome = drive(fetch, validate=gate("stop"), retry=Retry(attempts=3)).outcome()

    assert classify(outcome.error) is Kind.MALFORMED
    assert len(calls) == 1


def test_a_stand_in_is_not_compared_with_the_baseline(drive, library, gate, resilient_events):
    def last_good():
        return library.frame(1, 2, 3)

    outcome = drive(lambda: library.frame(*UNUSUAL), validate=gate("stop"), fallback=Fallback(last_good)).outcome()

    assert isinstance(outcome, Degraded)
    assert library.numbers(outcome.value) == [1, 2, 3]
    assert resilient_events.names == ["data.drifted", "fallback.used"]


def test_only_the_good_rows_are_compared(drive, library, gate, resilient_events):
    mixed = (*USUAL, *[-5_000] * 60)

    assert drive(library.frame, validate=gate("stop", on_invalid="drop"))(*mixed) is not None
    parts = drive(library.frame, validate=gate("stop", on_invalid="branch"))(*mixed)

    assert isinstance(parts, Split)
    assert resilient_events.names == ["rows.invalid", "rows.invalid"]


def test_too_few_rows_are_reported_and_stop_nothing(drive, library, gate, resilient_events):
    outcome = drive(library.frame, validate=gate("stop", min_rows=101)).outcome(*UNUSUAL)

    assert isinstance(outcome, Ok)
    (event,) = resilient_events
    assert event.sentence() == "drift (pass): n: 100 rows are too few to judge; 101 are needed"


def test_the_gate_crosses_to_another_process(drive, library, gate):
    policy = cloudpickle.loads(cloudpickle.dumps(gate("stop")))

    assert isinstance(drive(library.frame, validate=policy).outcome(*UNUSUAL), Failed)


class Record(BaseModel):
    n: int


@pytest.mark.parametrize("ways", [{"input": "schema"}, {"output": Record}])
def test_a_gate_is_for_a_result_that_is_a_frame(library, ways):
    drift = Drift(profile(library.frame(1), library.schema))
    ways = {way: library.schema if schema == "schema" else schema for way, schema in ways.items()}

    with pytest.raises(PolicyError, match="for a result that is a frame"):
        Validate(**ways, drift=drift)


def test_a_gate_is_a_drift(library):
    with pytest.raises(PolicyError, match="is a Drift"):
        Validate(output=library.schema, drift=0.2)


def test_each_gate_of_several_frames_is_a_drift_of_one_of_them(library):
    drift = Drift(profile(library.frame(1), library.schema))
    both = {"a": library.schema, "b": library.schema}
    assert Validate(output=both, drift={"a": drift}).drift == {"a": drift}
    for wrong in ({}, {"a": drift, "b": 3}, {"a": drift, "c": drift}):
        with pytest.raises(PolicyError, match=r"is a Drift, .*; its frames are \['a', 'b'\]"):
            Validate(output=both, drift=wrong)
    with pytest.raises(PolicyError, match=r"with several frames is a mapping by name: \{'a': Drift\(\.\.\.\), 'b'"):
        Validate(output=both, drift=drift)
