"""Flows and tasks against the API in memory: the same states as on a server, and an error where it has no answer."""

import asyncio

import httpx
import pytest
from prefect import flow, get_client, pause_flow_run, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from resilient_tasks import Degraded, Retry, resilient_flow, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect_memory")


@pytest.fixture
def api(resilient_prefect_memory):
    return resilient_prefect_memory


def names(api, run):
    return [state["name"] for state in api.states_of(run["id"])]


@resilient_task(retry=Retry(attempts=3, wait=0.01))
def flaky(errors):
    if errors:
        raise errors.pop()
    return "done"


def test_a_task_alone_has_its_states_with_their_reasons(api):
    assert flaky([ConnectionError("refused")]) == "done"
    (run,) = api.task_runs
    assert names(api, run) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
    assert api.states_of(run["id"])[-1]["message"] == "recovered on attempt 2 of 3 (ConnectionError)"
    assert run["state_name"] == "Completed"


def test_a_flow_has_its_states_tags_and_task_runs(api):
    @resilient_task(fallback=lambda: "stand-in")
    def fetch():
        raise ConnectionError("down")

    @resilient_flow
    def monthly():
        return fetch()

    with tags("nightly"):
        state = monthly(return_state=True)
    assert state.name == "Degraded"
    (run,) = api.flow_runs
    assert names(api, run) == ["Pending", "Running", "Degraded"]
    assert {"nightly", "degraded"} <= set(run["tags"])
    (task_run,) = api.task_runs
    assert (task_run["flow_run_id"], task_run["state_name"]) == (run["id"], "Degraded")
    assert [artifact["key"] for artifact in api.memory.artifacts] == ["resilience-report"]


def test_an_outcome_can_be_matched():
    @resilient_task(fallback=lambda: "stand-in")
    def fetch():
        raise ConnectionError("down")

    assert isinstance(fetch.outcome(), Degraded)
    assert flaky.outcome([ConnectionError()]).attempts == 2


def test_mapped_tasks_and_async_ones_are_runs_of_their_flow(api):
    @task
    async def double(n):
        await asyncio.sleep(0)
        return 2 * n

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
    def fan_out():
        return flaky.map([[], [ConnectionError()], []]).result()

    @flow
    async def gathered():
        return sum(await asyncio.gather(*[double(n) for n in range(5)]))

    assert fan_out() == ["done"] * 3
    assert asyncio.run(gathered()) == 20
    of_map, of_gather = api.flow_runs
    flow_run_ids = [run["flow_run_id"] for run in api.task_runs]
    assert (flow_run_ids.count(of_map["id"]), flow_run_ids.count(of_gather["id"])) == (3, 5)


def test_a_retried_flow_has_the_states_of_a_server(api):
    errors = [ConnectionError(), ConnectionError()]

    @flow(retries=2, retry_delay_seconds=0)
    def fetch():
        if errors:
            raise errors.pop()
        return 1

    assert fetch() == 1
    (run,) = api.flow_runs
    assert names(api, run) == ["Pending", "Running", *["AwaitingRetry", "Running"] * 2, "Completed"]
    assert run["run_count"] == 3


def test_a_failed_flow_raises_its_error_and_ends_failed(api):
    @flow
    def broken():
        raise KeyError("month")

    with pytest.raises(KeyError):
        broken()
    assert api.flow_runs[0]["state_type"] == "FAILED"


def test_a_subflow_has_a_task_run_of_its_parent_with_its_states(api):
    @flow
    def child():
        return 1

    @flow
    def parent():
        return child()

    assert parent() == 1
    of_parent, of_child = api.flow_runs
    (stands_for_it,) = api.task_runs
    assert of_child["parent_task_run_id"] == stands_for_it["id"]
    assert stands_for_it["flow_run_id"] == of_parent["id"]
    assert names(api, stands_for_it)[-1] == "Completed"


def test_a_returned_state_ends_the_run(api):
    @flow
    def cancelled():
        return Cancelled(message="by hand")

    assert cancelled(return_state=True).name == "Cancelled"
    assert api.flow_runs[0]["state_type"] == "CANCELLED"


def test_a_client_reads_runs_by_filters(api):
    flaky([])

    @flow(name="monthly")
    def monthly():
        create_markdown_artifact("# done", key="report")
        return flaky([])

    monthly()
    with get_client(sync_client=True) as client:
        run = client.read_flow_runs(flow_run_filter=FlowRunFilter(state={"type": {"any_": ["COMPLETED"]}}))[0]
        assert client.read_flow_by_name("monthly").id == run.flow_id
        assert not client.read_flow_runs(flow_run_filter=FlowRunFilter(tags={"all_": ["degraded"]}))
        api.task_runs  # noqa: B018  # sends the events
        found = client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id={"any_": [run.id]}))
        assert [each.state_name for each in found] == ["Completed"]
        assert len(client.read_task_run_states(found[0].id)) == 3


class TestWhatItDoesNotKnow:
    @pytest.mark.parametrize(
        "ask",
        [
            lambda client: client.read_deployments(),
            lambda client: client.read_work_pools(),
            lambda client: client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id={"is_null_": True})),
            lambda client: client.read_flow_runs(sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC),
        ],
    )
    def test_is_an_error_that_names_the_fixture(self, ask):
        with get_client(sync_client=True) as client, pytest.raises(PrefectHTTPStatusError, match="needs a real server"):
            ask(client)

    def test_a_pause_fails_the_flow(self):
        @flow
        def waits():
            pause_flow_run(timeout=1)

        with pytest.raises(PrefectHTTPStatusError, match="needs a real server"):
            waits()

    def test_an_object_that_does_not_exist_is_not_found(self, api):
        answer = httpx.get(f"{api.url}/flow_runs/{'0' * 8}-{'0' * 4}-{'0' * 4}-{'0' * 4}-{'0' * 12}", trust_env=False)
        assert answer.status_code == 404


@pytest.mark.parametrize("again", [1, 2])
def test_each_test_begins_with_an_empty_api(api, again):
    assert (api.flow_runs, api.task_runs) == ([], [])
    flaky([])
    assert len(api.task_runs) == 1


@task
def add(one, other):
    return one + other


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("decorator", [flow, resilient_flow])
def test_a_flow_whose_tasks_run_in_processes_is_refused_with_the_fixture_to_use(api, decorator, is_async):
    def pooled():
        return add.submit(1, 2).result()

    async def apooled():
        return pooled()

    run = decorator(task_runner=ProcessPoolTaskRunner(max_workers=1))(apooled if is_async else pooled)
    with pytest.raises(RuntimeError, match="in a test the fixture resilient_prefect"):
        asyncio.run(run()) if is_async else run()
    assert api.task_runs == []


def test_a_flow_can_be_given_threads_instead_of_its_processes(api):
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pooled():
        return add.submit(1, 2).result()

    assert pooled.with_options(task_runner=ThreadPoolTaskRunner())() == 3
    assert len(api.task_runs) == 1
