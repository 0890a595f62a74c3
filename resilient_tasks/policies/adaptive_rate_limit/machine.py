"""The state machine of an adaptive rate limit: additive increase, multiplicative decrease.

The rule is that of Chiu and Jain (1989), by which TCP avoids congestion (RFC 5681): a limit that is used and accepted
grows by a fixed amount, and a refused one shrinks by a fixed factor, once for all refusals of one round.

Calls wait in a queue. Each has a number, and one formula gives the time when each number begins: evenly spaced by the
present rate. So a new rate or a pause moves all waiting calls, keeps their order, and lets them begin one by one.
"""

from __future__ import annotations

import bisect
import math
import struct
from array import array
from typing import NamedTuple, Protocol

#: A limit grows only if this share of it was accepted: otherwise an unused limit would grow without end.
USED = 0.75
#: Growth is decided over a time in which at least this many calls may begin.
ENOUGH = 5
#: Seconds after which a call that did not begin at its time counts as lost.
_LOST = 1.0
#: The most abandoned places in the queue that are remembered. The times of further ones stay unused.
_MOST_GAPS = 1000


class Rules(NamedTuple):
    """The parameters of an adaptive limit: rates in calls a second, `per` in seconds."""

    start: float
    least: float
    most: float
    increase: float
    decrease: float
    per: float


class Accepted(NamedTuple):
    """Accepted calls that began under the rate of this `generation`."""

    generation: int
    calls: int


class Place(NamedTuple):
    """A call's place in the queue: its number, and the seconds until it begins.

    Not `granted`: the call would have to wait too long, and has left the queue. A call that may begin now reports its
    result with `generation`.
    """

    number: int
    wait: float
    granted: bool
    generation: int


class Cut(NamedTuple):
    """The effect of a refusal: rates in calls a second, and the seconds for which no call begins now."""

    before: float
    after: float
    pause: float


class LiveCell(Protocol):
    """The cell of a limit, see `Cell`."""

    live: Limit | None


class Limit:
    """The state of an adaptive limit.

    Attributes:
        generation: number of changes of the rate.
        round: the generation that the last decrease began. Calls from earlier generations belong to a round that is
            over.
        rate: calls a second.
        first: number of a call, which begins at the time `at`; the others follow it, evenly spaced.
        begun: the highest number that has begun.
        next: number of the next call.
        paused: the time until which no call begins.
        since: time of its first use under this rate; infinite if there was none yet.
        calls: accepted calls since then.
        gaps: numbers of calls that left the queue before their time.
        written: time of the last change. If it is in the future, a clock ran fast for a moment.
        corrected: whether times were moved back, which is not written to the store yet.
    """

    __slots__ = (
        *("at", "begun", "calls", "corrected", "first", "gaps", "generation"),
        *("next", "paused", "rate", "round", "since", "written"),
    )

    at: float
    calls: int
    first: int
    generation: int
    next: int
    paused: float
    round: int
    written: float

    def __init__(self, rate: float, now: float) -> None:
        self.rate: float = rate
        self.generation = self.round = self.first = self.next = self.calls = 0
        self.begun: int = -1
        self.at = self.paused = self.written = now
        self.since: float = math.inf
        self.gaps: list[int] = []
        self.corrected: bool = False

    @classmethod
    def decode(cls, rules: Rules, encoded: bytes | None, now: float) -> Limit:
        """Return the limit that `encode` returned; a new one for None or unreadable bytes."""
        limit = cls(rules.start, now)
        if encoded is None or len(encoded) < _HEAD.size or len(encoded) % _SIZE:
            return limit
        written, rate, at, paused, since, *numbers = _HEAD.unpack_from(encoded)
        if not 0 < rate < math.inf or not -1 <= min(numbers) <= max(numbers) < _LARGEST:
            return limit
        limit.written, limit.rate, limit.at, limit.paused, limit.since = written, rate, at, paused, since
        limit.generation, limit.round, limit.first, limit.begun, limit.next, limit.calls = numbers
        if len(encoded) > _HEAD.size:
            limit.gaps = array("q", encoded[_HEAD.size :]).tolist()
        return limit.apply(rules, now)

    def apply(self, rules: Rules, now: float) -> Limit:
        """Apply these rules, as other policies may have others, and move back times that a fast clock has written."""
        if (ahead := self.written - now) > 0:
            self.at, self.paused, self.since = self.at - ahead, self.paused - ahead, self.since - ahead
            self.corrected = True
        self.written = now
        if not rules.least <= self.rate <= rules.most:
            self.rate = min(max(self.rate, rules.least), rules.most)
        return self

    def encode(self) -> bytes:
        """Return the limit as bytes."""
        self.corrected = False
        times = (self.written, self.rate, self.at, self.paused, self.since)
        head = _HEAD.pack(*times, self.generation, self.round, self.first, self.begun, self.next, self.calls)
        return head + array("q", self.gaps).tobytes() if self.gaps else head

    def begins(self, number: int) -> float:
        """Return the time when a call begins."""
        if number < self.first:  # its time was before the rate changed
            return self.paused
        return self.at + (number - self.first - bisect.bisect_left(self.gaps, number)) / self.rate

    def waiting(self, now: float) -> int:
        """Return the number of waiting calls."""
        return self._index(self.next) - self._next_index(now)

    def wait(self, now: float) -> float:
        """Return the seconds that the next call waits."""
        return max(0.0, self.begins(self.next) - now)

    def enqueue(self, now: float, patience: float) -> Place:
        """Give a call a place in the queue, if it would begin within `patience` seconds."""
        if self.begins(self.next) <= now:
            self.first, self.at, self.gaps = self.next, now, []
        wait = _until(self.begins(self.next), now)
        if wait > patience:
            return Place(self.next, wait, False, self.generation)
        self.next += 1
        return self._granted(self.next - 1, wait)

    @staticmethod
    def try_acquire(cell: LiveCell, now: float) -> int | None:
        """Begin a call at once and return its generation; return None if it may have to wait.

        It makes no call and has no loop, so that no other thread runs meanwhile, see `Cell`.
        """
        limit = cell.live
        if limit is None or limit.gaps or now < limit.written:
            return None
        if limit.at + (limit.next - limit.first) / limit.rate > now:
            return None
        limit.first = limit.begun = limit.next
        limit.at = limit.written = now
        limit.next += 1
        return limit.generation

    def place(self, now: float, patience: float, number: int) -> Place:
        """Return the present place of a waiting call. A call that would wait too long leaves the queue."""
        wait = _until(self.begins(number), now)
        if wait > patience:
            self.leave(now, number)
            return Place(number, wait, False, self.generation)
        return self._granted(number, wait)

    def leave(self, now: float, number: int) -> None:
        """Remove a call from the queue; the calls behind it move up."""
        if number < self.first or number in self.gaps:
            return
        if number == self.next - 1:
            self.next = number
            return
        if len(self.gaps) >= _MOST_GAPS:
            self._go_on_from(now, self.rate, self.paused)  # drops the gaps that are over
        if len(self.gaps) < _MOST_GAPS:
            bisect.insort(self.gaps, number)

    def accept(self, rules: Rules, now: float, accepted: Accepted) -> None:
        """Count calls that the service accepted. A limit that was used for long enough grows."""
        if accepted.generation != self.generation or now < self.paused:
            return
        if self.since == math.inf:
            self.since = now  # neither earlier calls nor earlier time count
            return
        self.calls += accepted.calls
        seconds = now - self.since
        if seconds < max(rules.per, ENOUGH / self.rate):
            return
        was_used = self.calls >= USED * self.rate * seconds
        self.since, self.calls = now, 0
        if was_used and self.rate < rules.most:
            self._change(now, min(rules.most, self.rate + rules.increase), self.paused)

    def refuse(self, rules: Rules, now: float, generation: int, wait: float) -> Cut | None:
        """Record that the service refused a call: no call begins for `wait` seconds.

        The rate falls if the call began in the present round; else None is returned.
        """
        paused = max(self.paused, now + wait) if wait > 0 else self.paused
        if generation < self.round:
            if paused > self.paused:
                self._go_on_from(now, self.rate, paused)
            return None
        before = self.rate
        self._change(now, max(rules.least, before * rules.decrease), paused)
        self.round = self.generation
        return Cut(before, self.rate, max(0.0, paused - now))

    def _granted(self, number: int, wait: float) -> Place:
        if wait <= 0:
            self.begun = max(self.begun, number)
        return Place(number, wait, True, self.generation)

    def _change(self, now: float, rate: float, paused: float) -> None:
        self._go_on_from(now, rate, paused)
        self.generation += 1
        self.since, self.calls = math.inf, 0

    def _go_on_from(self, now: float, rate: float, paused: float) -> None:
        """Move waiting calls to another rate, and none into a pause: the rest of the first wait is stretched."""
        index = self._next_index(now)
        since = max(now, self.paused)
        left = max(0.0, self.at + index / self.rate - since)
        number = self.first + index
        for gap in self.gaps:
            number += gap <= number
        self.first, self.gaps = number, [gap for gap in self.gaps if gap > number]
        self.at = max(paused, since + left * self.rate / rate)
        self.rate, self.paused = rate, paused

    def _index(self, number: int) -> int:
        """Return the number of calls between `first` and this one, without gaps."""
        return number - self.first - bisect.bisect_left(self.gaps, number)

    def _next_index(self, now: float) -> int:
        """Return the index of the first waiting call, or else of the next call."""
        lost = math.floor((now - _LOST - self.at) * self.rate) + 1 if self.at < now - _LOST else 0
        return min(max(self._index(self.begun + 1), lost, 0), self._index(self.next))


#: The encoded state without its gaps, five times and rates and six numbers; and the size of each, and of a gap.
_HEAD, _SIZE = struct.Struct("=5d6q"), 8
#: More than any number of a call.
_LARGEST = 2**53


def _until(begins: float, now: float) -> float:
    """Return the seconds from `now` until then, rounded so that no call begins too early; 0 if the time has come."""
    if begins <= now:
        return 0.0
    wait = begins - now
    return wait if now + wait >= begins else math.nextafter(wait, math.inf)
