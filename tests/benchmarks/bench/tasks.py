"""The cost of Prefect's tasks with policies: beside Prefect's own `@task`, alone and mapped; and calls in them."""

import asyncio
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from setting import prefect_server

from bench import peers
from bench.calls import BOTH, Race, by_the_loop
from bench.table import Goal, Row
from bench.timing import AGAIN, OURS, quiet

# The server takes in what it is sent, but writes no states down: that takes it four times as long as the calls
# themselves, and it refuses new flow runs meanwhile.
for service in ("TASK_RUN_RECORDER", "EVENT_PERSISTER", "TRIGGERS"):
    os.environ[f"PREFECT_SERVER_SERVICES_{service}_ENABLED"] = "false"

NATIVE = "@task"
CALLS, WARM_UP = 70, 10  # of each task
PAUSE = 0.005  # seconds after a call, for Prefect's other threads to do their share of it
MAPPED = 1000
GOAL = 1.03
REMARK = "CPU time of all threads, the median"


def tasks() -> Iterator[Row]:
    with prefect_server():
        yield from _bodies()
        yield from _alone()
        yield _mapped()


def _bodies() -> Iterator[Row]:
    """Measure a helper with a retry that is called in the body of a task."""
    from prefect import flow

    from resilient_tasks import resilient_task

    @flow
    def in_flow(timed: Race) -> dict[str, float]:
        return resilient_task(retry=3)(timed.measured)()

    @flow
    async def in_async_flow(timed: Race) -> dict[str, float]:
        return await resilient_task(retry=3)(timed.measured_in_loop)()

    for is_async, place in BOTH:
        timed = Race(partial(peers.retry, is_async=is_async), is_async=is_async)
        figures = asyncio.run(in_async_flow(timed)) if is_async else in_flow(timed)
        yield Row("success, retry alone", f"{place}, in the body of a task with a retry", figures, by_the_loop())


def _own(fn: Callable[[], int], *, is_async: bool) -> Callable[[], Any]:
    def function() -> int:
        return fn()

    async def coroutine_function() -> int:
        return fn()

    return coroutine_function if is_async else function


def _failing_every_other_time() -> Callable[[], int]:
    calls = count()

    def fn() -> int:
        if next(calls) % 2 == 0:
            raise ConnectionError
        return 1

    return fn


RETRIED = "a task that is retried at once"


def _alone() -> Iterator[Row]:
    from prefect import task

    from resilient_tasks import Retry, resilient_task

    native: Any = task(retries=1, retry_delay_seconds=0)
    pairs: dict[str, tuple[Any, Any, Callable[[], Callable[[], int]]]] = {
        "@resilient_task, alone in a flow": (resilient_task, task, lambda: _one),
        "retry + deadline + fallback, alone": (resilient_task(retry=3, deadline=60, fallback=int), task, lambda: _one),
        RETRIED: (
            resilient_task(retry=Retry(attempts=2, wait=0)),
            native,
            _failing_every_other_time,
        ),
    }
    for is_async, place in BOTH:
        for what, (ours, its, make) in pairs.items():
            decorators = {OURS: ours, NATIVE: its, AGAIN: its}
            called: dict[str, Callable[[], Any]] = {
                name: each(_own(make(), is_async=is_async)) for name, each in decorators.items()
            }
            # A task that is retried at once is shown beside Prefect's own and not judged: ours says the reason, too.
            goals = [] if what == RETRIED else [Goal(NATIVE, GOAL)]
            figures = _in_a_flow(called, is_async=is_async)
            yield Row(what, place, figures, goals, unit="ms", also_ran=[NATIVE], remark=REMARK)


def _one() -> int:
    return 1


def _in_a_flow(called: dict[str, Callable[[], Any]], *, is_async: bool) -> dict[str, float]:
    """Call the tasks in turns in one flow run."""
    from prefect import flow

    taken: dict[str, list[float]] = {name: [] for name in called}

    @flow
    def in_turns() -> None:
        for name in _turns(list(called)):
            with _timed(taken[name]):
                called[name]()

    @flow
    async def async_in_turns() -> None:
        for name in _turns(list(called)):
            with _timed(taken[name]):
                await called[name]()

    with quiet():
        asyncio.run(async_in_turns()) if is_async else in_turns()
    return {name: statistics.median(several[WARM_UP:]) for name, several in taken.items()}


def _turns(names: list[str]) -> Iterator[str]:
    for _ in range(WARM_UP + CALLS):
        yield from random.sample(names, len(names))


@contextmanager
def _timed(taken: list[float]) -> Iterator[None]:
    began = time.process_time()
    yield
    time.sleep(PAUSE)
    taken.append((time.process_time() - began) * 1000)


def _mapped() -> Row:
    """Map a task over a thousand arguments, Prefect's and ours in turns: A B B A."""
    from prefect import flow, task

    from resilient_tasks import resilient_task

    both = {NATIVE: task(_own_of_number()), OURS: resilient_task(retry=3)(_own_of_number())}

    @flow
    def mapped(name: str, number: int) -> None:
        both[name].map(range(number)).wait()

    taken: dict[str, list[float]] = {NATIVE: [], OURS: []}
    for name in (NATIVE, OURS):
        mapped(name, MAPPED // 20)
    for name in (NATIVE, OURS, OURS, NATIVE):
        began = time.process_time()
        mapped(name, MAPPED)
        taken[name].append((time.process_time() - began) * 1000 / MAPPED)
    first, last = taken[NATIVE]
    figures = {OURS: statistics.mean(taken[OURS]), NATIVE: statistics.mean((first, last))}
    figures[AGAIN] = figures[NATIVE] * max(first, last) / min(first, last)
    what = f"@resilient_task, {MAPPED:,} mapped"
    return Row(what, "sync", figures, [Goal(NATIVE, GOAL)], unit="ms", also_ran=[NATIVE], remark="CPU time of a task")


def _own_of_number() -> Callable[[int], int]:
    def function(number: int) -> int:
        return number

    return function
