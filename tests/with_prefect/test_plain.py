"""`task.plain`: the same policies without Prefect."""

import asyncio
import pickle

import cloudpickle
import pytest
from prefect.context import TaskRunContext

from resilient_tasks import Degraded, Ok, Retry, resilient_task


@pytest.fixture(autouse=True)
def clock(resilient_clock, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")  # a run would fail
    return resilient_clock


def flaky(errors):
    if errors:
        raise errors.pop()
    assert TaskRunContext.get() is None
    return "done"


def test_a_call_is_retried_without_a_run(clock, resilient_events):
    task = resilient_task(retry=Retry(attempts=3, wait=10))(flaky)
    assert task.plain([ConnectionError(), ConnectionError()]) == "done"
    assert clock.waits == [10, 10]
    assert resilient_events.retries("flaky") == 2
    assert resilient_events[0].run == {}


def test_its_outcome_can_be_matched():
    task = resilient_task(retry=Retry(attempts=2, wait=1), fallback=lambda errors: "stand-in")(flaky)
    assert isinstance(task.plain.outcome([ConnectionError()] * 5), Degraded)
    match task.plain.outcome([ConnectionError()]):
        case Ok("done", 2):
            return
    pytest.fail("it did not recover")


def test_an_async_task_too(clock):
    @resilient_task(retry=Retry(attempts=3, wait=10))
    async def fetch(errors):
        return flaky(errors)

    assert asyncio.run(fetch.plain([ConnectionError()])) == "done"
    assert clock.waits == [10]


def test_a_generator_too():
    @resilient_task(deadline=60)
    def rows():
        yield 1
        yield 2

    assert list(rows.plain()) == [1, 2]


def test_a_method_has_its_object():
    class Client:
        name = "flights"

        @resilient_task(retry=Retry(attempts=2, wait=1))
        def fetch(self, errors):
            flaky(errors)
            return self.name

        @resilient_task(retry=Retry(attempts=2, wait=1))
        @classmethod
        def load(cls, errors):
            flaky(errors)
            return cls.name

    assert Client().fetch.plain([ConnectionError()]) == "flights"
    assert Client().fetch.plain.outcome([ConnectionError()]).attempts == 2
    assert Client.load.plain([ConnectionError()]) == "flights"


def test_it_has_the_functions_name_and_can_be_pickled():
    task = resilient_task(retry=2)(flaky)
    assert (task.plain.__name__, task.plain.__wrapped__) == ("flaky", flaky)
    assert pickle.loads(cloudpickle.dumps(task.plain))([]) == "done"


def test_with_other_options_it_has_those():
    task = resilient_task(retry=2)(flaky).with_options(retry=None)
    with pytest.raises(ConnectionError):
        task.plain([ConnectionError()])
