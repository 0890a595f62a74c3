"""The state machine of a retry budget: calls pay in, retries draw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from resilient_tasks.machines.window import TimeWindow, Totals, window_from


class Grant(NamedTuple):
    """Whether a retry may be made, and what it was weighed against."""

    granted: bool
    retries: int
    calls: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """Retries may be `share` of the calls of the last `per` seconds, and `floor` more."""

    share: float
    floor: int
    per: float

    def pay_in(self, state: bytes | None, now: float, calls: int, at: float) -> bytes:
        """Count so many calls, the last of them made `at` this time."""
        return _encode(self._window(state, now).add(min(at, now), Totals(calls)))

    def draw(self, state: bytes | None, now: float, calls: int, at: float) -> tuple[bytes, Grant]:
        """As `pay_in`, and ask for one retry."""
        window = self._window(state, now).add(min(at, now), Totals(calls))
        total = window.totals(now)
        granted = total.bad + 1 <= self.floor + self.share * total.calls
        if granted:
            window = window.add(now, Totals(0, 1))
        return _encode(window), Grant(granted, total.bad, total.calls)

    def _window(self, state: bytes | None, now: float) -> TimeWindow:
        try:
            found = window_from(json.loads(state or b""))
        except (ValueError, TypeError, LookupError):  # none, or something else stands there
            found = None
        if isinstance(found, TimeWindow) and found.seconds == self.per:
            return found.until(now)
        return TimeWindow(self.per)


def _encode(window: TimeWindow) -> bytes:
    return json.dumps(window.as_json(), separators=(",", ":")).encode()
