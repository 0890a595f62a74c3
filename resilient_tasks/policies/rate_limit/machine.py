"""The state machines of a rate limit. A call reserves the next time that the limit allows."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, Protocol

from resilient_tasks.state.changes import Changes, changes_from
from resilient_tasks.state.compact_json import dumps, loads

_SIZE = array("d").itemsize
#: Seconds for which a state is kept after its end, because clocks differ a little.
_SPARE = 10.0


#: The length of the changes, behind them.
_LENGTH = struct.Struct("=I")


class Numbers(NamedTuple):
    """The numbers of a rate limit, see `RateLimit`."""

    calls: float
    per: float
    burst: int | None = None

    def changed(self, changes: Changes | None) -> Numbers:
        """Return these numbers with those that were changed while workers run."""
        given = {} if changes is None else changes.numbers
        # A newer version of this library may have set others.
        numbers: dict[str, Any] = {name: value for name, value in given.items() if name in self._fields}
        return self._replace(**numbers) if numbers else self

    @property
    def rate(self) -> SlidingWindow | TokenBucket:
        """The rule of these numbers."""
        if self.burst is None:
            return SlidingWindow(int(self.calls), self.per)
        return TokenBucket(self.calls, self.per, self.burst)


class Reservation(NamedTuple):
    """The `wait` in seconds until a call may be made. If not `granted`, it is too long, and nothing is reserved."""

    granted: bool
    wait: float


class Times:
    """The state of a rate limit. It changes in place, except for its `count`.

    Attributes:
        written: time of the last change. If it is in the future, a clock ran fast for a moment, and all times are late
            by the difference. Nothing else shows that, since calls may have reserved any future time.
        ring: of a sliding window, a ring buffer of the times of the last calls, filled up with minus infinity; of a
            token bucket, the time at which it will be full again.
        count: the length of the ring.
        first: the index of the earliest time in the ring.
        latest: the latest time; if `count` is 1, it is only here.
        kept: seconds for which the times are needed after the latest one.
        changes: numbers in place of those of the rate; None: there are none.
    """

    __slots__ = ("changes", "count", "first", "kept", "latest", "ring", "written")

    changes: Changes | None

    count: int
    first: int
    kept: float
    latest: float
    ring: list[float]
    written: float

    def __init__(self, written: float = -math.inf, times: Iterable[float] = (), changes: Changes | None = None) -> None:
        self.changes = changes
        self.put(written, [*times])

    @classmethod
    def decode(cls, encoded: bytes | None, _now: float = 0.0) -> Times:
        """Return the times that `encode` returned; none for None or unreadable bytes."""
        encoded, changes = _without_changes(encoded or b"")
        found = array("d", encoded if len(encoded) % _SIZE == 0 else b"")
        return cls(found[0], found[1:], changes) if found else cls(changes=changes)

    def encode(self) -> bytes:
        """Return the times as bytes, and the changes, if any, as JSON behind them."""
        times = array("d", [self.written, *self.in_order()]).tobytes()
        if self.changes is None:
            return times
        changes = dumps(self.changes.as_json())
        changes += b" " * (-len(changes) % _SIZE)
        return times + changes + _LENGTH.pack(len(changes))

    def renumbered(self, changes: Changes | None) -> Times:
        """Return the same times as a new object, with these numbers in place of those of the rate."""
        times = Times(self.written, self.in_order(), changes)
        times.kept = self.kept
        return times

    @property
    def needed_until(self) -> float:
        """The time from which they limit nothing."""
        if self.changes is not None:
            return math.inf
        return max(self.written, self.latest) + self.kept

    def put(self, written: float, times: list[float], kept: float = 0.0) -> None:
        """Replace the times; the earliest comes first."""
        self.kept = kept
        self.written, self.ring, self.count, self.first = written, times, len(times), 0
        self.latest = times[-1] if times else -math.inf

    def in_order(self) -> list[float]:
        """Return the times, the earliest first."""
        if self.count == 1:
            return [self.latest]
        times = self.ring[self.first :] + self.ring[: self.first]
        return times[times.count(-math.inf) :]

    def correct(self, now: float) -> bool:
        """Move back the times that a fast clock has written, and return whether there were any."""
        ahead = self.written - now
        if ahead > 0:
            self.ring = [time - ahead for time in self.ring]
            self.written, self.latest = now, self.latest - ahead
        return ahead > 0


def _without_changes(encoded: bytes) -> tuple[bytes, Changes | None]:
    """Return the bytes of the times, and the changes behind them. Only with changes the length is no multiple of 8."""
    if len(encoded) % _SIZE != _LENGTH.size:
        return encoded, None
    (length,) = _LENGTH.unpack(encoded[-_LENGTH.size :])
    start = len(encoded) - _LENGTH.size - length
    if start < 0:
        return b"", None
    try:
        return encoded[:start], changes_from(loads(encoded[start : start + length]))
    except (ValueError, TypeError, LookupError):
        return b"", None


class Rate(Protocol):
    """The rule of a rate limit.

    Attributes:
        kept: seconds for which the state is kept after the last reserved time.
        fields: the names of this rate's numbers in the code below.
        free: Python code, an expression: whether `door` shows that a call may be made `now`. The door has the `times`
            of this rate, their `cell` (see `Cell`), and the `fields`.
        numbers: the arguments that it was made with.
        take: Python code, statements that reserve the present then. Neither piece of code makes a call or has a loop,
            so that no other thread runs meanwhile.
    """

    kept: float
    fields: ClassVar[tuple[str, ...]]
    free: ClassVar[str]
    numbers: Numbers
    take: ClassVar[str]

    @staticmethod
    def try_take(door: Any, now: float) -> bool:
        """Reserve the present if `door` shows that a call may be made at once; return whether it does."""

    def match(self, times: Times) -> bool:
        """Return whether times are of such a rate: another policy may have stored its own under the same name."""

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reservation]:
        """Reserve a time at most `patience` seconds from `now`. Returns None as times if nothing has changed."""


def _compile(free: str, take: str) -> Callable[[Any, float], bool]:
    """Return `Rate.try_take` for this code."""
    space: dict[str, Any] = {}
    exec(f"def try_take(door, now):\n if {free}:\n  {take}\n  return True\n return False", space)  # noqa: S102
    function: Callable[[Any, float], bool] = space["try_take"]
    return function


class SlidingWindow:
    """At most `calls` in any `per` seconds. The state is the times of the last `calls` calls."""

    __slots__ = ("calls", "kept", "numbers", "per")

    fields: ClassVar[tuple[str, ...]] = ("calls", "per")
    free: ClassVar[str] = (
        "door.cell.live is (times := door.times) and now >= times.latest"
        " and now >= times.ring[first := times.first] + door.per"
    )
    take: ClassVar[str] = (
        "times.ring[first] = times.written = times.latest = now;"
        " times.first = first + 1 if first + 1 < door.calls else 0"
    )
    try_take: ClassVar[staticmethod[[Any, float], bool]] = staticmethod(_compile(free, take))

    def __init__(self, calls: int, per: float) -> None:
        self.calls: int = calls
        self.per: float = per
        self.kept: float = per + _SPARE
        self.numbers: Numbers = Numbers(calls, per)

    def match(self, times: Times) -> bool:
        """See `Rate`."""
        return times.count == self.calls

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reservation]:
        """See `Rate`."""
        was_corrected = times.correct(now)
        last = times.in_order()
        # Between the first of `calls` calls and the one after the last lie at least `per` seconds.
        earliest = last[-self.calls] + self.per if len(last) >= self.calls else now
        at = max(now, earliest, times.latest)
        if at - now > patience:
            return (times if was_corrected else None), Reservation(False, at - now)
        last = [*last[-self.calls + 1 :], at] if self.calls > 1 else [at]
        times = times if self.match(times) else Times(changes=times.changes)
        times.put(now, [-math.inf] * (self.calls - len(last)) + last, self.kept)
        return times, Reservation(True, at - now)


class TokenBucket:
    """`calls` in `per` seconds on average, and up to `burst` at once after a pause.

    The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket will be full again.
    """

    __slots__ = ("interval", "kept", "numbers", "room")

    fields: ClassVar[tuple[str, ...]] = ("interval", "room")
    free: ClassVar[str] = (
        "door.cell.live is (times := door.times) and now >= times.written and times.latest - now <= door.room"
    )
    take: ClassVar[str] = (
        "times.latest = (times.latest if times.latest > now else now) + door.interval; times.written = now"
    )
    try_take: ClassVar[staticmethod[[Any, float], bool]] = staticmethod(_compile(free, take))

    def __init__(self, calls: float, per: float, burst: int) -> None:
        self.kept: float = burst * per / calls + _SPARE
        self.numbers: Numbers = Numbers(calls, per, burst)
        self.interval: float = per / calls
        self.room: float = (burst - 1) * self.interval  # seconds until it is full again, if one token is left

    def match(self, times: Times) -> bool:
        """See `Rate`."""
        return times.count == 1

    def reserve(self, times: Times, now: float, patience: float) -> tuple[Times | None, Reservation]:
        """See `Rate`."""
        was_corrected = times.correct(now)
        full = max(now, times.latest)
        wait = max(0.0, full - self.room - now)
        if wait > patience:
            return (times if was_corrected else None), Reservation(False, wait)
        times = times if self.match(times) else Times(changes=times.changes)
        times.put(now, [full + self.interval], self.kept)
        return times, Reservation(True, wait)
