"""All cells of the timeout table for one place (main thread, ...) and one way to enforce it, in a separate process.

Run by `timeouts.py`, which gives a `Job` as JSON, and reads a `Measured` as JSON from standard output.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from cells import LIMIT, Cell, Job, Measured
from overlong import ASYNC_BUSY, ASYNC_WAITS, BUSY, WAITS, WARM_UP, overlong, overlong_async
from prefect import flow, get_client, task
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from resilient_tasks import TimedOut, Timeout, resilient_task

WATCHED = 8.0  # seconds after the limit in which the work's signs of life are watched
APART = 0.3  # seconds between submissions: five tasks that start and end together would wait for a processor
LATE = 0.25  # seconds after the limit in which the work may still be on its way out

WAYS = {
    "Prefect": task(timeout_seconds=LIMIT),
    "auto": resilient_task(timeout=LIMIT),
    "process": resilient_task(timeout=Timeout(LIMIT, enforce="process")),
}


class Bench:
    """Makes the calls of one job, and gathers their results."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.task = WAYS[job.way](overlong_async if job.place == "async" else overlong)
        self.measured = Measured(first_call=0.0)

    def args(self, work: str) -> tuple[str, str, int, int]:
        return work, str(self._signs(work)), self.job.port, self.job.steps

    def _signs(self, work: str) -> Path:
        return Path(self.job.folder) / f"{self.job.place} {self.job.way} {work}"

    def took(self, work: str, seconds: float, state: State) -> None:
        if work == WARM_UP:
            self.measured.first_call = seconds
            return
        error = state.result(raise_on_failure=False, _sync=True)
        claimed = error.stopped if isinstance(error, TimedOut) else None
        message = str(error) if isinstance(error, Exception) else ""
        self.measured.cells.append(
            Cell(work, self.job.place, self.job.way, seconds, state.name or "", claimed, message)
        )

    def watch(self) -> None:
        """See which work shows signs of life after its limit."""
        signs = {cell.work: self._signs(cell.work) for cell in self.measured.cells}
        began = {work: float(path.read_text().split()[0]) for work, path in signs.items()}
        time.sleep(max(0.0, max(began.values()) + LIMIT + WATCHED - time.time()))
        for cell in self.measured.cells:
            alive = float(signs[cell.work].read_text().split()[-1]) - began[cell.work]
            cell.ran_on = alive > LIMIT + LATE


def in_main_thread(bench: Bench) -> None:
    @flow
    def direct() -> None:
        for work in (WARM_UP, *WAITS, *BUSY):
            began = time.monotonic()
            state = bench.task(*bench.args(work), return_state=True)
            bench.took(work, time.monotonic() - began, state)

    direct()


def in_worker_threads(bench: Bench) -> None:
    def submit(works: Iterable[str]) -> None:
        """Submit these shortly after each other, and record when each future resolves."""
        futures, began, resolved = {}, {}, {}
        for work in works:
            began[work] = time.monotonic()
            futures[work] = bench.task.submit(*bench.args(work))
            futures[work].add_done_callback(lambda _future, work=work: resolved.setdefault(work, time.monotonic()))
            time.sleep(APART)
        for work, future in futures.items():
            future.wait()
            bench.took(work, resolved.get(work, time.monotonic()) - began[work], future.state)

    @flow(task_runner=ThreadPoolTaskRunner())
    def submitted() -> None:
        submit([WARM_UP])
        submit(WAITS)
        for work in reversed(BUSY):  # the loop last: where it cannot be stopped, it would slow down what follows
            submit([work])

    submitted()


def in_process_pool(bench: Bench) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def submitted() -> None:
        for work in (WARM_UP, *WAITS, *reversed(BUSY)):
            future = bench.task.submit(*bench.args(work))
            future.wait()
            bench.took(work, run_time(future.task_run_id), future.state)

    submitted()


def run_time(task_run_id: UUID) -> float:
    """Return the seconds from the start to the end of a task run, once Prefect's server knows them."""
    until = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while time.monotonic() < until:
            with contextlib.suppress(ObjectNotFound):
                run = client.read_task_run(task_run_id)
                if run.start_time is not None and run.end_time is not None:
                    return (run.end_time - run.start_time).total_seconds()
            time.sleep(0.1)
    raise TimeoutError(f"Prefect's server does not know of the end of task run {task_run_id}")


def in_async(bench: Bench) -> None:
    async def awaited(work: str) -> None:
        began = time.monotonic()
        state = await bench.task(*bench.args(work), return_state=True)
        bench.took(work, time.monotonic() - began, state)

    @flow
    async def direct() -> None:
        await awaited(WARM_UP)
        await asyncio.gather(*map(awaited, ASYNC_WAITS))
        for work in ASYNC_BUSY:
            await awaited(work)

    asyncio.run(direct())


PLACES: dict[str, Callable[[Bench], None]] = {
    "main thread": in_main_thread,
    "worker thread": in_worker_threads,
    "process pool": in_process_pool,
    "async": in_async,
}


def main() -> None:
    bench = Bench(Job(**json.loads(sys.argv[1])))
    PLACES[bench.job.place](bench)
    bench.watch()
    result: dict[str, Any] = asdict(bench.measured)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
