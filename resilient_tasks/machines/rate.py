"""The state machines of a rate limit. A call reserves its time: the next one that the limit allows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
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
        count: their number.
        first: place of the earliest, from which on they follow each other round.
        latest: the latest of them.
    """

    __slots__ = ("all", "count", "first", "latest", "written")

    def __init__(self, written: float = -math.inf, times: Iterable[float] = ()) -> None:
        self.put(written, [*times])

    @classmethod
    def decode(cls, state: bytes | None, _now: float = 0.0) -> Times:
        """Return the times that `encode` gave; none, if something else stands there."""
        found = array("d", state if state and len(state) % _SIZE == 0 else b"")
        return cls(found[0], found[1:]) if found else cls()

    def encode(self) -> bytes:
        """Return the times for a store."""
        return array("d", [self.written, *self.in_order()]).tobytes()

    def put(self, written: float, times: list[float]) -> None:
        """Have other times, the earliest first."""
        self.written, self.all, self.count, self.first = written, times, len(times), 0
        self.latest = times[-1] if times else -math.inf

    def in_order(self) -> list[float]:
        """Return the times, the earliest first."""
        return self.all[self.first :] + self.all[: self.first]

    def corrected(self, now: float) -> bool:
        """Move back what a fast clock has written, and return whether there was something."""
        ahead = self.written - now
        if ahead > 0:
            self.put(now, [time - ahead for time in self.in_order()])
        return ahead > 0


class Place(Protocol):
    """Where a state is kept, see `Cell`."""

    live: Times | None


class Rate(Protocol):
    """What a rate limit goes by.

    Attributes:
        kept: seconds after the last time reserved for which the state is needed.
    """

    kept: float

    def takes(self, place: Place, now: float) -> bool:
        """Reserve the present, if the state is there and a call may be made at once.

        It makes no call and has no loop, so that no other thread has its turn meanwhile.
        """

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """Reserve a time at most `patience` seconds from `now`. Returns None for the times where nothing changed."""


class SlidingWindow:
    """At most `calls` in any `per` seconds. The state is the times of the last `calls` calls."""

    __slots__ = ("calls", "kept", "per")

    def __init__(self, calls: int, per: float) -> None:
        self.calls = calls
        self.per = self.kept = per

    def takes(self, place: Place, now: float) -> bool:
        """See `Rate`."""
        times = place.live
        if times is None or now < times.latest:
            return False
        calls, count = self.calls, times.count
        if count < calls:
            if times.first:
                return False
            times.all += (now,)
            times.count = count + 1
        else:
            first, last = times.first, times.all
            if count > calls or now < last[first] + self.per:
                return False
            last[first] = now
            times.first = first + 1 if first + 1 < calls else 0
        times.written = times.latest = now
        return True

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """See `Rate`."""
        corrected = times.corrected(now)
        last = times.in_order()
        # Between the first of `calls` calls and the one after the last lie at least `per` seconds.
        earliest = last[-self.calls] + self.per if len(last) >= self.calls else now
        at = max(now, earliest, times.latest)
        if at - now > patience:
            return (times if corrected else None), Reserved(False, at - now)
        times.put(now, [*last[-self.calls + 1 :], at] if self.calls > 1 else [at])
        return times, Reserved(True, at - now)


class TokenBucket:
    """`calls` in `per` seconds in the long run, and up to `burst` at once after a pause.

    The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket will be full again.
    """

    __slots__ = ("interval", "kept", "room")

    def __init__(self, calls: float, per: float, burst: int) -> None:
        self.kept = burst * per / calls
        self.interval = per / calls
        self.room = (burst - 1) * self.interval  # seconds until it is full again, with a token left

    def takes(self, place: Place, now: float) -> bool:
        """See `Rate`."""
        times = place.live
        if times is None or times.count != 1 or now < times.written:
            return False
        full = times.latest
        if full < now:  # noqa: PLR1730  # `max` is a call
            full = now
        if full - now > self.room:
            return False
        times.latest = times.all[0] = full + self.interval
        times.written = now
        return True

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """See `Rate`."""
        corrected = times.corrected(now)
        full = max(now, times.all[0]) if times.all else now
        wait = max(0.0, full - self.room - now)
        if wait > patience:
            return (times if corrected else None), Reserved(False, wait)
        times.put(now, [full + self.interval])
        return times, Reserved(True, wait)
