"""An outage: 1,000 callers of one API that is down for a minute and slow to recover, under five sets of policies.

    python tests/benchmarks/outage.py [--seed 1] [--page docs/measured.md] [--figure docs/images/outage.png]

Callers, API and time are simulated; the policies are the library's own, through `resilient(...)`. The event loop's
time is virtual: it jumps to the next timer instead of waiting for it, so that six minutes of 1,000 callers take
seconds, and the same seed gives the same figures on every machine.

Work. Each caller has a run due every 10 s, up to a second late at random, and makes one call in it. A call that fails,
whatever the policies did, leaves its work to the caller's next run, as an incremental pipeline does that fetches what
is new since it last succeeded: a run missed is late, and nothing piles up. A run that falls due while the caller's last
one is still under way is missed, too.

The API. While it is down, a request fails after 50 ms with a ConnectionError. Otherwise it can do a certain work a
second, of which it saves up half a second's at the most. To serve a request takes 1 of it; to refuse one, because less
than 1 is left, takes a fifth (a service under load still accepts connections, and reads and answers what it refuses).
So the more requests there are beyond what it can do, the fewer it serves.

The best possible. An oracle knows at each moment what the API can do, and sends as much of the work that is due as it
can serve, longest waiting first: no policy can do more work. No policy can recover before the API can serve 99 % of the
normal load; times to recover are compared with that moment.
"""

import argparse
import asyncio
import logging
import random
import selectors
import sys
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from setting import say, table, write_into

from resilient_tasks import CircuitBreaker, CircuitOpen, Retry, RetryBudget, resilient
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store

SMOOTHED = 5.0  # seconds over which rates are taken
COMPLETE = 0.99  # work done, as a share of the runs due, that counts as recovered
MOST_LOAD, MOST_TIME = 1.2, 1.1  # the goals, as multiples of the normal load and of the shortest recovery

_HAIR = 1e-6  # of a request's work: timers may ring a nanosecond early

BUDGET = {"per": 5}
BREAKER = {"window": 10, "open_for": 5, "open_at_most": 15}
ORACLE, OURS, DEFAULTS = "an oracle", "breaker and budget", "breaker and budget, all defaults"
HEAD = (
    "policies",
    "peak / normal",
    "in one second",
    "requests while down",
    "done in the next minute",
    "recovered after, s",
    "/ earliest",
)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class _Jumping(selectors.DefaultSelector):
    """Has the loop's time pass where a real selector would wait for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and no timer will end that")
            self.now += max(0.0, timeout)
        return ready


class LoopClock:
    """The library's clock, going by the time of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = self.wall = loop.time

    def sleep(self, seconds: float) -> None:
        raise RuntimeError(f"something would block the event loop for {seconds} s")

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Scenario:
    """The callers, and the API's capacity over time. Times in seconds, capacities as shares of the normal load."""

    seed: int = 1
    callers: int = 1000
    period: float = 10.0
    down: float = 60.0
    back: float = 120.0
    slow_for: float = 60.0
    end: float = 360.0
    at_first: float = 0.1
    well: float = 1.2
    saved: float = 0.5
    refusal: float = 0.2

    @property
    def normal(self) -> float:
        """Requests a second that the callers make when all is well."""
        return self.callers / self.period

    def capacity(self, at: float) -> float:
        """Return how many requests a second the API can serve at that time."""
        if self.down <= at < self.back:
            return 0.0
        grown = min(1.0, (at - self.back) / self.slow_for) if at >= self.back else 1.0
        return self.normal * (self.at_first + grown * (self.well - self.at_first))

    @property
    def earliest(self) -> float:
        """Seconds from the API's return until it can serve the load that defines recovery."""
        return self.slow_for * (COMPLETE - self.at_first) / (self.well - self.at_first)

    def runs(self, caller: int) -> Iterator[float]:
        """Give the times at which one caller's runs fall due."""
        draw = random.Random(f"{self.seed}/{caller}")
        begins = (caller + draw.random()) / self.normal
        while (due := begins + draw.random()) < self.end:
            yield due
            begins += self.period


class Unavailable(Exception):
    """A client's error for a response of 503."""

    status = 503


class Api:
    """What the callers call."""

    def __init__(self, scenario: Scenario, loop: asyncio.AbstractEventLoop) -> None:
        self.arrived: list[float] = []
        self._scenario, self._time = scenario, loop.time
        self._left, self._at = 1.0, 0.0

    async def request(self) -> float:
        """Serve a request, and return when it came."""
        at = self._time()
        error = self.take()
        await asyncio.sleep(0.05 if error else 0.1)
        if error:
            raise error
        return at

    def take(self) -> Exception | None:
        """Take in a request that arrives now, and return why it will not be served."""
        self.arrived.append(self._time())
        wait = self.ready_in()
        if wait == float("inf"):
            return ConnectionError("refused")
        if wait:
            self._left = max(0.0, self._left - self._scenario.refusal)
            return Unavailable()
        self._left = max(0.0, self._left - 1)
        return None

    def ready_in(self) -> float:
        """Return the seconds until a request would be served, if none came before it; infinite while it is down."""
        now, capacity = self._time(), self._scenario.capacity
        done = capacity((self._at + now) / 2) * (now - self._at)  # it grows evenly
        self._left = min(self._left + done, max(1.0, self._scenario.saved * capacity(now)))
        self._at = now
        if not capacity(now):
            return float("inf")
        return (1 - self._left) / capacity(now) if self._left < 1 - _HAIR else 0.0


@dataclass
class Course:
    """The result of a scenario: the arrival times of all requests, and of those that did the work."""

    scenario: Scenario
    arrived: list[float]
    done: list[float]

    @cached_property
    def due(self) -> list[float]:
        return sorted(due for caller in range(self.scenario.callers) for due in self.scenario.runs(caller))

    @cached_property
    def recovered(self) -> float | None:
        """Seconds from the API's return to the middle of the first window from which on all is well, for a period."""
        last = begins = self.scenario.end - SMOOTHED
        while begins > self.scenario.back and self.share_done(begins) >= COMPLETE:
            begins -= 0.1
        return begins + 0.1 + SMOOTHED / 2 - self.scenario.back if last - begins >= self.scenario.period else None

    @cached_property
    def peak(self) -> float:
        """The highest smoothed load from the beginning of the outage until recovery."""
        return self.highest(SMOOTHED)

    def share_done(self, begins: float) -> float:
        """Return the work done in the smoothing window that begins then, as a share of what fell due in it."""
        ends = begins + SMOOTHED
        return between(self.done, begins, ends) / max(1, between(self.due, begins, ends))

    def highest(self, seconds: float) -> float:
        """Return the highest load over `seconds`, relative to the normal one, until the API has recovered."""
        until = self.scenario.end if self.recovered is None else self.scenario.back + self.recovered
        first = bisect_left(self.arrived, self.scenario.down)
        starts = (at for at in self.arrived[first:] if at + seconds <= until)
        most = max((between(self.arrived, at, at + seconds) for at in starts), default=0)
        return most / (seconds * self.scenario.normal)


def between(times: list[float], begins: float, ends: float) -> int:
    """Count the times from `begins` to before `ends`."""
    return bisect_left(times, ends) - bisect_left(times, begins)


def strategies() -> dict[str, dict[str, Any]]:
    """Return the keywords of `resilient(...)` for each way to call the API."""
    budget = RetryBudget("api", **BUDGET)
    return {
        "no policy": {},
        "retry, fixed wait": {"retry": Retry(attempts=5, wait=1)},
        "retry with jitter": {"retry": Retry(attempts=5)},
        "retry with jitter and budget": {"retry": Retry(attempts=5, budget=budget)},
        OURS: {"retry": Retry(attempts=5, budget=budget), "breaker": CircuitBreaker("api", **BREAKER)},
    }


def defaults() -> dict[str, Any]:
    """Return ours with nothing chosen but the number of attempts."""
    return {"retry": Retry(attempts=5, budget=RetryBudget("api")), "breaker": CircuitBreaker("api")}


def simulate(scenario: Scenario, policies: dict[str, Any]) -> Course:
    """Have all callers go through the outage with these policies."""
    with virtual_time(scenario) as runner:
        loop = runner.get_loop()
        api = Api(scenario, loop)
        course = Course(scenario, api.arrived, [])
        fetch = resilient(**policies)(api.request) if policies else api.request

        async def caller(number: int) -> None:
            for due in scenario.runs(number):
                if due < loop.time():
                    continue  # the last run took until now
                await asyncio.sleep(due - loop.time())
                with suppress(ConnectionError, Unavailable, CircuitOpen):  # left to the next run
                    course.done.append(await fetch())

        async def everyone() -> None:
            await asyncio.gather(*map(caller, range(scenario.callers)))

        runner.run(everyone())
    course.done.sort()
    return course


def best_possible(scenario: Scenario) -> Course:
    """Have an oracle send what the API can serve."""
    runs = sorted((due, caller) for caller in range(scenario.callers) for due in scenario.runs(caller))
    with virtual_time(scenario) as runner:
        loop = runner.get_loop()
        api = Api(scenario, loop)
        course = Course(scenario, api.arrived, [])
        waiting: dict[int, None] = {}  # callers with work to do, who has waited longest first

        async def oracle() -> None:
            for due, caller in runs:
                while waiting and loop.time() + (wait := api.ready_in()) < due:
                    await asyncio.sleep(wait)
                    if api.take() is None:
                        del waiting[next(iter(waiting))]
                        course.done.append(loop.time())
                await asyncio.sleep(due - loop.time())
                waiting.pop(caller, None)  # the run before is missed: this one does its work, too
                waiting[caller] = None

        runner.run(oracle())
    return course


@contextmanager
def virtual_time(scenario: Scenario) -> Iterator[asyncio.Runner]:
    """Have the library go by a virtual loop's time, with an empty store and seeded jitter, and log nothing."""
    logger, state = logging.getLogger("resilient_tasks"), random.getstate()
    level = logger.level
    random.seed(scenario.seed)  # tenacity's waits draw from the module's own generator
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            asyncio.Runner(loop_factory=VirtualLoop) as runner,
            use_clock(LoopClock(runner.get_loop())),
            use_store(MemoryStore()),
        ):
            yield runner
    finally:
        logger.setLevel(level)
        random.setstate(state)


def row(name: str, course: Course, best: Course) -> tuple[str, ...]:
    """Format one course beside the best possible."""
    scenario, seconds = course.scenario, course.recovered
    down, back, well = scenario.down, scenario.back, scenario.back + scenario.slow_for
    never = f"not within {scenario.end - back:.0f}"
    return (
        name,
        f"{course.peak:.2f}",
        f"{course.highest(1.0):.2f}",
        f"{between(course.arrived, down, back):,}",
        f"{between(course.done, back, well) / between(best.done, back, well):.0%}",
        never if seconds is None else f"{seconds:.1f}",
        "" if seconds is None else f"{seconds / scenario.earliest:.2f}",
    )


def goals(ours: list[Course]) -> Iterator[tuple[str, float, float]]:
    """For each goal: its name, the worst figure of all seeds, and its limit."""
    first, last = ours[0].scenario, ours[-1].scenario
    seeds = f"{OURS}, seeds {first.seed} to {last.seed}"
    yield f"load on the sick API / normal, {seeds}", max(course.peak for course in ours), MOST_LOAD
    times = [float("inf") if course.recovered is None else course.recovered for course in ours]
    yield f"time to recover / the earliest possible, {seeds}", max(times) / first.earliest, MOST_TIME


def said(goal: tuple[str, float, float]) -> str:
    what, figure, limit = goal
    return f"{what}: {figure:.3f} at the worst (goal: under {limit}): {'met' if figure < limit else 'MISSED'}"


def about(scenario: Scenario) -> str:
    """Say what was simulated, and with which arguments."""
    given = ["".join(f", {name}={value}" for name, value in chosen.items()) for chosen in (BUDGET, BREAKER)]
    return (
        f"{scenario.callers:,} callers, {scenario.normal:.0f} requests a second, seed {scenario.seed}. Retry: 5"
        f' attempts, 1 s apart or with the default jitter. Budget: `RetryBudget("api"{given[0]})`. Breaker:'
        f' `CircuitBreaker("api"{given[1]})`. Earliest recovery: {scenario.earliest:.1f} s.'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="An outage, and what five sets of policies make of it.")
    parser.add_argument("--seed", type=int, default=1, help="seed of the table and the picture (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds to judge ours by (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    parser.add_argument("--figure", type=Path, help="draw the requests that reach the API into this PNG or SVG file")
    parser.add_argument("--down", type=float, default=60, help="seconds without an answer (default: %(default)s)")
    parser.add_argument("--refusal", type=float, default=0.2, help="what it takes to refuse (default: %(default)s)")
    options = parser.parse_args()
    first = Scenario(options.seed, back=Scenario.down + options.down, refusal=options.refusal)
    say(f"{ORACLE} ...")
    best, courses = best_possible(first), {}
    for name, policies in strategies().items():
        say(f"{name} ...")
        courses[name] = simulate(first, policies)
    say("ours with all defaults, and with other seeds ...")
    shown = {ORACLE: best, **courses, DEFAULTS: simulate(first, defaults())}
    others = [replace(first, seed=seed) for seed in range(first.seed + 1, first.seed + options.seeds)]
    judged = list(goals([courses[OURS], *(simulate(other, strategies()[OURS]) for other in others)]))
    lines = [row(name, course, best) for name, course in shown.items()]
    print(about(first), "", table(HEAD, lines, markdown=False), "", *map(said, judged), sep="\n")
    if options.page:
        remarks = "\n".join(f"- {said(goal)}" for goal in judged)
        text = f"{about(first)}\n\n{table(HEAD, lines, markdown=True)}\n\n{remarks}"
        write_into(options.page, "outage", text)
    if options.figure:
        from outage_figure import draw

        draw(courses, options.figure)
    missed = [said(goal) for goal in judged if goal[1] >= goal[2]]
    print("", "NOT AS PROMISED:" if missed else "as promised", *missed, sep="\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
