"""Quarantined rows are an artifact in Prefect: one per run, however many tasks and attempts it has."""

import asyncio

import pandas as pd
import pandera.pandas as pa
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    ArtifactFilterTaskRunId,
)
from prefect.task_runners import ProcessPoolTaskRunner

from resilient_tasks import InvalidData, Quarantine, Retry, Split, Validate, resilient_flow, resilient_task

SCHEMA = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})

pytestmark = pytest.mark.usefixtures("resilient_prefect")


@pytest.fixture
def policy(tmp_path):
    return Validate(output=SCHEMA, on_invalid="quarantine", max_invalid=0.5, quarantine=tmp_path)


@pytest.fixture
def fetch(policy, own):
    """A sync and an async task that reads these numbers; the bad ones are quarantined."""

    def fetch_month(numbers, api_key=None):
        return pd.DataFrame({"n": numbers})

    return resilient_task(validate=policy, name="fetch")(own(fetch_month))


def artifacts(**of):
    """Return the data-quality artifacts of a run."""

    async def read():
        ids = {
            "flow_run_id": lambda run: ArtifactFilterFlowRunId(any_=[run]),
            "task_run_id": lambda run: ArtifactFilterTaskRunId(any_=[run]),
        }
        wanted = {name: ids[name](run) for name, run in of.items()}
        async with get_client() as client:
            return await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["data-quality"]), **wanted)
            )

    return asyncio.run(read())


def of_flow(state):
    return artifacts(flow_run_id=state.state_details.flow_run_id)


def test_a_resilient_flow_creates_one_for_all_its_tasks(fetch, tmp_path):
    @resilient_flow
    def monthly():
        states = [fetch.submit([1, 2, 0], api_key="s3cret"), fetch.submit([1, 0]), fetch.submit([7])]
        return [len(future.result()) for future in states]

    state = monthly(return_state=True)
    assert state.result() == [2, 1, 1]
    (artifact,) = of_flow(state)
    assert artifact.task_run_id is None
    assert artifact.description.startswith("2 of 5 rows quarantined (n: greater_than(0) ×2) in ")
    assert "| fetch_month | `n: greater_than(0)` | 1 | 3 |" in artifact.data
    assert "| 2 | `n: greater_than(0)` | `n=0` |" in artifact.data
    assert "s3cret" not in artifact.data
    for batch in Quarantine(tmp_path).list():
        assert f"resilient-tasks quarantine show {batch.batch}" in artifact.data


def test_a_run_without_bad_rows_creates_none(fetch):
    @resilient_flow
    def monthly():
        fetch.submit([1]).result()

    assert of_flow(monthly(return_state=True)) == []


def test_a_refused_batch_creates_one_too(fetch):
    @resilient_flow
    def monthly():
        return fetch.submit([0, 0, 1])

    state = monthly(return_state=True)
    assert state.is_failed()
    (artifact,) = of_flow(state)
    assert "batch refused, bad rows quarantined" in artifact.data


def test_in_a_plain_flow_each_task_run_that_quarantined_rows_creates_one(fetch):
    @flow
    def monthly():
        return [fetch.submit([1, 0]), fetch.submit([0, 0]), fetch.submit([1])]

    state = monthly(return_state=True)
    found = of_flow(state)
    counts = sorted(artifact.description.partition(" (")[0] for artifact in found)
    assert counts == ["1 of 2 rows quarantined", "2 of 2 rows quarantined"]
    assert len({artifact.task_run_id for artifact in found} - {None}) == 2


def test_outside_of_a_flow_the_task_run_creates_one(fetch):
    called = fetch([1, 0], return_state=True)
    state = asyncio.run(called) if asyncio.iscoroutine(called) else called
    (artifact,) = artifacts(task_run_id=state.state_details.task_run_id)
    assert artifact.description.startswith("1 of 2 rows quarantined (n: greater_than(0)) in ")


def test_a_retried_batch_counts_as_in_its_last_attempt(policy):
    frames = iter([pd.DataFrame({"n": [0, 0, 0]}), pd.DataFrame({"n": [1, 0]})])
    fetch = resilient_task(validate=policy, retry=Retry(on=InvalidData, wait=0), name="fetch")(lambda: next(frames))
    state = resilient_flow(lambda: len(fetch()))(return_state=True)
    (artifact,) = of_flow(state)
    assert artifact.description.startswith("1 of 2 rows quarantined (n: greater_than(0)) in ")
    assert state.message.startswith("1 call recovered, 1 of 2 rows quarantined (n: greater_than(0)) in ")


def test_an_artifact_that_prefect_refuses_does_not_fail_the_run(fetch, monkeypatch, caplog):
    monkeypatch.setattr("resilient_tasks.prefect.artifacts.create_markdown_artifact", lambda *_, **__: 1 / 0)
    state = resilient_flow(lambda: len(fetch.submit([1, 0]).result()))(return_state=True)
    assert state.result() == 1
    assert "the artifact data-quality could not be created in Prefect" in caplog.text


def test_a_split_goes_from_task_to_task(tmp_path):
    policy = Validate(output=SCHEMA, on_invalid="branch", quarantine=tmp_path)

    @resilient_task(validate=policy)
    def fetch() -> Split[pd.DataFrame]:
        return pd.DataFrame({"n": [1, 0, 2]})

    @resilient_task
    def numbers(parts):
        return parts.good["n"].tolist(), parts.bad["n"].tolist(), parts.report.invalid

    @resilient_flow
    def monthly():
        return numbers(fetch.submit())

    state = monthly(return_state=True)
    assert state.result() == ([1, 2], [0], 1)
    assert len(of_flow(state)) == 1


def test_in_another_process_the_task_run_creates_one(policy):
    @resilient_task(validate=policy, name="fetch")
    def fetch():
        return pd.DataFrame({"n": [1, 0]})

    @resilient_flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def monthly():
        return len(fetch.submit().result())

    state = monthly(return_state=True)
    assert state.result() == 1
    (artifact,) = of_flow(state)
    assert artifact.task_run_id is not None
    assert artifact.description.startswith("1 of 2 rows quarantined (n: greater_than(0)) in ")


def test_dask_workers_lose_no_row_in_their_shared_folder(policy, tmp_path):
    prefect_dask = pytest.importorskip("prefect_dask")

    @resilient_task(validate=policy)
    def fetch_month(month):
        return pd.DataFrame({"n": [month, -month, month]})

    cluster = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}

    @resilient_flow(task_runner=prefect_dask.DaskTaskRunner(cluster_kwargs=cluster))
    def monthly():
        return sum(len(good) for good in fetch_month.map(range(1, 13)).result())

    assert monthly() == 24
    quarantine = Quarantine(tmp_path)
    values = [row for batch in quarantine.list() for row in quarantine.read(batch)["values"]]
    assert sorted(row["n"] for row in values) == list(range(-12, 0))
