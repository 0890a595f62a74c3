"""The in-memory store against a plain model; states in an unreliable store; a counter on them."""

import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.execution.patience import Patience
from resilient_tasks.core.store import MemoryStore, opened_by
from resilient_tasks.state import client, failover
from resilient_tasks.state import states as shared_states
from resilient_tasks.state.failover import StoreUnavailable
from resilient_tasks.state.states import States, count
from resilient_tasks.testing import VirtualClock

KEYS = st.sampled_from("ab")
VALUES = st.binary(max_size=2)


class MemoryStoreMachine(RuleBasedStateMachine):
    """For any sequence of writes and waits, the store behaves like a dict of values and times of expiry."""

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
        done, stands = self.store.swap(key, old, new, ttl=ttl)
        assert (done, stands) == (due, new if due else self.expected(key))
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


def test_a_count_restarts_once_it_has_expired(resilient_clock):
    assert [count("calls", ttl=10), count("calls", ttl=10)] == [1, 2]
    resilient_clock.advance(10)
    assert count("calls", ttl=10) == 1


def test_the_time_of_a_count_runs_from_its_first_event_not_from_its_last(resilient_clock):
    counts = []
    for _ in range(6):
        counts.append(count("calls", ttl=10))
        resilient_clock.advance(4)
    assert counts == [1, 2, 3, 1, 2, 3]


def test_no_threads_count_is_lost(resilient_clock):
    numbers = []
    threads = [
        threading.Thread(target=lambda: numbers.extend(count("calls", ttl=60) for _ in range(200))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 1601))


class Unreliable(MemoryStore):
    """A store that answers only while it is `up`, and first calls `first`, as another process would."""

    def __init__(self):
        super().__init__()
        self.up, self.connects, self.first = True, 0, None

    def connect(self):
        self.connects += 1
        self._answer()

    def get(self, key):
        self._answer()
        return super().get(key)

    def swap(self, key, old, new, *, ttl=None):
        self._answer()
        if self.first is not None:
            first, self.first = self.first, None
            first()
        return super().swap(key, old, new, ttl=ttl)

    def _answer(self):
        if not self.up:
            raise ConnectionError("refused")


@pytest.fixture
def unreliable():
    """States in an `Unreliable` store, as if other processes shared it."""
    store = Unreliable()
    states = States(store, "unreliable", bound=5)
    yield store, states
    states.close()


def letter(what):
    """Return a step that appends to the state, and returns the previous one."""
    return lambda state, _: ((state or b"") + what, state)


def test_a_concurrent_write_of_another_process_is_not_lost(unreliable):
    store, states = unreliable
    states.update("k", letter(b"a"))
    store.first = lambda: MemoryStore.swap(store, "k", b"a", b"ab")
    assert states.update("k", letter(b"c")) == b"ab"
    assert store.get("k") == b"abc"


def test_the_last_written_value_is_only_a_guess(unreliable):
    store, states = unreliable
    states.update("k", letter(b"a"))
    MemoryStore.swap(store, "k", b"a", b"other")
    assert states.update("k", lambda state, _: (state, state)) == b"other"
    MemoryStore.swap(store, "k", b"other", b"another")
    assert states.update("k", lambda state, _: (None, state)) == b"another"
    assert states.get("k") == b"another"


def test_a_change_whose_answer_was_lost_is_not_made_twice(unreliable):
    store, states = unreliable
    states.update("k", letter(b"a"))

    def answer_is_lost():
        MemoryStore.swap(store, "k", b"a", b"ab")
        raise ConnectionError("reset by peer")

    store.first = answer_is_lost
    assert states.update("k", letter(b"b")) == b"a"
    assert states.get("k") == b"ab"
    assert states.is_available


def test_a_lost_store_is_replaced_by_memory_reported_once_and_regained(unreliable, resilient_events):
    store, states = unreliable
    states.update("k", letter(b"shared"))
    store.up = False
    assert [states.update("k", letter(b"x")) for _ in range(3)] == [None, b"x", b"xx"]
    assert not states.is_available
    assert (states.get("k"), states.keys("")) == (b"xxx", ["k"])
    assert resilient_events.names == ["store.lost"]
    store.up = True
    wait_for(lambda: states.is_available)
    assert states.update("k", letter(b"!")) == b"shared"
    wait_for(lambda: resilient_events.names == ["store.lost", "store.regained"])
    lost, regained = resilient_events
    assert lost.sentence().startswith("unreliable does not answer (ConnectionError: refused)")
    assert regained.seconds > 0


def test_a_flapping_store_has_to_answer_for_longer_each_time_before_it_counts_as_back(unreliable, monkeypatch):
    store, states = unreliable
    trials = []

    def lose(*, is_noticed):
        store.up = False
        states._failover.lose(ConnectionError("refused"), 0, 0.0)
        states._failover.reconnect()
        trials.append(states._failover._trial)
        if is_noticed:
            states.get("k")
        store.up = True
        wait_for(lambda: states.is_available)

    for _ in range(2):
        lose(is_noticed=False)
    for _ in range(4):
        lose(is_noticed=True)
    assert trials == [0.0, 0.0, 0.0, 0.1, 0.2, 0.4]
    monkeypatch.setattr(failover, "_RELAPSE", -10.0)
    lose(is_noticed=True)
    assert trials[-1] == 0.0


def test_the_state_of_a_store_that_is_lost_again_at_once_is_not_forgotten(unreliable):
    store, states = unreliable
    store.up = False
    states.update("k", letter(b"alone"))
    store.up = True
    wait_for(lambda: states.is_available)
    store.up = False
    assert states.get("k") == b"alone"


def test_a_store_is_back_when_it_keeps_as_many_bytes_as_it_could_not_keep(unreliable):
    store, states = unreliable
    kept = []

    def swap(key, old, new, *, ttl=None):
        if len(new) > 1000:
            raise ConnectionError("full")
        kept.append(new)
        return MemoryStore.swap(store, key, old, new, ttl=ttl)

    store.swap = swap
    states.update("k", lambda *_: (bytes(2000), None))
    time.sleep(0.2)
    assert not states.is_available
    del store.swap
    wait_for(lambda: states.is_available)
    assert kept == []


def test_a_store_lost_for_a_moment_is_not_reported(unreliable, resilient_events):
    store, states = unreliable
    states.update("k", letter(b"x"))
    store.up = False
    reconnect = states._failover._reconnect
    states._failover._reconnect = lambda *given: (setattr(store, "up", True), reconnect(*given))
    assert states.update("k", letter(b"y")) == b"x"
    assert states.get("k") == b"xy"
    assert resilient_events == []


def test_a_closed_store_is_not_used_again(unreliable):
    store, states = unreliable
    store.up = False
    states.get("k")
    states.close()
    wait_for(lambda: not any(thread.name == "resilient:store" for thread in threading.enumerate()))
    before = store.connects
    states.get("k")
    assert store.connects == before


class Busy(Unreliable):
    """A store whose states others keep changing."""

    others_are_at_it = False

    def swap(self, key, old, new, *, ttl=None):
        return (False, b"another") if self.others_are_at_it else super().swap(key, old, new, ttl=ttl)


@pytest.fixture
def busy(resilient_events):
    """States in a `Busy` store that hold `k`, and wait 10 ms for others. The store is never reported as lost."""
    store = Busy()
    states = States(store, "busy", bound=0.001)
    wait_for(lambda: states.is_available)
    states.update("k", letter(b"known"))
    yield store, states
    states.close()
    assert resilient_events == []


def test_constant_changes_by_others_do_not_delay_a_call_and_the_store_is_kept(busy):
    store, states = busy
    store.others_are_at_it = True
    assert states.update("k", letter(b"x")) == b"known"
    assert states.is_available
    store.others_are_at_it = False
    assert states.get("k") == b"known"


def test_threads_that_wait_too_long_use_the_cached_state_and_the_store_is_kept(busy):
    _, states = busy
    with states._lock:
        assert states.update("k", letter(b"x")) == b"known"
    assert states.is_available
    assert states.get("k") == b"known"


def test_updates_that_a_busy_store_missed_are_sent_once_it_is_free(busy):
    store, states = busy
    told = threading.Event()
    states.on_regained.append(lambda: states.update("k", letter(b"!")) and told.set())
    store.others_are_at_it = True
    states.update("k", letter(b"x"))
    store.others_are_at_it = False
    assert told.wait(10)
    assert states.get("k").endswith(b"!")


def test_after_a_call_that_waited_for_a_busy_store_in_vain_the_next_ones_wait_for_a_tenth_of_that(monkeypatch):
    given = []

    class Watched(Patience):
        def __init__(self, seconds, longest):
            given.append(seconds)
            super().__init__(seconds, longest)

    monkeypatch.setattr(client, "Patience", Watched)
    states = States(MemoryStore(), "memory", bound=0.002)
    with states._lock:
        states.get("k")
        states.get("k")
    assert given == [pytest.approx(0.02), 0.002]


def test_a_store_is_displayed_without_its_password():
    assert opened_by("redis://me:secret@host:6379/0", 0.05)[1] == "redis://host:6379/0"
    assert opened_by("sqlite:////data/states.db", 0.05)[1] == "sqlite:////data/states.db"
    own = MemoryStore()
    assert opened_by(own, 0.05) == (own, "MemoryStore")


def test_a_change_of_the_setting_opens_the_other_store(own_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    shared_states.shared.close()
    assert (count("calls"), count("calls")) == (1, 2)
    own_settings(store=f"sqlite:///{tmp_path}/a.db", store_timeout=5)
    assert shared_states.states().is_shared
    assert count("calls") == 1
    own_settings(store=f"sqlite:///{tmp_path}/a.db")  # an equal setting means the same store
    assert count("calls") == 2
    own_settings(store="memory:")
    assert count("calls") == 1
    shared_states.shared.close()


def wait_for(condition):
    """Wait until another thread has made the condition true."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_the_last_user_is_notified_when_the_store_is_back(unreliable):
    store, states = unreliable
    told = []
    states.on_regained.append(lambda: told.append(states.is_available))
    store.up = False
    states.get("k")
    assert told == []
    store.up = True
    wait_for(lambda: told == [True])


def test_a_store_that_connects_too_late_is_reported(resilient_events):
    store = Unreliable()
    begin = threading.Event()
    store.connect = lambda: begin.wait(10)
    states = States(store, "slow", bound=0.01)
    states.get("k")
    assert resilient_events[0].sentence().startswith("slow does not answer (TimeoutError: not reached within 10 ms)")
    begin.set()
    wait_for(lambda: resilient_events.names == ["store.lost", "store.regained"])
    states.close()


def test_without_a_fallback_a_store_that_does_not_answer_raises(resilient_events, monkeypatch):
    store = Unreliable()
    states = States(store, "incidents.db", bound=0.01, stand_in=False)
    wait_for(lambda: states.is_available)
    assert states.update("k", letter(b"x")) is None
    store.up = False
    with pytest.raises(StoreUnavailable, match=r"incidents\.db does not answer"):
        states.get("k")
    assert resilient_events == []  # a moment harms no waiting update
    monkeypatch.setattr(failover, "_MOMENT", 0.0)
    with pytest.raises(StoreUnavailable):
        states.update("k", letter(b"y"))
    (lost,) = resilient_events
    assert "new records wait until it does" in lost.sentence()
    store.up = True
    wait_for(lambda: states.is_available)
    assert states.get("k") == b"x"
    states.close()


def test_without_a_fallback_a_call_waits_no_longer_for_its_turn_than_its_bound():
    states = States(MemoryStore(), "memory", bound=10, patience=0.01, stand_in=False)
    with states._lock, pytest.raises(StoreUnavailable):
        states.get("k")
