"""The public API's types, as a user's own type checker sees them. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from typing import assert_type

from prefect.cache_policies import INPUTS
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    CircuitBreaker,
    Degraded,
    Failed,
    Fallback,
    Hedge,
    LastGood,
    Ok,
    Outcome,
    RateLimit,
    Retry,
    RetryBudget,
    SingleFlight,
    TimedOut,
    Timeout,
    Validate,
    host_of,
    outcome_of,
    resilient,
    resilient_flow,
    resilient_task,
)


@resilient
def bare(x: int) -> str:
    return str(x)


@resilient(retry=3, timeout=1.5, deadline=20, fallback=lambda x: "")
def plain(x: int) -> str:
    return str(x)


@resilient(fallback=LastGood(max_age="2d", keep=10, otherwise=Fallback(value=""), key=lambda x: x))
def kept(x: int) -> str:
    return str(x)


@resilient(
    retry=Retry(attempts=3, budget=RetryBudget("api", share=0.1)),
    breaker=CircuitBreaker("api", failures=3, slow=2.5, on=[TimedOut]),
    rate_limit=RateLimit("api", calls=10, per=1, wait=False),
    bulkhead=Bulkhead("api", limit=4, queue=10),
    hedge=Hedge(0.2, attempts=3),
    idempotent=True,
    single_flight=SingleFlight(key=lambda x: x, copy=True, shared=True, serializer="pickle", largest=10),
)
def shared(x: int) -> str:
    return str(x)


@resilient(rate_limit=AdaptiveRateLimit("api", start=0.5, per="1 min", least=0.1, on=[TimedOut], wait="5s"))
def adapting(x: int) -> str:
    return str(x)


rate: float = AdaptiveRateLimit(host_of).status(key="a").rate


@resilient_task(breaker="api", hedge=0.3, idempotent=True, single_flight=True)
def shared_task(x: int) -> str:
    return str(x)


@resilient(retry=Retry(on=TimedOut, attempts=2))
async def later(x: int) -> str:
    return str(x)


assert_type(bare(1), str)
assert_type(plain(1), str)
assert_type(plain.outcome(1), Outcome[str])
assert_type(shared(1), str)
assert_type(shared_task(1), str)
assert_type(CircuitBreaker("api").status().retry_in, float | None)
assert_type(CircuitBreaker("api", enforce=False).status().numbers, Mapping[str, float])
CircuitBreaker("api").set_numbers(open_for="10 min", failures=3, by="anna")
RateLimit("api", 1, 1, enforce=False).set_numbers(calls=20, per=timedelta(minutes=1))


@resilient_task(policy="flights-api", timeout=5)
def by_name(page: int) -> str:
    return str(page)


assert_type(by_name(1), str)
plain("one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def awaited() -> None:
    assert_type(await later(1), str)
    assert_type(await later.outcome(1), Outcome[str])


@resilient_task
def bare_task(x: int) -> str:
    return str(x)


@resilient_task(retry=3, tags=["flights"], retry_delay_seconds=None)
def task(x: int) -> str:
    return str(x)


@resilient_flow(name="f")
def flow(x: int) -> str:
    assert_type(task.submit(x).result(), str)
    assert_type(outcome_of(task.submit(x)), Outcome[str])
    return task(x)


@resilient_flow
async def later_flow(x: int) -> str:
    return await later(x)


assert_type(flow(1), str)
assert_type(flow.with_options(name="other", deadline=5)(1), str)
assert_type(flow.fn(1), str)
flow("one")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def awaited_flow() -> None:
    assert_type(await later_flow(1), str)


@resilient_task(deadline=60)
async def later_task(x: int) -> str:
    return str(x)


@resilient_task(deadline=60)
def numbers_task(upto: int) -> Generator[int]:
    yield from range(upto)


class Feed:
    @resilient_task(retry=3)
    def fetch(self, month: str) -> list[int]:
        return [len(month)]


assert_type(Feed().fetch(Feed(), "2013-07"), list[int])
assert_type(numbers_task(3), Generator[int])
fn: Callable[[int], str] = task.fn
assert_type(task.map([1, 2]).result(), list[str])
assert_type(task.submit(1, return_state=True), State[str])
assert_type(task(1, return_state=True), State[str])
assert_type(task.with_options(retry=5, name="other").outcome(1), Outcome[str])
assert_type(task.with_options(retry=5).submit(1).result(), str)


async def awaited_task() -> None:
    assert_type(await later_task(1), str)
    assert_type(await later_task.outcome(1), Outcome[str])


assert_type(bare_task(1), str)
assert_type(task(1), str)
assert_type(task.outcome(1), Outcome[str])
assert_type(task.with_options(name="other")(1), str)
task("one")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def matched(outcome: Outcome[str]) -> str:
    match outcome:
        case Ok(value):
            return assert_type(value, str)
        case Degraded(value, because=because):
            assert_type(because, Exception)
            return assert_type(value, str)
        case Failed(error=error):
            return str(assert_type(error, Exception))


# What editors complete and check at the decorators: the policies, and Prefect's own options.
@resilient_task(
    retry=3,
    timeout="20s",
    deadline=timedelta(minutes=2),
    hedge="200ms",
    idempotent=True,
    name="fetch",
    tags=["flights"],
    cache_policy=INPUTS,
    retry_condition_fn=lambda _task, _run, _state: True,
    persist_result=True,
    on_failure=[],
    log_prints=True,
)
def with_options_of_both(x: int) -> str:
    return str(x)


@resilient_flow(
    deadline="2h",
    on_unobserved="warn",
    fail_on_degraded=True,
    flow_run_name="run",
    task_runner=ThreadPoolTaskRunner(max_workers=2),
    validate_parameters=False,
    log_prints=True,
)
async def flow_with_options_of_both(x: int) -> str:
    return str(x)


assert_type(with_options_of_both(1), str)
assert_type(with_options_of_both.submit(1).result(), str)
assert_type(Timeout("20s").seconds, float)
assert_type(CircuitBreaker("api", window="1 min", slow=timedelta(seconds=2)).slow, float | None)


async def awaited_flow_with_options() -> None:
    assert_type(await flow_with_options_of_both(1), str)


resilient(retires=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
resilient(retry="3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
resilient(policy=Retry())  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
resilient_task(retires=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
resilient_task(circuit_breaker="api")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
resilient_task(retry="3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
resilient_task(tags=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
resilient_task(log_prints="yes")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
resilient_flow(timout_seconds=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
resilient_flow(on_unobserved="raise")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
resilient_flow(cache_policy=INPUTS)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
CircuitBreaker("api", enforce="process")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Bulkhead("api", 4).set_numbers(limit="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(5, 2)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
Validate(str)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Retry(max_attempts=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Timeout([20])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
RateLimit("api", calls=10, per=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@resilient(
    retry=Retry(budget=RetryBudget(lambda url: host_of(url.lower()))),
    breaker=lambda url: host_of(url.lower()),
    rate_limit=RateLimit(host_of, calls=1, per=1),
    bulkhead=Bulkhead(lambda url, page: page, 4),
)
def by_host(url: str, page: int) -> str:
    return url


assert_type(by_host("https://a/x", 1), str)
assert_type(CircuitBreaker(host_of).status(key="a").retry_in, float | None)
assert_type(CircuitBreaker(host_of).for_key("a"), CircuitBreaker)
assert_type(host_of("https://a/x"), str)
CircuitBreaker(lambda url: [url])  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
