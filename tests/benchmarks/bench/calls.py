"""The rows about a single call: success, failure, limits, and what keeps state in memory."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

from bench import peers, states
from bench.table import FASTEST, ITSELF, Goal, Row
from bench.timing import (
    BARE,
    HAND,
    ROUNDS,
    Clock,
    Contestant,
    Decorator,
    best_of,
    contestants,
    in_thread,
    race,
    race_async,
)

BOTH = ((False, "sync"), (True, "async"))
ALL_THREADS = "CPU time of all threads"
ROUNDS_OF_THREADS = 30
FAST, SLOW = 0.03, 0.3  # seconds: the limit of a call, and how long it would take
NO_SINK = "two failures and a success, no sink"


def succeeding(*, is_async: bool) -> Callable[[], Any]:
    """Return a new function that does nothing."""

    def function() -> int:
        return 1

    async def coroutine_function() -> int:
        return 1

    return coroutine_function if is_async else function


def taking_two(*, is_async: bool) -> Callable[..., Any]:
    """Return a new function that takes two arguments and returns one of them."""

    def function(one: int, two: int) -> int:
        return one

    async def coroutine_function(one: int, two: int) -> int:
        return one

    return coroutine_function if is_async else function


def taking_one_by_name(*, is_async: bool) -> Callable[..., Any]:
    """Return the same with the second one keyword-only."""

    def function(one: int, *, two: int) -> int:
        return one

    async def coroutine_function(one: int, *, two: int) -> int:
        return one

    return coroutine_function if is_async else function


def failing_twice(*, is_async: bool) -> Callable[[], Any]:
    """Return a new function that fails twice before each success."""
    turns = cycle((True, True, False))

    def function() -> int:
        if next(turns):
            raise ConnectionError("the connection was reset by the other side")
        return 1

    async def coroutine_function() -> int:
        return function()

    return coroutine_function if is_async else function


@dataclass(frozen=True)
class Race:
    """Contestants to be timed in turns.

    Attributes:
        recipes: returns their decorators.
        make: gives the function that each decorates; where that succeeds, the bare function takes part.
        is_async: whether the functions are.
        inside: what each batch is called by: True for a function that is decorated alike, or a decorator.
        given: whether each is called with two arguments, one of them by name.
        rounds: batches of each.
        clock: of the CPU.
    """

    recipes: Callable[[], peers.Recipes]
    make: Callable[..., Any] = succeeding
    is_async: bool = False
    inside: Decorator | bool = False
    given: bool = False
    rounds: int = ROUNDS
    clock: Clock = time.thread_time_ns

    def measured(self) -> dict[str, float]:
        """Return the least µs of a call of each."""
        if self.is_async:
            return asyncio.run(self.measured_in_loop())
        found = self._contestants()
        for each in found:
            _check(each, each.call(1, two=2) if self.given else each.call())
        race(found, rounds=self.rounds, clock=self.clock)
        return best_of(found)

    async def measured_in_loop(self) -> dict[str, float]:
        """Do the same in the running loop."""
        found = self._contestants()  # hyx asks for the running loop when it decorates
        for each in found:
            _check(each, await (each.call(1, two=2) if self.given else each.call()))
        await race_async(found, rounds=self.rounds, clock=self.clock)
        return best_of(found)

    def _contestants(self) -> list[Contestant]:
        bare: peers.Recipes = {} if self.make is failing_twice else {BARE: lambda fn: fn}
        make = partial(self.make, is_async=self.is_async)
        return contestants(self.recipes() | bare, make, inside=self.inside, given=self.given)


def _check(each: Contestant, value: Any) -> None:
    if value != 1:
        raise RuntimeError(f"{each.name} returned {value!r} instead of the function's own 1")


def success() -> Iterator[Row]:
    from resilient_tasks import resilient

    ways: dict[str, tuple[dict[str, Any], list[Goal]]] = {
        "": ({}, by_the_loop()),
        ", with two arguments": ({"make": taking_two, "given": True}, by_the_loop()),
        ", with a keyword-only argument": ({"make": taking_one_by_name, "given": True}, by_the_loop()),
        ", inside another such call": ({"inside": True}, by_the_loop()),
        ", inside a call with a deadline": ({"inside": resilient(deadline=600)}, []),
    }
    for is_async, place in BOTH:
        for where, (how, goals) in ways.items():
            with silenced():  # a retry inside a retry is warned of
                figures = Race(partial(peers.retry, is_async=is_async), is_async=is_async, **how).measured()
            yield Row("success, retry alone", place + where, figures, goals)


def by_the_loop() -> list[Goal]:
    return [Goal(HAND, 1.0), Goal(FASTEST, 1.0)]


def several() -> Iterator[Row]:
    for is_async, place in BOTH:
        figures = Race(partial(peers.three, is_async=is_async), is_async=is_async).measured()
        yield Row("fallback + retry + breaker", place, figures, [Goal(FASTEST, 1.0)])
    goals = [Goal(ITSELF, 2.0), Goal(FASTEST, 0.25)]
    for place, figures in _in_three_places(peers.four):
        what = "fallback + deadline + retry + breaker"
        judged = goals[1:] if place == "worker thread" else goals
        remark = "" if place == "async" else ALL_THREADS
        yield Row(what, place, figures, judged, also_ran=[peers.COOPERATIVE], remark=remark)


def limits() -> Iterator[Row]:
    with silenced():
        check_limits()
    for place, figures in _in_three_places(peers.limit):
        remark = "" if place == "async" else ALL_THREADS
        yield Row("a limit that enforces, success", place, figures, [Goal(HAND, 0.5)], remark=remark)


def _in_three_places(recipes: Callable[..., peers.Recipes]) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure in the main thread, in a loop, and in a worker thread. Whatever starts a thread pays for it there."""
    timed = partial(Race, clock=time.process_time_ns, rounds=ROUNDS_OF_THREADS)
    yield "main thread", timed(partial(recipes, is_async=False, main=True)).measured()
    yield "async", Race(partial(recipes, is_async=True, main=True), is_async=True).measured()
    yield "worker thread", in_thread(timed(partial(recipes, is_async=False, main=False)).measured)


@contextmanager
def silenced() -> Iterator[None]:
    """Silence our log by its logger's level, as an application would."""
    logger = logging.getLogger("resilient_tasks")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_limits() -> None:
    """Check that each limit ends a longer call in time."""
    for main in (True, False):
        for name, decorate in peers.limit(is_async=False, main=main, seconds=FAST).items():
            ends = partial(_ends_early, name, decorate(_sleeps))
            ends() if main else in_thread(ends)
    asyncio.run(_check_async_limits())


def _sleeps() -> None:
    time.sleep(SLOW)


async def _async_sleeps() -> None:
    await asyncio.sleep(SLOW)


def _ends_early(name: str, fn: Callable[[], Any]) -> None:
    began = time.monotonic()
    with suppress(Exception):
        fn()
    _judge_limit(name, time.monotonic() - began)


async def _check_async_limits() -> None:
    for name, decorate in peers.limit(is_async=True, main=True, seconds=FAST).items():
        began = time.monotonic()
        with suppress(Exception):
            await decorate(_async_sleeps)()
        _judge_limit(name, time.monotonic() - began)


def _judge_limit(name: str, took: float) -> None:
    if not FAST * 0.8 < took < SLOW * 0.8:
        raise RuntimeError(f"{name} has a limit of {FAST} s, and its call took {took:.2f} s of {SLOW}")


def failing() -> Iterator[Row]:
    for is_async, place in BOTH:
        with silenced():
            figures = Race(partial(peers.retry, is_async=is_async), failing_twice, is_async=is_async).measured()
        yield Row(NO_SINK, place, figures, [Goal(FASTEST, 1.0)])


def states_in_memory() -> Iterator[Row]:
    with silenced():
        states.check_breakers()
    for is_async, place in BOTH:
        kinds: dict[str, Callable[..., peers.Recipes]] = {
            "bulkhead": states.bulkhead,
            "rate limit, token bucket": partial(states.rate_limit, sliding=False),
            "rate limit, sliding window": partial(states.rate_limit, sliding=True),
            "breaker, failures in a row": states.breaker_in_a_row,
            "breaker, a rate": states.breaker_of_a_rate,
        }
        for what, recipes in kinds.items():
            figures = Race(partial(recipes, is_async=is_async), is_async=is_async).measured()
            yield Row(what, place, figures, [Goal(FASTEST, 1.0)])
        hedged = partial(states.hedge, is_async=is_async)
        timed = Race(hedged, is_async=is_async, clock=time.process_time_ns, rounds=ROUNDS_OF_THREADS)
        yield Row("hedge", place, timed.measured(), [Goal(FASTEST, 1.0)], remark=ALL_THREADS)
