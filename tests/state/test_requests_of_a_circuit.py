"""How often the circuit of a process asks a shared store, and what is counted in it."""

import pytest

from resilient_tasks import CircuitBreaker, CircuitOpen, Pipeline, resilient
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.execution.runtime import SYNC
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.breaker.circuit import SharedCircuit
from resilient_tasks.policies.breaker.machine import Admission, CallResult, Circuit, Refusal
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
        with self.lock:
            return Circuit.decode(self._found(KEY))


@pytest.fixture
def clock():
    clock = VirtualClock(start=1000)
    with use_clock(clock):
        yield clock


@pytest.fixture
def store(clock):
    store = Shared()
    with use_store(store):
        yield store


#: The seconds before a call, and whether it succeeds.
CALLS = [
    *((0.0, True), (0.0, True), (0.1, True), (0.1, True), (0.1, True), (0.1, True), (0.0, True)),
    *((0.0, False), (0.0, True), (0.0, True)),
    *((0.25, False), (0.0, False), (0.0, True), (0.0, True), (0.1, True), (0.1, True)),
]


@pytest.mark.parametrize(
    ("rules", "requests", "failures", "counted"),
    [
        (
            {"failures": 3},
            # One read in 0.2 s; each call while failures are in a row, and each failure.
            [1, 0, 0, 1, 0, 1, 0, *(2, 2, 0), *(2, 2, 2, 0, 0, 1)],
            [0, 0, 0, 0, 0, 0, 0, *(1, 0, 0), *(1, 2, 0, 0, 0, 0)],
            [0] * 16,
        ),
        (
            {"min_calls": 100},
            # The first success is written at once, later ones with the next read.
            [3, 0, 0, 1, 0, 1, 0, *(1, 0, 0), *(2, 1, 0, 0, 0, 1)],
            [0, 0, 0, 0, 0, 0, 0, *(1, 1, 1), *(2, 3, 3, 3, 3, 3)],
            [1, 1, 1, 3, 3, 5, 5, *(8, 8, 8), *(11, 12, 12, 12, 12, 15)],
        ),
        (
            {"failures": 3, "slow": 1},
            # Both: the success that ends a run of failures is written at once.
            [3, 0, 0, 1, 0, 1, 0, *(1, 2, 0), *(2, 2, 2, 0, 0, 1)],
            [0, 0, 0, 0, 0, 0, 0, *(1, 0, 0), *(1, 2, 0, 0, 0, 0)],
            [1, 1, 1, 3, 3, 5, 5, *(8, 9, 9), *(11, 12, 13, 13, 13, 15)],
        ),
    ],
    ids=["in a row", "rate", "both"],
)
@pytest.mark.parametrize("way", ["at once", "in the pipeline", "with a sink"])
@pytest.mark.parametrize("changed", [False, True], ids=["of the code", "changed"])
def test_calls_ask_the_store_as_seldom_as_its_staleness_allows(
    clock, store, rules, requests, failures, counted, way, changed
):
    breaker = CircuitBreaker("api", **rules)
    if changed:  # numbers that were changed while workers run cost nothing
        breaker = CircuitBreaker("api", **{**rules, **{name: 5 for name in rules if name != "slow"}})
        States(store, "another process").step(
            KEY,
            lambda *_: Circuit(changes=Changes({name: rules[name] for name in rules if name != "slow"}, "anna", 1.0)),
            lambda circuit, _: (circuit, None),
        )

    def work(succeeds):
        if not succeeds:
            raise ConnectionError("down")

    made = Pipeline(breaker).outcome if way == "in the pipeline" else resilient(breaker=breaker)(work).outcome
    given = (work,) if way == "in the pipeline" else ()
    if way == "with a sink":
        with RecordedEvents.listening():
            seen = followed(clock, store, lambda succeeds: made(*given, succeeds))
    else:
        seen = followed(clock, store, lambda succeeds: made(*given, succeeds))
    assert [list(column) for column in zip(*seen, strict=True)] == [requests, failures, counted]


def followed(clock, store, call):
    """Return the requests of each of `CALLS`, and the failures in a row and all calls in the store after it."""
    seen = []
    for seconds, succeeds in CALLS:
        clock.advance(seconds)
        store.requests = 0
        call(succeeds)
        circuit = store.circuit
        seen.append((store.requests, circuit.consecutive_failures, circuit.window.totals(clock.now()).calls))
    return seen
