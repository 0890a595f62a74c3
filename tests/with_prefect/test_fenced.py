"""An attempt that outlives its timeout in a Prefect run adds nothing after the run's terminal state."""

import threading

import pytest
from prefect import flow

from resilient_tasks import Retry, TimedOut, resilient_task

pytestmark = pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")


@pytest.fixture
def gate():
    """Holds abandoned work back, far past its timeout."""
    gate = threading.Event()
    yield gate
    gate.set()


def run_on_to_the_end(gate):
    """Let the abandoned threads finish their work."""
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("resilient:") and "stuck" in thread.name:
            thread.join(30)


def read_run(history, state, name):
    """Return what Prefect knows of a task run: its states with their messages, and how often it ran."""
    run, states = history(state).of(name)
    return [(state.type, state.name, state.message) for state in states], run.run_count


def test_a_thread_that_outlives_its_timeout_leaves_nothing_behind_a_terminal_state(gate, history, resilient_events):
    calls, ended = [], []
    policies = {"retry": Retry(attempts=3, wait=0), "timeout": 0.2}

    @resilient_task(**policies)
    def page():
        calls.append("page")
        raise ConnectionError("refused")

    @resilient_task(**policies)
    def stuck():
        calls.append("stuck")
        gate.wait(30)
        try:
            page()
        finally:
            ended.append(True)

    @flow
    def monthly():
        return stuck.submit(return_state=True)

    state = monthly(return_state=True)
    before = read_run(history, state, "stuck"), resilient_events.names
    run_on_to_the_end(gate)
    later = flow(lambda: page(return_state=True), name="later")(
        return_state=True
    )  # the server has stored all before it
    read_run(history, later, "page")

    assert ended == [True]
    assert calls == ["stuck", "page", "page", "page"]  # three in the later flow: the abandoned attempt began nothing
    assert read_run(history, state, "stuck") == before[0]
    states, run_count = before[0]
    assert ([name for _, name, _ in states], run_count) == (["Pending", "Running", "TimedOut"], 1)
    assert before[1] == ["timeout.exceeded", "retry.exhausted", "call.failed"]


def test_idempotent_work_is_retried_beside_the_abandoned_attempt(gate, history):
    calls = []

    @resilient_task(retry=Retry(attempts=2, wait=0.01), timeout=0.5, idempotent=True)
    def stuck_once():
        calls.append(1)
        if len(calls) == 1:
            gate.wait(30)
            raise ConnectionError("late")
        return "done"

    @flow
    def monthly():
        return stuck_once.submit().result()

    state = monthly(return_state=True)
    before = read_run(history, state, "stuck_once")
    run_on_to_the_end(gate)
    assert state.result() == "done"
    assert read_run(history, state, "stuck_once") == before
    assert before[0][-1][2] == "recovered on attempt 2 of 2 (TimedOut)"
    assert before[1] == 2


def test_the_error_of_a_submitted_task_names_the_thread_that_runs_on(gate, resilient_prefect):
    @resilient_task(timeout=0.2)
    def stuck():
        gate.wait(30)

    @flow
    def monthly():
        with pytest.raises(TimedOut, match=r"still running in abandoned thread resilient:.*stuck-\d+"):
            stuck.submit().result()

    monthly()
