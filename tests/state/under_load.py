"""Calls under all policies with state in the store, from several processes, during faults of the store."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from resilient_tasks import Bulkhead, CircuitBreaker, RateLimit, Retry, RetryBudget, resilient
from resilient_tasks.core.events import bus

PROCESSES = 4

#: In each process; as many as the bulkhead allows in all, so that a slot that is not released shows.
THREADS = 2

#: Seconds between two calls of a thread, and seconds of the work itself.
PAUSE, WORK = 0.015, 0.002

#: Seconds after which a process no longer uses its cached state of a circuit.
STALE = 0.25

BULKHEAD = Bulkhead("load", PROCESSES * THREADS)
BREAKER = CircuitBreaker("load", failures=3, open_for=600)


class Observed(NamedTuple):
    """What one process observed. Times are on the monotonic clock, which processes share.

    Attributes:
        calls: of each, its start, its seconds without the work itself, and its failure.
        events: names of those about the store.
    """

    calls: list[tuple[float, float, str]]
    events: list[str]


def load(until):
    """Make calls until then, and return what was `Observed`."""
    working = threading.local()

    @resilient(
        retry=Retry(attempts=3, budget=RetryBudget("load")),
        rate_limit=RateLimit("load", 100_000, per=1, burst=10_000),
        bulkhead=BULKHEAD,
        breaker=BREAKER,
    )
    def work():
        began = time.monotonic()
        time.sleep(WORK)
        working.seconds = time.monotonic() - began

    seen = Observed([], [])

    def keep_calling():
        while (began := time.monotonic()) < until:
            failure, working.seconds = "", 0.0
            try:
                work()
            except Exception as error:
                failure = repr(error)
            seen.calls.append((began, time.monotonic() - began - working.seconds, failure))
            time.sleep(PAUSE)

    def hear(event):
        if event.name.startswith("store."):
            seen.events.append(event.name)

    with bus.listening(hear):
        threads = [threading.Thread(target=keep_calling) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return seen


def succeed(times):
    """Make calls to a service that is up."""
    call = resilient(breaker=BREAKER)(lambda: "done")
    return [call() for _ in range(times)]


def fail(times):
    """Make calls to a service that is down, and return the names of their errors."""

    @resilient(breaker=BREAKER)
    def down():
        raise ConnectionError("down")

    errors = [down.outcome().error for _ in range(times)]
    return [type(error).__name__ for error in errors]
