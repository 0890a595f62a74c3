"""A rate limit that calls share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core.call import Permit
from resilient_tasks.core.execution import clock
from resilient_tasks.core.first_attempts import Door, Text
from resilient_tasks.core.store import Cell
from resilient_tasks.policies.rate_limit.machine import Rate, Reserved, SlidingWindow, Times, TokenBucket
from resilient_tasks.state.states import States

if TYPE_CHECKING:
    from resilient_tasks.core.settings import Settings


class RateDoor(Door):
    """Open while a rate limit is in this process's memory, which goes by this process's clock."""

    __slots__ = ("cell", "times")

    cell: Cell
    times: Times

    def __init__(self, policy: Any, rate: Rate) -> None:
        super().__init__(policy)
        for name in rate.own:
            setattr(self, name, getattr(rate, name))


def _text(name: str, rate: type[TokenBucket | SlidingWindow]) -> Text:
    return Text(name, f"(now := clock.present()) is not None and {rate.free}", rate.take, succeeded="pass")


class _BucketDoor(RateDoor):
    __slots__ = TokenBucket.own

    text: ClassVar[Text] = _text("a token bucket", TokenBucket)


class _WindowDoor(RateDoor):
    __slots__ = SlidingWindow.own

    text: ClassVar[Text] = _text("a sliding window", SlidingWindow)


def door_for(policy: Any, rate: Rate) -> RateDoor:
    """Return a new door for a policy with this rate."""
    return (_BucketDoor if isinstance(rate, TokenBucket) else _WindowDoor)(policy, rate)


class SharedRate:
    """A rate limit as this process knows it: where its times are, if they are in this process's memory."""

    __slots__ = ("_cell", "_key", "_leave", "_memory", "_states", "_was_free", "was_used")

    was_used: bool

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._memory = shared.memory
        self._cell = Cell(None, -math.inf)
        self._leave = Permit(key, is_spent=True)
        self.was_used = self._was_free = False

    @property
    def is_needed(self) -> bool:
        """No: all that is known stands in the store, or in memory."""
        return False

    def let_go(self) -> None:
        """See `View`. What stands in the store, or in memory, has its own end."""

    def at_once(self, rate: Rate, door: RateDoor | None = None, chosen: Settings | None = None) -> Permit | None:
        """Reserve the present, if a call may be made at once; else `reserve`.

        Args:
            rate: of the policy that asks.
            door: to be opened, for the settings that are `chosen`.
            chosen: in force since before this limit was found.
        """
        if (memory := self._memory) is None:
            self._was_free = self._was_free and self.reserve(rate, 0.0).granted  # what is likely to wait is asked once
            return self._leave if self._was_free else None
        now, cell = clock.present() if memory.goes_by_clock else memory.now(), self._cell
        if (times := cell.live) is None or not rate.fits(times):
            return None
        here = door_for(None, rate) if door is None else door
        here.cell, here.times = cell, times
        if memory.goes_by_clock:
            here.permit, here.opened_for = self._leave, chosen
        if rate.takes(here, now):
            self.was_used = True
            return self._leave
        return None

    def reserve(self, rate: Rate, patience: float) -> Reserved:
        """Reserve a time at most `patience` seconds from now."""
        return self._states.step(
            self._key,
            Times.decode,
            lambda times, now: rate.reserve(times, now, patience),
            ttl=lambda reserved: reserved.wait + rate.kept,
            take_in=self._take_in,
        )

    def _take_in(self, reserved: Reserved) -> None:
        self.was_used, self._was_free = True, reserved.granted and reserved.wait == 0
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, Times.decode)
