"""What was counted lately: over the last seconds, or over the last calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

#: A window of time moves on in so many steps.
STEPS = 20


class Totals(NamedTuple):
    """Counts over a window.

    Attributes:
        calls: all of them.
        bad: those that failed.
        slow: those that took too long.
    """

    calls: int = 0
    bad: int = 0
    slow: int = 0


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Counts over the last `seconds`, to within a twentieth of it.

    Attributes:
        seconds: the window's length.
        steps: number of a step since the clock's zero, and what was counted in it; oldest first.
    """

    seconds: float
    steps: tuple[tuple[int, Totals], ...] = ()

    def add(self, now: float, totals: Totals) -> TimeWindow:
        """Return the window with `totals` counted at `now`; what is too old is gone."""
        counts = dict(self.steps)
        step = self._step(now)
        counts[step] = _sum(counts.get(step, Totals()), totals)
        oldest = max(counts) - STEPS
        return replace(self, steps=tuple(sorted(item for item in counts.items() if item[0] > oldest)))

    def totals(self, now: float) -> Totals:
        """Return the counts over the window that ends at `now`."""
        oldest = self._step(now) - STEPS
        total = Totals()
        for at, counts in self.steps:
            total = _sum(total, counts) if at > oldest else total
        return total

    def until(self, now: float) -> TimeWindow:
        """Return the window with what was counted later than `now` counted now: a clock was fast for a moment."""
        step = self._step(now)
        if not self.steps or self.steps[-1][0] <= step:
            return self
        window = replace(self, steps=tuple(item for item in self.steps if item[0] <= step))
        for at, counts in self.steps:
            window = window.add(now, counts) if at > step else window
        return window

    def as_json(self) -> list[Any]:
        """Return plain lists and numbers."""
        return ["time", self.seconds, [[at, *counts] for at, counts in self.steps]]

    def _step(self, now: float) -> int:
        return int(now * STEPS // self.seconds)


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Counts over the last `size` calls.

    Attributes:
        size: the window's length, in calls.
        known: calls that are in it.
        bad: a bit for each call, set if it failed; the lowest is the latest.
        slow: as `bad`, for calls that took too long.
    """

    size: int
    known: int = 0
    bad: int = 0
    slow: int = 0

    def add(self, now: float, totals: Totals) -> CountWindow:  # noqa: ARG002  # as a window of time
        """Return the window with the latest calls in it; within `totals`, bad and slow ones count as the latest."""
        kept = (1 << self.size) - 1
        return CountWindow(
            self.size,
            min(self.size, self.known + totals.calls),
            (self.bad << totals.calls | (1 << totals.bad) - 1) & kept,
            (self.slow << totals.calls | (1 << totals.slow) - 1) & kept,
        )

    def totals(self, now: float) -> Totals:  # noqa: ARG002  # as a window of time
        """Return the counts."""
        return Totals(self.known, self.bad.bit_count(), self.slow.bit_count())

    def until(self, now: float) -> CountWindow:  # noqa: ARG002  # as a window of time
        """Return the window: it holds no times."""
        return self

    def as_json(self) -> list[Any]:
        """Return plain lists and numbers."""
        return ["count", self.size, self.known, self.bad, self.slow]


Window: TypeAlias = TimeWindow | CountWindow


def window_from(json: list[Any]) -> Window:
    """Return the window that `as_json` gave."""
    if json[0] == "count":
        return CountWindow(*json[1:])
    return TimeWindow(json[1], tuple((at, Totals(*counts)) for at, *counts in json[2]))


def _sum(one: Totals, other: Totals) -> Totals:
    return Totals(one.calls + other.calls, one.bad + other.bad, one.slow + other.slow)
