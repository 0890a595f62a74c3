"""What workers do while numbers are changed; run by `WorkerPool`."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from sharing import PATIENT

from resilient_tasks import Bulkhead, BulkheadFull, CircuitBreaker, RateLimit, resilient
from resilient_tasks.core import settings
from resilient_tasks.state.states import shared, states


def at(url):
    """Use the store, and read each state again at each call."""
    settings.configure(store=url, store_timeout=PATIENT, store_staleness=0)
    return states().is_shared


def restarted(url):
    """Forget what this process knows of the store, as a new one does."""
    shared.close()
    return at(url)


def failures(name, calls):
    """Call a service that is down through a breaker that allows 100 failures; return the types of the errors."""

    @resilient(breaker=CircuitBreaker(name, failures=100))
    def fetch():
        raise ConnectionError("refused")

    return [type(fetch.outcome().error).__name__ for _ in range(calls)]


def successes(name, calls):
    """The same for a service that is up."""
    fetch = resilient(breaker=CircuitBreaker(name, failures=100))(lambda: 7)
    return [fetch() for _ in range(calls)]


def limited(name, calls):
    """Make calls within a rate of 100 an hour; return how many were made."""
    fetch = resilient(rate_limit=RateLimit(name, 100, 3600, wait=False))(lambda: 1)
    return sum(getattr(fetch.outcome(), "value", 0) for _ in range(calls))


@functools.cache
def _held(name):
    @resilient(bulkhead=Bulkhead(name, 4))
    def hold(folder=None):
        if folder is not None:
            Path(folder, f"held by {os.getpid()}").touch()
            until = time.monotonic() + 30
            while not Path(folder, "end").exists() and time.monotonic() < until:
                time.sleep(0.005)
        return 1

    return hold  # one function: from its second call on, it may reuse a slot that this process keeps


def slots(name, calls):
    """Make calls one after the other in a bulkhead of 4; return how many found a slot."""
    return sum(hold_a_slot(name, None) for _ in range(calls))


def hold_a_slot(name, folder):
    """Hold a slot until the file `end` is in the folder; return 1, or 0 if there was none."""
    try:
        return _held(name)(folder)  # not `outcome`, which always asks the store
    except BulkheadFull:
        return 0
