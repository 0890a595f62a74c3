"""The state machine of one attempt that workers share: who makes it, until when that is believed, and who waits.

The one that makes it says in time that it still does. When it has died, the first to look after that makes the attempt
anew. Each attempt has a name of its own, so one that comes back late can neither end nor overwrite a later one.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Flight:
    """The state of the calls of one operation with equal arguments.

    Attributes:
        leader: name of the attempt that is under way; empty where none is.
        until: when its leader counts as dead, unless it says otherwise.
        awaited: another worker waits for what comes of it.
    """

    leader: str = ""
    until: float = -math.inf
    awaited: bool = False

    @classmethod
    def decode(cls, state: bytes | None, now: float, lease: float = math.inf) -> Flight:
        """Return the flight that `encode` gave, if its leader is alive; a new one if something else is there.

        It ends no later than `lease` seconds from now: a clock that was fast for a moment is not believed.
        """
        try:
            found: dict[str, Any] = json.loads(state or b"")
            flight = cls(str(found["leader"]), min(float(found["until"]), now + lease), bool(found["awaited"]))
        except (ValueError, TypeError, LookupError):
            return cls()
        return flight if flight.until > now and flight.leader else cls()

    def encode(self) -> bytes:
        """Return the flight as JSON."""
        if not self.leader:
            return b"{}"
        told = {"leader": self.leader, "until": self.until, "awaited": self.awaited}
        return json.dumps(told, separators=(",", ":")).encode()

    def boarded(self, me: str, until: float) -> Flight:
        """Return the flight with the attempt `me` in it: it leads, if none is under way, and otherwise waits."""
        if not self.leader:
            return Flight(me, until)
        return self if self.leader == me else replace(self, awaited=True)

    def renewed(self, me: str, until: float) -> Flight:
        """Return the flight after `me` has said that it is under way: no later one has taken its place, or it stays."""
        if not self.leader:
            return Flight(me, until, awaited=True)  # it counted as dead: others may wait for it all the same
        return replace(self, until=until) if self.leader == me else self

    def without(self, me: str) -> Flight:
        """Return the flight after the attempt `me` has ended."""
        return Flight() if self.leader == me else self
