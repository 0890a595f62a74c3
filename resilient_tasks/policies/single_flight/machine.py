"""The state machine of one attempt that workers share: its leader, its lease, and whether others wait.

The leader renews the lease in time. After its death the next worker to look starts a new attempt. Each attempt has
its own name, so a leader that comes back late can neither end nor overwrite a later attempt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from resilient_tasks.state.compact_json import dumps, loads


@dataclass(frozen=True, slots=True)
class SharedFlight:
    """The state of the calls of one operation with equal arguments.

    Attributes:
        leader: name of the current attempt; empty if there is none.
        until: when its leader counts as dead, unless it renews the lease.
        awaited: another worker waits for the outcome.
    """

    leader: str = ""
    until: float = -math.inf
    awaited: bool = False

    @classmethod
    def decode(cls, state: bytes | None, now: float, lease: float = math.inf) -> SharedFlight:
        """Return the encoded flight if its leader is alive, else a new one.

        It ends no later than `lease` seconds from now, in case a clock was fast for a moment.
        """
        try:
            found: dict[str, Any] = loads(state)
            flight = cls(str(found["leader"]), min(float(found["until"]), now + lease), bool(found["awaited"]))
        except (ValueError, TypeError, LookupError):
            return cls()
        return flight if flight.until > now and flight.leader else cls()

    def encode(self) -> bytes:
        """Return the flight as JSON."""
        if not self.leader:
            return b"{}"
        return dumps({"leader": self.leader, "until": self.until, "awaited": self.awaited})

    def joined(self, me: str, until: float) -> SharedFlight:
        """Return the flight with the attempt `me`: it leads if there is no other, else it waits."""
        if not self.leader:
            return SharedFlight(me, until)
        return self if self.leader == me else replace(self, awaited=True)

    def renewed(self, me: str, until: float) -> SharedFlight:
        """Return the flight after `me` has renewed its lease; unchanged if a later attempt leads."""
        if not self.leader:
            return SharedFlight(me, until, awaited=True)  # it counted as dead, but others may still wait for it
        return replace(self, until=until) if self.leader == me else self

    def without(self, me: str) -> SharedFlight:
        """Return the flight after the attempt `me` has ended."""
        return SharedFlight() if self.leader == me else self
