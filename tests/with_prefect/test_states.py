"""The state history of a resilient task in Prefect."""

import pytest
from prefect import flow
from prefect.states import Completed
from prefect.states import Failed as Failure
from prefect.task_runners import ThreadPoolTaskRunner

from resilient_tasks import Degraded, Failed, Fallback, Ok, Retry, TimedOut, outcome_of, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect", "resilient_clock")


def failing(times, result="done"):
    met = []

    def fetch():
        met.append(1)
        if len(met) <= times:
            raise ConnectionError("refused")
        return result

    return fetch


def run(task, *args):
    """Submit one task in a separate flow; return the flow's state and the task's outcome."""
    seen = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def around():
        future = task.submit(*args)
        seen.append(outcome_of(future))
        return "ran"

    return around(return_state=True), seen[0]


def test_a_retry_is_an_awaiting_retry_state_with_its_reason(own, history):
    task = resilient_task(retry=Retry(attempts=4, wait=2))(own(failing(2)))
    state, outcome = run(task)
    task_run, states = history(state).of("fetch")
    assert outcome.attempts == 3
    assert [each.name for each in states] == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]
    assert states[2].message == "attempt 1 of 4: ConnectionError; waits 2.0 s"
    assert states[2].state_details.scheduled_time is not None
    assert states[-1].message == "recovered on attempt 3 of 4 (ConnectionError ×2)"
    assert task_run.run_count == 3


def test_a_task_that_succeeds_at_once_has_prefects_own_history(own, history):
    state, outcome = run(resilient_task(retry=3)(own(failing(0))))
    task_run, states = history(state).of("fetch")
    assert isinstance(outcome, Ok)
    assert [each.name for each in states] == ["Pending", "Running", "Completed"]
    assert not states[-1].message
    assert task_run.run_count == 1


def test_a_fallback_completes_as_degraded_and_passes_its_data_on(own, history):
    task = resilient_task(retry=Retry(attempts=2, wait=1), fallback=Fallback(value="yesterday"))(own(failing(9)))

    @resilient_task
    def use(data):
        return data.upper()

    used = []

    @flow
    def around():
        future = task.submit()
        used.append(use.submit(future).result())
        used.append(outcome_of(future))
        return "ran"

    state = around(return_state=True)
    _, states = history(state).of("fetch")
    assert used[0] == "YESTERDAY"
    assert isinstance(used[1], Degraded)
    assert isinstance(used[1].because, ConnectionError)
    assert (states[-1].name, states[-1].type.value) == ("Degraded", "COMPLETED")
    assert states[-1].message == "degraded: a fixed value stands in after ConnectionError"
    downstream, _ = history(state).of("use")
    assert [str(each.id) for each in downstream.task_inputs["data"]] == [str(states[-1].state_details.task_run_id)]


def test_a_failure_ends_as_in_prefect_with_the_users_own_error(own, history):
    state, outcome = run(resilient_task(retry=Retry(attempts=2, wait=1))(own(failing(9))))
    _, states = history(state).of("fetch")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ConnectionError)
    assert "gave up after attempt 2" in outcome.error.__notes__[0]
    assert states[-1].name == "Failed"


def test_the_outcome_of_a_direct_call_can_be_matched(own):
    failed = resilient_task(own(failing(9)))
    recovered = resilient_task(retry=Retry(attempts=3, wait=1))(own(failing(1, 5)))
    degraded = resilient_task(fallback=lambda: 7)(own(failing(9)))
    found = []

    @flow
    async def asynchronous():
        found.extend([await each.outcome() for each in (failed, recovered, degraded)])

    @flow
    def synchronous():
        found.extend([each.outcome() for each in (failed, recovered, degraded)])

    if failed.isasync:
        import asyncio

        asyncio.run(asynchronous())
    else:
        synchronous()
    match found:
        case [Failed(error=ConnectionError()), Ok(5, attempts=2), Degraded(7, because=ConnectionError())]:
            pass
        case _:
            pytest.fail(f"not as expected: {found}")


def test_a_direct_call_returns_the_data_and_not_the_state():
    recovered = resilient_task(retry=Retry(attempts=3, wait=1))(failing(1, 5))
    degraded = resilient_task(fallback=lambda: 7)(failing(9))
    assert flow(lambda: None)() is None
    assert recovered() == 5
    assert degraded() == 7
    assert degraded(return_state=True).name == "Degraded"


def test_a_users_own_completed_state_is_returned_as_in_prefect():
    def fetch():
        return Completed(message="my words", data=3)

    state = resilient_task(retry=2)(fetch)(return_state=True)
    assert (state.message, state.result()) == ("my words", 3)


def test_a_failed_state_that_a_function_returns_is_a_failed_attempt(own):
    calls = []

    def fetch():
        calls.append(1)
        return Failure(data=ConnectionError("down"), message="my words") if len(calls) < 3 else "done"

    _, outcome = run(resilient_task(retry=Retry(attempts=3, wait=1))(own(fetch)))
    assert (outcome.value, outcome.attempts) == ("done", 3)


def test_a_final_failed_state_keeps_the_users_message():
    def fetch():
        return Failure(message="my words")

    state = resilient_task(retry=Retry(on=Exception, attempts=2, wait=1))(fetch)(return_state=True)
    assert (state.is_failed(), state.message) == (True, "my words")


def test_a_timeout_in_a_worker_thread_ends_on_time_and_publishes_nothing_afterwards(history, resilient_events):
    import threading

    release = threading.Event()

    def fetch():
        release.wait(20)
        raise ConnectionError("too late to matter")

    task = resilient_task(timeout=0.3, retry=Retry(attempts=3, wait=1), idempotent=False, name="abandoned")
    with pytest.warns(UserWarning, match="idempotent=True"):
        task = task(fetch)
    state, outcome = run(task)
    release.set()
    _, states = history(state).of("abandoned")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TimedOut)
    assert not outcome.error.stopped
    assert [each.name for each in states] == ["Pending", "Running", "TimedOut"]
    assert resilient_events.names.count("timeout.exceeded") == 1
    assert "retry.scheduled" not in resilient_events.names


def test_on_running_hooks_run_for_each_attempt():
    entered = []
    task = resilient_task(
        retry=Retry(attempts=3, wait=1), on_running=[lambda _task, _run, state: entered.append(state.name)]
    )(failing(2))
    assert task() == "done"
    assert entered == ["Running", "Retrying", "Retrying"]


def test_a_degraded_result_is_not_cached_and_a_recovered_one_is(tmp_path):
    from prefect.cache_policies import INPUTS

    calls = []

    def fetch(x):
        calls.append(x)
        if len(calls) == 1:
            raise ConnectionError("down")
        return "fresh"

    options = {"cache_policy": INPUTS, "result_storage_key": None, "persist_result": True}
    task = resilient_task(fallback=Fallback(value="stale"), name=str(tmp_path), **options)(fetch)
    assert [task(str(tmp_path)) for _ in range(3)] == ["stale", "fresh", "fresh"]
    assert len(calls) == 2


def test_other_processes_can_import_the_class_of_every_state(resilient_prefect):
    """pydantic makes a class of `State[Any]`, and puts it into the first module that uses it."""
    states = []

    @resilient_task(retry=Retry(attempts=2, wait=0), on_running=[lambda _task, _run, state: states.append(state)])
    def fetch():
        if len(states) < 2:
            raise ConnectionError("once")
        return 1

    states.append(fetch(return_state=True))
    for state in states:
        assert not any("[" in each.__name__ for each in type(state).__mro__ if each.__module__.startswith("resilient"))
        assert "[" not in type(state).__qualname__
