"""How often the circuit of a process asks a shared store, and what is counted in it."""

from contextlib import nullcontext, suppress
from functools import partial

import pytest

from resilient_tasks import CircuitBreaker, CircuitOpen, Pipeline, RateLimit, resilient
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.breaker.circuit import SharedCircuit
from resilient_tasks.policies.breaker.machine import Circuit
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import States, use_store
from resilient_tasks.testing import RecordedEvents, VirtualClock

KEY = "breaker/api"


class Shared(MemoryStore):
    """A store that counts its requests. It is not this process's own memory, so it counts as shared."""

    requests = 0

    def get(self, key):
        self.requests += 1
        return super().get(key)

    def swap(self, *given, **more):
        self.requests += 1
        return super().swap(*given, **more)

    @property
    def circuit(self):
        """The circuit in the store."""
        return Circuit.decode(super().get(KEY))


@pytest.fixture
def clock():
    clock = VirtualClock(start=1000)
    with use_clock(clock):
        yield clock


#: The seconds before a call, and how it ends: well, with the service's failure, or with an error that says nothing.
WELL, DOWN, BUG = None, ConnectionError("down"), KeyError("ours")
CALLS = [
    *((0.0, WELL), (0.0, WELL), (0.1, WELL), (0.1, WELL), (0.1, WELL), (0.1, WELL), (0.0, WELL)),
    *((0.0, BUG), (0.0, DOWN), (0.0, WELL), (0.0, WELL)),
    *((0.25, DOWN), (0.0, DOWN), (0.0, WELL), (0.0, WELL), (0.1, WELL), (0.1, WELL), (0.0, WELL)),
]


WAYS = pytest.mark.parametrize("way", ["at once", "in the pipeline", "with a sink"])
CHANGED = pytest.mark.parametrize("changed", [False, True], ids=["of the code", "changed"])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            {"failures": 3},
            # One read in 0.2 s; each call while failures are in a row, and each failure.
            [
                [1, 0, 0, 1, 0, 1, 0, *(0, 2, 2, 0), *(2, 2, 2, 0, 0, 1, 0)],
                [0, 0, 0, 0, 0, 0, 0, *(0, 1, 0, 0), *(1, 2, 0, 0, 0, 0, 0)],
                [0] * 18,
            ],
        ),
        (
            {"min_calls": 100},
            # The first success is written at once, later ones with the next read.
            [
                [3, 0, 0, 1, 0, 1, 0, *(0, 1, 0, 0), *(2, 1, 0, 0, 0, 1, 0)],
                [0, 0, 0, 0, 0, 0, 0, *(0, 1, 1, 1), *(2, 3, 3, 3, 3, 3, 3)],
                [1, 1, 1, 3, 3, 5, 5, *(5, 8, 8, 8), *(11, 12, 12, 12, 12, 15, 15)],
            ],
        ),
        (
            {"failures": 3, "slow": 1},
            # Both: the success that ends a run of failures is written at once.
            [
                [3, 0, 0, 1, 0, 1, 0, *(0, 1, 2, 0), *(2, 2, 2, 0, 0, 1, 0)],
                [0, 0, 0, 0, 0, 0, 0, *(0, 1, 0, 0), *(1, 2, 0, 0, 0, 0, 0)],
                [1, 1, 1, 3, 3, 5, 5, *(5, 8, 9, 9), *(11, 12, 13, 13, 13, 15, 15)],
            ],
        ),
    ],
    ids=["in a row", "rate", "both"],
)
@WAYS
@CHANGED
def test_calls_ask_the_store_as_seldom_as_its_staleness_allows(clock, rules, expected, way, changed):
    """By call: the requests, the failures in a row and all calls in the store after it; in the end, all are in it."""

    with use_store(Shared()) as states:
        seen = followed(clock, states, rules, way, changed=changed)
        for requests in (2, 0):
            states._store.requests = 0
            states.views[KEY].let_go()
            assert states._store.requests <= (0 if "min_calls" not in rules and "slow" not in rules else requests)
        assert states._store.circuit.window.totals(clock.now()).calls == (17 if expected[2][-1] else 0)
    assert [list(column) for column in zip(*seen, strict=True)] == expected


@pytest.mark.parametrize(
    ("rules", "counts"),
    [({"failures": 3}, False), ({"min_calls": 100}, True), ({"failures": 3, "slow": 1}, True)],
    ids=["in a row", "rate", "both"],
)
@WAYS
@CHANGED
def test_each_call_counts_at_once_in_the_memory_of_a_process(clock, rules, counts, way, changed):
    with use_store(MemoryStore()) as states:
        seen = followed(clock, states, rules, way, changed=changed)
    counted = [1, 2, 3, 4, 5, 6, 7, *(7, 8, 9, 10), *(11, 12, 13, 14, 15, 16, 17)]
    assert [each for _, each, _ in seen] == [0, 0, 0, 0, 0, 0, 0, *(0, 1, 0, 0), *(1, 2, 0, 0, 0, 0, 0)]
    assert [each for _, _, each in seen] == (counted if counts else [0] * 18)


def followed(clock, states, rules, way, *, changed):
    """Return the requests of each of `CALLS`, and the failures in a row and all calls in the store after it."""

    def work(error):
        if error is not None:
            raise error

    breaker = CircuitBreaker("api", **rules)
    if changed:  # numbers that were changed while workers run cost nothing
        breaker = CircuitBreaker("api", slow=rules.get("slow"), min_calls=5)
        circuit = Circuit(changes=Changes({**rules, "slow": 7}, "anna", 1.0))
        states.step(KEY, lambda *_: circuit, lambda circuit, _: (circuit, None))
        states._last.clear()
    call = partial(Pipeline(breaker).outcome, work) if way == "in the pipeline" else resilient(breaker=breaker)(work)
    seen = []
    with RecordedEvents.listening() if way == "with a sink" else nullcontext():
        for seconds, error in CALLS:
            clock.advance(seconds)
            before = getattr(states._store, "requests", 0)
            with suppress(ConnectionError, KeyError):
                call(error)
            requests = getattr(states._store, "requests", 0) - before
            circuit = Circuit.decode(MemoryStore.get(states._store, KEY))
            seen.append((requests, circuit.consecutive_failures, circuit.window.totals(clock.now()).calls))
    return seen


def test_a_circuit_that_another_process_opened_is_noticed_before_a_token_is_spent(clock):
    with use_store(Shared()) as states:
        limit = RateLimit("api", calls=2, per=60, wait=False)
        call = resilient(breaker=CircuitBreaker("api"), rate_limit=limit)(lambda: "done").outcome
        assert call().value == "done"
        other = States(states._store, "another process")
        SharedCircuit(other, KEY).update(
            lambda circuit, now: (circuit.opened(now, 30.0, "x"), None), lambda *_, **__: 0
        )
        clock.advance(0.2)
        assert [type(call().error) for _ in range(5)] == [CircuitOpen] * 5
        states._store.requests = 0
        assert isinstance(call().error, CircuitOpen)
        assert states._store.requests == 0
        clock.advance(30)
        assert call().value == "done"  # the second token


def test_a_pending_success_counts_at_its_own_time(clock, own_settings):
    own_settings(store_staleness=30)
    with use_store(Shared()):
        breaker = CircuitBreaker("api", window=60)
        call = partial(Pipeline(breaker).call, lambda: "done")
        call()
        clock.advance(20)
        call()  # it is written with the next read
        clock.advance(50)
        call()
        assert breaker.status().calls == 1


@pytest.mark.parametrize("way", ["__call__", "outcome"])
def test_a_success_counts_although_its_circuit_was_forgotten_meanwhile(clock, way):
    breaker = CircuitBreaker("api", failure_rate=0.5)
    with use_store(MemoryStore()) as states:

        @resilient(breaker=breaker)
        def fetch(forget):
            if forget:
                states.views.pop(KEY).let_go()

        getattr(fetch, way)(False)
        getattr(fetch, way)(True)
        assert breaker.status().calls == 1
