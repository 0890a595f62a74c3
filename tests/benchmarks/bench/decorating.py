"""The cost of decorating a function: time, and the memory that it keeps."""

# ruff: noqa: PLW0108  # each function has a decorator of its own, and making that is what is timed

import gc
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from bench.calls import succeeding
from bench.peers import (
    BACKOFF,
    CRASHBYTES,
    GRIT,
    HYX,
    INTERLOCK,
    NOPANIC,
    PYRESILIENCE,
    REDRESS,
    RESILIX,
    STAMINA,
    TENACITY,
    Recipes,
    stacked,
)
from bench.table import ITSELF, Goal, Row
from bench.timing import HAND, OURS, Decorator, quiet

ROUNDS, BATCH = 40, 50
KEPT = 300  # functions whose memory is counted


def decorating() -> Iterator[Row]:
    for what, recipes, micros, size in (("a retry", one(), 20.0, 1200.0), ("five policies", five(), 40.0, 3000.0)):
        times = {name: float("inf") for name in recipes}
        for _ in range(ROUNDS):
            with quiet():
                for name in random.sample(list(recipes), len(recipes)):
                    times[name] = min(times[name], _batch(recipes[name]))
        yield Row(f"decorating with {what}", "", times, [Goal(ITSELF, micros)])
        sizes = {name: _kept(recipes[name]) for name in recipes}
        yield Row(f"decorating with {what}", "memory kept", sizes, [Goal(ITSELF, size)], unit="bytes")


def _batch(decorate: Decorator) -> float:
    functions = _functions(BATCH)
    began = time.thread_time_ns()
    kept = [decorate(fn) for fn in functions]
    taken = time.thread_time_ns() - began
    del kept
    return taken / BATCH / 1000


def _kept(decorate: Decorator) -> float:
    """Return the bytes that each decorated function keeps, besides the function itself."""
    decorate(_functions(1)[0])  # what a first use loads is not what a function keeps
    functions = _functions(KEPT)
    kept: list[Any] = [None] * KEPT
    gc.collect()
    tracemalloc.start()
    try:
        for at, fn in enumerate(functions):
            kept[at] = decorate(fn)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / KEPT
    finally:
        tracemalloc.stop()


def _functions(number: int) -> list[Callable[[], Any]]:
    return [succeeding(is_async=False) for _ in range(number)]


def one() -> Recipes:
    """Return decorators with a retry, a new one for each function."""
    import backoff
    import crashbytes_resilience
    import grit
    import hyx.retry
    import interlock.pipeline
    import nopanic
    import pyresilience
    import redress
    import resilix
    import stamina
    import tenacity

    from bench import hand
    from resilient_tasks import resilient

    return {
        OURS: lambda fn: resilient(retry=3)(fn),
        HAND: hand.retry,
        GRIT: lambda fn: grit.retry(tries=3)(fn),
        NOPANIC: lambda fn: nopanic.retry(attempts=3)(fn),
        RESILIX: lambda fn: resilix.protect.when(Exception, retry=3)(fn),
        CRASHBYTES: lambda fn: crashbytes_resilience.retry(max_attempts=3)(fn),
        PYRESILIENCE: lambda fn: pyresilience.resilient(retry=pyresilience.RetryConfig(3))(fn),
        INTERLOCK: lambda fn: interlock.pipeline.Pipeline.builder().retry(attempts=3).build()(fn),
        HYX: lambda fn: hyx.retry.retry(attempts=3)(fn),
        TENACITY: lambda fn: tenacity.retry(stop=tenacity.stop_after_attempt(3))(fn),
        STAMINA: lambda fn: stamina.retry(on=Exception, attempts=3)(fn),
        BACKOFF: lambda fn: backoff.on_exception(backoff.expo, Exception, max_tries=3)(fn),
        REDRESS: lambda fn: redress.retry(max_attempts=3)(fn),
    }


def five() -> Recipes:
    """Return decorators with a fallback, a limit for everything, a retry, a breaker, and a limit for an attempt."""
    import crashbytes_resilience as crashbytes
    import grit
    import nopanic
    import resilix

    from resilient_tasks import Fallback, resilient

    def ours(fn: Any) -> Any:
        options: dict[str, Any] = {
            "fallback": Fallback(value=0),
            "deadline": 60,
            "retry": 3,
            "breaker": "bench",
            "timeout": 20,
        }
        return resilient(**options, idempotent=True)(fn)

    return {
        OURS: ours,
        GRIT: lambda fn: grit.policy(
            grit.fallback(value=0), grit.timeout(60), grit.retry(tries=3), grit.breaker(), grit.timeout(20)
        )(fn),
        NOPANIC: lambda fn: nopanic.compose(
            *(nopanic.fallback(0), nopanic.deadline(60), nopanic.retry(attempts=3)),
            *(nopanic.circuit_breaker(), nopanic.timeout(20)),
        )(fn),
        RESILIX: lambda fn: stacked(
            resilix.protect.limits(timeout=20, deadline=60, allow_sync=True),
            resilix.protect.when(Exception, retry=3, return_=0),
            resilix.protect.circuit(),
        )(fn),
        CRASHBYTES: lambda fn: crashbytes.pipeline(
            *(crashbytes.timeout(20), crashbytes.circuit_breaker(), crashbytes.retry()),
            *(crashbytes.timeout(60), crashbytes.fallback(int)),
        )(fn),
    }
