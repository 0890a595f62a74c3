"""The state machine of a bulkhead: who holds how many of its slots, and who waits for one, in the order of arrival.

Each process tells how many slots it holds, not that it took or gave one: so a process that could not be heard for a
while is right again as soon as it is, and one that has died is forgotten when its lease is over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Answer: TypeAlias = Literal["taken", "queued", "full"]


@dataclass(frozen=True, slots=True)
class Slots:
    """The state of a bulkhead.

    Attributes:
        held: by holder, the number of its slots, and the time at which they are free again unless it says otherwise.
        queue: tickets of those who wait, first come first, and the time at which each is forgotten likewise.
    """

    held: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    queue: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def decode(cls, state: bytes | None, now: float, lease: float = math.inf, place: float = math.inf) -> Slots:
        """Return the slots that `encode` gave, less those whose time is over; new ones if something else is there.

        No time ends later than `lease` seconds (a slot) or `place` seconds (a place in the queue) from now: a clock
        that was fast for a moment is not believed.
        """
        try:
            found: dict[str, Any] = json.loads(state or b"")
            held = {
                holder: (number, min(until, now + lease))
                for holder, (number, until) in found["held"].items()
                if until > now
            }
            queue = {ticket: min(until, now + place) for ticket, until in found["queue"].items() if until > now}
            return cls(held, queue)
        except (ValueError, TypeError, LookupError, AttributeError):
            return cls()

    def encode(self) -> bytes:
        """Return the slots as JSON."""
        return json.dumps({"held": self.held, "queue": self.queue}, separators=(",", ":")).encode()

    def encoded_over(self, state: bytes | None) -> bytes | None:
        """Return the slots as JSON, to stand in the place of `state`; None where nothing stands there, or need to."""
        return self.encode() if state is not None or self.held or self.queue else None

    @property
    def taken(self) -> int:
        """Slots that are taken."""
        return sum(number for number, _ in self.held.values())

    def number_of(self, holder: str) -> int:
        """Return how many slots `holder` holds."""
        return self.held.get(holder, (0, 0.0))[0]

    def holding(self, holder: str, number: int, until: float) -> Slots:
        """Return the slots with `holder` holding `number` of them until then."""
        held = {other: entry for other, entry in self.held.items() if other != holder}
        return Slots({**held, holder: (number, until)} if number else held, self.queue)

    def without(self, ticket: str) -> Slots:
        """Return the slots with nobody waiting on `ticket`."""
        return Slots(self.held, {other: until for other, until in self.queue.items() if other != ticket})

    def ask(self, ticket: str, limit: int, places: int, now: float, keep: float) -> tuple[Slots, Answer]:
        """Ask for one slot of `limit`; if all are taken, for one of so many `places` in the queue.

        A slot that was taken is yet to be told by `holding`. A place is kept for `keep` seconds after it was asked for.
        """
        waiting = list(self.queue)
        ahead = waiting.index(ticket) if ticket in self.queue else len(waiting)
        if self.taken + ahead < limit:
            return self.without(ticket), "taken"
        if ticket not in self.queue and len(waiting) >= places:
            return self, "full"
        if self.queue.get(ticket, now) > now + keep / 2:  # told lately enough
            return self, "queued"
        return Slots(self.held, {**self.queue, ticket: now + keep}), "queued"
