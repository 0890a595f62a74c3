"""What was counted lately: over the last seconds, or over the last calls."""

from __future__ import annotations

import math
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


class TimeWindow:
    """Counts over the last `seconds`, to within a twentieth of it. They change in place.

    Attributes:
        seconds: the window's length.
        steps: number of a step since the clock's zero, and the calls, bad and slow ones counted in it; oldest first.
        fits: what it was last found to be right for.
        latest: the last step, once something was counted in it here.
        begins: when that does,
        ends: and when it ends.
    """

    __slots__ = ("begins", "ends", "fits", "latest", "seconds", "steps")

    begins: float
    ends: float

    def __init__(self, seconds: float, steps: list[list[int]] | None = None) -> None:
        self.seconds: float = seconds
        self.steps: list[list[int]] = steps or []
        self.fits: object = None
        self.latest: list[int] = []
        self.begins = self.ends = -math.inf

    def add(self, now: float, totals: Totals) -> TimeWindow:
        """Count `totals` at `now`, and forget what is too old."""
        step, steps = self._step(now), self.steps
        if not steps or steps[-1][0] < step:
            steps.append([step, 0, 0, 0])
            self.latest, (self.begins, self.ends) = steps[-1], _span(step, self.seconds)
        counts = steps[-1]
        if counts[0] > step:  # counted later than it was told
            counts = next((each for each in steps if each[0] == step), [])
            if not counts:
                counts += [step, 0, 0, 0]
                steps.append(counts)
                steps.sort()
        for place, number in enumerate(totals, 1):
            counts[place] += number
        oldest = steps[-1][0] - STEPS
        while steps[0][0] <= oldest:
            del steps[0]
        return self

    def adds_one(self, now: float) -> bool:
        """Count a call that was neither bad nor slow, if it is in the same step as the last one."""
        if self.begins <= now < self.ends:
            self.latest[1] += 1
            return True
        return False

    def totals(self, now: float) -> Totals:
        """Return the counts over the window that ends at `now`."""
        oldest = self._step(now) - STEPS
        return Totals(*(sum(counts[place] for counts in self.steps if counts[0] > oldest) for place in (1, 2, 3)))

    def until(self, now: float) -> TimeWindow:
        """Return the window with what was counted later than `now` counted now: a clock was fast for a moment."""
        step = self._step(now)
        if not self.steps or self.steps[-1][0] <= step:
            return self
        window = TimeWindow(self.seconds, [[*counts] for counts in self.steps if counts[0] <= step])
        for at, *counts in self.steps:
            if at > step:
                window.add(now, Totals(*counts))
        return window

    def emptied(self) -> TimeWindow:
        """Return a window as long as this one."""
        return TimeWindow(self.seconds)

    def as_json(self) -> list[Any]:
        """Return plain lists and numbers."""
        return ["time", self.seconds, self.steps]

    def _step(self, now: float) -> int:
        return int(now * STEPS // self.seconds)


def _span(step: int, seconds: float) -> tuple[float, float]:
    """Return times between which all belong to a step: a little less than all of it, for numbers that are rounded."""
    spare = 1e-9 * abs(step) * seconds / STEPS
    return step * seconds / STEPS + spare, (step + 1) * seconds / STEPS - spare


class CountWindow:
    """Counts over the last `size` calls. They change in place.

    Attributes:
        size: the window's length, in calls.
        known: calls that are in it.
        bad: a bit for each call, set if it failed; the lowest is the latest.
        slow: as `bad`, for calls that took too long.
        fits: as of a window of time.
    """

    __slots__ = ("bad", "fits", "known", "size", "slow")

    def __init__(self, size: int, known: int = 0, bad: int = 0, slow: int = 0) -> None:
        self.fits: object = None
        self.size: int = size
        self.known: int = known
        self.bad: int = bad
        self.slow: int = slow

    def add(self, now: float, totals: Totals) -> CountWindow:  # noqa: ARG002  # as a window of time
        """Count the latest calls; within `totals`, bad and slow ones count as the latest."""
        kept = (1 << self.size) - 1
        self.known = min(self.size, self.known + totals.calls)
        self.bad = (self.bad << totals.calls | (1 << totals.bad) - 1) & kept
        self.slow = (self.slow << totals.calls | (1 << totals.slow) - 1) & kept
        return self

    def adds_one(self, now: float) -> bool:  # noqa: ARG002  # as a window of time
        """Count a call that was neither bad nor slow, if that changes nothing but the place of others."""
        if self.known < self.size:
            return False
        if self.bad or self.slow:
            kept = (1 << self.size) - 1
            self.bad, self.slow = self.bad << 1 & kept, self.slow << 1 & kept
        return True

    def totals(self, now: float) -> Totals:  # noqa: ARG002  # as a window of time
        """Return the counts."""
        return Totals(self.known, self.bad.bit_count(), self.slow.bit_count())

    def until(self, now: float) -> CountWindow:  # noqa: ARG002  # as a window of time
        """Return the window: it holds no times."""
        return self

    def emptied(self) -> CountWindow:
        """Return a window as long as this one."""
        return CountWindow(self.size)

    def as_json(self) -> list[Any]:
        """Return plain lists and numbers."""
        return ["count", self.size, self.known, self.bad, self.slow]


Window: TypeAlias = TimeWindow | CountWindow


def window_from(json: list[Any]) -> Window:
    """Return the window that `as_json` gave."""
    if json[0] == "count":
        return CountWindow(*json[1:])
    _, seconds, steps = json
    return TimeWindow(seconds, [[at, calls, bad, slow] for at, calls, bad, slow in steps])
