"""A clock on which waits pass at once.

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
from resilient_tasks.core import clock as clocks
from resilient_tasks.core import durations
from resilient_tasks.core.durations import Duration
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.testing.isolation import away_from_people


class VirtualClock:
    """Stands in for the machine's time: nobody waits, and every wait is recorded. Safe to use from many threads.

    It moves the waits of policies, deadlines and stored state. A timeout that interrupts running work goes by real
    time all the same: no clock of ours can slow down a function.

    Attributes:
        waits: the seconds of each wait so far, in the order in which they began.
    """

    def __init__(self, start: float = 0.0) -> None:
        """Begin at `start` seconds."""
        self.waits: list[float] = []
        self._now = durations.seconds(start, "VirtualClock(start)", zero=True)
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the present, in seconds."""
        with self._lock:
            return self._now

    #: Stored state goes by unix seconds where processes share it: on this clock those began when it did.
    wall = now

    def advance(self, seconds: Duration) -> None:
        """Let time pass, as if work had taken so long; it is not recorded as a wait.

        Args:
            seconds: a number, a text such as `"10 min"`, or a `timedelta`.

        Raises:
            ValueError: `seconds` is negative or no duration: this clock never runs backwards.
        """
        passed = durations.seconds(seconds, "a VirtualClock moves forward: advance(seconds)", zero=True)
        with self._lock:
            self._pass(passed)

    def sleep(self, seconds: float) -> None:
        """Record a wait of so many seconds, and return at once when they are over.

        Raises:
            ValueError: as `advance`.
        """
        with self._lock:
            self._pass(seconds)
            self.waits.append(seconds)

    async def asleep(self, seconds: float) -> None:
        """As `sleep`; other coroutines get their turn once.

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
    """Have every call of this process go by `clock` inside the block; alerts reach no person."""
    # What is stored expires by the clock in use: no incident may outlive the clock it was counted by.
    with away_from_people(), clocks.use_clock(clock), use_incidents(MemoryStore()):
        yield
