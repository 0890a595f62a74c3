"""The worst case that `explain` predicts: never exceeded, and reached."""

import math
import sys
from dataclasses import dataclass, replace
from itertools import accumulate, islice, repeat
from pathlib import Path

import pytest
import tenacity
import tenacity.wait
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from scripted import AtRandom, Crowd, Quickest, Slowest, World

from resilient_tasks import (
    Bulkhead,
    Chaos,
    CircuitBreaker,
    Deadline,
    Fallback,
    Hedge,
    Pipeline,
    RateLimit,
    Retry,
    Timeout,
    explain,
    resilient,
)
from resilient_tasks.core import settings as our_settings
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store
from resilient_tasks.testing import VirtualClock, use_clock

SAME = 1e-6
#: Seconds until a hedge begins. They pass on the machine's clock, too.
AFTER = 0.004


def fixed(seconds):
    return float(seconds), repeat((seconds, seconds))


def doubling():
    return ((0.5 * 2**number, min(60, 0.5 * 2**number)) for number in range(99))


#: What `Retry(wait=...)` takes, and the least and the most seconds of each wait.
WAITS = {
    "default": lambda: (None, ((0.0, most) for _, most in doubling())),
    "none": lambda: fixed(0),
    "fixed": lambda: fixed(1.5),
    "long": lambda: fixed(4),
    "a list": lambda: ([3, 1], iter([(3, 3), *[(1, 1)] * 99])),
    "random": lambda: (tenacity.wait_random(1, 3), repeat((1, 3))),
    "exponential": lambda: (tenacity.wait_exponential(max=6), ((min(6, 2**n), min(6, 2**n)) for n in range(99))),
    "jitter": lambda: (
        tenacity.wait_exponential_jitter(initial=1, max=2**99, jitter=2),
        ((2**n, 2**n + 2) for n in range(99)),
    ),
    "both": lambda: (tenacity.wait_fixed(1) + tenacity.wait_random(0, 2), repeat((1, 3))),
    "chain": lambda: (
        tenacity.wait_chain(tenacity.wait_fixed(2), tenacity.wait_random(0, 1)),
        iter([(2, 2), *[(0, 1)] * 99]),
    ),
    "growing": lambda: (tenacity.wait_incrementing(start=1, increment=2), ((1 + 2 * n, 1 + 2 * n) for n in range(99))),
}


@dataclass(frozen=True)
class Plan:
    """A generated pipeline, and what its scripts have to know."""

    attempts: int = 1
    wait: str = "none"
    timeout: float | None = None
    deadline: float | None = None
    stop: float | None = None
    ends_by: str = ""
    hedge: int = 0
    outer: int = 0
    fallback: float | None = None
    asked: float = 0.0
    rate: float = 0.0
    extras: frozenset = frozenset()

    @property
    def waits(self):
        return [*islice(WAITS[self.wait]()[1], 98)]

    @property
    def least(self):
        return [least for least, _ in self.waits]

    @property
    def beside(self):
        """Seconds until the last attempt beside the first begins."""
        return AFTER * max(0, self.hedge - 1)

    @property
    def rounds(self):
        starts = [0.0, *accumulate(self.least)]
        limit = self.deadline if self.stop is None else self.stop
        if limit is None:
            return self.attempts
        late = 1 if self.ends_by == "after" else 0
        return min(self.attempts, sum(1 for start in starts if start < limit) + late)

    def policies(self, world):
        """Return the policies, outermost first."""
        made = []
        if self.fallback is not None:
            made.append(Fallback(_stand_in(world, self.fallback), timeout=self.fallback))
        if self.outer:
            made.append(Retry(attempts=self.outer, wait=2))
        if self.deadline is not None:
            made.append(Deadline(self.deadline))
        stops = {"after": tenacity.stop_after_delay, "before": tenacity.stop_before_delay}
        if self.attempts > 1 or self.stop is not None:
            stop = None if self.stop is None else stops[self.ends_by](self.stop)
            attempts = self.attempts if self.attempts < 99 else None
            made.append(Retry(attempts=attempts, wait=WAITS[self.wait]()[0], stop=stop))
        if world.hedge is not None:
            made += [Crowd(world.gather), world.hedge, Crowd(world.enter)]
        made += self._protection()
        if self.timeout is not None:
            made.append(Timeout(self.timeout))
        if "chaos" in self.extras:
            made.append(Chaos(latency=0.25))
        return made

    def _protection(self):
        made, crowd = [], []
        if self.rate:
            limit = RateLimit("api", calls=1, per=self.rate, wait=self.rate)
            crowd.append(resilient(rate_limit=replace(limit, wait=True))(lambda: None))
            made.append(limit)
        if "bulkhead" in self.extras:
            made.append(Bulkhead("api", 9))
        if "breaker" in self.extras:
            breaker = CircuitBreaker("api", failures=4)
            crowd.append(resilient(breaker=breaker)(lambda: None))
            made.append(breaker)
        return [Crowd(*crowd), *made] if crowd else made


def _stand_in(world, seconds):
    def stand_in():
        world.clock.advance(seconds)
        return "stand-in"

    async def later():
        return stand_in()

    return later if world.is_async else stand_in


@st.composite
def plans(draw):
    """Draw a pipeline in which the policies that take time meet in all ways."""
    attempts = draw(st.integers(1, 5))
    plan = Plan(
        attempts=attempts,
        wait=draw(st.sampled_from(sorted(WAITS))),
        timeout=draw(st.sampled_from((None, 1.0, 2.0, 5.0))),
        fallback=draw(st.sampled_from((None, None, 3.0))),
        asked=draw(st.sampled_from((0.0, 0.0, 7.0))),
        outer=draw(st.sampled_from((0, 0, 0, 2))),
        hedge=draw(st.sampled_from((0, 0, 0, 0, 2, 3))),
        extras=draw(st.frozensets(st.sampled_from(("bulkhead", "breaker")))),
    )
    if plan.hedge:  # which of the attempts fails last is chance, and with it what the service asks for
        plan = replace(plan, asked=0.0)
    limit = draw(st.sampled_from(("none", "deadline", "deadline", "after", "before")))
    if limit == "deadline":
        return replace(plan, deadline=draw(st.sampled_from((2.0, 4.5, 10.0, 30.0))))
    if limit in {"after", "before"} and min(plan.least[:3]) > 0 and not plan.outer:
        attempts = draw(st.sampled_from((attempts, 99)))
        return replace(plan, attempts=attempts, stop=draw(st.sampled_from((3.5, 8.0))), ends_by=limit)
    if not plan.hedge and plan.timeout and draw(st.booleans()):
        return replace(plan, rate=min(1.0, plan.timeout))
    return replace(plan, extras=plan.extras | ({"chaos"} if draw(st.booleans()) and not plan.hedge else set()))


def played(plan, script, *, is_async, monkeypatch=None):
    """Make one call of a pipeline under a script; return its attempts, its seconds and its explanation."""
    clock = VirtualClock()
    hedge = Hedge(AFTER, attempts=plan.hedge) if plan.hedge else None
    world = World(clock, script, hedge=hedge, is_async=is_async)
    with use_clock(clock), use_store(MemoryStore()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(our_settings, "current", our_settings.Settings(longest_retry_after=plan.asked))
        patch.setattr(tenacity.wait, "random", world)
        policies = plan.policies(world)
        explanation = explain(Pipeline(*policies))
        return (*world.call(policies), explanation)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(plan=plans(), seed=st.integers(0, 2**16))
def test_the_worst_case_is_never_exceeded_and_some_script_reaches_it(is_async, plan, seed):
    attempts, _, explanation = played(plan, Quickest(plan), is_async=is_async)
    note(f"{plan}\n{explanation}")
    worst = explanation.worst_case
    assert attempts == worst.attempts
    if worst.why:
        assert plan.timeout is None, worst.why
    else:
        rounds = range(1, plan.rounds + 1) if plan.ends_by else (plan.rounds,)
        slow = max(played(plan, Slowest(plan, number), is_async=is_async)[1] for number in rounds)
        assert slow == pytest.approx(worst.seconds, abs=0.002)
    for script in (AtRandom(seed), AtRandom(seed + 1)):
        attempts, seconds, _ = played(plan, script, is_async=is_async)
        assert attempts <= worst.attempts
        assert seconds <= worst.seconds + SAME
    assert worst.attempts < math.inf
