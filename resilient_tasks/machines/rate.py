"""The state machines of a rate limit. A call reserves its time: the next one that the limit allows."""

from __future__ import annotations

import math
from array import array
from collections import deque
from typing import NamedTuple, Protocol

_SIZE = array("d").itemsize


class Reserved(NamedTuple):
    """A call may be made in `wait` seconds. If not `granted`, that is more than it would wait: nothing is reserved."""

    granted: bool
    wait: float


class Times:
    """The state of a rate limit. It changes in place.

    Attributes:
        written: when it was changed last. If that is later than now, a clock was fast for a moment, and all times are
            as much too late: calls may rightly have reserved any time, so nothing else would tell.
        all: of a sliding window, the times of the last calls; of a bucket, the time at which it will be full again.
    """

    __slots__ = ("all", "written")

    def __init__(self, written: float = -math.inf, times: array[float] | None = None) -> None:
        self.written = written
        self.all: deque[float] = deque(times or ())

    @classmethod
    def decode(cls, state: bytes | None, _now: float = 0.0) -> Times:
        """Return the times that `encode` gave; none, if something else stands there."""
        found = array("d", state if state and len(state) % _SIZE == 0 else b"")
        return cls(found[0], found[1:]) if found else cls()

    def encode(self) -> bytes:
        """Return the times for a store."""
        return array("d", [self.written, *self.all]).tobytes()

    def corrected(self, now: float) -> bool:
        """Move back what a fast clock has written, and return whether there was something."""
        ahead = self.written - now
        if ahead > 0:
            self.all, self.written = deque(time - ahead for time in self.all), now
        return ahead > 0


class Rate(Protocol):
    """What a rate limit goes by."""

    @property
    def kept(self) -> float:
        """Seconds after the last time reserved for which the state is needed."""

    def takes(self, times: Times, now: float) -> bool:
        """Reserve the present, if a call may be made at once."""

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """Reserve a time at most `patience` seconds from `now`. Returns None for the times where nothing changed."""


class SlidingWindow(NamedTuple):
    """At most `calls` in any `per` seconds. The state is the times of the last `calls` calls."""

    calls: int
    per: float

    @property
    def kept(self) -> float:
        """See `Rate`."""
        return self.per

    def takes(self, times: Times, now: float) -> bool:
        """See `Rate`."""
        last = times.all
        if now < times.written or (last and now < last[-1]):
            return False
        if len(last) >= self.calls:
            if now < last[-self.calls] + self.per:
                return False
            while len(last) >= self.calls:
                last.popleft()
        last.append(now)
        times.written = now
        return True

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """See `Rate`."""
        corrected = times.corrected(now)
        last = times.all
        # Between the first of `calls` calls and the one after the last lie at least `per` seconds.
        earliest = last[-self.calls] + self.per if len(last) >= self.calls else now
        at = max(now, earliest, last[-1] if last else now)
        if at - now > patience:
            return (times if corrected else None), Reserved(False, at - now)
        last.append(at)
        while len(last) > self.calls:
            last.popleft()
        times.written = now
        return times, Reserved(True, at - now)


class TokenBucket(NamedTuple):
    """`calls` in `per` seconds in the long run, and up to `burst` at once after a pause.

    The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket will be full again.
    """

    calls: float
    per: float
    burst: int

    @property
    def kept(self) -> float:
        """See `Rate`."""
        return self.burst * self.per / self.calls

    def takes(self, times: Times, now: float) -> bool:
        """See `Rate`."""
        full = times.all
        if len(full) != 1 or now < times.written:
            return False
        interval = self.per / self.calls
        until = full[0] if full[0] > now else now
        if until - now > (self.burst - 1) * interval:
            return False
        full[0] = until + interval
        times.written = now
        return True

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """See `Rate`."""
        corrected = times.corrected(now)
        interval = self.per / self.calls
        full = max(now, times.all[0]) if times.all else now
        wait = max(0.0, full - (self.burst - 1) * interval - now)
        if wait > patience:
            return (times if corrected else None), Reserved(False, wait)
        times.all, times.written = deque((full + interval,)), now
        return times, Reserved(True, wait)

