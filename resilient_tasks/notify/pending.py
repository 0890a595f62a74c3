"""Failures that the store is yet to be told of.

Most of them are more of what it knows: they are counted here for a moment, and told in one. Of others it did not say in
time whether it has taken them: these are told again, each under its serial, until it says so.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from resilient_tasks.core import clock
from resilient_tasks.core import real_time as time
from resilient_tasks.machines.incident import Failure

#: Seconds for which failures are counted here. A process that is killed takes so many counts with it, and no message.
MOMENT = 0.2
#: Kinds of failures that may be in doubt. More than these tell nobody anything new.
_ROOM = 1000


#: Failures that are alike, and told to the same channels.
Key: TypeAlias = tuple[str, str, tuple[str, ...]]


def key_of(operation: str, failure: Failure) -> Key:
    """Return what tells failures from others."""
    return operation, failure.fingerprint, failure.channels


@dataclass(slots=True)
class Count:
    """Failures of one incident.

    Attributes:
        operation: the function's name.
        failure: what they tell.
        at: when the last of them failed, on the clock in use.
        since: since when they wait here, on the monotonic clock.
        serial: under which the store was told of them; 0: it was not.
    """

    operation: str
    failure: Failure
    at: float
    since: float = 0.0
    serial: int = 0


class Pending:
    """What one process has to tell its store of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a count that is told of is not added to
        self._doubts: deque[Count] = deque()
        self._counts: dict[Key, Count] = {}

    @property
    def in_doubt(self) -> bool:
        """Whether the store has to be told of something again before it is told of anything else."""
        return bool(self._doubts)

    def add(self, operation: str, failure: Failure) -> bool:
        """Count failures, to be told in a moment. Return whether they are the first of their kind here."""
        key = key_of(operation, failure)
        if key not in self._counts:
            failure = _collected(failure)
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

    def doubt(self, count: Count) -> None:
        """Have the store told again, first of all: it did not answer."""
        if len(self._doubts) < _ROOM:
            count.failure, count.since = _collected(count.failure), time.monotonic()
            self._doubts.append(count)

    def in_their_order(self) -> Iterator[Count]:
        """Give each of those in doubt. Whoever asks for the next one has told of the one before."""
        while self._doubts:
            yield self._doubts[0]
            self._doubts.popleft()

    def due(self, *, at_once: bool) -> Iterator[Count]:
        """Take out the counts whose moment is over, one by one; with `at_once`, all of them."""
        until = float("inf") if at_once else time.monotonic() - MOMENT
        for key, count in list(self._counts.items()):
            if count.since <= until:
                with self._lock:
                    del self._counts[key]
                yield count

    def older_than(self, seconds: float) -> list[Count]:
        """Take out, for good, what has waited for the store longer than this."""
        until = time.monotonic() - seconds
        old = [count for count in self._doubts if count.since <= until]
        self._doubts = deque(count for count in self._doubts if count.since > until)
        with self._lock:
            keys = [key for key, count in self._counts.items() if count.since <= until]
            return [*old, *(self._counts.pop(key) for key in keys)]

    @property
    def wait(self) -> float | None:
        """Seconds until the next counts are to be told; None: there are none."""
        first = min((count.since for count in list(self._counts.values())), default=None)
        return None if first is None else max(0.0, first + MOMENT - time.monotonic())


def _collected(failure: Failure) -> Failure:
    """Collect the facts where the failure happened: the thread that tells of them is part of no run."""
    facts, latest = failure.facts(), failure.latest()
    return failure._replace(facts=lambda: facts, latest=lambda: latest)
