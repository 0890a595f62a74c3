"""Failures that the store has not recorded yet.

Most of them are further failures of a known incident: they are counted here for a moment, and recorded together. For
others the store's answer was lost: these are recorded again, each under its serial number, until an answer comes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from resilient_tasks.alerts.incident import Failure
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time

#: Seconds for which failures are counted here. A process that is killed loses these counts, but no message.
MOMENT = 0.2
#: The most unacknowledged counts to keep.
_ROOM = 1000


#: Identifies similar failures that alert the same channels.
Key: TypeAlias = tuple[str, str, tuple[str, ...]]


def key_of(operation: str, failure: Failure) -> Key:
    """Return the key of a failure."""
    return operation, failure.fingerprint, failure.channels


@dataclass(slots=True)
class Count:
    """Failures of one incident.

    Attributes:
        operation: the function's name.
        failure: the failures.
        at: time of the last of them, on the clock in use.
        since: when they were buffered, on the monotonic clock.
        serial: number under which they were sent to the store; 0: not yet.
    """

    operation: str
    failure: Failure
    at: float
    since: float = 0.0
    serial: int = 0


class FailureBuffer:
    """Failures of one process that its store has not recorded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # nothing is added to a count that is being recorded
        self._unacknowledged: deque[Count] = deque()
        self._counts: dict[Key, Count] = {}

    @property
    def has_unacknowledged(self) -> bool:
        """Whether something must be recorded again before anything else is."""
        return bool(self._unacknowledged)

    def add(self, operation: str, failure: Failure) -> bool:
        """Count failures. Return whether they are the first under their key."""
        key = key_of(operation, failure)
        if key not in self._counts:
            failure = _with_facts(failure)
        latest = failure.latest()
        with self._lock:
            count = self._counts.get(key)
            if count is None:
                self._counts[key] = Count(operation, failure, clock.now(), time.monotonic())
                return True
            flows = tuple(dict.fromkeys((*count.failure.flows, *failure.flows)))
            number = count.failure.number + failure.number
            count.failure = count.failure._replace(flows=flows, number=number, latest=lambda: latest)
            count.at = clock.now()
        return False

    def retry(self, count: Count) -> None:
        """Keep a count for which the store did not answer."""
        if len(self._unacknowledged) < _ROOM:
            count.failure, count.since = _with_facts(count.failure), time.monotonic()
            self._unacknowledged.append(count)

    def unacknowledged(self) -> Iterator[Count]:
        """Yield each unacknowledged count; advancing acknowledges the previous one."""
        while self._unacknowledged:
            yield self._unacknowledged[0]
            self._unacknowledged.popleft()

    def due(self, *, at_once: bool) -> Iterator[Count]:
        """Remove and yield the counts that were buffered for a moment; with `at_once`, all counts."""
        until = float("inf") if at_once else time.monotonic() - MOMENT
        for key, count in list(self._counts.items()):
            if count.since <= until:
                with self._lock:
                    del self._counts[key]
                yield count

    def pop_older_than(self, seconds: float) -> list[Count]:
        """Remove and return the counts that have waited for longer."""
        until = time.monotonic() - seconds
        old = [count for count in self._unacknowledged if count.since <= until]
        self._unacknowledged = deque(count for count in self._unacknowledged if count.since > until)
        with self._lock:
            keys = [key for key, count in self._counts.items() if count.since <= until]
            return [*old, *(self._counts.pop(key) for key in keys)]

    @property
    def wait(self) -> float | None:
        """Seconds until the next counts are due; None if there are none."""
        first = min((count.since for count in list(self._counts.values())), default=None)
        return None if first is None else max(0.0, first + MOMENT - time.monotonic())


def _with_facts(failure: Failure) -> Failure:
    """Collect the facts now, in the run: the thread that records them is part of no run."""
    facts, latest = failure.facts(), failure.latest()
    return failure._replace(facts=lambda: facts, latest=lambda: latest)
