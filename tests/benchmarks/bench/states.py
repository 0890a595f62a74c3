"""The same for what keeps state: bulkhead, rate limit, hedge and breaker, each with its state in memory."""

import functools
from contextlib import suppress
from typing import Any

from bench import hand
from bench.hand import IN_A_ROW
from bench.peers import (
    CRASHBYTES,
    GRIT,
    HYX,
    INTERLOCK,
    NOPANIC,
    PURGATORY,
    PYBREAKER,
    PYRESILIENCE,
    REDRESS,
    RESILIX,
    Recipes,
    chosen,
    name,
)
from bench.timing import HAND, OURS, Decorator

AT_ONCE, RATE, AFTER = 10, 1_000_000_000, 20.0


def bulkhead(*, is_async: bool) -> Recipes:
    import crashbytes_resilience as crashbytes
    import grit
    import hyx.bulkhead
    import interlock.pipeline
    import nopanic
    import pyresilience
    import resilix

    from resilient_tasks import Bulkhead, resilient

    both: Recipes = {
        OURS: resilient(bulkhead=Bulkhead(name(), AT_ONCE)),
        GRIT: grit.bulkhead(AT_ONCE),
        NOPANIC: nopanic.bulkhead(AT_ONCE, max_wait=0),
        RESILIX: resilix.protect.bulkhead(AT_ONCE, wait=False),
        CRASHBYTES: crashbytes.bulkhead(AT_ONCE),
        PYRESILIENCE: pyresilience.resilient(bulkhead=pyresilience.BulkheadConfig(AT_ONCE)),
        INTERLOCK: interlock.pipeline.Pipeline.builder().bulkhead(AT_ONCE).build(),
    }
    in_async: Recipes = {
        HYX: hyx.bulkhead.bulkhead(AT_ONCE, AT_ONCE),
        HAND: hand.async_semaphore,
    }
    return chosen({HAND: hand.semaphore}, both, in_async, is_async=is_async)


def rate_limit(*, is_async: bool, sliding: bool) -> Recipes:
    """Peers have a token bucket. Ours is one with `burst=`, and an exact sliding window by default."""
    import crashbytes_resilience as crashbytes
    import grit
    import hyx.ratelimit
    import nopanic
    import pyresilience

    from resilient_tasks import RateLimit, resilient

    def ours(fn: Any) -> Any:
        limit = RateLimit(name(), calls=1000, per=1e-4) if sliding else RateLimit(name(), RATE, 1, burst=RATE)
        return resilient(rate_limit=limit)(fn)

    both: Recipes = {
        OURS: ours,
        GRIT: grit.limiter(RATE),
        NOPANIC: nopanic.rate_limit(RATE, per=1.0, burst=RATE),
        CRASHBYTES: crashbytes.rate_limiter(RATE),
        PYRESILIENCE: pyresilience.resilient(rate_limiter=pyresilience.RateLimiterConfig(RATE)),
    }
    in_async: Recipes = {HYX: hyx.ratelimit.tokenbucket(RATE, 1.0)} if is_async else {}  # it asks for the running loop
    return chosen({}, both, in_async, is_async=is_async)


def hedge(*, is_async: bool) -> Recipes:
    import grit
    import nopanic

    from resilient_tasks import Hedge, resilient

    both: Recipes = {OURS: resilient(hedge=Hedge(AFTER), idempotent=True), GRIT: grit.hedge(AFTER)}
    return chosen({}, both, {NOPANIC: nopanic.hedge(delay=AFTER)}, is_async=is_async)


def breaker_in_a_row(*, is_async: bool) -> Recipes:
    import crashbytes_resilience as crashbytes
    import grit
    import hyx.circuitbreaker
    import purgatory
    import pybreaker
    import pyresilience
    import redress
    import resilix

    from resilient_tasks import CircuitBreaker, resilient

    factory = purgatory.AsyncCircuitBreakerFactory if is_async else purgatory.SyncCircuitBreakerFactory
    both: Recipes = {
        OURS: resilient(breaker=CircuitBreaker(name(), failures=IN_A_ROW)),
        GRIT: grit.breaker(fails=IN_A_ROW),
        RESILIX: resilix.protect.circuit(failures=IN_A_ROW),
        CRASHBYTES: crashbytes.circuit_breaker(failure_threshold=IN_A_ROW),
        PYRESILIENCE: pyresilience.resilient(
            circuit_breaker=pyresilience.CircuitBreakerConfig(failure_threshold=IN_A_ROW)
        ),
        PURGATORY: factory(default_threshold=IN_A_ROW)(name()),
    }
    in_async: Recipes = {
        HYX: hyx.circuitbreaker.consecutive_breaker(failure_threshold=IN_A_ROW),
        REDRESS: _called_by(redress.AsyncPolicy(circuit_breaker=redress.CircuitBreaker())),
        HAND: hand.async_breaker,
    }
    sync: Recipes = {
        PYBREAKER: pybreaker.CircuitBreaker(fail_max=IN_A_ROW),
        REDRESS: _called_by(redress.Policy(circuit_breaker=redress.CircuitBreaker())),
        HAND: hand.breaker,
    }
    return chosen(sync, both, in_async, is_async=is_async)


def breaker_of_a_rate(*, is_async: bool) -> Recipes:
    """Half of at least 10 calls, of the last 60 s or, pyresilience, of the last 100 calls."""
    import interlock
    import nopanic
    import pyresilience

    from resilient_tasks import CircuitBreaker, resilient

    config = interlock.Config(window_type=interlock.WindowType.TIME_BASED, window_size=60)
    counted = pyresilience.CircuitBreakerConfig(sliding_window_size=100, minimum_calls=10)
    both: Recipes = {
        OURS: resilient(breaker=CircuitBreaker(name())),
        NOPANIC: nopanic.circuit_breaker(failure_threshold=0.5, min_calls=10, window=60.0),
        INTERLOCK: interlock.CircuitBreaker(name=name(), config=config),
        PYRESILIENCE: pyresilience.resilient(circuit_breaker=counted),
    }
    return chosen({}, both, {}, is_async=is_async)


def _called_by(policy: Any) -> Decorator:
    return lambda fn: functools.partial(policy.call, fn)


def check_breakers() -> None:
    """See that each breaker opens after as many failures as it is said to: else its time would be of something else."""
    for recipes, expected in ((breaker_in_a_row, IN_A_ROW), (breaker_of_a_rate, 10)):
        for library, decorate in recipes(is_async=False).items():
            called: list[int] = []
            fn = decorate(_failing(called))
            for _ in range(30):
                with suppress(Exception):
                    fn()
            if len(called) != expected:
                raise RuntimeError(f"{library} let {len(called)} of 30 failing calls through: {expected}?")


def _failing(called: list[int]) -> Any:
    def fails() -> None:
        _fails(called)

    return fails


def _fails(called: list[int]) -> None:
    called.append(1)
    raise ConnectionError
