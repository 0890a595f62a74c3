"""How often the circuit of a process asks a shared store, and what is counted in it."""

from contextlib import nullcontext
from functools import partial

import pytest

from resilient_tasks import CircuitBreaker, Pipeline, resilient
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.breaker.machine import Circuit
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import use_store
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


#: The seconds before a call, and whether it succeeds.
CALLS = [
    *((0.0, True), (0.0, True), (0.1, True), (0.1, True), (0.1, True), (0.1, True), (0.0, True)),
    *((0.0, False), (0.0, True), (0.0, True)),
    *((0.25, False), (0.0, False), (0.0, True), (0.0, True), (0.1, True), (0.1, True)),
]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            {"failures": 3},
            # One read in 0.2 s; each call while failures are in a row, and each failure.
            [
                [1, 0, 0, 1, 0, 1, 0, *(2, 2, 0), *(2, 2, 2, 0, 0, 1)],
                [0, 0, 0, 0, 0, 0, 0, *(1, 0, 0), *(1, 2, 0, 0, 0, 0)],
                [0] * 16,
            ],
        ),
        (
            {"min_calls": 100},
            # The first success is written at once, later ones with the next read.
            [
                [3, 0, 0, 1, 0, 1, 0, *(1, 0, 0), *(2, 1, 0, 0, 0, 1)],
                [0, 0, 0, 0, 0, 0, 0, *(1, 1, 1), *(2, 3, 3, 3, 3, 3)],
                [1, 1, 1, 3, 3, 5, 5, *(8, 8, 8), *(11, 12, 12, 12, 12, 15)],
            ],
        ),
        (
            {"failures": 3, "slow": 1},
            # Both: the success that ends a run of failures is written at once.
            [
                [3, 0, 0, 1, 0, 1, 0, *(1, 2, 0), *(2, 2, 2, 0, 0, 1)],
                [0, 0, 0, 0, 0, 0, 0, *(1, 0, 0), *(1, 2, 0, 0, 0, 0)],
                [1, 1, 1, 3, 3, 5, 5, *(8, 9, 9), *(11, 12, 13, 13, 13, 15)],
            ],
        ),
    ],
    ids=["in a row", "rate", "both"],
)
@pytest.mark.parametrize("way", ["at once", "in the pipeline", "with a sink"])
@pytest.mark.parametrize("changed", [False, True], ids=["of the code", "changed"])
def test_calls_ask_the_store_as_seldom_as_its_staleness_allows(clock, rules, expected, way, changed):
    """By call: the requests, the failures in a row and all calls in the store after it."""

    def work(succeeds):
        if not succeeds:
            raise ConnectionError("down")

    with use_store(Shared()) as states:
        breaker = CircuitBreaker("api", **rules)
        if changed:  # numbers that were changed while workers run cost nothing
            numbers = {name: number for name, number in rules.items() if name != "slow"}
            breaker = CircuitBreaker("api", **{**rules, **dict.fromkeys(numbers, 5)})
            circuit = Circuit(changes=Changes(numbers, "anna", 1.0))
            states.step(KEY, lambda *_: circuit, lambda circuit, _: (circuit, None))
            states._last.clear()
        call = resilient(breaker=breaker)(work).outcome
        if way == "in the pipeline":
            call = partial(Pipeline(breaker).outcome, work)
        with RecordedEvents.listening() if way == "with a sink" else nullcontext():
            seen = followed(clock, states._store, call)
    assert [list(column) for column in zip(*seen, strict=True)] == expected


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
