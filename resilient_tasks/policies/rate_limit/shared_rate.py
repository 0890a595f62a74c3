"""The rate limits of this process: the cached place of each limit's times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from resilient_tasks.core.call import Permit
from resilient_tasks.core.execution import clock
from resilient_tasks.core.first_attempts import Door, Text
from resilient_tasks.core.store import Cell
from resilient_tasks.policies.rate_limit.machine import Rate, Reservation, SlidingWindow, Times, TokenBucket
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import States

if TYPE_CHECKING:
    from resilient_tasks.core.settings import Settings


class RateDoor(Door):
    """Open while a rate limit is in this process's memory, and uses this process's clock."""

    __slots__ = ("cell", "times")

    cell: Cell
    times: Times

    def __init__(self, policy: Any, rate: Rate) -> None:
        super().__init__(policy)
        for name in rate.fields:
            setattr(self, name, getattr(rate, name))


def _text(name: str, rate: type[TokenBucket | SlidingWindow]) -> Text:
    return Text(name, f"(now := clock.present()) is not None and {rate.free}", rate.take, succeeded="pass")


class _BucketDoor(RateDoor):
    __slots__ = TokenBucket.fields

    text: ClassVar[Text] = _text("a token bucket", TokenBucket)


class _WindowDoor(RateDoor):
    __slots__ = SlidingWindow.fields

    text: ClassVar[Text] = _text("a sliding window", SlidingWindow)


def door_for(policy: Any, rate: Rate) -> RateDoor:
    """Return a new door for a policy with this rate."""
    return (_BucketDoor if isinstance(rate, TokenBucket) else _WindowDoor)(policy, rate)


#: Seconds for which the times are kept after a reset: a rate that is kept for longer is written anew by the next call.
_LONGEST = 86_400.0


class _Reserved(NamedTuple):
    reservation: Reservation
    kept: float
    changes: Changes | None


def _ttl(reserved: _Reserved) -> float | None:
    """Return the seconds for which the times are kept; None, for ever, with numbers that were changed by hand."""
    return None if reserved.changes is not None else reserved.reservation.wait + reserved.kept


class SharedRate:
    """A rate limit, with the place of its times if they are in this process's memory."""

    __slots__ = ("_cell", "_key", "_memory", "_permit", "_states", "_was_free", "changes", "was_used")

    changes: Changes | None

    was_used: bool

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._memory = shared.memory
        self._cell = Cell(None, -math.inf)
        self._permit = Permit(key, is_spent=True)
        self.was_used = self._was_free = False
        self.changes = None

    @property
    def is_needed(self) -> bool:
        """No: all that it holds is in the store, or in memory."""
        return False

    def let_go(self) -> None:
        """See `View`. The state in the store, or in memory, expires by itself."""

    def try_acquire(self, rate: Rate, door: RateDoor | None = None, current: Settings | None = None) -> Permit | None:
        """Reserve the present for a call; return None if it may have to wait, and to `reserve` a time.

        Args:
            rate: of the calling policy.
            door: the door to open, for the `current` settings.
            current: the settings in force since before this limit was looked up.
        """
        if (memory := self._memory) is None:
            # If the last call had to wait, this one probably does too: one request is enough.
            self._was_free = self._was_free and self.reserve(rate, 0.0).granted
            return self._permit if self._was_free else None
        now, cell = clock.present() if memory.goes_by_clock else memory.now(), self._cell
        if (times := cell.live) is None or times.changes is not None or not rate.match(times):
            return None
        door = door_for(None, rate) if door is None else door
        door.cell, door.times = cell, times
        if memory.goes_by_clock:
            door.permit, door.opened_for = self._permit, current
        if rate.try_take(door, now):
            self.was_used = True
            return self._permit
        return None

    def reserve(self, rate: Rate, patience: float) -> Reservation:
        """Reserve a time at most `patience` seconds from now, by the rate's numbers or those in the state."""

        def step(times: Times, now: float) -> tuple[Times | None, _Reserved]:
            used = rate if times.changes is None else rate.numbers.changed(times.changes).rate
            times_after, reservation = used.reserve(times, now, patience)
            return times_after, _Reserved(reservation, used.kept, times.changes)

        return self._states.step(self._key, Times.decode, step, ttl=_ttl, take_in=self._cache).reservation

    def renumber(self, change: Callable[[Changes | None], Changes | None]) -> None:
        """Replace the changes in the state."""

        def step(times: Times, _: float) -> tuple[Times, Times]:
            after = times.renumbered(change(times.changes))
            return after, after

        def ttl(times: Times) -> float | None:
            return None if times.changes is not None else max(_LONGEST, times.kept)

        self._states.step(self._key, Times.decode, step, ttl=ttl, take_in=lambda _: None)

    def _cache(self, reserved: _Reserved) -> None:
        reservation, self.changes = reserved.reservation, reserved.changes
        self.was_used, self._was_free = True, reservation.granted and reservation.wait == 0
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, Times.decode)
