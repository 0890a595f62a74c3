"""Reads back over Prefect's API what a run left there."""

import asyncio
import time

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId


class History:
    """The task runs of one flow run as Prefect's server knows them, once it has taken in the last event."""

    def __init__(self, flow_run_id):
        self._flow_run_id = flow_run_id

    def of(self, task_name):
        """Return the task run, and its states in order, of the task named `task_name`."""
        until = time.monotonic() + 30
        while True:
            found = asyncio.run(self._read(task_name))
            if (found and found[0].state.is_final()) or time.monotonic() > until:
                return found
            time.sleep(0.2)  # the server takes in task states a moment after they are published

    async def _read(self, task_name):
        async with get_client() as client:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=[self._flow_run_id]))
            runs = [run for run in await client.read_task_runs(flow_run_filter=wanted) if task_name in run.name]
            if not runs or runs[0].state is None:
                return None
            states = await client.read_task_run_states(runs[0].id)
            return runs[0], sorted(states, key=lambda state: state.timestamp)


@pytest.fixture
def history(resilient_prefect):
    """`history(flow_state).of("task")` gives a task run and its states."""
    return lambda state: History(state.state_details.flow_run_id)


@pytest.fixture(params=["sync", "async"])
def own(request):
    """Turn a plain function into a sync or an async one, so that each scenario is written once."""

    def as_async(fn):
        async def coroutine(*args, **kwargs):
            return fn(*args, **kwargs)

        coroutine.__name__ = coroutine.__qualname__ = fn.__name__
        return coroutine

    return as_async if request.param == "async" else lambda fn: fn
