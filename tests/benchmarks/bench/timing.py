"""Times contestants that take turns: many short batches in shuffled order, the least CPU time of a call.

The loop around a batch and the call of the function are in every figure, so a bare function has a figure, too.
"""

import gc
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeVar

T = TypeVar("T")
Call = Callable[..., Any]
Decorator = Callable[[Any], Any]
Clock = Callable[[], int]

OURS, HAND, BARE, AGAIN = "ours", "hand-written", "bare function", "control again"
BATCH = 1_000_000  # ns of CPU that a batch takes, about
ROUNDS = 60
MOST = 1 << 20  # calls of a batch


@dataclass
class Contestant:
    """One way to make the call.

    Attributes:
        name: the library, or one of the names above.
        call: what is called; it gives a coroutine where the row is async.
        outer: a decorator inside whose call each batch runs.
        given: whether it is called with two arguments, one of them by name.
        number: calls in a batch.
        nanos: a call took in each batch.
    """

    name: str
    call: Call
    outer: Decorator | None = None
    given: bool = False
    number: int = 1
    nanos: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Return the least µs that a call took."""
        return min(self.nanos) / 1000

    @property
    def middle(self) -> float:
        """Return the median of the µs that a call took."""
        return statistics.median(self.nanos) / 1000


def contestants(
    recipes: dict[str, Decorator], make: Callable[[], Any], *, inside: Decorator | bool = False, given: bool = False
) -> list[Contestant]:
    """Give each decorator a function of its own, and one of them a second one: what differs between these is noise."""
    control = control_of(recipes)

    def outer(name: str, decorate: Decorator) -> Decorator | None:
        if isinstance(inside, bool):
            return decorate if inside and name != BARE else None
        return inside

    named = [*recipes.items(), (AGAIN, recipes[control])]
    return [Contestant(name, decorate(make()), outer(name, decorate), given) for name, decorate in named]


def control_of(names: Iterable[str]) -> str:
    """Return the contestant that is measured twice."""
    return next((name for name in (HAND, BARE) if name in names), "@task")


def race(all_of_them: list[Contestant], *, rounds: int = ROUNDS, clock: Clock = time.thread_time_ns) -> None:
    """Time sync contestants in this thread."""
    for each in all_of_them:
        while _timed(each, clock) < BATCH and each.number < MOST:
            each.number *= 2
    with quiet():
        for each in _turns(all_of_them, rounds):
            each.nanos.append(_timed(each, clock) / each.number)


async def race_async(
    all_of_them: list[Contestant], *, rounds: int = ROUNDS, clock: Clock = time.thread_time_ns
) -> None:
    """Time async contestants in the loop that runs."""
    for each in all_of_them:
        while await _timed_async(each, clock) < BATCH and each.number < MOST:
            each.number *= 2
    with quiet():
        for each in _turns(all_of_them, rounds):
            each.nanos.append(await _timed_async(each, clock) / each.number)


def in_thread(work: Callable[[], T]) -> T:
    """Do the work in a new thread, and return its result or raise its error."""
    found: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return found[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out of what is timed."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _turns(all_of_them: list[Contestant], rounds: int) -> Iterator[Contestant]:
    for _ in range(rounds):
        yield from random.sample(all_of_them, len(all_of_them))


def _timed(each: Contestant, clock: Clock) -> int:
    call, number = each.call, each.number

    def batch() -> int:
        began = clock()
        for _ in repeat(None, number):
            call()
        return clock() - began

    def batch_given() -> int:
        began = clock()
        for _ in repeat(None, number):
            call(1, two=2)
        return clock() - began

    run = batch_given if each.given else batch
    taken: int = run() if each.outer is None else each.outer(run)()
    return taken


async def _timed_async(each: Contestant, clock: Clock) -> int:
    call, number = each.call, each.number

    async def batch() -> int:
        began = clock()
        for _ in repeat(None, number):
            await call()
        return clock() - began

    async def batch_given() -> int:
        began = clock()
        for _ in repeat(None, number):
            await call(1, two=2)
        return clock() - began

    run = batch_given if each.given else batch
    running: Awaitable[int] = run() if each.outer is None else each.outer(run)()
    return await running


def best_of(all_of_them: Iterable[Contestant]) -> dict[str, float]:
    """Return the least µs of each contestant."""
    return {each.name: each.best for each in all_of_them}
