"""What workers do while somebody changes numbers; run by `WorkerPool`."""

from __future__ import annotations

from sharing import PATIENT

from resilient_tasks import Bulkhead, CircuitBreaker, RateLimit, resilient
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


def slots(name, calls):
    """Make calls one after the other in a bulkhead of 4; return how many found a slot."""
    fetch = resilient(bulkhead=Bulkhead(name, 4))(lambda: 1)
    return sum(getattr(fetch.outcome(), "value", 0) for _ in range(calls))
