"""How each library is used for each feature, ours and by hand among them: a decorator for each.

Each is used as its documentation shows, in its fastest form: decorated once, without listeners or hooks. Retries are
three attempts without a wait. Where a library lacks the feature, or lacks it for sync or async functions, it is missing
here. What the libraries leave out is in `notes.py`.
"""

import functools
from itertools import count
from typing import Any

from bench import hand
from bench.hand import ATTEMPTS, IN_A_ROW, LIMIT
from bench.timing import HAND, OURS, Decorator

Recipes = dict[str, Decorator]
_numbers = count(1)

GRIT, NOPANIC, RESILIX, CRASHBYTES = "grit-toolkit", "nopanic", "resilix", "crashbytes-resilience"
PYRESILIENCE, INTERLOCK, HYX, REDRESS = "pyresilience", "interlock-cb", "hyx", "redress"
TENACITY, STAMINA, BACKOFF, PYBREAKER, PURGATORY = "tenacity", "stamina", "backoff", "pybreaker", "purgatory"
LIBRARIES = (
    *(GRIT, NOPANIC, RESILIX, CRASHBYTES, PYRESILIENCE, INTERLOCK, HYX),
    *(REDRESS, TENACITY, STAMINA, BACKOFF, PYBREAKER, PURGATORY),
)


def name() -> str:
    """Return an unused name of a state."""
    return f"bench-{next(_numbers)}"


def chosen(sync: Recipes, both: Recipes, in_async: Recipes, *, is_async: bool) -> Recipes:
    return both | (in_async if is_async else sync)


def retry(*, is_async: bool) -> Recipes:
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

    from resilient_tasks import Retry, resilient

    stamina.instrumentation.set_on_retry_hooks([])  # it logs otherwise
    pipeline = interlock.pipeline.Pipeline.builder
    both: Recipes = {
        OURS: resilient(retry=Retry(attempts=ATTEMPTS, wait=0)),
        GRIT: grit.retry(tries=ATTEMPTS, wait=grit.constant(0)),
        NOPANIC: nopanic.retry(attempts=ATTEMPTS, backoff=0),
        RESILIX: resilix.protect.when(ConnectionError, retry=ATTEMPTS),
        CRASHBYTES: crashbytes_resilience.retry(max_attempts=ATTEMPTS, delay=0),
        PYRESILIENCE: pyresilience.resilient(retry=_pyresilience_retry()),
        INTERLOCK: pipeline().retry(attempts=ATTEMPTS, wait=tenacity.wait_none()).build(),
        TENACITY: tenacity.retry(stop=tenacity.stop_after_attempt(ATTEMPTS), wait=tenacity.wait_none()),
        STAMINA: stamina.retry(
            on=ConnectionError, attempts=ATTEMPTS, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0
        ),
        BACKOFF: backoff.on_exception(
            backoff.constant, ConnectionError, max_tries=ATTEMPTS, interval=0, jitter=None, logger=None
        ),
        REDRESS: redress.retry(strategy=lambda _: 0.0, max_attempts=ATTEMPTS),
    }
    sync: Recipes = {HAND: hand.retry}
    in_async: Recipes = {HAND: hand.async_retry, HYX: hyx.retry.retry(attempts=ATTEMPTS, backoff=0.0)}
    return chosen(sync, both, in_async, is_async=is_async)


def three(*, is_async: bool) -> Recipes:
    """Fallback, retry and breaker."""
    import crashbytes_resilience as crashbytes
    import grit
    import hyx.circuitbreaker
    import hyx.fallback
    import hyx.retry
    import nopanic
    import pyresilience
    import resilix

    from resilient_tasks import CircuitBreaker, Fallback, Retry, resilient

    both: Recipes = {
        OURS: resilient(
            fallback=Fallback(value=0),
            retry=Retry(attempts=ATTEMPTS, wait=0),
            breaker=CircuitBreaker(name(), failures=IN_A_ROW),
        ),
        GRIT: grit.policy(
            grit.fallback(value=0), grit.retry(tries=ATTEMPTS, wait=grit.constant(0)), grit.breaker(fails=IN_A_ROW)
        ),
        NOPANIC: nopanic.compose(
            nopanic.fallback(0), nopanic.retry(attempts=ATTEMPTS, backoff=0), nopanic.circuit_breaker()
        ),
        RESILIX: stacked(
            resilix.protect.when(Exception, retry=ATTEMPTS, return_=0), resilix.protect.circuit(failures=IN_A_ROW)
        ),
        CRASHBYTES: crashbytes.pipeline(
            crashbytes.circuit_breaker(failure_threshold=IN_A_ROW),
            crashbytes.retry(max_attempts=ATTEMPTS, delay=0),
            crashbytes.fallback(int),
        ),
        PYRESILIENCE: pyresilience.resilient(
            fallback=pyresilience.FallbackConfig(handler=int),
            retry=_pyresilience_retry(),
            circuit_breaker=pyresilience.CircuitBreakerConfig(failure_threshold=IN_A_ROW),
        ),
        INTERLOCK: _interlock(limit=False),
    }
    in_async: Recipes = {
        HYX: stacked(
            hyx.fallback.fallback(_nothing),
            hyx.retry.retry(attempts=ATTEMPTS, backoff=0.0),
            hyx.circuitbreaker.consecutive_breaker(failure_threshold=IN_A_ROW),
        ),
        HAND: stacked(hand.async_fallback, hand.async_retry, hand.async_breaker),
    }
    sync: Recipes = {HAND: stacked(hand.fallback, hand.retry, hand.breaker)}
    return chosen(sync, both, in_async, is_async=is_async)


COOPERATIVE = "nopanic, its `deadline`"


def four(*, is_async: bool, main: bool) -> Recipes:
    """Fallback, a limit for everything together, retry and breaker."""
    import crashbytes_resilience as crashbytes
    import grit
    import nopanic
    import pyresilience
    import resilix

    from resilient_tasks import CircuitBreaker, Fallback, Retry, resilient

    inner = nopanic.retry(attempts=ATTEMPTS, backoff=0), nopanic.circuit_breaker()
    both: Recipes = {
        OURS: resilient(
            fallback=Fallback(value=0),
            deadline=LIMIT,
            retry=Retry(attempts=ATTEMPTS, wait=0),
            breaker=CircuitBreaker(name(), failures=IN_A_ROW),
        ),
        GRIT: grit.policy(
            grit.fallback(value=0),
            grit.timeout(LIMIT),
            grit.retry(tries=ATTEMPTS, wait=grit.constant(0)),
            grit.breaker(fails=IN_A_ROW),
        ),
        NOPANIC: nopanic.compose(nopanic.fallback(0), nopanic.timeout(LIMIT), *inner),
        COOPERATIVE: nopanic.compose(nopanic.fallback(0), nopanic.deadline(LIMIT), *inner),
        CRASHBYTES: crashbytes.pipeline(
            crashbytes.circuit_breaker(failure_threshold=IN_A_ROW),
            crashbytes.retry(max_attempts=ATTEMPTS, delay=0),
            crashbytes.timeout(LIMIT),
            crashbytes.fallback(int),
        ),
        PYRESILIENCE: pyresilience.resilient(
            fallback=pyresilience.FallbackConfig(handler=int),
            timeout=pyresilience.TimeoutConfig(LIMIT, per_attempt=False),
            retry=_pyresilience_retry(),
            circuit_breaker=pyresilience.CircuitBreakerConfig(failure_threshold=IN_A_ROW),
        ),
        INTERLOCK: _interlock(limit=True),
    }
    in_async: Recipes = {
        RESILIX: stacked(
            resilix.protect.limits(deadline=LIMIT),
            resilix.protect.when(Exception, retry=ATTEMPTS, return_=0),
            resilix.protect.circuit(failures=IN_A_ROW),
        ),
        HYX: _hyx_four(),
        HAND: stacked(hand.async_fallback, hand.cancelled, hand.async_retry, hand.async_breaker),
    }
    by_hand = hand.alarm if main else hand.joined
    sync: Recipes = {HAND: stacked(hand.fallback, by_hand, hand.retry, hand.breaker)}
    return chosen(sync, both, in_async, is_async=is_async)


def limit(*, is_async: bool, main: bool, seconds: float = LIMIT) -> Recipes:
    """A limit that ends the call."""
    import crashbytes_resilience as crashbytes
    import grit
    import interlock
    import interlock.pipeline
    import nopanic
    import pyresilience
    import redress
    import resilix

    from resilient_tasks import resilient

    both: Recipes = {
        OURS: resilient(timeout=seconds),
        GRIT: grit.timeout(seconds),
        NOPANIC: nopanic.timeout(seconds),
        RESILIX: resilix.protect.timeout(seconds, allow_sync=True),
        CRASHBYTES: crashbytes.timeout(seconds),
        PYRESILIENCE: pyresilience.resilient(timeout=pyresilience.TimeoutConfig(seconds)),
        REDRESS: redress.retry(max_attempts=1, attempt_timeout_s=seconds),
    }
    in_async: Recipes = {
        INTERLOCK: interlock.pipeline.Pipeline.builder().timeout(seconds).build(),
        HYX: _hyx_limit(seconds),
        HAND: functools.partial(hand.cancelled, seconds=seconds),
    }
    by_hand = hand.alarm if main else hand.joined
    sync: Recipes = {
        INTERLOCK: interlock.sync_timeout(seconds),
        HAND: functools.partial(by_hand, seconds=seconds),
    }
    return chosen(sync, both, in_async, is_async=is_async)


def stacked(*decorators: Decorator) -> Decorator:
    """Return a decorator that puts several around a function, the outermost first."""

    def decorate(fn: Any) -> Any:
        for each in reversed(decorators):
            fn = each(fn)
        return fn

    return decorate


async def _nothing(result: Any, *_args: Any, **_kwargs: Any) -> int:
    return 0


def _hyx_limit(seconds: float) -> Decorator:
    import hyx.timeout

    return hyx.timeout.timeout(seconds)


def _hyx_four() -> Decorator:
    import hyx.circuitbreaker
    import hyx.fallback
    import hyx.retry

    return stacked(
        hyx.fallback.fallback(_nothing),
        _hyx_limit(LIMIT),
        hyx.retry.retry(attempts=ATTEMPTS, backoff=0.0),
        hyx.circuitbreaker.consecutive_breaker(failure_threshold=IN_A_ROW),
    )


def _pyresilience_retry() -> Any:
    import pyresilience

    return pyresilience.RetryConfig(max_attempts=ATTEMPTS, delay=0, jitter=False)


def _interlock(*, limit: bool) -> Decorator:
    """Fallback, retry and breaker, and a limit around the last two."""
    import interlock
    import interlock.pipeline
    import tenacity

    builder = interlock.pipeline.Pipeline.builder().fallback(lambda _: 0)
    if limit:
        builder = builder.timeout(LIMIT)
    builder = builder.retry(attempts=ATTEMPTS, wait=tenacity.wait_none())
    decorate: Decorator = builder.circuit_breaker(interlock.CircuitBreaker(name=name())).build()
    return decorate
