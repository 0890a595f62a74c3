"""A resilient task behaves the same in a thread, in another process and on a cluster: its policies go along with it."""

import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
from prefect.client.schemas.objects import StateType
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from resilient_tasks import (
    Bulkhead,
    CircuitBreaker,
    Degraded,
    Failed,
    Ok,
    RateLimit,
    Retry,
    RetryBudget,
    TimedOut,
    host_of,
    outcome_of,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.core.events import bus
from resilient_tasks.prefect.states import StateWithMessage

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)  # the processes of a pool import the tasks from this process's path
import flows_that_run_elsewhere as elsewhere  # noqa: E402  # needs that path
import reading_back  # noqa: E402  # as above


def dask():
    from prefect_dask import DaskTaskRunner

    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


def ray():
    from prefect_ray import RayTaskRunner

    there = {"env_vars": {"PYTHONPATH": reading_back.PATHS}}
    return RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False, "runtime_env": there})


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


IN_THIS_PROCESS, IN_ANOTHER = True, False


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((ThreadPoolTaskRunner, IN_THIS_PROCESS), id="threads"),
        pytest.param((lambda: ThreadPoolTaskRunner(max_workers=1), IN_THIS_PROCESS), id="one-thread"),
        pytest.param((lambda: ProcessPoolTaskRunner(max_workers=1), IN_ANOTHER), id="process-pool"),
        pytest.param((dask, IN_ANOTHER), id="dask", marks=needs("prefect_dask")),
        pytest.param((ray, IN_ANOTHER), id="ray", marks=needs("prefect_ray")),
    ],
)
def ran(request, resilient_prefect, tmp_path_factory):
    """One flow run in each place, with everything that the tests inspect."""
    folder, events, found = str(tmp_path_factory.mktemp("tries")), [], SimpleNamespace()
    task_runner, found.at_home = request.param

    def try_twice(error):
        return str(error) == folder  # a closure

    @resilient_task(retry=Retry(attempts=2, wait=lambda call: call.attempt / 100, on=try_twice))
    def made_here(number):
        if elsewhere.tries(folder, "made_here") < 2:
            raise ValueError(folder)
        return 3 * number

    @resilient_task(
        retry=Retry(attempts=2, wait=0.01, budget=RetryBudget(lambda url: host_of(url.lower()), floor=0)),
        breaker=CircuitBreaker(lambda url: host_of(url.lower()), failures=9),
        rate_limit=RateLimit(lambda url: host_of(url.lower()), calls=100, per=1),
        bulkhead=Bulkhead(lambda url: host_of(url.lower()), 4),
    )
    def by_host(url):
        if "down" in url:
            raise ConnectionError("refused")
        return url

    @resilient_flow(deadline=300, task_runner=task_runner())
    def around():
        futures = {task.name: task.submit(folder) for task in elsewhere.EVERY}
        futures["used"] = elsewhere.uses.submit(futures["degrades"])
        futures["made_here"] = made_here.submit(5)
        futures["time_left"] = elsewhere.time_left.submit()
        found.outcomes = {name: outcome_of(future) for name, future in futures.items()}
        found.used = futures["used"].state
        found.by_host = [outcome_of(one) for one in by_host.map(["http://a/1", "http://down/1", "http://b/1"])]
        found.mapped = elsewhere.uses.map(["a", "b"]).result()
        return "done"

    with bus.listening(events.append):
        state = around(return_state=True)
    found.flow_run_id = state.state_details.flow_run_id
    found.runs = reading_back.task_runs(
        found.flow_run_id, number=len(found.outcomes) + len([*found.by_host, *found.mapped])
    )
    found.folder, found.events, found.state = Path(folder), events, state
    assert found.at_home == (found.folder / "recovers").read_text().startswith(f"{os.getpid()} ")
    return found


def tries_of(ran, name):
    return len((ran.folder / name).read_text().splitlines())


def test_results_stand_ins_and_errors_arrive_as_outcomes(ran):
    match ran.outcomes:
        case {
            "recovers": Ok(1, attempts=3),
            "recovers_async": Ok("fresh", attempts=3),
            "degrades": Degraded("yesterday's, after refused", because=ConnectionError()),
            "too_slow": Failed(error=TimedOut()),
            "too_late": Failed(error=ConnectionError()),
            "broken": Failed(error=KeyError()),
            "used": Ok("YESTERDAY'S, AFTER REFUSED", attempts=1),
            "made_here": Ok(15, attempts=2),
        }:
            pass
        case other:
            pytest.fail(f"not as expected: {other}")
    assert ran.mapped == ["A", "B"]


def test_a_task_on_degraded_data_says_so(ran):
    assert (ran.used.name, ran.used.message.partition(" (")[0]) == (
        "Completed",
        "computed from degraded input: degrades",
    )


def test_key_functions_are_pickled_with_their_policies(ran):
    match ran.by_host:
        case [Ok("http://a/1"), Failed(error=ConnectionError()) as failed, Ok("http://b/1")]:
            assert "the retry budget of down is used up" in failed.error.__notes__[-1]
        case other:
            pytest.fail(f"not as expected: {other}")


def test_a_stand_in_arrives_without_an_error_that_cannot_be_pickled():
    state = StateWithMessage(type=StateType.COMPLETED, name="Degraded", message="degraded: by a lock", data=4)
    state.because_of(ConnectionError(threading.Lock()))
    other = cloudpickle.loads(cloudpickle.dumps(state))
    assert (other.data, str(other.because)) == (4, "degraded: by a lock")


def test_an_errors_notes_arrive_with_it(ran):
    (note,) = ran.outcomes["too_late"].error.__notes__
    assert "gave up after attempt" in note
    assert "past the deadline" in note


def test_the_history_shows_each_attempt_and_its_reason(ran):
    run, states = ran.runs["recovers"]
    assert reading_back.names_and_messages(states) == [("Pending", ""), *reading_back.RECOVERED]
    assert run.run_count == tries_of(ran, "recovers") == 3
    assert reading_back.names_and_messages(ran.runs["recovers_async"][1]) == reading_back.names_and_messages(states)


def test_a_stand_in_completes_as_degraded(ran):
    run, states = ran.runs["degrades"]
    assert (run.state_type.value, run.run_count) == ("COMPLETED", 2)
    assert reading_back.names_and_messages(states)[-1] == (
        "Degraded",
        "degraded: yesterdays stands in after ConnectionError",
    )


def test_a_bug_is_not_retried(ran):
    run, states = ran.runs["broken"]
    assert [state.name for state in states] == ["Pending", "Running", "Failed"]
    assert run.run_count == tries_of(ran, "broken") == 1


def test_a_timeout_records_whether_the_work_was_stopped(ran):
    error, state = ran.outcomes["too_slow"].error, ran.runs["too_slow"][0].state
    assert state.name == "TimedOut"
    assert "exceeded its timeout of 0.3 s" in state.message
    assert ("not stopped" in state.message) == (not error.stopped)
    to_its_end = ran.folder / "too_slow, to its end"
    if error.stopped:
        assert not to_its_end.exists()
    elif ran.at_home:  # elsewhere its process may end first
        assert reading_back.eventually(to_its_end.exists, within=20)


def test_no_attempt_is_made_past_the_tasks_own_deadline(ran):
    run, states = ran.runs["too_late"]
    assert [state.name for state in states] == ["Pending", "Running", "Failed"]
    assert run.run_count == tries_of(ran, "too_late") == 1


def test_the_log_of_the_run_has_the_librarys_lines_and_the_users_own(ran):
    expected = {
        "recovers: attempt 1 of 3: ConnectionError; waits 0.1 s",
        "Finished in state Completed('recovered on attempt 3 of 3 (ConnectionError ×2)')",
        "degrades: degraded: yesterdays stands in after ConnectionError",
        "counted attempt=2 rows=1",
    }
    reading_back.eventually(lambda: expected <= set(reading_back.log_lines(ran.flow_run_id)), within=20)


def test_events_and_the_flows_deadline_reach_the_flows_own_process_only(ran):
    left = ran.outcomes["time_left"].value
    events = {(event.operation, event.name) for event in ran.events}
    if ran.at_home:
        assert 0 < left < 300
        assert {("recovers", "retry.scheduled"), ("degrades", "fallback.used")} <= events
    else:
        assert left == float("inf")
        assert not [operation for operation, name in events if name.startswith("retry.")]
