"""The state machine of a bulkhead: who holds how many of its slots, and who waits for one, in the order of arrival.

Each process tells how many slots it holds, not that it took or gave one: so a process that could not be heard for a
while is right again as soon as it is, and one that has died is forgotten when its lease is over.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from resilient_tasks.state.written import dumped, loaded

Answer: TypeAlias = Literal["taken", "queued", "full"]

#: How the name of a holder ends whose one slot may be idle. Who has claimed that name may take the slot away.
KEEPS = "*"


@dataclass(slots=True)
class Holder:
    """The slots of one process: their number, and the time at which they are free again unless it says otherwise."""

    number: int
    until: float


class Slots:
    """The state of a bulkhead. It changes in place.

    Attributes:
        held: the holders, by name.
        queue: tickets of those who wait, first come first, and the time at which each is forgotten likewise.
        only: the one holder there is, if there is one and nobody waits.
        stands: whether it stands in a store.
    """

    __slots__ = ("held", "only", "queue", "stands")

    only: Holder | None

    def __init__(self, held: dict[str, Holder] | None = None, queue: dict[str, float] | None = None) -> None:
        self.held: dict[str, Holder] = held or {}
        self.queue: dict[str, float] = queue or {}
        self.stands: bool = False
        self._settle()

    @classmethod
    def decode(cls, state: bytes | None, now: float, lease: float = math.inf, place: float = math.inf) -> Slots:
        """Return the slots that `encode` gave, as they are by now; new ones if something else is there."""
        try:
            found: dict[str, Any] = loaded(state)
            held = {holder: Holder(number, until) for holder, (number, until) in found["held"].items()}
            slots = cls(held, dict(found["queue"])).by(now, lease, place)
        except (ValueError, TypeError, LookupError, AttributeError):
            slots = cls()
        slots.stands = state is not None
        return slots

    def encode(self) -> bytes:
        """Return the slots as JSON."""
        held = {name: (holder.number, holder.until) for name, holder in self.held.items() if holder.number}
        return dumped({"held": held, "queue": self.queue})

    def by(self, now: float, lease: float, place: float) -> Slots:
        """Take away those whose time is over.

        No time ends later than `lease` seconds (a slot) or `place` seconds (a place in the queue) from now: a clock
        that was fast for a moment is not believed.
        """
        for name, holder in [*self.held.items()]:
            if holder.until <= now:
                del self.held[name]
            elif holder.until > now + lease:
                holder.until = now + lease
        for ticket, until in [*self.queue.items()]:
            if until <= now:
                del self.queue[ticket]
            elif until > now + place:
                self.queue[ticket] = now + place
        self._settle()
        return self

    def to_keep(self) -> Slots | None:
        """Return the slots, or None where nothing stands in the store, or need to."""
        self.stands = self.stands or not self.is_empty
        return self if self.stands else None

    @property
    def is_empty(self) -> bool:
        """Whether nobody holds a slot or waits for one."""
        return not self.queue and not self._held_in_all

    @property
    def taken(self) -> int:
        """Slots that are taken, without those that may be idle."""
        return sum(holder.number for name, holder in self.held.items() if not name.endswith(KEEPS))

    @property
    def kept(self) -> list[str]:
        """The names of those who keep a slot that may be idle."""
        return [name for name in self.held if name.endswith(KEEPS)]

    def lacks(self, ticket: str, limit: int) -> int:
        """Return how many slots more would have to be free of `limit` for this ticket to have its turn."""
        return max(0, self._held_in_all + self._ahead_of(ticket) + 1 - limit)

    def holding(self, name: str, number: int, until: float) -> Slots:
        """Have a holder hold `number` slots until then."""
        return self.held_by(name, Holder(number, until))

    def held_by(self, name: str, holder: Holder) -> Slots:
        """Have a holder hold its number of slots."""
        self.held[name] = holder
        self._settle()
        return self

    def without(self, ticket: str) -> Slots:
        """Have nobody wait on `ticket`."""
        self.queue.pop(ticket, None)
        self._settle()
        return self

    def ask(
        self, ticket: str, limit: int, places: int, now: float, keep: float, *, idle: Collection[str] = ()
    ) -> Answer:
        """Ask for one slot of `limit`; if all are taken, for one of so many `places` in the queue.

        A slot that was taken is yet to be told by `held_by`. A place is kept for `keep` seconds after it was asked for.
        Slots of the holders in `idle` are taken away as far as this one needs them.
        """
        idle = [name for name in idle if name in self.held]
        if self.lacks(ticket, limit) <= len(idle):
            for name in idle[: max(0, self._held_in_all + 1 - limit)]:
                del self.held[name]
            self.without(ticket)
            return "taken"
        if ticket not in self.queue and len(self.queue) >= places:
            return "full"
        if self.queue.get(ticket, now) <= now + keep / 2:  # else it was told lately enough
            self.queue[ticket] = now + keep
            self._settle()
        return "queued"

    @property
    def _held_in_all(self) -> int:
        return sum(holder.number for holder in self.held.values())

    def _ahead_of(self, ticket: str) -> int:
        return list(self.queue).index(ticket) if ticket in self.queue else len(self.queue)

    def _settle(self) -> None:
        alone = len(self.held) == 1 and not self.queue
        self.only = next(iter(self.held.values())) if alone else None
