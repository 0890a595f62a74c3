"""The state machines of a rate limit. A call reserves its time: the next one that the limit allows."""

from __future__ import annotations

from array import array
from typing import NamedTuple, Protocol


class Reserved(NamedTuple):
    """A call may be made in `wait` seconds. If not `granted`, that is more than it would wait: nothing is reserved."""

    granted: bool
    wait: float


class Rate(Protocol):
    """What a rate limit goes by."""

    def reserve(self, state: bytes | None, now: float, patience: float) -> tuple[bytes | None, Reserved]:
        """Reserve a time at most `patience` seconds from `now`."""


class SlidingWindow(NamedTuple):
    """At most `calls` in any `per` seconds. The state is the times of the last `calls` calls."""

    calls: int
    per: float

    def reserve(self, state: bytes | None, now: float, patience: float) -> tuple[bytes | None, Reserved]:
        """See `Rate`."""
        times = _times(state)
        # Between the first of `calls` calls and the one after the last lie at least `per` seconds.
        earliest = times[-self.calls] + self.per if len(times) >= self.calls else now
        at = max(now, earliest, times[-1] if times else now)
        if at - now > patience:
            return state, Reserved(False, at - now)
        times.append(at)
        return times[-self.calls :].tobytes(), Reserved(True, at - now)


class TokenBucket(NamedTuple):
    """`calls` in `per` seconds in the long run, and up to `burst` at once after a pause.

    The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket will be full again.
    """

    calls: float
    per: float
    burst: int

    def reserve(self, state: bytes | None, now: float, patience: float) -> tuple[bytes | None, Reserved]:
        """See `Rate`."""
        interval = self.per / self.calls
        full = max([now, *_times(state)[:1]])
        wait = max(0.0, full - (self.burst - 1) * interval - now)
        if wait > patience:
            return state, Reserved(False, wait)
        return array("d", [full + interval]).tobytes(), Reserved(True, wait)


def _times(state: bytes | None) -> array[float]:
    """Return the times in a state; none, if something else stands there."""
    return array("d", state if state and len(state) % array("d").itemsize == 0 else b"")
