"""Single flight among Prefect's task runs and flow runs of one process."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prefect import flow
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from resilient_tasks import Degraded, Failed, Ok, SingleFlight, outcome_of, resilient_flow, resilient_task
from resilient_tasks.policies.single_flight.in_process import flights
from resilient_tasks.prefect.messages import event_from_state

pytestmark = pytest.mark.usefixtures("resilient_prefect")

PATIENCE = 60


def waiting():
    return sum(len(flight.waiting) for flight in list(flights._under_way.values()))


class Service:
    """Answers its first caller once the given number of others wait for that answer."""

    def __init__(self, answer, others=2):
        self.calls, self._answer, self._others = 0, answer, others

    def ask(self):
        self.calls += 1
        for _ in range(PATIENCE * 100):
            if waiting() >= self._others:
                return self._answer()
            threading.Event().wait(0.01)
        raise TimeoutError


def three_of(task):
    """Run three task runs of equal arguments at once; return their final states."""

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
    def around():
        futures = [task.submit("07") for _ in range(3)]
        for future in futures:
            future.wait()
        states.extend(future.state for future in futures)
        outcomes.extend(outcome_of(future) for future in futures)
        return "ran"

    states, outcomes = [], []
    assert around() == "ran"
    return states, outcomes


def test_a_task_run_that_shared_an_attempt_names_the_leader_and_completes():
    service = Service(lambda: {"rows": 3})

    @resilient_task(single_flight=True, task_run_name="fetch-it")
    def fetch(month):
        return service.ask()

    states, outcomes = three_of(fetch)
    assert service.calls == 1
    assert [state.name for state in states] == ["Completed"] * 3
    messages = [state.message for state in states if state.message and "shared" in state.message]
    assert len(messages) == 2
    assert all(message.startswith("shared the result of task run fetch-it, after ") for message in messages)
    assert all(isinstance(outcome, Ok) and outcome.value == {"rows": 3} for outcome in outcomes)


def test_a_run_that_shared_a_failure_fails_with_the_same_error():
    def fail():
        raise LookupError("no such month")

    service = Service(fail)

    @resilient_task(single_flight=True)
    def fetch(month):
        return service.ask()

    states, outcomes = three_of(fetch)
    assert service.calls == 1
    assert [state.name for state in states] == ["Failed"] * 3
    assert all("LookupError: no such month" in state.message for state in states)
    assert all(isinstance(outcome, Failed) and type(outcome.error) is LookupError for outcome in outcomes)
    assert sum("shared the failure of task run fetch-" in str(each.error.__notes__) for each in _noted(outcomes)) == 2


def _noted(outcomes):
    return [outcome for outcome in outcomes if hasattr(outcome.error, "__notes__")]


def test_a_run_that_shared_a_degraded_result_is_degraded_and_can_be_read_by_another_process():
    def fail():
        raise ConnectionError("down")

    service = Service(fail)

    def last_good(month):
        return "old"

    @resilient_task(single_flight=True, fallback=last_good)
    def fetch(month):
        return service.ask()

    states, outcomes = three_of(fetch)
    assert service.calls == 1
    assert [state.name for state in states] == ["Degraded"] * 3
    assert all(isinstance(outcome, Degraded) and outcome.value == "old" for outcome in outcomes)
    messages = [state.message for state in states if "; shared with task run fetch-" in state.message]
    assert len(messages) == 2
    read = [event_from_state(state) for state in states]
    assert {(event.fallback, event.error_type) for event in read} == {("last_good", "ConnectionError")}


def test_each_run_gets_its_own_copy_of_a_returned_state():
    service = Service(lambda: Completed(message="as it is", data=3))

    @resilient_task(single_flight=True)
    def fetch(month):
        return service.ask()

    states, _ = three_of(fetch)
    assert [state.message for state in states] == ["as it is"] * 3
    assert len({state.id for state in states}) == 3
    assert len({state.state_details.task_run_id for state in states}) == 3


def test_flow_runs_of_one_process_share_too():
    service = Service(lambda: 3, others=1)

    @resilient_flow(single_flight=True)
    def train(month):
        return service.ask()

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(train, "07", return_state=True) for _ in range(2)]
        states = [run.result(PATIENCE) for run in runs]
    assert [state.name for state in states] == ["Completed"] * 2
    assert [state.result() for state in states] == [3, 3]
    assert service.calls == 1


def test_async_tasks_of_one_flow_share():
    calls = []

    @resilient_task(single_flight=SingleFlight(copy=True))
    async def fetch(month):
        calls.append(month)
        while waiting() < 2:  # noqa: ASYNC110  # the condition is a number
            await asyncio.sleep(0.01)
        return [month]

    @flow
    async def around():
        return await asyncio.gather(*(fetch("07") for _ in range(3)))

    results = asyncio.run(around())
    assert results == [["07"]] * 3
    assert len({id(result) for result in results}) == 3
    assert calls == ["07"]
