"""The state machines of a rate limit. A call reserves its time: the next one that the limit allows."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Reserved(NamedTuple):
    """A call may be made in `wait` seconds. If not `granted`, that is more than it would wait: nothing is reserved."""

    granted: bool
    wait: float


class Rate(Protocol):
    """What a rate limit goes by."""

    @property
    def kept(self) -> float:
        """Seconds after the last time reserved for which the state is needed."""

    def reserve(self, state: bytes | None, now: float, patience: float) -> tuple[bytes | None, Reserved]:
        """Reserve a time at most `patience` seconds from `now`."""


class SlidingWindow(NamedTuple):
    """At most `calls` in any `per` seconds. The state is the times of the last `calls` calls."""

    calls: int
    per: float

    @property
    def kept(self) -> float:
        """See `Rate`."""
        return self.per

    def reserve(self, state: bytes | None, now: float, patience: float) -> tuple[bytes | None, Reserved]:
        """See `Rate`."""
        times, corrected = _times(state, now)
        # Between the first of `calls` calls and the one after the last lie at least `per` seconds.
        earliest = times[-self.calls] + self.per if len(times) >= self.calls else now
        at = max(now, earliest, times[-1] if times else now)
        if at - now > patience:
            return (_state(now, times) if corrected else state), Reserved(False, at - now)
        times.append(at)
        return _state(now, times[-self.calls :]), Reserved(True, at - now)


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

    def reserve(self, state: bytes | None, now: float, patience: float) -> tuple[bytes | None, Reserved]:
        """See `Rate`."""
        interval = self.per / self.calls
        times, corrected = _times(state, now)
        full = max([now, *times[:1]])
        wait = max(0.0, full - (self.burst - 1) * interval - now)
        if wait > patience:
            return (_state(now, [full]) if corrected else state), Reserved(False, wait)
        return _state(now, [full + interval]), Reserved(True, wait)


def _state(now: float, times: Iterable[float]) -> bytes:
    return array("d", [now, *times]).tobytes()


def _times(state: bytes | None, now: float) -> tuple[array[float], bool]:
    """Return the times in a state, and whether they were corrected; none, if something else stands there.

    The first number in a state says when it was written. Where that is later than now, a clock was fast for a moment,
    and all times are as much too late: calls may rightly have reserved any time, so nothing else would tell.
    """
    found = array("d", state if state and len(state) % array("d").itemsize == 0 else b"")
    ahead = found[0] - now if found else 0.0
    if ahead <= 0:
        return found[1:], False
    return array("d", [time - ahead for time in found[1:]]), True
