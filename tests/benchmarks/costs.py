"""What a policy costs: CPU time of a task with policies beside Prefect's own `@task`, in one interleaved run.

    python tests/benchmarks/costs.py [--calls 400] [--page docs/measured.md]

Two identical plain tasks, A and A', stand beside each other: what differs between those is noise. The tasks take turns
call by call, in random order, so that a slow minute of the machine hits all of them. The time is that of all threads of
the process, with a pause after each call, because Prefect publishes a task's states and log lines from other threads
than the one it runs in. The server is a process of its own and is not counted. Everything else is as Prefect has it by
default, logging included.
"""

import argparse
import asyncio
import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from setting import machine, prefect_server, say, table, write_into

# The server takes in what it is sent, but writes no states down: that takes it four times as long as the calls
# themselves, and it refuses new flow runs meanwhile.
for service in ("TASK_RUN_RECORDER", "EVENT_PERSISTER", "TRIGGERS"):
    os.environ[f"PREFECT_SERVER_SERVICES_{service}_ENABLED"] = "false"

WARM_UP = 20  # calls of each task that are not counted
PAUSE = 0.005  # seconds after a call, for the other threads to do their share of it
SUCCEEDS, RETRIED = 1.05, 1.0  # the goals, as ratios to A
HEAD = ("task", "", "CPU ms", "wall ms", "CPU / A", "95 % interval", "goal", "")


@dataclass
class Contender:
    """One task, and the CPU and wall seconds of each call of it."""

    name: str
    task: Callable[[], Any]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @contextmanager
    def timed(self, *, counts: bool) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        wall = time.perf_counter() - wall
        time.sleep(PAUSE)
        cpu = time.process_time() - cpu
        if counts:
            self.cpu.append(cpu)
            self.wall.append(wall)


def own(fn: Callable[[], int], *, is_async: bool) -> Callable[[], Any]:
    """Give each task a function of its own, sync or async."""

    def function() -> int:
        return fn()

    async def coroutine_function() -> int:
        return fn()

    return coroutine_function if is_async else function


def failing_every_other_time() -> Callable[[], int]:
    calls = count()

    def fn() -> int:
        if next(calls) % 2 == 0:
            raise ConnectionError
        return 1

    return fn


def successful(*, is_async: bool) -> list[Contender]:
    """Return tasks that succeed, A first."""
    from prefect import task

    from resilient_tasks import resilient_task

    decorators = {
        "A: @task": task,
        "A': @task again": task,
        "@resilient_task, bare": resilient_task,
        "retry=3": resilient_task(retry=3),
        "timeout=20": resilient_task(timeout=20),
        "retry=3, deadline=60, fallback=int": resilient_task(retry=3, deadline=60, fallback=int),
    }
    return [Contender(name, decorate(own(lambda: 1, is_async=is_async))) for name, decorate in decorators.items()]


def retried(delay: float, *, is_async: bool) -> list[Contender]:
    """Return tasks whose first attempt fails and whose second succeeds, `delay` seconds later."""
    from prefect import task

    from resilient_tasks import Retry, resilient_task

    native = task(retries=1, retry_delay_seconds=delay)
    ours = Retry(attempts=2, wait=delay)
    decorators = {
        "A: @task(retries=1)": native,
        "A': @task(retries=1) again": native,
        "retry=2": resilient_task(retry=ours),
        "retry=2, deadline=60": resilient_task(retry=ours, deadline=60),
    }
    return [
        Contender(name, decorate(own(failing_every_other_time(), is_async=is_async)))
        for name, decorate in decorators.items()
    ]


def turns(contenders: list[Contender], calls: int) -> Iterator[tuple[Contender, bool]]:
    """Give each contender its turn in every round, and whether the turn counts."""
    gc.collect()
    gc.freeze()  # a full collection takes longer than a call, whoever's turn it is
    for number in range(-WARM_UP, calls):
        for contender in random.sample(contenders, len(contenders)):
            yield contender, number >= 0


def measure(contenders: list[Contender], calls: int, *, is_async: bool) -> None:
    """Call every contender `calls` times in one flow run."""
    from prefect import flow

    @flow
    def costs() -> None:
        for contender, counts in turns(contenders, calls):
            with contender.timed(counts=counts):
                contender.task()

    @flow
    async def async_costs() -> None:
        for contender, counts in turns(contenders, calls):
            with contender.timed(counts=counts):
                await contender.task()

    if is_async:
        asyncio.run(async_costs())
    else:
        costs()


def ratio(contender: Contender, control: Contender) -> tuple[float, float, float]:
    """Return the ratio of the medians of CPU time, and its 95 % interval by bootstrap."""
    pairs = list(zip(contender.cpu, control.cpu, strict=True))
    draw = random.Random(1)

    def of(sample: list[tuple[float, float]]) -> float:
        return statistics.median(mine for mine, _ in sample) / statistics.median(its for _, its in sample)

    drawn = sorted(of(draw.choices(pairs, k=len(pairs))) for _ in range(1000))
    return of(pairs), drawn[25], drawn[974]


def rows(label: str, contenders: list[Contender], goal: float) -> Iterator[tuple[str, ...]]:
    for number, contender in enumerate(contenders):
        middle, low, high = ratio(contender, contenders[0])
        times = (f"{statistics.median(each) * 1000:.2f}" for each in (contender.cpu, contender.wall))
        spread = f"{low:.3f} to {high:.3f}" if number else ""
        verdict = (f"<= {goal:.2f}", "met" if middle <= goal else "MISSED") if number > 1 else ("", "")
        yield label, contender.name, *times, f"{middle:.3f}", spread, *verdict


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of tasks with policies beside Prefect's own.")
    parser.add_argument("--calls", type=int, default=400, help="calls of each task (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    options = parser.parse_args()
    lines: list[tuple[str, ...]] = []
    with prefect_server():
        for is_async in (False, True):
            for what, make, goal in (
                ("succeeds", successful, SUCCEEDS),
                ("retried at once", lambda **kind: retried(0, **kind), RETRIED),
                ("retried after 10 ms", lambda **kind: retried(0.01, **kind), RETRIED),
            ):
                label = f"{'async' if is_async else 'sync'}, {what}"
                contenders = make(is_async=is_async)
                say(f"{label}: {len(contenders)} tasks, {options.calls} calls each ...")
                measure(contenders, options.calls, is_async=is_async)
                lines += rows(label, contenders, goal)
    about = f"{machine()}. {options.calls} calls of each task:\n"
    print(about, table(HEAD, lines, markdown=False), sep="\n")
    if options.page:
        write_into(options.page, "costs", f"{about}\n{table(HEAD, lines, markdown=True)}")


if __name__ == "__main__":
    main()
