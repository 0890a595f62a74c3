"""The state machine of a retry budget: a window of calls and retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from resilient_tasks.state.compact_json import dumps, loads
from resilient_tasks.state.window import TimeWindow, Totals, window_from


class Grant(NamedTuple):
    """Whether a retry is granted, and the retries and calls in the window."""

    granted: bool
    retries: int
    calls: int


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """Retries may be `share` of the calls of the last `per` seconds, plus `floor`."""

    share: float
    floor: int
    per: float

    def decode(self, state: bytes | None, _now: float) -> BudgetWindow:
        """Return the encoded window; an empty one if it cannot be read."""
        try:
            found = window_from(loads(state))
        except (ValueError, TypeError, LookupError):
            found = None
        return BudgetWindow(found if isinstance(found, TimeWindow) else TimeWindow(self.per))

    def record_calls(self, state: BudgetWindow, now: float, calls: int, at: float) -> BudgetWindow:
        """Count `calls`, the last of them made at the time `at`."""
        window = state.window.corrected(now) if state.window.seconds == self.per else TimeWindow(self.per)
        state.window = window.add(min(at, now), Totals(calls))
        return state

    def try_acquire(self, state: BudgetWindow, now: float, calls: int, at: float) -> tuple[BudgetWindow, Grant]:
        """Count `calls`, as `record_calls` does, and request one retry."""
        window = self.record_calls(state, now, calls, at).window
        total = window.totals(now)
        granted = total.failed + 1 <= self.floor + self.share * total.calls
        if granted:
            window.add(now, Totals(0, 1))
        return state, Grant(granted, total.failed, total.calls)


class BudgetWindow:
    """The state of a budget: a window whose failed calls are retries. It changes in place."""

    __slots__ = ("window",)

    def __init__(self, window: TimeWindow) -> None:
        self.window: TimeWindow = window

    def encode(self) -> bytes:
        """Return it as JSON."""
        return dumps(self.window.as_json())
