"""Events of the processes that run the tasks: the library writes them where they happen, and they are read together."""

import os
import subprocess
import sys

import heard
import pytest

from resilient_tasks.core import events
from resilient_tasks.core.events import bus
from resilient_tasks.observe import journal

ELSEWHERE = """
from resilient_tasks.core import events
from resilient_tasks.core.host import Host, use_host
from resilient_tasks.observe import journal
journal.install()
run = {"flow_run_id": "f", "task_run": "January page 1"}

class InRun(Host):
    def run(self):
        return run

with use_host(InRun()):
    for attempt in (2, 4):
        about = {"operation": "fetch_page", "call": "there", "attempts": 8, "run": run}
        events.bus.emit(events.RetryStarted(attempt=attempt, time=attempt, **about))
"""


@pytest.fixture
def out(tmp_path, own_settings, monkeypatch, in_run):
    monkeypatch.setenv("RESILIENT_TASKS_EVENTS", "")
    own_settings(events=tmp_path / "events")
    journal.install()
    with in_run(flow_run_id="of the test"):
        yield tmp_path


def started(attempt, task="January page 1", flow_run="f"):
    run = {"flow_run_id": flow_run, "task_run": task}
    return events.RetryStarted(operation="fetch_page", call="here", attempt=attempt, time=attempt, attempts=8, run=run)


def test_the_events_of_all_processes_are_read_in_the_order_of_their_times(out):
    bus.emit(started(3))
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})

    assert [(event.call, event.attempt) for event in heard.of_run("f")] == [("there", 2), ("here", 3), ("there", 4)]
    assert len(list(heard.folder("f").iterdir())) == 2


def test_an_event_is_read_back_as_it_was(out):
    run = {"flow_run_id": "f", "task_run": "May planes", "task_run_id": "t"}
    of_error = {"error_type": "HTTPStatusError", "message": "503", "http_status": 503, "kind": "transient"}
    told = [
        events.FallbackUsed(operation="g", fallback="last good", age=3.5, since=1.0, run=run, **of_error),
        events.RetryRecovered(operation="g", attempts=8, errors={"ReadError": 2}, attempt=3, run=run),
    ]
    for event in told:
        bus.emit(event)

    assert heard.of_run("f") == told


def test_the_events_of_other_flow_runs_and_months_are_left_out(out):
    for event in (started(1), started(2, "June planes"), started(3, flow_run="g")):
        bus.emit(event)

    assert [event.attempt for event in heard.of_run("f")] == [1, 2]
    assert [event.attempt for event in heard.of_run("f", "June")] == [2]


def test_of_a_run_without_events_nothing_is_heard(out):
    assert heard.of_run("another") == []
