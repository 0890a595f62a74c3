"""Circuit breakers of four other libraries beside ours, each in the modes that ours has too.

A breaker either counts failures in a row or takes a rate of a window. The numbers are the same for all: 5 failures in a
row, or half of the calls in the window, of at least 10; the window is the last 60 seconds or the last 100 calls. All
are used as decorators, which all document.

- pybreaker counts in a row (`fail_max`). Its `async` is for tornado's coroutines.
- purgatory counts in a row (`threshold`).
- pyresilience does either (`failure_threshold`, or `sliding_window_size` in calls); no retry is asked of it.
- interlock takes a rate, of calls or of seconds (`Config.window_type`).
"""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

Function = Callable[[], Any]

IN_A_ROW, SECONDS, CALLS = "5 in a row", "half of the last 60 s", "half of the last 100 calls"
_CALLS_UNTIL_OPEN = {IN_A_ROW: 5, SECONDS: 10, CALLS: 10}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Breaker:
    """A contender.

    Attributes:
        library: whose it is; empty where there is none.
        opens: at how many failures.
        decorator: gives the decorator of a breaker that nobody has used yet.
        is_ours: whether it is judged, or a peer.
    """

    library: str
    opens: str
    decorator: Callable[[], Callable[[Function], Function]]
    is_ours: bool = False


def breakers(*, is_async: bool) -> list[Breaker]:
    """Return all contenders, the bare function first."""
    return [Breaker("none: the bare function", "", lambda: lambda fn: fn), *ours(), *_peers(is_async=is_async)]


def ours() -> list[Breaker]:
    from resilient_tasks import CircuitBreaker, resilient

    def of(**options: Any) -> Callable[[], Callable[[Function], Function]]:
        return lambda: resilient(breaker=CircuitBreaker(_name(), **options))

    return [
        Breaker("ours", IN_A_ROW, of(failures=5), is_ours=True),
        Breaker("ours", SECONDS, of(), is_ours=True),
        Breaker("ours", CALLS, of(last=100), is_ours=True),
    ]


def _peers(*, is_async: bool) -> list[Breaker]:
    import interlock
    import purgatory
    import pybreaker
    import pyresilience

    def pybreakers() -> Callable[[Function], Function]:
        breaker = pybreaker.CircuitBreaker(fail_max=5)
        return breaker(__pybreaker_call_async=True) if is_async else breaker

    def purgatorys() -> Callable[[Function], Function]:
        factory = purgatory.AsyncCircuitBreakerFactory if is_async else purgatory.SyncCircuitBreakerFactory
        return factory(default_threshold=5)(_name())

    def pyresiliences(**options: Any) -> Callable[[], Callable[[Function], Function]]:
        return lambda: pyresilience.resilient(circuit_breaker=pyresilience.CircuitBreakerConfig(**options))

    def interlocks(kind: interlock.WindowType, size: int) -> Callable[[], Callable[[Function], Function]]:
        config = interlock.Config(window_type=kind, window_size=size)
        return lambda: interlock.CircuitBreaker(name=_name(), config=config)

    return [
        Breaker(f"pybreaker{', tornado' if is_async else ''}", IN_A_ROW, pybreakers),
        Breaker("purgatory", IN_A_ROW, purgatorys),
        Breaker("pyresilience", IN_A_ROW, pyresiliences(failure_threshold=5)),
        Breaker("pyresilience", CALLS, pyresiliences(sliding_window_size=100, minimum_calls=10)),
        Breaker("interlock", SECONDS, interlocks(interlock.WindowType.TIME_BASED, 60)),
        Breaker("interlock", CALLS, interlocks(interlock.WindowType.COUNT_BASED, 100)),
    ]


def versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("pybreaker", "purgatory", "pyresilience", "interlock-cb"))


def check(breaker: Breaker, *, is_async: bool) -> None:
    """See that a breaker opens when it is said to: otherwise its time would be that of something else."""
    called = 0

    def fails() -> None:
        nonlocal called
        called += 1
        raise ConnectionError

    async def fails_async() -> None:
        fails()

    async def call(fn: Function) -> None:
        await fn()

    fn = breaker.decorator()(fails_async if is_async else fails)
    for _ in range(30):
        with suppress(Exception):
            asyncio.run(call(fn)) if is_async else fn()
    expected = _CALLS_UNTIL_OPEN.get(breaker.opens, 30)
    if called != expected:
        raise RuntimeError(f"{breaker.library} ({breaker.opens}) let {called} of 30 failing calls through: {expected}?")


def _name() -> str:
    return f"measured-{next(_numbers)}"
