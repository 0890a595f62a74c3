"""The worst case of a call: how often it can call its function, and how long it can take. See `Policy.longest`."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

NEVER = math.inf
#: More steps than this are not kept: a drawing could not show them.
MOST_STEPS = 24
#: Beyond this many attempts, starts are not searched for the most that fit into a limit.
_SEARCHED = 256


class Span(NamedTuple):
    """Seconds, as far as they are limited.

    Attributes:
        known: the seconds of everything that has a limit.
        why: what has none; empty if everything has.
    """

    known: float = 0.0
    why: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The seconds in all; infinite if something has no limit."""
        return NEVER if self.why else self.known

    def plus(self, other: Span) -> Span:
        """Return the sum."""
        return Span(self.known + other.known, tuple(dict.fromkeys((*self.why, *other.why))))

    def times(self, number: float) -> Span:
        """Return this span `number` times in a row, which may be infinite."""
        if number < NEVER:
            return Span(self.known * number, self.why if number else ())
        return Span(self.known, self.why or ("the number of attempts is unlimited",))

    def capped(self, seconds: float, beyond: Span) -> Span:
        """Return this span, ended after `seconds`; what does not end then takes `beyond` in addition."""
        limit = Span(seconds).plus(beyond)
        if self.why:
            return limit
        return self if limit.why else Span(min(self.known, limit.known))


NOTHING = Span()

#: What happens in a step of the worst case.
StepKind: TypeAlias = Literal["attempt", "wait", "queue", "fallback", "more"]


class Step(NamedTuple):
    """A step of the worst case, for a drawing.

    Attributes:
        kind: what happens.
        seconds: how long it takes at most; infinite if that has no limit.
        text: what it is called.
        beside: of an attempt: seconds after which each further attempt starts beside it; 0 if none does.
        number: how many attempts it makes, or stands for.
    """

    kind: StepKind
    seconds: float
    text: str = ""
    beside: float = 0.0
    number: float = 1


class Waits(NamedTuple):
    """The waits between attempts: the least and the most seconds of each.

    Attributes:
        first: of the first waits, in order.
        later: of all others.
        why: what has no limit that is known; then `most` of the waits counts as 0.
    """

    first: tuple[tuple[float, float], ...] = ()
    later: tuple[float, float] = (0.0, 0.0)
    why: tuple[str, ...] = ()

    def each(self) -> Iterator[tuple[float, float]]:
        """Yield the waits without end."""
        return itertools.chain(self.first, itertools.repeat(self.later))

    def most(self, number: float, asked: float) -> Span:
        """Return the longest sum of the first `number` waits, if a service may ask for a wait of `asked` seconds."""
        if not number:
            return NOTHING
        first = self.first if number > len(self.first) else self.first[: int(number)]
        span = Span(sum(max(most, asked) for _, most in first), self.why)
        return span.plus(Span(max(self.later[1], asked)).times(number - len(first)))

    def rounds(self, attempts: float, limit: float) -> float:
        """Return how many of `attempts` can start before `limit`, if each takes no time."""
        began, rounds = 0.0, 1
        for least, _ in self.first:
            if rounds >= attempts or began + least >= limit:
                return rounds
            began, rounds = began + least, rounds + 1
        if limit == NEVER or not self.later[0]:
            return attempts
        return min(attempts, rounds + max(0, math.ceil((limit - began) / self.later[0]) - 1))

    def before(self, attempt: float, asked: float) -> Span:
        """Return the longest wait before the attempt with this number."""
        if attempt < 2:
            return NOTHING
        most = self.later[1] if attempt - 2 >= len(self.first) else self.first[int(attempt) - 2][1]
        return Span(max(most, asked), self.why)


class Ends(NamedTuple):
    """When a loop begins no further attempt.

    Attributes:
        after: once these seconds have passed at the end of an attempt.
        before: if the next attempt would begin after these seconds.
    """

    after: float = NEVER
    before: float = NEVER


ALWAYS = Ends()


def _once() -> Iterator[float]:
    yield 0.0


@dataclass(frozen=True, eq=False)
class Bound:
    """The most that a part of a pipeline can do. Its methods return the same inside a policy.

    Attributes:
        attempts: calls of the function; infinite if unlimited.
        total: the seconds of the call.
        queue: of these, the seconds before the function may begin.
        beyond: the seconds for which it can go on after a deadline.
        busy: the seconds of `total` for which an attempt can work, if it need not wait.
        asked: the longest wait that a service can ask for (Retry-After), in seconds.
        starts: returns the earliest start of each attempt, in seconds.
        steps: the worst case step by step; only the first of many.
    """

    attempts: float = 1
    total: Span = NOTHING
    queue: Span = NOTHING
    beyond: Span = NOTHING
    busy: float = NEVER
    asked: float = 0.0
    starts: Callable[[], Iterator[float]] = _once
    steps: tuple[Step, ...] = ()
    _within: Callable[[float], Bound] | None = field(default=None, repr=False)

    def within(self, seconds: float) -> Bound:
        """Return this with a deadline: what runs then is interrupted, and no attempt begins later."""
        if seconds == NEVER:
            return self
        made = self.ended(seconds, self.beyond) if self._within is None else self._within(seconds)
        return replace(made, _within=lambda sooner: self.within(min(seconds, sooner)))

    def interrupted(self, seconds: float) -> Bound:
        """Return this with a limit that ends everything inside, whatever it does then."""
        return self._derived(lambda inner, _: replace(inner.ended(seconds, NOTHING), beyond=NOTHING))

    def never_interrupted(self, why: str) -> Bound:
        """Return this for work that no limit interrupts; `why` says so."""
        more = Span(0.0, (why,))
        return self._derived(
            lambda inner, _: replace(inner, total=Span(inner.total.known, (why,)), beyond=inner.beyond.plus(more))
        )

    def after(self, seconds: float, what: str) -> Bound:
        """Return this after a wait of at most `seconds`, which may be infinite; `what` is waited for."""
        wait = Span(seconds) if seconds < NEVER else Span(0.0, (f"the wait for {what} has no limit",))
        steps = (Step("queue", seconds, what),) if seconds else ()

        def make(inner: Bound, _: float) -> Bound:
            total, queue = wait.plus(inner.total), wait.plus(inner.queue)
            return replace(inner, total=total, queue=queue, steps=(*steps, *inner.steps))

        return self._derived(make)

    def then(self, seconds: float | None, what: str) -> Bound:
        """Return this with a stand-in that runs after it, outside of deadlines, for `seconds`; None: no limit."""
        more = Span(0.0, (f"{what} has no timeout",)) if seconds is None else Span(seconds)
        steps = (Step("fallback", more.seconds, what),)

        def make(inner: Bound, _: float) -> Bound:
            total, beyond = inner.total.plus(more), inner.beyond.plus(more)
            return replace(inner, total=total, beyond=beyond, steps=(*inner.steps, *steps))

        return self._derived(make)

    def unknown(self, why: str, attempts: float = 1) -> Bound:
        """Return this inside a policy that does not say how long it takes, but makes at most `attempts`."""
        more = Span(0.0, (why,))

        def make(inner: Bound, _: float) -> Bound:
            many = inner.attempts * attempts
            total, beyond = inner.total.times(attempts).plus(more), inner.beyond.plus(more)
            starts = inner.starts if attempts == 1 else _all_at_once(many)
            return replace(inner, attempts=many, total=total, beyond=beyond, starts=starts)

        return self._derived(make)

    def repeated(self, attempts: float, waits: Waits, *, ends: Ends = ALWAYS, asks: bool = True) -> Bound:
        """Return this in a loop.

        Args:
            attempts: in all; infinite if unlimited.
            waits: between them.
            ends: further limits of the loop.
            asks: a longer wait that a service asks for is kept.
        """
        asked = self.asked if asks else 0.0

        def make(inner: Bound, limit: float) -> Bound:
            rounds = waits.rounds(attempts, min(limit, ends.before))
            rounds = min(rounds, waits.rounds(attempts, ends.after) + (ends.after < NEVER))
            total = inner.total.times(rounds).plus(waits.most(rounds - 1, asked))
            if ends.before < NEVER:
                total = total.capped(ends.before, inner.total)
            if ends.after < NEVER:
                total = _ended_after(ends.after, inner.total, rounds, waits, asked)
            return replace(
                inner,
                attempts=inner.attempts * rounds,
                total=total,
                queue=total if inner.queue.seconds else NOTHING,
                busy=total.seconds,
                starts=_starts_of_a_loop(inner, rounds, waits),
                steps=_steps_of_a_loop(inner, rounds, waits, asked),
            )

        return self._derived(make)

    def beside(self, attempts: int, after: float) -> Bound:
        """Return this with further attempts beside it, each `after` seconds after the one before has begun to work."""

        def make(inner: Bound, limit: float) -> Bound:
            number = attempts if inner.busy >= after else 1
            number = min(number, max(1, math.ceil(limit / after))) if limit < NEVER else number
            total = Span(after).plus(inner.queue).times(number - 1).plus(inner.total)
            beside = after if number > 1 else 0.0
            kept = tuple(step for step in inner.steps if step.kind == "queue") if len(inner.steps) < 3 else ()
            seconds = NEVER if total.why else total.known - sum(step.seconds for step in kept)
            one = Step("attempt", seconds, f"attempt and {number - 1} beside it", beside, number)
            return replace(
                inner,
                attempts=inner.attempts * number,
                total=total,
                starts=lambda: _side_by_side(inner, number, after),
                steps=(*kept, one) if number > 1 else inner.steps,
            )

        return self._derived(make)

    def _derived(self, make: Callable[[Bound, float], Bound]) -> Bound:
        """Return what `make` makes of this and of a deadline, which may come later (`within`)."""

        def within(limit: float) -> Bound:
            made = make(self.within(limit), limit)
            return made.ended(limit, made.beyond)

        return replace(make(self, NEVER), _within=within)

    def ended(self, seconds: float, beyond: Span) -> Bound:
        """Return this, ended after `seconds`; what does not end then takes `beyond` in addition."""
        return replace(
            self,
            attempts=_most_before(seconds, self),
            total=self.total.capped(seconds, beyond),
            queue=self.queue.capped(seconds, NOTHING),
            busy=min(self.busy, seconds),
            starts=lambda: itertools.takewhile(lambda start: start < seconds, self.starts()),
            steps=_clipped(self.steps, seconds),
            _within=None,
        )


def of_function(asked: float) -> Bound:
    """Return the bound of a function without policies.

    Args:
        asked: see `Bound`.
    """
    why = "the function has no timeout= and no deadline="
    return Bound(total=Span(0.0, (why,)), asked=asked, steps=(Step("attempt", NEVER, "attempt"),))


def _ended_after(seconds: float, attempt: Span, rounds: float, waits: Waits, asked: float) -> Span:
    """Return the longest time of a loop that begins no wait after `seconds`."""
    longest = NOTHING
    for number in {*range(1, int(min(rounds, len(waits.first) + 2)) + 1), rounds}:
        full = attempt.times(number).plus(waits.most(number - 1, asked))
        ended = full.capped(seconds, waits.before(number, asked).plus(attempt))
        longest = max(longest, ended, key=lambda span: (span.seconds, span.known))
    return longest


def _side_by_side(inner: Bound, number: int, after: float) -> Iterator[float]:
    return heapq.merge(*([after * each + start for start in inner.starts()] for each in range(number)))


def _all_at_once(number: float) -> Callable[[], Iterator[float]]:
    return lambda: itertools.repeat(0.0) if number == NEVER else itertools.repeat(0.0, int(number))


def _most_before(seconds: float, bound: Bound) -> float:
    """Return how many attempts can start before `seconds`."""
    if not bound.attempts:
        return 0
    most = _SEARCHED if bound.attempts > _SEARCHED else int(bound.attempts)
    number = sum(1 for _ in itertools.takewhile(lambda start: start < seconds, itertools.islice(bound.starts(), most)))
    return bound.attempts if number == most else number


def _starts_of_a_loop(inner: Bound, rounds: float, waits: Waits) -> Callable[[], Iterator[float]]:
    if inner.attempts == 1:

        def starts() -> Iterator[float]:
            began = next(inner.starts(), 0.0)
            yield began
            for number, (least, _) in enumerate(waits.each(), 2):
                if number > rounds:
                    return
                began += least
                yield began

        return starts
    if inner.attempts * rounds > _SEARCHED:  # too many to search: as if there were no waits
        return _all_at_once(inner.attempts * rounds)
    return lambda: iter(_earliest(list(inner.starts()), int(rounds), waits))


def _earliest(inner: list[float], rounds: int, waits: Waits) -> list[float]:
    """Return the earliest start of each attempt: a round may end after any of its attempts, and the next one begins."""
    total = len(inner) * rounds
    best = [NEVER] * (total + 1)
    ended = {0: 0.0}  # the number of attempts made so far, and the earliest start of the next round
    for least, _ in itertools.islice(waits.each(), rounds):
        after: dict[int, float] = {}
        for made, began in ended.items():
            for number, start in enumerate(inner, made + 1):
                best[number] = min(best[number], began + start)
                after[number] = min(after.get(number, NEVER), began + start + least)
        ended = after
    return sorted(best[1:])


def _steps_of_a_loop(inner: Bound, rounds: float, waits: Waits, asked: float) -> tuple[Step, ...]:
    steps = [*inner.steps]
    for number, (_, most) in enumerate(waits.each(), 2):
        if number > rounds:
            break
        if len(steps) + 1 + len(inner.steps) > MOST_STEPS:
            left = inner.attempts * (rounds - number + 1)
            steps.append(Step("more", NEVER, "more attempts", number=left))
            break
        longest = NEVER if waits.why else max(most, asked)
        if longest:
            steps.append(Step("wait", longest, "wait"))
        steps += inner.steps
    return tuple(steps)


def _clipped(steps: tuple[Step, ...], seconds: float) -> tuple[Step, ...]:
    """Return the steps of the first `seconds`."""
    kept, left = [], seconds
    for step in steps:
        if left <= 0:
            break
        kept.append(step._replace(seconds=min(step.seconds, left)))
        left -= step.seconds
    return tuple(kept)
