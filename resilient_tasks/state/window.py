"""Counts of calls in a sliding window: the last seconds, or the last calls."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

#: The number of buckets in a time window.
BUCKETS = 20


class Totals(NamedTuple):
    """Counts of calls: all, those that failed, and those that were slow."""

    calls: int = 0
    failed: int = 0
    slow: int = 0


class TimeWindow:
    """Mutable counts over the last `seconds`, to within a twentieth of it.

    Attributes:
        seconds: the window's length.
        buckets: the number of each bucket since the clock's zero, and its calls, failed and slow calls; oldest first.
        matched: the rules that this window was last found to match.
        latest: the latest bucket, once something was counted in it in this process.
        begins: the time at which it begins.
        ends: the time at which it ends.
    """

    __slots__ = ("begins", "buckets", "ends", "latest", "matched", "seconds")

    begins: float
    ends: float

    def __init__(self, seconds: float, buckets: list[list[int]] | None = None) -> None:
        self.seconds: float = seconds
        self.buckets: list[list[int]] = buckets or []
        self.matched: object = None
        self.latest: list[int] = []
        self.begins = self.ends = -math.inf

    def add(self, now: float, totals: Totals) -> TimeWindow:
        """Add counts at the time `now`, and drop buckets that are too old."""
        number, buckets = self._number(now), self.buckets
        if not buckets or buckets[-1][0] < number:
            buckets.append([number, 0, 0, 0])
            self.latest, (self.begins, self.ends) = buckets[-1], _span(number, self.seconds)
        bucket = buckets[-1]
        if bucket[0] > number:  # these calls were reported after later ones
            bucket = next((each for each in buckets if each[0] == number), [])
            if not bucket:
                bucket += [number, 0, 0, 0]
                buckets.append(bucket)
                buckets.sort()
        for index, count in enumerate(totals, 1):
            bucket[index] += count
        oldest = buckets[-1][0] - BUCKETS
        while buckets[0][0] <= oldest:
            del buckets[0]
        return self

    def add_success(self, now: float) -> bool:
        """Add one quick success if it belongs to the latest bucket, and return whether it does."""
        if self.begins <= now < self.ends:
            self.latest[1] += 1
            return True
        return False

    def totals(self, now: float) -> Totals:
        """Return the counts over the window that ends at `now`."""
        oldest = self._number(now) - BUCKETS
        return Totals(*(sum(bucket[index] for bucket in self.buckets if bucket[0] > oldest) for index in (1, 2, 3)))

    def corrected(self, now: float) -> TimeWindow:
        """Return the window with all counts from the future moved to `now`: a clock may have run fast for a moment."""
        number = self._number(now)
        if not self.buckets or self.buckets[-1][0] <= number:
            return self
        window = TimeWindow(self.seconds, [[*bucket] for bucket in self.buckets if bucket[0] <= number])
        for at, *counts in self.buckets:
            if at > number:
                window.add(now, Totals(*counts))
        return window

    def emptied(self) -> TimeWindow:
        """Return an empty window of the same length."""
        return TimeWindow(self.seconds)

    def as_json(self) -> list[Any]:
        """Return plain lists and numbers."""
        return ["time", self.seconds, self.buckets]

    def _number(self, now: float) -> int:
        return int(now * BUCKETS // self.seconds)


def _span(number: int, seconds: float) -> tuple[float, float]:
    """Return the beginning and end of a bucket, a little closer together so that rounded times stay inside."""
    spare = 1e-9 * abs(number) * seconds / BUCKETS
    return number * seconds / BUCKETS + spare, (number + 1) * seconds / BUCKETS - spare


class CountWindow:
    """Mutable counts over the last `size` calls.

    Attributes:
        size: the window's length, in calls.
        known: the number of calls in it.
        failed: a bit for each call, set if it failed; the lowest is the latest.
        slow: as `failed`, for slow calls.
        matched: the rules that this window was last found to match.
    """

    __slots__ = ("failed", "known", "matched", "size", "slow")

    def __init__(self, size: int, known: int = 0, failed: int = 0, slow: int = 0) -> None:
        self.matched: object = None
        self.size: int = size
        self.known: int = known
        self.failed: int = failed
        self.slow: int = slow

    def add(self, now: float, totals: Totals) -> CountWindow:  # noqa: ARG002  # as in a time window
        """Add calls; the failed and slow ones among them count as the latest."""
        mask = (1 << self.size) - 1
        self.known = min(self.size, self.known + totals.calls)
        self.failed = (self.failed << totals.calls | (1 << totals.failed) - 1) & mask
        self.slow = (self.slow << totals.calls | (1 << totals.slow) - 1) & mask
        return self

    def add_success(self, now: float) -> bool:  # noqa: ARG002  # as in a time window
        """Add one quick success if the window is full, and return whether it is."""
        if self.known < self.size:
            return False
        if self.failed or self.slow:
            mask = (1 << self.size) - 1
            self.failed, self.slow = self.failed << 1 & mask, self.slow << 1 & mask
        return True

    def totals(self, now: float) -> Totals:  # noqa: ARG002  # as in a time window
        """Return the counts."""
        return Totals(self.known, self.failed.bit_count(), self.slow.bit_count())

    def corrected(self, now: float) -> CountWindow:  # noqa: ARG002  # as in a time window
        """Return the window, which holds no times."""
        return self

    def emptied(self) -> CountWindow:
        """Return an empty window of the same length."""
        return CountWindow(self.size)

    def as_json(self) -> list[Any]:
        """Return plain lists and numbers."""
        return ["count", self.size, self.known, self.failed, self.slow]


Window: TypeAlias = TimeWindow | CountWindow


def window_from(json: list[Any]) -> Window:
    """Return the window that `as_json` returned."""
    if json[0] == "count":
        return CountWindow(*json[1:])
    _, seconds, buckets = json
    return TimeWindow(seconds, [[at, calls, failed, slow] for at, calls, failed, slow in buckets])
