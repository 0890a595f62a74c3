"""The in-memory store, held against a plain model, and the counter that stands on it."""

import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient_tasks.core.clock import use_clock
from resilient_tasks.core.store import MemoryStore, count
from resilient_tasks.testing import VirtualClock

KEYS = st.sampled_from("ab")
VALUES = st.binary(max_size=2)


class MemoryStoreMachine(RuleBasedStateMachine):
    """Any sequence of writes and waits: the store answers as a dict of values and times of expiry would."""

    def __init__(self):
        super().__init__()
        self.clock = VirtualClock()
        self.context = use_clock(self.clock)
        self.context.__enter__()
        self.store = MemoryStore()
        self.model = {}

    def teardown(self):
        self.context.__exit__(None, None, None)

    def expected(self, key):
        value, expires = self.model.get(key, (None, 0))
        return value if self.clock.now() < expires else None

    @rule(key=KEYS, old=st.none() | VALUES, new=VALUES, ttl=st.none() | st.integers(1, 5))
    def put_on_a_guess(self, key, old, new, ttl):
        self.put(key, old, new, ttl)

    @rule(key=KEYS, new=VALUES, ttl=st.none() | st.integers(1, 5))
    def put_on_what_was_read(self, key, new, ttl):
        self.put(key, self.store.get(key), new, ttl)

    def put(self, key, old, new, ttl):
        due = self.expected(key) == old
        assert self.store.compare_and_set(key, old, new, ttl=ttl) is due
        if due:
            self.model[key] = (new, float("inf") if ttl is None else self.clock.now() + ttl)

    @precondition(lambda self: self.model)
    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def answers_as_the_model(self):
        assert [self.store.get(key) for key in "ab"] == [self.expected(key) for key in "ab"]


MemoryStoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestMemoryStore = MemoryStoreMachine.TestCase


def test_a_count_goes_up_by_one_each_time(resilient_clock):
    assert [count("calls") for _ in range(3)] == [1, 2, 3]
    resilient_clock.advance(1e9)
    assert count("calls") == 4
    assert count("others") == 1


def test_a_count_begins_anew_once_its_time_is_over(resilient_clock):
    assert [count("calls", ttl=10), count("calls", ttl=10)] == [1, 2]
    resilient_clock.advance(10)
    assert count("calls", ttl=10) == 1


def test_the_time_of_a_count_runs_from_its_first_event_not_from_its_last(resilient_clock):
    counts = []
    for _ in range(6):
        counts.append(count("calls", ttl=10))
        resilient_clock.advance(4)
    assert counts == [1, 2, 3, 1, 2, 3]


def test_no_thread_is_lost_from_a_count(resilient_clock):
    numbers = []
    threads = [
        threading.Thread(target=lambda: numbers.extend(count("calls", ttl=60) for _ in range(200))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 1601))


def test_a_set_that_came_too_late_is_tried_again(own_store, monkeypatch):
    store = own_store.store
    compare_and_set = store.compare_and_set
    taken = iter([False, True])

    def contended(key, old, new, *, ttl=None):
        return compare_and_set(key, old, new, ttl=ttl) if next(taken) else False

    monkeypatch.setattr(store, "compare_and_set", contended)
    assert count("calls") == 1
