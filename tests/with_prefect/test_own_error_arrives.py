"""Under Prefect, the user's own error is raised, and functions that return a coroutine run under their policies."""

import asyncio
import dataclasses
import functools

import pytest
from prefect.states import Failed as FailedState

from resilient_tasks import Failed, PolicyError, ResilienceError, Retry, resilient_flow, resilient_task
from resilient_tasks.prefect import raising
from resilient_tasks.redaction.exceptions import original_of, presentable

pytestmark = pytest.mark.usefixtures("resilient_prefect", "resilient_clock")


class WithEmptyMessage(ConnectionError):
    def __str__(self):
        return self.request.url


class WithoutRepr(ConnectionError):
    def __repr__(self):
        raise RuntimeError("no repr")


@dataclasses.dataclass(frozen=True)
class Frozen(ConnectionError):
    number: int = 7


class Falsy(ConnectionError):
    """An error with a length of 0."""

    def __len__(self):
        return 0


class WithoutTruthValue(ConnectionError):
    def __bool__(self):
        raise RuntimeError("neither true nor false")


class WithoutClass(ConnectionError):
    @property
    def __class__(self):
        raise RuntimeError("no class")


@pytest.mark.parametrize("kind", [WithEmptyMessage, WithoutRepr, Frozen, Falsy, WithoutTruthValue, WithoutClass])
class TestAnErrorThatPrefectCannotHandle:
    def test_a_printable_copy_is_raised_and_can_be_caught_by_its_class(self, kind):
        with pytest.raises(kind) as raised:
            raising.fail(Failed(kind()))
        assert type(raised.value).__qualname__ == kind.__qualname__
        assert kind.__qualname__ in f"{raised.value!r}: {raised.value}"
        raised.value.add_note("taken")

    def test_a_task_raises_it_after_all_attempts_and_outcome_has_the_same_object(self, kind):
        raised = []

        @resilient_task(retry=Retry(attempts=2, wait=0))
        def fetch():
            raised.append(kind())
            raise raised[-1]

        with pytest.raises(kind):
            fetch()
        assert len(raised) == 2
        outcome = fetch.outcome()
        assert outcome.error is raised[-1]

    def test_a_flow_raises_it(self, kind):
        @resilient_task(retry=Retry(attempts=2, wait=0))
        def fetch():
            raise kind

        @resilient_flow
        def daily():
            fetch()

        with pytest.raises(kind):
            daily()

    def test_in_another_process_it_is_a_resilience_error_that_names_it(self, kind):
        import pickle  # only used here

        again = pickle.loads(pickle.dumps(presentable(kind())))
        assert type(again) is ResilienceError
        assert kind.__qualname__ in str(again)


def test_a_printable_error_is_not_replaced():
    assert presentable(ConnectionError("down")) is None


def test_a_state_that_holds_a_frozen_error_counts_as_a_failed_attempt():
    calls = []

    @resilient_task(retry=Retry(attempts=2, wait=0))
    def fetch():
        calls.append(1)
        return FailedState(data=Frozen()) if len(calls) == 1 else "done"

    assert fetch() == "done"
    assert original_of(Frozen()) == Frozen()


class Service:
    def __init__(self):
        self.calls = 0

    async def fetch(self):
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls < 3:
            raise ConnectionError("down")
        return "data"


class AsyncCall:
    def __init__(self, service):
        self.service = service

    async def __call__(self):
        return await self.service.fetch()


class TestAsyncCallablesThatPrefectDoesNotDetect:
    """Tasks only: Prefect makes no flow from an object without a name."""

    def test_an_object_with_an_async_call_is_retried(self):
        service = Service()
        fetch = resilient_task(retry=Retry(wait=0), name="fetch")(AsyncCall(service))
        assert asyncio.run(fetch()) == "data"
        assert service.calls == 3
        assert fetch.with_options(name="other").isasync

    def test_a_partial_of_an_async_function_is_retried(self):
        async def fetch(service):
            return await service.fetch()

        service = Service()
        assert (
            asyncio.run(resilient_task(retry=Retry(wait=0), name="fetch")(functools.partial(fetch, service))())
            == "data"
        )
        assert service.calls == 3


def test_a_sync_task_that_returns_a_coroutine_is_refused_with_advice():
    @resilient_task(retry=Retry(wait=0))
    def fetch():
        return Service().fetch()

    with pytest.raises(PolicyError, match=r"cannot await what .*fetch returns.*coroutine"):
        fetch()


def test_a_sync_flow_that_returns_a_coroutine_is_retried():
    service = Service()

    @resilient_flow(retry=Retry(wait=0))
    def daily():
        return service.fetch()

    assert daily() == "data"
    assert service.calls == 3
