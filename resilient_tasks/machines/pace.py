"""The state machine of a channel's pace: how soon it may be sent something again, by any process."""

from __future__ import annotations

import json
from dataclasses import dataclass

#: Seconds from one message to the next: what Slack allows a channel, and more than a person reads.
GAP = 1.0
#: Seconds that a channel is left alone after it could not be reached: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 300.0
#: A channel that asks for more than this (seconds) is asked again all the same.
LONGEST_ASKED = 900.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a channel stands.

    Attributes:
        next: nothing is sent to it before this time.
        failures: how often in a row it could not be reached.
        problem: what came of the last of these.
    """

    next: float = 0.0
    failures: int = 0
    problem: str = ""

    @classmethod
    def decode(cls, state: bytes | None) -> Pace:
        """Return the pace that `encode` gave; that of a channel nobody knows if something else is there."""
        try:
            return cls(*json.loads(state or b"[]"))
        except (ValueError, TypeError):
            return cls()

    def encode(self) -> bytes:
        """Return the pace as JSON."""
        return json.dumps([self.next, self.failures, self.problem]).encode()

    def reserved(self, now: float) -> Pace:
        """Return the pace after one message was sent at this time."""
        return Pace(max(now, self.next) + GAP, self.failures, self.problem)

    def reached(self) -> Pace:
        """Return the pace of a channel that has taken what it was sent."""
        return Pace(self.next) if self.failures else self

    def missed(self, now: float, asked: float | None, problem: str) -> Pace:
        """Return the pace of a channel that could not be reached, or that `asked` for so many seconds of peace."""
        pause = min(_FIRST_PAUSE * 2.0 ** min(self.failures, 20), _LAST_PAUSE)
        if asked is not None:
            pause = min(max(asked, GAP), LONGEST_ASKED)
        return Pace(max(self.next, now + pause), self.failures + 1, problem)
