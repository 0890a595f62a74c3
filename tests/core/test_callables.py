"""Policies apply to every callable that returns a coroutine, whether or not it is an `async def`."""

import asyncio
import functools
import inspect
import threading
import types
import warnings
from unittest.mock import AsyncMock, Mock

import pytest

from resilient_tasks import (
    Bulkhead,
    Chaos,
    CircuitBreaker,
    Degraded,
    Fallback,
    Ok,
    Pipeline,
    PolicyError,
    RateLimit,
    Retry,
    TimedOut,
    Timeout,
    resilient,
)
from resilient_tasks.core.parameters import callables


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture(autouse=True)
def no_coroutine_is_forgotten():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


class Service:
    """Fails twice, then succeeds; counts the calls."""

    def __init__(self, failures=2):
        self.calls, self.failures = 0, failures

    async def fetch(self, month="07"):
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls <= self.failures:
            raise ConnectionError(f"down, call {self.calls}")
        return f"data {month}"


class AsyncCall:
    def __init__(self, service):
        self.service = service

    async def __call__(self, month="07"):
        return await self.service.fetch(month)


class Awaitable:
    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()


def _wrapped(service):
    @functools.wraps(service.fetch)
    def wrapper(*args, **kwargs):
        return service.fetch(*args, **kwargs)

    return wrapper


def _mixed_in(service):
    class Client:
        fetch = functools.partialmethod(lambda _, month="07": service.fetch(month))

    return Client().fetch


def _old_style(service):
    @types.coroutine
    def fetch(month="07"):
        return (yield from service.fetch(month).__await__())

    return fetch


#: By name: a factory of the callable, and whether it is known to be async at decoration.
CALLABLES = {
    "bound method": (lambda service: service.fetch, True),
    "object with an async __call__": (AsyncCall, True),
    "its bound __call__": (lambda service: AsyncCall(service).__call__, True),
    "partial of a method": (lambda service: functools.partial(service.fetch, month="07"), True),
    "partial of an object": (lambda service: functools.partial(AsyncCall(service), month="07"), True),
    "AsyncMock": (lambda service: AsyncMock(side_effect=service.fetch), True),
    "plain wrapper": (_wrapped, False),
    "lambda": (lambda service: lambda month="07": service.fetch(month), False),
    "partial of a lambda": (lambda service: functools.partial(lambda month: service.fetch(month), "07"), False),  # noqa: PLW0108
    "partialmethod": (_mixed_in, False),
    "Mock": (lambda service: Mock(side_effect=service.fetch), False),
    "generator-based coroutine": (_old_style, True),
    "returns an object with __await__": (lambda service: lambda: Awaitable(service.fetch()), False),
    "returns a task": (lambda service: lambda: asyncio.ensure_future(service.fetch()), False),
}
every_callable = pytest.mark.parametrize("name", CALLABLES)


def made(name, service):
    return CALLABLES[name][0](service)


def awaited(fn, *args):
    async def main():
        return await fn(*args)

    return asyncio.run(main())


@every_callable
def test_async_callables_are_recognised_at_decoration_if_possible(name):
    assert callables.is_async(made(name, Service())) is CALLABLES[name][1]


@every_callable
def test_it_is_retried(name, resilient_events):
    service = Service()
    assert awaited(resilient(retry=Retry(attempts=3, wait=1))(made(name, service))) == "data 07"
    assert service.calls == 3
    assert resilient_events.names.count("retry.scheduled") == 2


@every_callable
def test_each_policy_applies_to_it(name, resilient_events):
    service = Service(failures=99)
    fetch = resilient(
        idempotent=True,
        retry=Retry(attempts=3, wait=1),
        timeout=5,
        deadline=60,
        breaker=CircuitBreaker("flights-api", failures=2),
        bulkhead=Bulkhead("flights", limit=1),
        rate_limit=RateLimit("flights", calls=3, per=1),
        fallback=lambda *_: "last good",
    )(made(name, service))
    assert awaited(fetch) == "last good"
    assert service.calls == 2  # then the circuit is open
    assert "breaker.opened" in resilient_events.names


@every_callable
def test_outcome_returns_an_awaitable_of_the_outcome(name):
    match awaited(resilient(retry=Retry(wait=1))(made(name, Service())).outcome):
        case Ok("data 07", attempts=3):
            pass
        case other:
            pytest.fail(f"unexpected {other!r}")


@every_callable
def test_a_pipeline_without_a_decorator_runs_it(name):
    service = Service()
    assert awaited(Pipeline(Retry(wait=1)).call, made(name, service)) == "data 07"
    assert service.calls == 3
    assert isinstance(awaited(Pipeline(Fallback(value=0)).outcome, made(name, Service())), Degraded)


@every_callable
def test_switched_off_it_is_called_bare(name, own_settings):
    own_settings(enabled=False)
    fetch = resilient(retry=3)(made(name, Service(failures=0)))
    assert awaited(fetch) == "data 07"
    assert awaited(fetch.outcome).value == "data 07"


@pytest.mark.parametrize("thread", ["main", "worker"])
def test_a_timeout_cancels_it(thread):
    cancelled = []

    async def slow():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    fetch = resilient(timeout=0.05, idempotent=True)(lambda: slow())  # noqa: PLW0108  # the very point
    errors = []

    def call():
        try:
            awaited(fetch)
        except TimedOut as error:
            errors.append(error)

    if thread == "main":
        call()
    else:
        worker = threading.Thread(target=call)
        worker.start()
        worker.join()
    assert [(error.stopped, error.abandoned) for error in errors] == [(True, False)]
    assert cancelled == [True]


def test_a_hedge_makes_a_second_call(resilient_events):
    calls = []

    async def fetch():
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "second"

    hedged = resilient(hedge=0.1, idempotent=True)(lambda: fetch())  # noqa: PLW0108  # the very point
    assert awaited(hedged) == "second"
    assert len(calls) == 2
    assert resilient_events.names == ["hedge.started", "hedge.won"]


def test_an_async_fallback_works_if_the_call_turns_out_to_be_async():
    async def last_good():
        return "last good"

    fetch = resilient(retry=Retry(wait=1), fallback=lambda: last_good())(lambda: Service(99).fetch())  # noqa: PLW0108
    assert awaited(fetch) == "last good"


@pytest.mark.parametrize(
    "fallback",
    [Service().fetch, AsyncCall(Service()), functools.partial(Service().fetch, "06"), AsyncMock()],
    ids=["method", "object", "partial", "AsyncMock"],
)
def test_an_async_fallback_of_a_sync_function_is_refused_at_decoration(fallback):
    with pytest.raises(PolicyError, match="is async: a sync call cannot await it"):
        resilient(fallback=fallback)(lambda: 1)


def test_a_sync_function_whose_fallback_returns_a_coroutine_raises_its_own_error_with_a_note():
    def down():
        raise ConnectionError("down")

    with pytest.raises(ConnectionError, match="down") as caught:
        resilient(fallback=lambda: Service().fetch())(down)()
    assert "a sync call cannot await what lambda at test_callables" in caught.value.__notes__[-1]


def test_a_fault_that_returns_a_coroutine_is_refused():
    with pytest.raises(PolicyError, match="a sync call cannot await"):
        resilient(policies=[Chaos(outcome=lambda _: Service().fetch())])(lambda: 1)()


def test_an_async_generator_behind_a_plain_function_is_refused():
    async def items():
        yield 1

    with pytest.raises(PolicyError, match="decorate the generator function"):
        resilient(deadline=5)(lambda: items())()  # noqa: PLW0108  # the very point
    with pytest.raises(PolicyError, match="decorate the generator function"):
        resilient(retry=3)(lambda: items())()  # noqa: PLW0108


def test_an_object_whose_call_is_a_generator_is_recognised():
    class Items:
        def __call__(self):
            yield from (1, 2)

    class AsyncItems:
        async def __call__(self):
            yield 1

    for kind in (Items, AsyncItems):
        with pytest.raises(PolicyError, match="is a generator function"):
            resilient(retry=3)(kind())
    assert list(resilient(deadline=5)(Items())()) == [1, 2]


def test_awaitables_that_a_generator_yields_are_items():
    async def one():
        return 1

    def items():
        yield one()

    assert [asyncio.run(item) for item in resilient(deadline=5)(items)()] == [1]


def test_a_future_passed_around_by_sync_code_is_an_ordinary_value():
    class Future:  # like Dask's and Prefect's
        def __await__(self):
            raise NotImplementedError

        def result(self):
            return 1

    future = Future()
    assert resilient(retry=3)(lambda: future)() is future


def test_it_is_called_once_and_starts_when_awaited():
    begun = []

    async def work():
        begun.append(1)

    call = resilient(timeout=5, retry=3, idempotent=True)(lambda: work())()  # noqa: PLW0108  # the very point
    assert inspect.iscoroutine(call)
    assert begun == []
    asyncio.run(call)
    assert begun == [1]


def test_a_coroutine_that_is_never_awaited_releases_its_slot():
    fetch = resilient(bulkhead=Bulkhead("flights", limit=1))(lambda: Awaitable(Service(0).fetch()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        fetch().close()
        fetch()
    assert awaited(fetch) == "data 07"


def test_concurrent_calls_are_independent():
    service = Service()
    fetch = resilient(retry=Retry(attempts=3, wait=1))(lambda month: service.fetch(month))  # noqa: PLW0108

    async def main():
        return await asyncio.gather(*(fetch(str(month)) for month in range(5)))

    assert asyncio.run(main()) == [f"data {month}" for month in range(5)]


def test_a_nested_call_runs_too():
    service = Service()
    inner = resilient(retry=Retry(wait=1))(lambda: service.fetch())  # noqa: PLW0108  # the very point

    async def outer():
        return await inner()

    assert awaited(resilient(retry=Retry(wait=1), deadline=60)(lambda: outer())) == "data 07"  # noqa: PLW0108
    assert service.calls == 3


def test_a_child_process_is_refused_with_an_explanation():
    fetch = resilient(timeout=Timeout(30, enforce="process"))(lambda: Service().fetch())
    with pytest.raises(PolicyError, match="drop enforce='process'"):
        fetch()
    with pytest.raises(PolicyError, match="drop enforce='process'"):
        resilient(timeout=Timeout(30, enforce="process"))(AsyncCall(Service()))


def test_the_cache_of_result_types_is_bounded():
    for number in range(2000):
        assert not callables.comes_later(type(f"Made{number}", (), {})())
    assert len(callables.PLAIN) <= 512
