"""Calls under a bulkhead that many processes use at once."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from resilient_tasks import Bulkhead, resilient
from resilient_tasks.core.events import bus
from resilient_tasks.state import states as shared

LIMIT = 4


class Observed(NamedTuple):
    """What one process observed.

    Attributes:
        calls: how many it made.
        longest: seconds of the longest call.
        counted: the numbers that it got from a shared counter.
        events: those about the store.
    """

    calls: int
    longest: float
    counted: list[int]
    events: list[str]


def hot(seconds, threads=1):
    """Make calls as fast as possible, and increment a counter after each."""
    call = resilient(bulkhead=Bulkhead("hot", LIMIT))(lambda: "done")
    took, counted, events = [], [], []
    until = time.monotonic() + seconds

    def go():
        while time.monotonic() < until:
            began = time.monotonic()
            call.outcome()
            counted.append(shared.count("hot"))
            took.append(time.monotonic() - began)

    with bus.listening(lambda event: events.append(event.name) if event.name.startswith("store.") else None):
        running = [threading.Thread(target=go) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return Observed(len(took), max(took), counted, events)
