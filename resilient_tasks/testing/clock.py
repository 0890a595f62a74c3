"""A virtual clock: waits return at once.

clock = VirtualClock()
with use_clock(clock):
    fetch()
assert clock.waits == [1.0, 2.0]
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from resilient_tasks.alerts.outbox import use_incidents
from resilient_tasks.core.execution import clock as clocks
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.durations import Duration
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.testing.isolation import away_from_people


class VirtualClock:
    """Replaces the machine's time: waits return at once, and are recorded. Thread-safe.

    It applies to the waits of policies, to deadlines and to the expiry of stored state. A timeout that interrupts
    running work still uses real time.

    Attributes:
        waits: the seconds of each wait so far, in the order in which they began.
    """

    def __init__(self, start: float = 0.0) -> None:
        """Start at `start` seconds."""
        self.waits: list[float] = []
        self._now = durations.seconds(start, "VirtualClock(start)", zero=True)
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the current time, in seconds."""
        with self._lock:
            return self._now

    #: State shared by processes uses Unix seconds, which equal `now()` on this clock.
    wall = now

    def advance(self, seconds: Duration) -> None:
        """Advance the time by `seconds`, as if work had taken them; this is not recorded as a wait.

        Args:
            seconds: a number, a text such as `"10 min"`, or a `timedelta`.

        Raises:
            ValueError: `seconds` is negative or not a duration.
        """
        passed = durations.seconds(seconds, "a VirtualClock moves forward: advance(seconds)", zero=True)
        with self._lock:
            self._pass(passed)

    def sleep(self, seconds: float) -> None:
        """Advance the time by `seconds`, record the wait, and return at once.

        Raises:
            ValueError: as `advance`.
        """
        with self._lock:
            self._pass(seconds)
            self.waits.append(seconds)

    async def asleep(self, seconds: float) -> None:
        """Do as `sleep`, and yield to other coroutines once.

        Raises:
            ValueError: as `advance`.
        """
        self.sleep(seconds)
        await asyncio.sleep(0)

    def _pass(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            msg = f"a VirtualClock moves forward by a number of seconds from 0 up, not by {seconds!r}"
            raise ValueError(msg)
        self._now += seconds


@contextmanager
def use_clock(clock: clocks.Clock) -> Iterator[None]:
    """Use `clock` for every call in this process inside the block, and keep alerts away from people."""
    # Stored values expire by the clock in use: no incident may outlive the clock it was counted by.
    with away_from_people(), clocks.use_clock(clock), use_incidents(MemoryStore()):
        yield
