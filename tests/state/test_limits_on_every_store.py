"""Rate limit, retry budget and bulkhead of two workers, each compared with a plain model, on every store."""

from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from two_workers import Workers, run

from resilient_tasks import Bulkhead, RateLimit, RetryBudget
from resilient_tasks.policies.bulkhead import kept_slot
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.policies.bulkhead.slots import LEASE, PLACE, HeldSlots
from resilient_tasks.policies.rate_limit.machine import Times
from resilient_tasks.policies.retry.budget import RetryBudgetState
from resilient_tasks.state.claims import POSSIBLE

WORKERS = st.integers(0, 1)


class OnTwoWorkers(RuleBasedStateMachine):
    """Workers that share a store, and time that passes."""

    store = None
    policy = None

    def __init__(self):
        super().__init__()
        self.workers = Workers(self.store)

    def teardown(self):
        self.workers.end()

    @property
    def now(self):
        return self.workers.clock.now()

    @rule(seconds=st.integers(1, 7))
    def wait(self, seconds):
        self.workers.clock.advance(seconds)


class Limiter(OnTwoWorkers):
    """Calls reserve their times: the model is the list of these."""

    def __init__(self):
        super().__init__()
        self.times = []

    def first_that_is_allowed(self):
        """Return the first quarter of a second, from now on, at which the rate allows another call."""
        at = max([self.now, *self.times])
        while not self.allows(at):
            at += 0.25
        return at

    def allows(self, at):
        calls, per, burst = self.policy.calls, self.policy.per, self.policy.burst
        if burst is None:
            return sum(at - per < time for time in self.times) < calls
        tokens, before = float(burst), 0.0
        for time in [*self.times, at]:  # a continuously refilled bucket; each call takes a token
            tokens = min(burst, tokens + (time - before) * calls / per)
            if tokens < 1 - 1e-9:
                return False
            tokens, before = tokens - 1, time
        return True

    @rule(worker=WORKERS, patience=st.sampled_from([0, 2, 1000]))
    def reserve(self, worker, patience):
        rate = self.policy._rate
        due = self.first_that_is_allowed()
        reserved = self.workers.states[worker].step(
            f"rate/{self.workers.name}", Times.decode, lambda times, now: rate.reserve(times, now, patience)
        )
        assert reserved.wait == pytest.approx(due - self.now)
        assert reserved.granted == (due - self.now <= patience)
        if reserved.granted:
            self.times.append(due)


LIMITS = {
    "window": RateLimit("x", 3, 10),
    "one at a time": RateLimit("x", 1, 4),
    "bucket": RateLimit("x", 2, 8, burst=3),
    "bucket of one": RateLimit("x", 4, 2, burst=1),
}


@pytest.mark.parametrize("policy", LIMITS.values(), ids=LIMITS)
def test_two_workers_keep_one_rate(any_store, policy):
    run(type("OneRate", (Limiter,), {"store": any_store, "policy": policy}))


class Budget(OnTwoWorkers):
    """Calls are recorded, retries acquired; the model is two lists of times."""

    policy = RetryBudget("x", share=0.5, floor=2, per=20)

    def __init__(self):
        super().__init__()
        self.budgets = [RetryBudgetState(states, f"budget/{self.workers.name}") for states in self.workers.states]
        self.calls, self.retries = [], []

    def lately(self, times):
        return sum(time > self.now - self.policy.per for time in times)

    @rule(worker=WORKERS)
    def call(self, worker):
        self.budgets[worker].record_call(self.policy._limit)
        self.calls.append(self.now)

    @rule(worker=WORKERS)
    def retry(self, worker):
        calls, retries = self.lately(self.calls), self.lately(self.retries)
        grant = self.budgets[worker].try_acquire(self.policy._limit)
        assert grant == (retries + 1 <= 2 + 0.5 * calls, retries, calls)
        if grant.granted:
            self.retries.append(self.now)


def test_two_workers_share_one_budget(any_store):
    run(type("OneBudget", (Budget,), {"store": any_store}))


class Full(OnTwoWorkers):
    """Callers come, wait, leave and give up; the model is a list of running calls and a queue."""

    policy = Bulkhead("x", 2, queue=2)
    how: ClassVar = {}

    def __init__(self):
        super().__init__()
        self.held = [HeldSlots(states, f"bulkhead/{self.workers.name}") for states in self.workers.states]
        for held in self.held:
            # Workers would renew their leases by the real clock: here no lease expires.
            held._lease = held._place = 1e9
            held._start_renewing = lambda: None
        self.inside, self.queue, self.tickets = [], [], 0

    @rule(worker=WORKERS)
    def come(self, worker):
        self.tickets += 1
        self.ask((worker, str(self.tickets)))

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def look_again(self, data):
        self.ask(data.draw(st.sampled_from(self.queue)))

    def ask(self, caller):
        worker, ticket = caller
        ahead = self.queue.index(caller) if caller in self.queue else len(self.queue)
        answer = self.held[worker].request(ticket, self.policy.limit, self.policy.queue, **self.how)
        if len(self.inside) + ahead < 2:
            assert answer == "taken"
            self.inside.append(worker)
            self.queue = [other for other in self.queue if other != caller]
        elif caller in self.queue or len(self.queue) < 2:
            assert answer == "queued"
            self.queue += [caller] * (caller not in self.queue)
        else:
            assert answer == "full"

    @precondition(lambda self: self.inside)
    @rule()
    def leave(self):
        self.held[self.inside.pop(0)].release()

    @precondition(lambda self: self.queue)
    @rule()
    def give_up(self):
        worker, ticket = self.queue.pop()
        self.held[worker].leave_queue(ticket)

    @invariant()
    def the_store_agrees_with_the_model(self):
        slots = Slots.decode(self.workers.states[0].get(f"bulkhead/{self.workers.name}"), self.now)
        assert slots.taken == len(self.inside)
        assert list(slots.queue) == [ticket for _, ticket in self.queue]


def test_two_workers_share_the_slots_of_one_bulkhead(any_store):
    run(type("OneBulkhead", (Full,), {"store": any_store}))


class FullAndKept(Full):
    """Workers keep a slot for their next call, and take over idle ones of others."""

    how: ClassVar = {"keep": True}

    def __init__(self):
        super().__init__()
        for held in self.held:
            held._kept._lease = 1e9
            held._renew = lambda: None

    @rule(worker=WORKERS)
    def call_at_once(self, worker):
        free = len(self.inside) + len(self.queue) < 2
        if self.held[worker].try_acquire(self.policy.limit) is not None:
            assert free
            self.inside.append(worker)

    @invariant()
    def the_store_agrees_with_the_model(self):
        slots = Slots.decode(self.workers.states[0].get(f"bulkhead/{self.workers.name}"), self.now)
        assert slots.taken + len(slots.kept) >= len(self.inside)
        assert list(slots.queue) == [ticket for _, ticket in self.queue]


@pytest.mark.skipif(not POSSIBLE, reason="this system has no claims")
def test_a_kept_slot_is_as_free_as_any_other(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_slot, "MAX_REUSE", -1)
    run(type("OneBulkhead", (FullAndKept,), {"store": f"sqlite:///{tmp_path}/states.db"}))


def test_the_slots_of_a_dead_worker_are_free_again(tmp_path):
    workers = Workers(f"sqlite:///{tmp_path}/states.db")
    try:
        dead, other = (HeldSlots(states, "bulkhead/x") for states in workers.states)
        dead._start_renewing = other._start_renewing = lambda: None
        assert dead.request("first", 1, 1) == "taken"
        assert dead.request("second", 1, 1) == "queued"
        assert other.request("third", 1, 1) == "full"
        workers.clock.advance(PLACE)  # its place in the queue expires first
        assert other.request("third", 1, 1) == "queued"
        workers.clock.advance(LEASE - PLACE)
        assert other.request("third", 1, 1) == "taken"
    finally:
        workers.end()
