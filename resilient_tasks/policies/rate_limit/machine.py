"""The state machines of a rate limit. A call reserves its time: the next one that the limit allows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, Protocol

_SIZE = array("d").itemsize
#: Seconds for which a state is kept after nothing is left of it, for clocks that do not quite agree.
_SPARE = 10.0


class Reserved(NamedTuple):
    """A call may be made in `wait` seconds. If not `granted`, that is more than it would wait: nothing is reserved."""

    granted: bool
    wait: float


class Times:
    """The state of a rate limit. It changes in place, but for the `count`.

    Attributes:
        written: when it was changed last. If that is later than now, a clock was fast for a moment, and all times are
            as much too late: calls may rightly have reserved any time, so nothing else would tell.
        all: of a sliding window, the times of the last calls, of which those that were not made yet are long ago; of a
            bucket, the time at which it will be full again.
        count: their number.
        first: place of the earliest, from which on they follow each other round.
        latest: the latest of them; where there is one only, this is it.
        kept: seconds for which they are needed after the latest.
    """

    __slots__ = ("all", "count", "first", "kept", "latest", "written")

    all: list[float]
    count: int
    first: int
    kept: float
    latest: float
    written: float

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

    @property
    def needed_until(self) -> float:
        """When they say nothing any more."""
        return max(self.written, self.latest) + self.kept

    def put(self, written: float, times: list[float], kept: float = 0.0) -> None:
        """Have other times, the earliest first."""
        self.kept = kept
        self.written, self.all, self.count, self.first = written, times, len(times), 0
        self.latest = times[-1] if times else -math.inf

    def in_order(self) -> list[float]:
        """Return the times, the earliest first."""
        if self.count == 1:
            return [self.latest]
        times = self.all[self.first :] + self.all[: self.first]
        return times[times.count(-math.inf) :]

    def corrected(self, now: float) -> bool:
        """Move back what a fast clock has written, and return whether there was something."""
        ahead = self.written - now
        if ahead > 0:
            self.all = [time - ahead for time in self.all]
            self.written, self.latest = now, self.latest - ahead
        return ahead > 0


class Rate(Protocol):
    """What a rate limit goes by.

    Attributes:
        kept: seconds after the last time reserved for which the state is kept.
        free: Python code, an expression: true where a call may be made `now`, as far as `door` shows. That has the
            `times` that fit this rate, the place where they stand (`cell`, see `Cell`), and the rate's `own`.
        take: statements that reserve the present then. Neither makes a call or has a loop, so that no other thread has
            its turn meanwhile.
        own: names of this rate's numbers, in that code.
    """

    kept: float
    own: ClassVar[tuple[str, ...]]
    free: ClassVar[str]
    take: ClassVar[str]

    @staticmethod
    def takes(door: Any, now: float) -> bool:
        """Reserve the present, if `door` shows that a call may be made at once."""

    def fits(self, times: Times) -> bool:
        """Tell whether times are those of such a rate: other policies may have put theirs under the same name."""

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """Reserve a time at most `patience` seconds from `now`. Returns None for the times where nothing changed."""


def _taking(free: str, take: str) -> Callable[[Any, float], bool]:
    """Return the function of this code, see `Rate`."""
    space: dict[str, Any] = {}
    exec(f"def takes(door, now):\n if {free}:\n  {take}\n  return True\n return False", space)  # noqa: S102
    taking: Callable[[Any, float], bool] = space["takes"]
    return taking


class SlidingWindow:
    """At most `calls` in any `per` seconds. The state is the times of the last `calls` calls."""

    __slots__ = ("calls", "kept", "per")

    own: ClassVar[tuple[str, ...]] = ("calls", "per")
    free: ClassVar[str] = (
        "door.cell.live is (times := door.times) and now >= times.latest"
        " and now >= times.all[first := times.first] + door.per"
    )
    take: ClassVar[str] = (
        "times.all[first] = times.written = times.latest = now;"
        " times.first = first + 1 if first + 1 < door.calls else 0"
    )
    takes: ClassVar[staticmethod[[Any, float], bool]] = staticmethod(_taking(free, take))

    def __init__(self, calls: int, per: float) -> None:
        self.calls: int = calls
        self.per: float = per
        self.kept: float = per + _SPARE

    def fits(self, times: Times) -> bool:
        """See `Rate`."""
        return times.count == self.calls

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """See `Rate`."""
        corrected = times.corrected(now)
        last = times.in_order()
        # Between the first of `calls` calls and the one after the last lie at least `per` seconds.
        earliest = last[-self.calls] + self.per if len(last) >= self.calls else now
        at = max(now, earliest, times.latest)
        if at - now > patience:
            return (times if corrected else None), Reserved(False, at - now)
        last = [*last[-self.calls + 1 :], at] if self.calls > 1 else [at]
        times = times if self.fits(times) else Times()
        times.put(now, [-math.inf] * (self.calls - len(last)) + last, self.kept)
        return times, Reserved(True, at - now)


class TokenBucket:
    """`calls` in `per` seconds in the long run, and up to `burst` at once after a pause.

    The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket will be full again.
    """

    __slots__ = ("interval", "kept", "room")

    own: ClassVar[tuple[str, ...]] = ("interval", "room")
    free: ClassVar[str] = (
        "door.cell.live is (times := door.times) and now >= times.written and times.latest - now <= door.room"
    )
    take: ClassVar[str] = (
        "times.latest = (times.latest if times.latest > now else now) + door.interval; times.written = now"
    )
    takes: ClassVar[staticmethod[[Any, float], bool]] = staticmethod(_taking(free, take))

    def __init__(self, calls: float, per: float, burst: int) -> None:
        self.kept: float = burst * per / calls + _SPARE
        self.interval: float = per / calls
        self.room: float = (burst - 1) * self.interval  # seconds until it is full again, with a token left

    def fits(self, times: Times) -> bool:
        """See `Rate`."""
        return times.count == 1

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reserved]:
        """See `Rate`."""
        corrected = times.corrected(now)
        full = max(now, times.latest)
        wait = max(0.0, full - self.room - now)
        if wait > patience:
            return (times if corrected else None), Reserved(False, wait)
        times = times if self.fits(times) else Times()
        times.put(now, [full + self.interval], self.kept)
        return times, Reserved(True, wait)
