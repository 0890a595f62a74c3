"""The undocumented parts of Prefect that the library relies on: check these first after an upgrade."""

import importlib.metadata
import inspect
import logging
import threading
from typing import get_args

import pytest
from prefect import Task, flow, task
from prefect._internal import control_listener
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.transactions import transaction

from resilient_tasks import Fallback, Retry, resilient_task
from resilient_tasks.prefect import undocumented
from resilient_tasks.prefect.undocumented import RELIANCES, Reliance


def publishes():
    names = inspect.signature(undocumented._publish).parameters.keys()
    return {"task_run", "initial_state", "validated_state", "follows"} <= names


def the_engine_shares_its_run():
    @task
    def counts():
        TaskRunContext.get().task_run.run_count += 10
        return TaskRunContext.get().task_run

    @flow
    def around():
        state = counts(return_state=True)
        return Completed(data=state.data.result)

    run = around(return_state=True).data.result
    return isinstance(run, TaskRun) and run.run_count == 11 and run.state_name == "Completed"


def the_engine_reads_fn():
    read_by = []

    class Watched(Task):
        @property
        def fn(self):
            read_by.append(inspect.currentframe().f_back.f_globals["__name__"])
            return self.__dict__["fn"]

        @fn.setter
        def fn(self, fn):
            self.__dict__["fn"] = fn

    watched = Watched(lambda: 1)
    read_by.clear()
    return watched() == 1 and "prefect.task_engine" in read_by and undocumented._engine_is_known


def arguments_are_split():
    return undocumented._split(lambda x, *, y: None, {"x": 1, "y": 2}) == ((1,), {"y": 2})


def tasks_have_their_source():
    def known():
        return 1

    return task(known).source_code == inspect.getsource(known)


def transactions_can_skip_writing():
    with transaction(write_on_commit=True) as txn:
        return txn.write_on_commit is True


def results_are_records():
    def one():
        return 1

    return isinstance(task(one)(return_state=True).data, undocumented._record)


def runners_have_cancel_events():
    with ThreadPoolTaskRunner(max_workers=1) as runner:
        return isinstance(runner._cancel_events, dict)


def there_is_a_global_loop():
    ran = threading.Event()

    async def work():
        ran.set()

    return undocumented.run_in_background(work) and ran.wait(10)


def each_flow_run_has_its_own_task_runner():
    seen = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def around():
        seen.append(FlowRunContext.get().task_runner)

    around()
    around()
    return isinstance(seen[0], ThreadPoolTaskRunner) and seen[0] is not seen[1]


def futures_keep_their_final_state():
    def one():
        return 1

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        future = runner.submit(task(one), {})
        before = future._final_state
        future.wait()
        return before is None and future._final_state.is_completed()


def a_runner_announces_its_intent_to_end_a_run():
    return undocumented._intent() is None and "cancel" in get_args(control_listener.Intent)


def the_flow_engine_keeps_the_error_of_an_attempt():
    count = iter((1, 2))

    @flow(retries=1)
    def around():
        if next(count) == 1:
            raise ValueError
        run = FlowRunContext.get().flow_run
        return Completed(data=undocumented.forget_earlier_error(run.id))

    return around()


def the_event_stream_accepts_another_client():
    from prefect.events import utilities, worker

    from resilient_tasks.prefect import runs
    from resilient_tasks.prefect.outages import PatientEventsClient

    runs.connect()
    names = inspect.signature(worker.EventsWorker.instance).parameters
    replaced = {worker.PrefectEventsClient, utilities.PrefectEventsClient} == {PatientEventsClient}
    return replaced and "client_type" in names and worker.EventsWorker.instance().client_type is PatientEventsClient


def a_client_created_in_a_run_retries_refused_requests():
    @flow
    def around():
        with get_client(sync_client=True) as client:
            return client._client._has_connected

    with get_client(sync_client=True) as client:
        return around() and not client._client._has_connected


def the_engine_holds_what_it_was_given():
    found = []

    @task
    def one(given):
        found.append(undocumented.given_to_the_engine())

    state = task(lambda: 3)(return_state=True)
    one(state)
    ((parameters, _),) = found
    return parameters == {"given": state}


def the_events_worker_reads_related_resources():
    from prefect.events import related, worker

    calls = worker.EventsWorker._handle.__code__.co_names
    return "attach_related_resources_from_context" in calls and isinstance(related.RESOURCE_CACHE, dict)


def runs_have_a_telemetry():
    from prefect.telemetry.run_telemetry import RunTelemetry

    parameters = inspect.signature(RunTelemetry.update_state).parameters
    return (
        list(parameters) == ["self", "new_state"]
        and {"_parent_run", "end_span_on_failure"} <= vars(RunTelemetry).keys()
    )


PROBES = {
    undocumented.PUBLISH: publishes,
    undocumented.TASK_RUN: the_engine_shares_its_run,
    undocumented.ENGINE_READS_FN: the_engine_reads_fn,
    undocumented.CALL_SPLIT: arguments_are_split,
    undocumented.SOURCE: tasks_have_their_source,
    undocumented.WRITE_ON_COMMIT: transactions_can_skip_writing,
    undocumented.RESULT_RECORD: results_are_records,
    undocumented.CANCEL_EVENTS: runners_have_cancel_events,
    undocumented.BACKGROUND: there_is_a_global_loop,
    undocumented.TASK_RUNNER: each_flow_run_has_its_own_task_runner,
    undocumented.FUTURES: futures_keep_their_final_state,
    undocumented.INTENT: a_runner_announces_its_intent_to_end_a_run,
    undocumented.RAISED: the_flow_engine_keeps_the_error_of_an_attempt,
    undocumented.STREAM: the_event_stream_accepts_another_client,
    undocumented.HAS_CONNECTED: a_client_created_in_a_run_retries_refused_requests,
    undocumented.RELATED: the_events_worker_reads_related_resources,
    undocumented.RUN_TELEMETRY: runs_have_a_telemetry,
    undocumented.GIVEN: the_engine_holds_what_it_was_given,
}


@pytest.mark.usefixtures("resilient_prefect")
@pytest.mark.parametrize("reliance", RELIANCES, ids=lambda reliance: reliance.name)
def test_prefect_still_has(reliance):
    try:
        holds, why = PROBES[reliance](), "it behaves otherwise"
    except Exception as error:
        holds, why = False, repr(error)
    release = importlib.metadata.version("prefect")
    assert holds, f"Prefect {release} broke {reliance.name}: {reliance.purpose} ({why})"


def test_a_missing_part_is_logged_once_with_what_is_lost(monkeypatch):
    lines = []
    monkeypatch.setattr(undocumented, "_warned", set())
    monkeypatch.setattr(
        logging.getLogger("resilient_tasks"), "warning", lambda text, *parts: lines.append(text % parts)
    )
    gone = Reliance("prefect.nowhere.nothing", "0.0", "this test", "nothing at all")
    assert undocumented.find(gone) is None
    assert undocumented.find(gone) is None
    assert lines == ["this Prefect lacks prefect.nowhere.nothing: nothing at all"]


@pytest.mark.usefixtures("resilient_prefect", "resilient_clock")
def test_without_any_of_it_tasks_still_retry_and_fall_back(monkeypatch):
    for name in ("_publish", "_split", "_record"):
        monkeypatch.setattr(undocumented, name, None)
    monkeypatch.setattr(undocumented, "_engine_is_known", False)
    monkeypatch.delattr(Task, "source_code", raising=False)
    calls = []

    @resilient_task(retry=Retry(attempts=2, wait=1), fallback=Fallback(value="stand-in"))
    def fetch(always):
        calls.append(1)
        if always or len(calls) == 1:
            raise ConnectionError("down")
        return "fetched"

    @flow
    def around():
        return Completed(data=[state.message for state in (fetch(x, return_state=True) for x in (False, True))])

    assert around(return_state=True).data.result == [
        "recovered on attempt 2 of 2 (ConnectionError)",
        "degraded: a fixed value stands in after ConnectionError",
    ]
    assert len(calls) == 4
