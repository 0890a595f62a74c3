"""A run with a degraded call is found in Prefect's list of runs, by state name and by tag."""

import asyncio

import pandas as pd
import pandera.pandas as pa
import pytest
from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

from resilient_tasks import Fallback, Retry, Validate, resilient_flow, resilient_task
from resilient_tasks.core.outcome import Failed

pytestmark = pytest.mark.usefixtures("resilient_prefect")


@resilient_task(fallback=Fallback(value=0))
def degrades():
    raise ConnectionError("refused")


@resilient_task(retry=Retry(attempts=1))
def fails():
    raise ConnectionError("refused")


@resilient_task(retry=Retry(attempts=2, wait=0))
def recovers(tries=[]):  # noqa: B006  # it is to be remembered
    tries.append(1)
    if len(tries) % 2:
        raise ConnectionError("refused")


def _found(**conditions):
    async def read():
        async with get_client() as client:
            return [run.id for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter(**conditions))]

    return asyncio.run(read())


def _run(state):
    async def read():
        async with get_client() as client:
            return await client.read_flow_run(state.state_details.flow_run_id)

    return asyncio.run(read())


def test_a_run_with_a_degraded_call_is_found_by_state_name_and_by_tag():
    @resilient_flow
    def daily():
        degrades()

    with tags("nightly"):
        run = _run(daily(return_state=True))
    assert (run.state.name, run.state.type.value, run.state.message) == ("Degraded", "COMPLETED", "1 call degraded")
    assert set(run.tags) == {"degraded", "nightly"}
    assert run.id in _found(state={"name": {"any_": ["Degraded"]}})
    assert run.id in _found(state={"type": {"any_": ["COMPLETED"]}})
    assert run.id in _found(tags={"all_": ["degraded"]})


def test_an_async_run_too():
    @resilient_flow
    async def daily():
        degrades()
        return 7

    state = asyncio.run(daily(return_state=True))
    assert (_run(state).state.name, _run(state).tags) == ("Degraded", ["degraded"])
    assert asyncio.run(daily()) == 7


def test_a_run_that_continued_without_a_call_is_degraded_too():
    @resilient_flow
    def daily():
        assert isinstance(fails.outcome(), Failed)

    run = _run(daily(return_state=True))
    assert (run.state.name, run.state.message, run.tags) == ("Degraded", "1 call failed", ["degraded"])


def test_a_run_whose_calls_recovered_is_a_completed_one():
    @resilient_flow
    def daily():
        recovers()

    run = _run(daily(return_state=True))
    assert (run.state.name, run.state.message, run.tags) == ("Completed", "1 call recovered", [])


def test_a_run_that_quarantined_rows_completes_with_a_tag(tmp_path):
    schema = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})

    @resilient_task(validate=Validate(output=schema, on_invalid="quarantine", quarantine=str(tmp_path)))
    def read():
        return pd.DataFrame({"n": [1, 2, -3]})

    @resilient_flow
    def daily():
        read()

    run = _run(daily(return_state=True))
    assert (run.state.name, run.tags) == ("Completed", ["quarantined"])
    assert run.state.message.startswith("1 of 3 rows quarantined (n: greater_than(0))")
    assert run.state.message.endswith(".parquet")


def test_a_recovered_failure_leaves_no_mark():
    tries = []

    @resilient_flow(retry=Retry(attempts=2, wait=0))
    def daily():
        tries.append(1)
        if len(tries) == 1:
            fails()

    run = _run(daily(return_state=True))
    assert (run.state.name, run.tags) == ("Completed", [])


def test_a_run_with_a_degraded_subflow_is_degraded_too():
    @resilient_flow
    def load():
        return degrades()

    @resilient_flow
    def daily():
        return load() + 1

    @resilient_flow
    def weekly():
        return daily() + 1

    state = weekly(return_state=True)
    run = _run(state)
    assert (run.state.name, run.tags, state.result()) == ("Degraded", ["degraded"], 2)
    assert run.state.message == "1 flow run inside was degraded: daily"


def test_a_degraded_run_inside_a_failed_attempt_leaves_no_mark():
    tries = []

    @resilient_flow
    def load():
        return degrades() if tries == [1] else 0

    @resilient_flow(retry=Retry(attempts=2, wait=0))
    def daily():
        tries.append(1)
        load()
        if len(tries) == 1:
            fails()

    run = _run(daily(return_state=True))
    assert (run.state.name, run.tags) == ("Completed", [])
