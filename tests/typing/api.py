"""The public API's types, as a user's own type checker sees them. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import assert_type

from prefect.client.schemas.objects import State

from resilient_tasks import (
    Bulkhead,
    CircuitBreaker,
    Degraded,
    Failed,
    Hedge,
    Ok,
    Outcome,
    RateLimit,
    Retry,
    RetryBudget,
    TimedOut,
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


@resilient(
    retry=Retry(attempts=3, budget=RetryBudget("api", share=0.1)),
    breaker=CircuitBreaker("api", failures=3, slow=2.5, on=[TimedOut]),
    rate_limit=RateLimit("api", calls=10, per=1, wait=False),
    bulkhead=Bulkhead("api", limit=4, queue=10),
    hedge=Hedge(0.2, attempts=3),
    idempotent=True,
)
def shared(x: int) -> str:
    return str(x)


@resilient_task(breaker="api", hedge=0.3, idempotent=True)
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
