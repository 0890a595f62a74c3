"""A flow with resilient tasks that is deployed, and run by a worker of a work pool of the type `process`."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments import run_deployment
from prefect.states import Cancelling

sys.path.insert(0, str(Path(__file__).parent))
import reading_back

WORKER = ("-m", "prefect", "worker", "start", "--pool", "processes", "--type", "process")
OFTEN = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def deploy(name):
    source = flow.from_source(source=str(reading_back.HERE), entrypoint=f"flows_that_run_elsewhere.py:{name}")
    source.deploy(name="test", work_pool_name="processes", print_next_steps=False, ignore_warnings=True)


@pytest.fixture(scope="module")
def ran(resilient_prefect, tmp_path_factory):
    """A run that was scheduled for a moment later, and one that was cancelled while its task waited."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("scheduled", "cancelled")}

    def run(what, name, **options):
        parameters = {"folder": str(folders[name])}
        return run_deployment(f"{what}/test", parameters=parameters, timeout=0, as_subflow=False, **options).id

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="processes", type="process"))
        deploy("deployed")
        deploy("waiting")
        later = datetime.now(UTC) + timedelta(seconds=3)
        ids = {
            "scheduled": run("deployed", "scheduled", scheduled_time=later),
            "cancelled": run("waiting", "cancelled"),
        }
        folder = tmp_path_factory.mktemp("worker")
        with reading_back.started(folder, *WORKER, PREFECT_HOME=str(folder), **OFTEN):
            reading_back.eventually(lambda: is_waiting(ids["cancelled"]))
            client.set_flow_run_state(ids["cancelled"], Cancelling())
            runs = {name: reading_back.eventually(lambda of=of: ended(client, of)) for name, of in ids.items()}
    return SimpleNamespace(folders=folders, runs=runs, later=later)


def is_waiting(flow_run_id):
    runs = reading_back.task_runs(flow_run_id, ended=False).values()
    return any(run.state_name == "AwaitingRetry" for run, _ in runs)


def ended(client, flow_run_id):
    run = client.read_flow_run(flow_run_id)
    return run if run.state.is_final() else None


def test_the_run_completes_and_its_tasks_show_what_recovered_and_was_degraded(ran):
    run = ran.runs["scheduled"]
    assert run.state_name == "Degraded"
    tasks = reading_back.task_runs(run.id)
    recovered, states = tasks["recovers"]
    assert recovered.run_count == 3
    assert reading_back.names_and_messages(states)[2:4] == [
        ("AwaitingRetry", "attempt 1 of 3: ConnectionError; waits 0.1 s"),
        ("Retrying", "attempt 2 of 3"),
    ]
    assert recovered.state.message == "recovered on attempt 3 of 3 (ConnectionError ×2)"
    assert tasks["degrades"][0].state.message == "degraded: yesterdays stands in after ConnectionError"


def test_a_scheduled_run_starts_no_sooner_than_it_is_scheduled(ran):
    rounding = timedelta(seconds=0.5)  # Prefect's server says how long to wait in whole seconds
    assert ran.runs["scheduled"].start_time >= ran.later - rounding


def test_a_run_that_is_cancelled_while_a_task_waits_makes_no_further_attempt(ran):
    run = ran.runs["cancelled"]
    ((_, states),) = reading_back.task_runs(run.id).values()
    assert run.state_name == "Cancelled"
    assert [state.name for state in states] == ["Pending", "Running", "AwaitingRetry", "Crashed"]
    assert len((ran.folders["cancelled"] / "refused").read_text().splitlines()) == 1
