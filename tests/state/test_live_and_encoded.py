"""A process's memory keeps live objects, other stores bytes: the same calls have the same outcomes in both."""

import json
import threading
from array import array
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    Failed,
    Kind,
    RateLimit,
    Retry,
    RetryBudget,
    resilient,
)
from resilient_tasks.core import settings as our_settings
from resilient_tasks.core import store as stores
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.state.states import states, use_store
from resilient_tasks.testing import VirtualClock


class Encoded(MemoryStore):
    """Stands for a shared store: its states are bytes, changed by compare-and-swap."""


class NotFoundError(Exception):
    status = 404


ENDS = {"good": None, "bad": ConnectionError("refused"), "none": NotFoundError()}
POLICIES = {
    "failures in a row": lambda: CircuitBreaker("x", failures=2, open_for=5, probes=2),
    "rate of seconds": lambda: CircuitBreaker("x", min_calls=2, window=20, open_for=5),
    "rate of a short time": lambda: CircuitBreaker("x", min_calls=3, window=1, open_for=1),
    "rate of calls": lambda: CircuitBreaker("x", min_calls=2, last=4, open_for=5),
    "slow ones": lambda: CircuitBreaker("x", min_calls=2, slow=2, window=20, open_for=5),
    "window": lambda: RateLimit("x", 3, 10, wait=False),
    "window of one": lambda: RateLimit("x", 1, 4, wait=4),
    "bucket": lambda: RateLimit("x", 2, 8, burst=3, wait=False),
    "bulkhead": lambda: Bulkhead("x", 2),
    "adaptive": lambda: AdaptiveRateLimit("x", start=2, per=1, wait=1, on=Kind.TRANSIENT),
    "budget": lambda: Retry(attempts=3, wait=0, budget=RetryBudget("x", share=0.5, floor=1, per=20)),
}

#: A call: the seconds that pass before it and in it, how it ends, and the calls that it makes itself.
LEAF = st.tuples(st.sampled_from([0, 0.5, 1, 3, 7]), st.sampled_from([0, 0, 3]), st.sampled_from([*ENDS]), st.just([]))
CALLS = st.lists(
    st.recursive(
        LEAF,
        lambda inside: st.tuples(
            st.sampled_from([0, 1, 5]), st.just(0), st.sampled_from([*ENDS]), st.lists(inside, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=12,
)


class Course:
    """The outcomes of calls on one store."""

    def __init__(self, policy, store):
        self.policy, self.store, self.clock, self.seen = policy, store, VirtualClock(), []

    def follow(self, calls):
        with use_clock(self.clock), pytest.MonkeyPatch.context() as patch, use_store(self.store):
            patch.setattr(our_settings, "current", our_settings.Settings(store_staleness=0))
            call = resilient(policies=[self.policy])(self.work)
            for each in calls:
                self.make(call, each)
                self.seen.append([self.state(key) for key in sorted(states().keys("")) if key.endswith("/x")])
        return self.seen

    def make(self, call, each):
        self.clock.advance(each[0])
        try:
            self.seen.append(call(call, each))
        except Exception as error:
            self.seen.append((type(error), getattr(error, "retry_in", None)))

    def work(self, call, each):
        for inside in each[3]:
            self.make(call, inside)
        self.clock.advance(each[1])
        if ENDS[each[2]] is not None:
            raise ENDS[each[2]]
        return "done"

    def state(self, key):
        """Return a state without the names of its writers."""
        found = states().get(key)
        if key.startswith("bulkhead/"):
            slots = Slots.decode(found, 0)
            return key, slots.taken, len(slots.queue)
        if key.startswith("breaker/"):
            circuit = json.loads(found)
            return key, sorted({**circuit, "probes": len(circuit["probes"])}.items())
        if key.startswith("budget/"):
            return key, json.loads(found)
        return key, array("d", found[8:]).tolist()  # but for the time when it was written


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
@settings(max_examples=30, deadline=None)
@given(CALLS)
def test_calls_have_the_same_ends_and_leave_the_same_state_in_memory_and_in_a_store(make, calls):
    live, encoded = (Course(make(), store).follow(calls) for store in (MemoryStore(), Encoded()))
    assert [one for one in live if type(one) is not list] == [one for one in encoded if type(one) is not list]
    for here, there in zip(live, encoded, strict=True):
        if type(here) is list and here:  # an empty bulkhead stays in memory until its name is forgotten
            assert here == there


@pytest.mark.parametrize("takes_turns", [True, False], ids=["one at a time", "all at once"])
def test_no_more_than_the_limit_of_64_threads_are_inside_a_bulkhead(takes_turns, monkeypatch):
    monkeypatch.setattr(stores, "TAKES_TURNS", takes_turns)
    monkeypatch.setattr("resilient_tasks.policies.bulkhead.slots.TAKES_TURNS", takes_turns)
    inside, most, calls, begin = [], [], [], threading.Barrier(64)

    @resilient(bulkhead=Bulkhead("x", 5))
    def work():
        inside.append(None)
        most.append(len(inside))
        inside.pop()

    def go():
        begin.wait(60)
        for _ in range(50):
            try:
                work()
                calls.append("made")
            except BulkheadFull:
                calls.append("full")

    with use_store(MemoryStore()):
        threads = [threading.Thread(target=go) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 64 * 50
        assert max(most) <= 5
        assert Slots.decode(states().get("bulkhead/x"), 0).taken == 0
        assert work() is None


def test_a_slot_is_released_however_a_call_on_the_fast_path_ends():
    ends = [None, ConnectionError(), KeyboardInterrupt(), SystemExit()]

    @resilient(bulkhead=Bulkhead("x", 1))
    def work(end):
        if end is not None:
            raise end
        return "done"

    with use_store(MemoryStore()):
        work(None)
        for end in ends * 2:
            with pytest.raises(type(end)) if end is not None else nullcontext():
                work(end)
        assert work(None) == "done"


def test_if_a_later_policy_has_to_act_the_permits_taken_before_are_released():
    clock = VirtualClock()
    with use_clock(clock), use_store(MemoryStore()):
        limited = resilient(bulkhead=Bulkhead("x", 1), rate_limit=RateLimit("x", 1, 10, wait=False))(lambda: "done")
        assert limited() == "done"
        for _ in range(3):
            assert isinstance(limited.outcome(), Failed)
            with pytest.raises(Exception, match="was not called"):
                limited()
        assert Slots.decode(states().get("bulkhead/x"), 0).taken == 0
        clock.advance(10)
        assert limited() == "done"
