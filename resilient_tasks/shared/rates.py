"""A rate limit that calls share."""

from __future__ import annotations

import math

from resilient_tasks.core import clock
from resilient_tasks.core.call import Leave
from resilient_tasks.core.store import Cell
from resilient_tasks.machines.rate import Rate, Reserved, Times
from resilient_tasks.shared.states import States

#: Seconds for which a state is kept after nothing is left of it, for clocks that do not quite agree.
_SPARE = 10.0


class SharedRate:
    """A rate limit as this process knows it: where its times are, if they are in this process's memory."""

    __slots__ = ("_cell", "_key", "_leave", "_memory", "_states", "_was_free", "was_used")

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._memory = shared.memory
        self._cell = Cell(None, -math.inf)
        self._leave = Leave(key, is_spent=True)
        self.was_used = self._was_free = False

    @property
    def is_needed(self) -> bool:
        """No: all that is known stands in the store, or in memory."""
        return False

    def let_go(self) -> None:
        """See `View`. What stands in the store, or in memory, has its own end."""

    def at_once(self, rate: Rate) -> Leave | None:
        """Reserve the present, if a call may be made at once; else `reserve`."""
        if (memory := self._memory) is None:
            self._was_free = self._was_free and self.reserve(rate, 0.0).granted  # what is likely to wait is asked once
            return self._leave if self._was_free else None
        now, cell = clock.present() if memory.goes_by_clock else memory.now(), self._cell
        cell.expires = now + rate.kept + _SPARE  # before anything is reserved: it is not to be forgotten meanwhile
        if rate.takes(cell, now):
            self.was_used = True
            return self._leave
        return None

    def reserve(self, rate: Rate, patience: float) -> Reserved:
        """Reserve a time at most `patience` seconds from now."""
        return self._states.step(
            self._key,
            Times.decode,
            lambda times, now: rate.reserve(times, now, patience),
            ttl=lambda reserved: reserved.wait + rate.kept + _SPARE,
            take_in=self._take_in,
        )

    def _take_in(self, reserved: Reserved) -> None:
        self.was_used, self._was_free = True, reserved.granted and reserved.wait == 0
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, Times.decode)
