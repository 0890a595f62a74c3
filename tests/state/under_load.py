"""Calls under every policy that keeps its state in the store, from several processes, while something happens to it."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from resilient_tasks import Bulkhead, CircuitBreaker, RateLimit, Retry, RetryBudget, resilient
from resilient_tasks.core.events import bus

PROCESSES = 4

#: In each process; as many as the bulkhead lets through in all, so that a slot that is not given back is missed.
THREADS = 2

#: Seconds between two calls of a thread, and seconds that the work itself takes.
PAUSE, WORK = 0.015, 0.002

#: Seconds after which no process goes by what it knew of a circuit.
STALE = 0.25

BULKHEAD = Bulkhead("load", PROCESSES * THREADS)
BREAKER = CircuitBreaker("load", failures=3, open_for=600)


class Seen(NamedTuple):
    """What one process saw. Times are on the machine's monotonic clock, which its processes share.

    Attributes:
        calls: when each began, the seconds that it took besides the work itself, and what it failed with.
        events: names of those about the store.
    """

    calls: list[tuple[float, float, str]]
    events: list[str]


def load(until):
    """Make calls until then, and return what was `Seen`."""
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

    seen = Seen([], [])

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
    """Make so many calls to a service that is well."""
    call = resilient(breaker=BREAKER)(lambda: "done")
    return [call() for _ in range(times)]


def fail(times):
    """Make so many calls to a service that is down, and return the names of their errors."""

    @resilient(breaker=BREAKER)
    def down():
        raise ConnectionError("down")

    errors = [down.outcome().error for _ in range(times)]
    return [type(error).__name__ for error in errors]
