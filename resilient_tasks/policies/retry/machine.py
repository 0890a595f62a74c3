"""The state machine of a retry budget: calls pay in, retries draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from resilient_tasks.state.compact_json import dumps, loads
from resilient_tasks.state.window import TimeWindow, Totals, window_from


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

    def decode(self, state: bytes | None, _now: float) -> Paid:
        """Return what `Paid.encode` gave; nothing was paid, if something else stands there."""
        try:
            found = window_from(loads(state))
        except (ValueError, TypeError, LookupError):
            found = None
        return Paid(found if isinstance(found, TimeWindow) else TimeWindow(self.per))

    def pay_in(self, paid: Paid, now: float, calls: int, at: float) -> Paid:
        """Count so many calls, the last of them made `at` this time."""
        window = paid.window.corrected(now) if paid.window.seconds == self.per else TimeWindow(self.per)
        paid.window = window.add(min(at, now), Totals(calls))
        return paid

    def draw(self, paid: Paid, now: float, calls: int, at: float) -> tuple[Paid, Grant]:
        """As `pay_in`, and ask for one retry."""
        window = self.pay_in(paid, now, calls, at).window
        total = window.totals(now)
        granted = total.failed + 1 <= self.floor + self.share * total.calls
        if granted:
            window.add(now, Totals(0, 1))
        return paid, Grant(granted, total.failed, total.calls)


class Paid:
    """The state of a budget: a window in which the bad ones are retries. It changes in place."""

    __slots__ = ("window",)

    def __init__(self, window: TimeWindow) -> None:
        self.window: TimeWindow = window

    def encode(self) -> bytes:
        """Return it as JSON."""
        return dumps(self.window.as_json())
