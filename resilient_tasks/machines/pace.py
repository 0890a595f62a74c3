"""The state machine of a channel's pace: how soon it may be sent something again, by any process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

#: Seconds from one message to the next: what Slack allows a channel, and more than a person reads.
GAP = 1.0
#: Seconds that a channel is left alone after it could not be reached: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 300.0
#: A channel that asks for more than this (seconds) is asked again all the same.
LONGEST_ASKED = 900.0
#: Seconds by which the clocks of two machines may differ.
_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a channel stands.

    Attributes:
        next: nothing is sent to it before this time.
        failures: how often in a row it could not be reached.
        problem: what came of the last of these.
        pause: seconds from when `next` was set until then: no clock that is right can see more of them left.
    """

    next: float = 0.0
    failures: int = 0
    problem: str = ""
    pause: float = LONGEST_ASKED

    @classmethod
    def decode(cls, state: bytes | None) -> Pace:
        """Return the pace that `encode` gave; that of a channel nobody knows if something else is there."""
        try:
            return cls(*json.loads(state or b"[]"))
        except (ValueError, TypeError):
            return cls()

    def encode(self) -> bytes:
        """Return the pace as JSON."""
        return json.dumps([self.next, self.failures, self.problem, self.pause]).encode()

    def reserved(self, now: float) -> Pace:
        """Return the pace after one message was sent at this time."""
        free = max(now, self.bounded(now).next) + GAP
        return Pace(free, self.failures, self.problem, free - now)

    def reached(self) -> Pace:
        """Return the pace of a channel that has taken what it was sent."""
        return Pace(self.next, pause=self.pause) if self.failures else self

    def missed(self, now: float, asked: float | None, problem: str) -> Pace:
        """Return the pace of a channel that could not be reached, or that `asked` for so many seconds of peace."""
        pause = min(_FIRST_PAUSE * 2.0 ** min(self.failures, 20), _LAST_PAUSE)
        if asked is not None:
            pause = min(max(asked, GAP), LONGEST_ASKED)
        free = max(self.bounded(now).next, now + pause)
        return Pace(free, self.failures + 1, problem, free - now)

    def bounded(self, now: float) -> Pace:
        """Return the pace as a right clock sees it: what one that was fast put too far ahead counts as now."""
        return replace(self, next=bounded(self.next, now, self.pause))


def bounded(at: float, now: float, pause: float) -> float:
    """Return a time that was set `pause` seconds before it; what lies further ahead of now was set by a fast clock."""
    return at if at <= now + pause + _TOLERANCE else now
