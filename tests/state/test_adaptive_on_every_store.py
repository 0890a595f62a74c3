"""An adaptive rate limit of two workers, compared with a plain model, on every store."""

import adapting
import counting
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sharing import PATIENT
from two_workers import Workers, run

from resilient_tasks import AdaptiveRateLimit
from resilient_tasks.policies.adaptive_rate_limit.machine import ENOUGH, USED
from resilient_tasks.policies.adaptive_rate_limit.shared_limit import SharedLimit, read

RULES = AdaptiveRateLimit("x", start=4, per=2, least=1, most=8, increase=2, decrease=0.5)._rules
WORKERS = st.integers(0, 1)
WAITS = st.sampled_from([0, 3, 8])


class Adapting(RuleBasedStateMachine):
    """Calls come, wait, begin, leave, are accepted and refused.

    The model is a list of the times at which waiting calls begin. A new rate and a pause change each of them.
    """

    store = None

    def __init__(self):
        super().__init__()
        self.workers = Workers(self.store)
        self.limits = [SharedLimit(states, f"adaptive/{self.workers.name}") for states in self.workers.states]
        self.rate, self.generation, self.round = RULES.start, 0, 0
        self.paused = self.free = 0.0
        self.waiting, self.under_way = [], []
        self.since, self.accepted = None, 0

    def teardown(self):
        self.workers.end()

    @property
    def now(self):
        return self.workers.clock.now()

    @rule(worker=WORKERS, calls=st.integers(2, 5))
    def several_come(self, worker, calls):
        for _ in range(calls):
            self.come_one(worker, 1000)

    @rule(worker=WORKERS, patience=st.sampled_from([0, 2, 1000]))
    def come(self, worker, patience):
        self.come_one(worker, patience)

    def come_one(self, worker, patience):
        begins = max(self.now, self.free)
        place = self.limits[worker].place(RULES, patience)
        assert place.wait == pytest.approx(begins - self.now)
        assert place.granted == (begins - self.now <= patience + 1e-9)
        if not place.granted:
            return
        self.free = begins + 1 / self.rate
        if place.wait > 0:
            self.waiting.append([begins, worker, place.number])
        else:
            self.begin(place)

    def begin(self, place):
        assert self.now >= self.paused
        assert place.generation == self.generation
        self.under_way.append(place.generation)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds):
        self.workers.clock.advance(seconds)
        self.let_begin()

    def let_begin(self):
        while self.waiting and self.waiting[0][0] <= self.now + 1e-9:
            _, worker, number = self.waiting.pop(0)
            place = self.limits[worker].place(RULES, 0.001, number)
            assert place.granted
            if place.wait:  # the last digits differ
                self.workers.clock.advance(place.wait)
                place = self.limits[worker].place(RULES, 0, number)
            self.begin(place)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), patience=st.sampled_from([0.5, 1000]))
    def look(self, data, patience):
        entry = data.draw(st.sampled_from(self.waiting))
        begins, worker, number = entry
        place = self.limits[worker].place(RULES, patience, number)
        assert place.wait == pytest.approx(begins - self.now)
        assert place.granted == (place.wait <= patience)
        if not place.granted:
            self.move_up_behind(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data):
        entry = data.draw(st.sampled_from(self.waiting))
        self.limits[entry[1]].leave(RULES, entry[2])
        self.move_up_behind(entry)

    def move_up_behind(self, entry):
        place = self.waiting.index(entry)
        for other in self.waiting[place + 1 :]:
            other[0] -= 1 / self.rate
        self.free -= 1 / self.rate
        del self.waiting[place]
        self.let_begin()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), worker=WORKERS, wait=WAITS)
    def refuse(self, data, worker, wait):
        generation = data.draw(st.sampled_from(self.under_way))
        paused, before = max(self.paused, self.now + wait if wait else 0), self.rate
        cut = self.limits[worker].refuse(RULES, generation, wait)
        if generation < self.round:
            assert cut is None
            self.move(self.rate, paused)
            return
        self.change(max(RULES.least, self.rate * RULES.decrease), paused)
        self.round = self.generation
        assert cut == pytest.approx((before, self.rate, max(0, paused - self.now)))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), worker=WORKERS, times=st.sampled_from([1, 3, 8, 30]))
    def accept(self, data, worker, times):
        generation = data.draw(st.sampled_from(self.under_way))
        for _ in range(times):
            self.limits[worker].accept(RULES, generation)
            self.accept_one(generation)
        self.let_begin()

    def accept_one(self, generation):
        if generation != self.generation or self.now < self.paused:
            return
        if self.since is None:
            self.since, self.accepted = self.now, 0
            return
        self.accepted += 1
        seconds = self.now - self.since
        if seconds < RULES.per or seconds * self.rate < ENOUGH:
            return
        share, self.since, self.accepted = self.accepted / (self.rate * seconds), self.now, 0
        if share >= USED and self.rate < RULES.most:
            self.change(min(RULES.most, self.rate + RULES.increase), self.paused)

    def change(self, rate, paused):
        self.move(rate, paused)
        self.generation, self.since = self.generation + 1, None

    def move(self, rate, paused):
        since, stretch = max(self.now, self.paused), self.rate / rate
        first = max(since, self.waiting[0][0] if self.waiting else self.free)
        moved = max(paused, since + (first - since) * stretch)
        for entry in self.waiting:
            entry[0] = moved + (entry[0] - first) * stretch
        self.free = moved + max(0, self.free - first) * stretch
        self.rate, self.paused = rate, paused

    @precondition(lambda self: len(self.under_way) > 5)
    @rule()
    def end(self):
        del self.under_way[:3]

    @invariant()
    def the_store_agrees_with_the_model(self):
        limit, now = read(self.workers.states[0], f"adaptive/{self.workers.name}", RULES)
        assert RULES.least <= limit.rate <= RULES.most
        assert limit.rate == pytest.approx(self.rate)
        assert limit.generation == self.generation
        assert limit.waiting(now) == len(self.waiting)
        assert max(0, limit.paused - now) == pytest.approx(max(0, self.paused - now))


def test_two_workers_adapt_one_rate(any_store):
    run(type("OneAdaptiveRate", (Adapting,), {"store": any_store}))


def test_refused_calls_of_one_process_pause_all_processes_and_lower_their_rate_once(worker_pool, store_url, share):
    worker_pool.all(counting.use_store_at, store_url, PATIENT)
    worker_pool.submit([0, 1], adapting.keep_calling_beside, 1.5)
    began, ended = worker_pool.one(2, adapting.keep_calling_and_be_refused, 1.5)
    others = [at for calls, _ in worker_pool.results([0, 1]) for at in calls]
    worker_pool.all(counting.use_memory)
    refused_until = ended[0] + adapting.PAUSE - 0.1
    in_the_pause = [at for at in [*began, *others] if ended[0] + 0.3 < at < refused_until]
    assert not in_the_pause  # a call that was permitted before may begin late on a busy machine, but not so late
    assert any(at > refused_until for at in others)
    share(store_url, PATIENT)
    assert adapting.LIMIT.status().rate == pytest.approx(28, abs=0.1)
