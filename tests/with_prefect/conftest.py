"""Read the history of a run back over Prefect's API."""

import asyncio
import time

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from resilient_tasks import resilient_task

#: Policies under which a task behaves exactly like one of `@task` as long as they do not act.
IDLE = {
    "retry": 3,
    "deadline": 60,
    "timeout": 30,
    "idempotent": True,
    "fallback": lambda *_, **__: "never used: only bugs fail here",
}


class History:
    """The task runs of one flow run on Prefect's server, once it has stored the last event."""

    def __init__(self, flow_run_id):
        self._flow_run_id = flow_run_id

    def of(self, task_name):
        """Return the first task run of the task named `task_name`, and its states in order."""
        until = time.monotonic() + 30
        while True:
            found = asyncio.run(self._read(task_name))
            if found or time.monotonic() > until:
                return found
            time.sleep(0.2)  # the server stores task states shortly after they are published

    async def _read(self, task_name):
        async with get_client() as client:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=[self._flow_run_id]))
            runs = [run for run in await client.read_task_runs(flow_run_filter=wanted) if task_name in run.name]
            if not runs or any(run.state is None or not run.state.is_final() for run in runs):
                return None
            first = min(runs, key=lambda run: run.expected_start_time)  # the server returns them in any order
            states = await client.read_task_run_states(first.id)
            return first, sorted(states, key=lambda state: state.timestamp)


@pytest.fixture
def history(resilient_prefect):
    """`history(flow_state).of("task")` gives a task run and its states."""
    return lambda state: History(state.state_details.flow_run_id)


@pytest.fixture(params=["sync", "async"])
def own(request):
    """Make a plain function sync or async, so that each scenario is written once."""

    def as_async(fn):
        async def coroutine(*args, **kwargs):
            return fn(*args, **kwargs)

        coroutine.__name__ = coroutine.__qualname__ = fn.__name__
        return coroutine

    return as_async if request.param == "async" else lambda fn: fn


@pytest.fixture
def same_as_prefect(resilient_prefect):
    """`same_as_prefect(scenario)` runs `scenario(task)` with Prefect's decorator, and with ours under idle policies.

    The scenario returns everything that a user can observe, which must be the same both times.
    """

    def check(scenario, *, without=()):
        policies = {name: policy for name, policy in IDLE.items() if name not in without}

        def ours(fn=None, /, **options):
            decorator = resilient_task(**policies, **options)
            return decorator if fn is None else decorator(fn)

        expected, observed = scenario(task), scenario(ours)
        assert observed == expected, "\n".join(_differences(expected, observed))
        return expected

    return check


def _differences(expected, observed, where="it"):
    """Describe the first difference between two observations, which are too large to compare by eye."""
    if type(expected) is type(observed) and isinstance(expected, list | tuple) and len(expected) == len(observed):
        for number, pair in enumerate(zip(expected, observed, strict=True)):
            yield from _differences(*pair, f"{where}[{number}]")
    elif type(expected) is type(observed) is dict and expected.keys() == observed.keys():
        for key in expected:
            yield from _differences(expected[key], observed[key], f"{where}[{key!r}]")
    elif expected != observed:
        yield f"{where} is {observed!r} instead of {expected!r}"
