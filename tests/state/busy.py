"""Calls under a bulkhead that many processes want at once."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from resilient_tasks import Bulkhead, resilient
from resilient_tasks.core.events import bus
from resilient_tasks.state import states as shared

LIMIT = 4


class Seen(NamedTuple):
    """What one process saw.

    Attributes:
        calls: how many it made.
        longest: the seconds that the longest of them took.
        counted: the numbers that it was given by a counter that all share.
        events: those about the store.
    """

    calls: int
    longest: float
    counted: list[int]
    events: list[str]


def hot(seconds, threads=1):
    """Make calls as fast as they go, and count in between."""
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
    return Seen(len(took), max(took), counted, events)
