"""Events of the processes that run the tasks: written where they happen, and read together."""

import subprocess
import sys
from dataclasses import replace

import heard
import pytest

from resilient_tasks.core import events

ELSEWHERE = """
import heard
from resilient_tasks.core import events
run = {"flow_run_id": "f", "task_run": "January page 1"}
for attempt in (2, 4):
    about = {"operation": "fetch_page", "call": "there", "attempts": 8, "run": run}
    events.bus.emit(events.RetryStarted(attempt=attempt, time=attempt, **about))
"""


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setenv("FLIGHT_TIMES_OUT", str(tmp_path))
    return tmp_path


def started(attempt, task="January page 1", flow_run="f"):
    run = {"flow_run_id": flow_run, "task_run": task}
    return events.RetryStarted(operation="fetch_page", call="here", attempt=attempt, time=attempt, attempts=8, run=run)


def test_the_events_of_all_processes_are_read_in_the_order_of_their_times(out):
    heard.bus.emit(started(3))
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, cwd=heard.__file__.rpartition("/")[0])

    assert [(event.call, event.attempt) for event in heard.of_run("f")] == [("there", 2), ("here", 3), ("there", 4)]
    assert len(list((out / "events").iterdir())) == 2


def test_an_event_is_read_back_as_it_was(out):
    run = {"flow_run_id": "f", "task_run": "May planes", "task_run_id": "t"}
    of_error = {"error_type": "HTTPStatusError", "message": "503", "http_status": 503, "kind": "transient"}
    told = [
        events.FallbackUsed(operation="g", fallback="last good", age=3.5, since=1.0, run=run, **of_error),
        events.RetryRecovered(operation="g", attempts=8, errors={"ReadError": 2}, attempt=3, run=run),
    ]
    for event in told:
        heard.bus.emit(event)

    assert heard.of_run("f") == told


def test_the_events_of_other_flow_runs_and_months_are_left_out(out):
    for event in (started(1), started(2, "June planes"), started(3, flow_run="g")):
        heard.bus.emit(event)

    assert [event.attempt for event in heard.of_run("f")] == [1, 2]
    assert [event.attempt for event in heard.of_run("f", "June")] == [2]


def test_what_happens_outside_of_any_run_is_not_written(out):
    heard.bus.emit(replace(started(1), run={}))

    assert heard.of_run("f") == []
    assert not (out / "events").exists()
