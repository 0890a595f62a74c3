"""Tasks whose functions make spans, as an instrumented HTTP client does. Other processes import them."""

import asyncio
import os
import time
from pathlib import Path

from opentelemetry import trace

from resilient_tasks import Retry, Timeout, resilient, resilient_task


def request():
    """Make a span, as an instrumented client does for a request; return the process."""
    with trace.get_tracer("a client").start_as_current_span("GET"):
        return os.getpid()


@resilient_task(retry=Retry(attempts=3, wait=0.01))
def recovers(folder):
    """Fail twice, then succeed."""
    with (Path(folder) / "tries").open("a") as lines:
        lines.write("x")
    request()
    if (Path(folder) / "tries").stat().st_size < 3:
        raise ConnectionError("refused, with password=hunter2secret")
    return "fresh"


@resilient_task(timeout=Timeout(60, enforce="process"))
def works_in_a_child():
    """Make a span in a process of its own."""
    return request()


@resilient(timeout=60)
def helper():
    """Make a span inside a resilient call inside a task."""
    return request()


@resilient_task(fallback=lambda: "an older one")
def degrades():
    """Fail, so that the fallback stands in; call a helper before."""
    helper()
    raise ConnectionError("refused")


@resilient_task(retry=Retry(attempts=2, wait=0.01), timeout=60)
async def in_a_coroutine(number, tries):
    """Make a span in a coroutine; fail once."""
    with trace.get_tracer("a client").start_as_current_span(f"GET {number}"):
        await asyncio.sleep(0.01)
    tries.append(number)
    if len(tries) == 1:
        raise ConnectionError("refused")


@resilient_task(timeout=0.05)
def is_too_slow():
    """Exceed its limit."""
    time.sleep(3)


@resilient_task(deadline=60)
def items():
    """Make a span for each item."""
    for number in range(2):
        request()
        yield number
