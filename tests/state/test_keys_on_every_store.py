"""Keys are independent: one keyed policy on a store behaves like plain ones, each in its own memory."""

import itertools
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from two_workers import Workers, run

from resilient_tasks import Bulkhead, CircuitBreaker, Failed, Ok, RateLimit, Retry, RetryBudget
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.execution.runtime import SYNC
from resilient_tasks.core.store import MemoryStore, opened_by
from resilient_tasks.policies.breaker.machine import Circuit
from resilient_tasks.policies.bulkhead import slots
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.state.states import States, shared

KEYS = ("a", "b", "https://user:hunter22secret@c/x", "https://user:hunter33secret@c/x")
ENDS = {"good": Ok(1), "bad": Failed(ConnectionError("refused")), "neither": Failed(KeyError("x"))}
_runs = itertools.count()


class Pause:
    """An awaitable to which the test sends the outcome of a call."""

    def __await__(self):
        return (yield)


async def proceed(_call):
    return await Pause()


@contextmanager
def keeping(states):
    """Use these states for policies inside the block."""
    before = shared._states, shared._forced
    shared._states, shared._forced = states, True
    try:
        yield
    finally:
        shared._states, shared._forced = before


class Running:
    """A running call, with the states that it uses."""

    def __init__(self, policy, states, url):
        self.states, self.result = states, None
        self.coroutine = policy.around(Call(Work("fetch", lambda url: url, (url,), {}, SYNC)), proceed)
        self.send(None)

    def send(self, outcome):
        with keeping(self.states):
            try:
                self.coroutine.send(outcome)
            except StopIteration as end:
                self.result = end.value

    @property
    def seen(self):
        """The outcome for the caller; None while the call is running."""
        if not isinstance(self.result, Failed):
            return self.result and (self.result.value, self.result.attempts)
        error = self.result.error
        return type(error), [str(error), *getattr(error, "__notes__", [])][-1]


class Interleaved(RuleBasedStateMachine):
    """Calls of several keys begin and end in any order on two workers; time passes, and workers forget."""

    store = None
    make = None
    number = 2

    def __init__(self):
        super().__init__()
        self.workers = Workers(self.store, self.number)
        number = next(_runs)
        self.keyed = type(self).make(lambda url: f"{number} {url}")
        self.names = {key: CircuitBreaker(lambda: "").for_key(f"{number} {key}").name for key in KEYS}
        self.plain = {key: type(self).make(name) for key, name in self.names.items()}
        self.alone = {key: States(MemoryStore(self.now), "memory") for key in KEYS}
        self.under_way = []

    def teardown(self):
        for _, keyed, plain in self.under_way:
            keyed.coroutine.close()
            plain.coroutine.close()
        self.workers.end()

    def now(self):
        return self.workers.clock.wall()

    @rule(worker=st.integers(0, 1), key=st.sampled_from(KEYS))
    def begin(self, worker, key):
        keyed = Running(self.keyed, self.workers.states[worker % self.number], key)
        plain = Running(self.plain[key], self.alone[key], key)
        assert keyed.seen == plain.seen
        if keyed.result is None:
            self.under_way.append((key, keyed, plain))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), end=st.sampled_from(["good", "bad", "bad", "neither"]))
    def end(self, data, end):
        place = data.draw(st.integers(0, len(self.under_way) - 1))
        _, keyed, plain = self.under_way[place]
        for running in (keyed, plain):
            outcome = ENDS[end]
            running.send(Failed(type(outcome.error)(*outcome.error.args)) if isinstance(outcome, Failed) else outcome)
        assert keyed.seen == plain.seen
        if keyed.result is not None:
            del self.under_way[place]

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds):
        self.workers.clock.advance(seconds)

    @rule(worker=st.integers(0, 1), key=st.sampled_from(KEYS))
    def forget(self, worker, key):
        """Evict the view of a key from a worker, as happens if it has too many."""
        states = self.workers.states[worker % self.number]
        for name, view in list(states.views.items()):
            is_its = name.endswith(f"/{self.names[key]}")
            if is_its and not view.is_needed and self.may_go(states, name, key):
                del states.views[name]
                view.let_go()

    def may_go(self, states, name, key):
        """Return whether nothing is lost with a view: the memory of one process forgets circuits too."""
        if states.is_shared or not name.startswith("breaker/"):
            return True
        if any(other == key for other, _, _ in self.under_way):
            return False
        circuit = Circuit.decode(states.get(name))
        return (
            circuit.state == "closed"
            and not circuit.consecutive_failures
            and not circuit.window.totals(self.now()).calls
        )


class Circuits(Interleaved):
    """People open and close them too."""

    @rule(key=st.sampled_from(KEYS), what=st.sampled_from(["open", "isolate", "close"]))
    def by_hand(self, key, what):
        with keeping(self.workers.states[0]):
            getattr(self.keyed, what)(key=self.keyed.name(key))
        with keeping(self.alone[key]):
            getattr(self.plain[key], what)()

    @invariant()
    def each_key_has_the_state_that_it_would_have_alone(self):
        for key in KEYS:
            with keeping(self.workers.states[-1]):
                keyed = self.keyed.status(key=self.keyed.name(key))
            with keeping(self.alone[key]):
                plain = self.plain[key].status()
            if keyed.state == "closed":  # the reason of a closed circuit may be forgotten
                keyed, plain = replace(keyed, reason=""), replace(plain, reason="")
            assert keyed == plain


BREAKERS = {
    "in a row": lambda name: CircuitBreaker(name, failures=2, open_for=5),
    "rate": lambda name: CircuitBreaker(name, min_calls=2, window=20, open_for=5, probes=2),
    "last": lambda name: CircuitBreaker(name, min_calls=2, last=4, open_for=5),
}
OTHERS = {
    "window": lambda name: RateLimit(name, 2, 10, wait=False),
    "bucket": lambda name: RateLimit(name, 2, 8, burst=3, wait=False),
    "bulkhead": lambda name: Bulkhead(name, 2),
    "budget": lambda name: Retry(attempts=3, wait=0, budget=RetryBudget(name, share=0.5, floor=1, per=20)),
}


@pytest.mark.parametrize("make", BREAKERS.values(), ids=BREAKERS)
def test_circuits_of_several_keys_are_as_independent_as_breakers_of_several_names(any_store, make):
    # A worker learns of the failures of others with its next read. That is not tested here.
    number = 1 if make("x").failures else 2
    run(type("Keys", (Circuits,), {"store": any_store, "make": staticmethod(make), "number": number}))


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_limits_of_several_keys_are_as_independent_as_limits_of_several_names(any_store, make, monkeypatch):
    # Workers would renew their leases by the real clock: here no lease expires.
    monkeypatch.setattr(slots, "LEASE", 1e9)
    monkeypatch.setattr(slots.HeldSlots, "_start_renewing", lambda self: None)
    run(type("Keys", (Interleaved,), {"store": any_store, "make": staticmethod(make)}))


def renewing():
    return [thread for thread in threading.enumerate() if thread.name == "resilient:bulkhead"]


def until(condition):
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.005)


def test_one_thread_renews_the_slots_of_all_keys_and_ends_with_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "LEASE", 0.03)
    states = States(*opened_by(f"sqlite:///{tmp_path}/states.db", 10), bound=10)
    with keeping(states):
        bulkhead = Bulkhead(lambda url: url, 1)
        before = {*renewing()}  # another test's may end meanwhile
        with ExitStack() as stack:
            for number in range(30):
                running = Running(bulkhead, states, f"{number}")
                assert running.result is None
                stack.callback(running.send, Ok(1))
            assert len({*renewing()} - before) == 1
            ends = {key: Slots.decode(states.get(key), 0).held for key in states.keys("bulkhead/")}
            assert len(ends) == 30
            until(lambda: all(Slots.decode(states.get(key), 0).held != held for key, held in ends.items()))
        until(lambda: not {*renewing()} - before)
        running = Running(bulkhead, states, "again")
        assert len({*renewing()} - before) == 1
        running.send(Ok(1))
        until(lambda: not {*renewing()} - before)
    states.close()


def test_a_call_whose_circuit_was_evicted_meanwhile_still_ends_a_run_of_failures():
    states, breaker = States(MemoryStore(), "memory"), CircuitBreaker(lambda url: url, failures=2)
    first = Running(breaker, states, "a")
    states.views.pop("breaker/a").let_go()
    second = Running(breaker, states, "a")
    second.send(ENDS["bad"])
    first.send(ENDS["good"])
    with keeping(states):
        assert breaker.status(key="a").failures == 0
