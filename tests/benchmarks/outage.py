"""An outage: 1,000 callers of one API that is down for a minute and slow to recover, under five policies.

    python tests/benchmarks/outage.py [--seed 1] [--page docs/measured.md] [--figure docs/images/outage.png]
"""

import asyncio
import logging
import random
import selectors
from bisect import bisect_left
from contextlib import contextmanager
from dataclasses import dataclass, field

from resilient_tasks import resilient
from resilient_tasks.core.clock import use_clock
from resilient_tasks.core.errors import CircuitOpen
from resilient_tasks.core.store import MemoryStore, use_store


class _Jumping(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits, and nothing is left that could end it")
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


class LoopClock:
    def __init__(self, loop):
        self.now = self.wall = loop.time

    def sleep(self, seconds):
        raise RuntimeError("blocks")

    async def asleep(self, seconds):
        await asyncio.sleep(seconds)


class Unavailable(Exception):
    status = 503


@dataclass(frozen=True)
class Scenario:
    callers: int = 1000
    period: float = 10
    down: float = 60
    back: float = 120
    ramp: float = 60
    end: float = 300
    weak: float = 0.1
    strong: float = 1.2
    refusal: float = 0.2
    hold: float = 0.5
    seed: int = 1
    even: bool = True
    late: float = 1.0

    def ticks(self, number):
        r = random.Random(f"{self.seed}/{number}")
        phase = (number + r.random()) * self.period / self.callers if self.even else r.uniform(0, self.period)
        k = 0
        while True:
            at = phase + k * self.period + r.uniform(0, self.late)
            if at >= self.end:
                return
            yield at
            k += 1

    @property
    def normal(self):
        return self.callers / self.period

    def capacity(self, at):
        if at < self.down:
            share = self.strong
        elif at < self.back:
            share = 0.0
        else:
            share = self.weak + (self.strong - self.weak) * min(1.0, (at - self.back) / self.ramp)
        return share * self.normal


class Api:
    def __init__(self, scenario, time):
        self.scenario, self.time = scenario, time
        self.arrived, self.served = [], []
        self.credit, self.at = 1.0, 0.0

    def accrue(self):
        s, now = self.scenario, self.time()
        gained = s.capacity((self.at + now) / 2) * (now - self.at)
        self.credit = min(max(1.0, s.hold * s.capacity(now)), self.credit + gained)
        self.at = now

    async def request(self):
        s = self.scenario
        now = self.time()
        self.arrived.append(now)
        if s.down <= now < s.back:
            await asyncio.sleep(0.05)
            raise ConnectionError("refused")
        self.accrue()
        if self.credit < 1:
            self.credit = max(0.0, self.credit - s.refusal)
            await asyncio.sleep(0.05)
            raise Unavailable
        self.credit -= 1
        await asyncio.sleep(0.1)
        return now


@dataclass
class Result:
    scenario: Scenario
    arrived: list
    done: list
    missed: list
    events: list = field(default_factory=list)


def run(scenario, options):
    with VirtualLoop() if False else _closing(VirtualLoop()) as loop, use_clock(LoopClock(loop)), use_store(MemoryStore()):
        random.seed(scenario.seed)
        logging.getLogger("resilient_tasks").setLevel(logging.CRITICAL)
        api = Api(scenario, loop.time)
        done, missed, events = [], [], []
        fetch = resilient(**options)(api.request) if options else api.request

        async def caller(number):
            for due in scenario.ticks(number):
                if due < loop.time():
                    continue
                await asyncio.sleep(due - loop.time())
                try:
                    done.append(await fetch())
                except (ConnectionError, Unavailable, CircuitOpen):
                    missed.append(loop.time())

        async def everyone():
            await asyncio.gather(*map(caller, range(scenario.callers)))
        from resilient_tasks.core.events import bus
        with bus.listening(lambda e: events.append((loop.time(), e)) if e.name.startswith("breaker") else None):
            loop.run_until_complete(everyone())
        return Result(scenario, api.arrived, sorted(done), sorted(missed), events)


def oracle(scenario):
    """serve what is due, earliest first, as api has credit"""
    with _closing(VirtualLoop()) as loop:
        random.seed(scenario.seed)
        api = Api(scenario, loop.time)
        done = []; duel=[]
        due = {}  # caller -> due, insertion ordered
        async def all_():
            ticks = sorted((t, i) for i in range(scenario.callers) for t in scenario.ticks(i))
            n = 0
            pend = set()
            t = 0
            while loop.time() < scenario.end:
                while n < len(ticks) and ticks[n][0] <= loop.time():
                    duel.append(ticks[n][0])
                    c = ticks[n][1]
                    due.pop(c, None)
                    due[c] = True
                    n += 1
                api.accrue()
                if due and api.credit >= 1 and not scenario.down <= loop.time() < scenario.back:
                    c = next(iter(due)); del due[c]
                    async def go():
                        done.append(await api.request())
                    x = asyncio.create_task(go()); pend.add(x)
                    await asyncio.sleep(0)
                    continue
                await asyncio.sleep(0.001)
            await asyncio.gather(*pend)
        loop.run_until_complete(all_())
        return Result(scenario, api.arrived, sorted(done), [])


@contextmanager
def _closing(loop):
    try:
        yield loop
    finally:
        loop.close()


def within(times, a, b):
    return bisect_left(times, b) - bisect_left(times, a)


def recovered(r, share=.99):
    s = r.scenario
    w = s.period
    step = 0.1
    t = s.end - w
    due = sorted(x for i in range(s.callers) for x in s.ticks(i))
    last = None
    while t >= s.back - w / 2:
        if within(r.done, t, t + w) < share * within(due, t, t + w):
            break
        last = t + w / 2
        t -= step
    return None if last is None else last - s.back


def peak(r, until, w=5.0):
    s = r.scenario
    ts = [t for t in r.arrived if s.down <= t]
    best = 0
    for t in ts:
        if t + w > until: break
        best = max(best, within(ts, t, t + w))
    return best / (w * s.normal)
