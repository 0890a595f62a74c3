"""The state machine of a bulkhead: the slots that each process holds, and a queue in order of arrival.

Each process writes how many slots it holds, not that it took or released one. So its next write corrects its count
after an outage, and the slots of a dead process are free when its lease expires.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from resilient_tasks.state.changes import Changes, changes_from
from resilient_tasks.state.compact_json import dumps, loads

Answer: TypeAlias = Literal["taken", "queued", "full"]

#: The end of the name of a holder whose one slot may be idle. A process that has claimed the name may remove the slot.
KEPT = "*"


@dataclass(slots=True)
class Holder:
    """The slots of one process: their number, and when they expire unless they are renewed."""

    number: int
    until: float


class Slots:
    """The mutable state of a bulkhead.

    Attributes:
        held: the holders, by name.
        queue: the waiting tickets in order of arrival, and when each one expires unless it is renewed.
        only: the holder, if there is exactly one, and no ticket waits.
        is_stored: whether a store has this state.
        changes: numbers in place of the caller's; None: there are none.
    """

    __slots__ = ("changes", "held", "is_stored", "only", "queue")

    changes: Changes | None
    only: Holder | None

    def __init__(self, held: dict[str, Holder] | None = None, queue: dict[str, float] | None = None) -> None:
        self.changes = None
        self.held: dict[str, Holder] = held or {}
        self.queue: dict[str, float] = queue or {}
        self.is_stored: bool = False
        self._update_only()

    @classmethod
    def decode(cls, encoded: bytes | None, now: float, lease: float = math.inf, place: float = math.inf) -> Slots:
        """Return the slots that `encode` returned, without what has expired; new ones for None or unreadable bytes."""
        try:
            found: dict[str, Any] = loads(encoded)
            held = {holder: Holder(number, until) for holder, (number, until) in found["held"].items()}
            slots = cls(held, dict(found["queue"])).expire(now, lease, place)
            slots.changes = changes_from(found.get("changes"))
        except (ValueError, TypeError, LookupError, AttributeError):
            slots = cls()
        slots.is_stored = encoded is not None
        return slots

    def encode(self) -> bytes:
        """Return the slots as JSON."""
        held = {name: (holder.number, holder.until) for name, holder in self.held.items() if holder.number}
        more = {} if self.changes is None else {"changes": self.changes.as_json()}
        return dumps({"held": held, "queue": self.queue, **more})

    def expire(self, now: float, lease: float, place: float) -> Slots:
        """Remove the holders and tickets that have expired.

        A slot expires at most `lease` seconds from now, and a place in the queue at most `place` seconds: a clock may
        have run fast for a moment.
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
        self._update_only()
        return self

    def to_store(self) -> Slots | None:
        """Return the slots, or None if they are empty, and the store has none."""
        self.is_stored = self.is_stored or not self.is_empty
        return self if self.is_stored else None

    @property
    def is_empty(self) -> bool:
        """Whether no slot is held, no ticket waits, and the code's numbers are in force."""
        return not self.queue and not self._total and self.changes is None

    @property
    def taken(self) -> int:
        """The number of slots taken, without those that may be idle."""
        return sum(holder.number for name, holder in self.held.items() if not name.endswith(KEPT))

    @property
    def kept(self) -> list[str]:
        """The names of the holders whose slot may be idle."""
        return [name for name in self.held if name.endswith(KEPT)]

    def limit_of(self, limit: int) -> int:
        """Return the number of slots: the caller's `limit`, or the one that was set while workers run."""
        return limit if self.changes is None else int(self.changes.numbers.get("limit", limit))

    def places_of(self, places: int) -> int:
        """Return the length of the queue, as `limit_of`."""
        return places if self.changes is None else int(self.changes.numbers.get("queue", places))

    def are_within(self, limit: int) -> bool:
        """Return whether no more slots are held than there are."""
        return self._total <= self.limit_of(limit)

    def missing(self, ticket: str, limit: int) -> int:
        """Return how many more of `limit` slots would have to be free for this ticket to get one."""
        limit = self.limit_of(limit)
        return max(0, self._total + self._ahead_of(ticket) + 1 - limit)

    def hold(self, name: str, holder: Holder) -> Slots:
        """Set the slots of a holder."""
        self.held[name] = holder
        self._update_only()
        return self

    def remove(self, ticket: str) -> Slots:
        """Remove a ticket from the queue."""
        self.queue.pop(ticket, None)
        self._update_only()
        return self

    def request(
        self, ticket: str, limit: int, places: int, now: float, keep: float, *, idle: Collection[str] = ()
    ) -> Answer:
        """Request one slot of `limit`, or one of `places` in the queue if all are taken.

        A place in the queue expires after `keep` seconds. A taken slot is not counted yet: call `hold`. As many of the
        holders in `idle` are removed as this slot needs.
        """
        limit, places = self.limit_of(limit), self.places_of(places)
        idle = [name for name in idle if name in self.held]
        if self.missing(ticket, limit) <= len(idle):
            for name in idle[: max(0, self._total + 1 - limit)]:
                del self.held[name]
            self.remove(ticket)
            return "taken"
        if ticket not in self.queue and len(self.queue) >= places:
            return "full"
        if self.queue.get(ticket, now) <= now + keep / 2:  # else it was renewed recently
            self.queue[ticket] = now + keep
            self._update_only()
        return "queued"

    @property
    def _total(self) -> int:
        return sum(holder.number for holder in self.held.values())

    def _ahead_of(self, ticket: str) -> int:
        return list(self.queue).index(ticket) if ticket in self.queue else len(self.queue)

    def _update_only(self) -> None:
        is_alone = len(self.held) == 1 and not self.queue
        self.only = next(iter(self.held.values())) if is_alone else None
