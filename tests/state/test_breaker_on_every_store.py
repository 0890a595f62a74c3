"""The circuit breaker of two workers, compared with a model that is one plain object, on every store."""

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from two_workers import Workers, run

from resilient_tasks import CircuitBreaker
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.execution.runtime import SYNC
from resilient_tasks.policies.breaker.circuit import SharedCircuit
from resilient_tasks.policies.breaker.machine import Admission, CallResult, Refusal

WORKERS = st.integers(0, 1)


class Model:
    """The behaviour of a breaker, without processes."""

    def __init__(self, policy):
        self.policy, self.state, self.generation = policy, "closed", 0
        self.failures, self.counted, self.until, self.open_for = 0, [], 0, 0
        self.probes, self.passed = {}, 0

    def change(self, state):
        self.state, self.generation = state, self.generation + 1
        self.failures, self.counted, self.probes, self.passed = 0, [], {}, 0

    def open(self, now, seconds):
        self.change("open")
        self.until, self.open_for = now + seconds, seconds

    def admit(self, now):
        """Return the generation if the circuit is closed, "probe" if the call is one, None if it is refused."""
        if self.state == "open" and now >= self.until:
            self.change("half_open")
        if self.state == "closed":
            return self.generation
        self.probes = {probe: ends for probe, ends in self.probes.items() if ends > now}
        room = self.state == "half_open" and len(self.probes) + self.passed < self.policy.probes
        return "probe" if room else None

    def record(self, now, generation, good, probe):
        if generation != self.generation or good is None:
            self.probes.pop(probe, None)
        elif self.state == "half_open" and probe in self.probes:
            self.probes.pop(probe)
            self.passed += good
            if not good:
                self.open(now, min(2 * self.open_for, self.policy.open_at_most))
            elif self.passed == self.policy.probes:
                self.change("closed")
        elif self.state == "closed":
            self.failures = 0 if good else self.failures + 1
            self.counted.append((now, good))
            if not good and self.has_to_open(now):
                self.open(now, self.policy.open_for)

    def has_to_open(self, now):
        if self.policy.failures:
            return self.failures >= self.policy.failures
        if self.policy.last:  # of the last calls, however long ago they were
            recent = [good for _, good in self.counted][-self.policy.last :]
        else:
            recent = [good for at, good in self.counted if at > now - self.policy.window]
        return len(recent) >= self.policy.min_calls and recent.count(False) >= self.policy.failure_rate * len(recent)


class Breaker(RuleBasedStateMachine):
    """Calls begin and end in any order in two workers, time passes, and people open and close the circuit."""

    store = None
    policy = None

    def __init__(self):
        super().__init__()
        self.workers = Workers(self.store)
        self.circuits = [SharedCircuit(states, f"breaker/{self.workers.name}") for states in self.workers.states]
        self.model = Model(self.policy)
        self.under_way = []
        self.call = Call(Work("fetch", print, (), {}, SYNC))
        self.emitted = []

    def teardown(self):
        self.workers.end()

    @property
    def now(self):
        return self.workers.clock.now()

    @rule(worker=WORKERS)
    def begin_a_call(self, worker):
        expected = self.model.admit(self.now)
        answer = self.circuits[worker].admit(self.policy._rules, self.call)
        if expected is None:
            assert isinstance(answer, Refusal)
            return
        assert isinstance(answer, Admission)
        assert bool(answer.probe) == (expected == "probe")
        assert answer.generation == self.model.generation
        if answer.probe:
            self.model.probes[answer.probe] = self.now + self.model.open_for
        self.under_way.append((worker, answer))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), good=st.sampled_from([True, False, False, None]))
    def end_a_call(self, data, good):
        worker, answer = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.circuits[worker].record(self.policy._rules, self.call, answer, CallResult(good))
        self.model.record(self.now, answer.generation, good, answer.probe)
        if self.policy.failures is None and good:
            # A success is written with the next read: have it written now, which keeps the model simple.
            self.circuits[worker].admit(self.policy._rules, self.call) if self.model.state == "closed" else None

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds):
        self.workers.clock.advance(seconds)

    @rule(worker=WORKERS, seconds=st.integers(1, 10))
    def open_by_hand(self, worker, seconds):
        self.circuits[worker].update(lambda circuit, now: (circuit.opened(now, seconds, ""), None), self._emit)
        self.model.open(self.now, seconds)

    @rule(worker=WORKERS)
    def isolate_by_hand(self, worker):
        self.circuits[worker].update(lambda circuit, now: (circuit.isolated(now, ""), None), self._emit)
        self.model.change("isolated")

    @rule(worker=WORKERS)
    def close_by_hand(self, worker):
        self.circuits[worker].update(lambda circuit, now: (circuit.closed(now, ""), None), self._emit)
        self.model.change("closed")

    def _emit(self, event, **details):
        self.emitted.append(event)

    @invariant()
    def both_workers_agree_with_the_model(self):
        for view in self.circuits:
            refused = view.refusal(self.policy._rules)
            circuit = view.circuit
            assert (circuit.state, circuit.generation) == (self.model.state, self.model.generation)
            if self.model.state == "isolated":
                assert refused
            elif self.model.state == "open":
                assert bool(refused) == (self.now < self.model.until)
                assert math.isclose(circuit.since + circuit.open_for, self.model.until)
            elif self.model.state == "closed":
                assert not refused
                assert self.policy.failures is None or circuit.consecutive_failures == self.model.failures


POLICIES = {
    "in a row": CircuitBreaker("x", failures=3, open_for=5, open_at_most=15),
    "three probes": CircuitBreaker("x", failures=1, open_for=5, open_at_most=15, probes=3),
    "rate in time": CircuitBreaker("x", failure_rate=0.5, window=20, min_calls=3, open_for=5, open_at_most=15),
    "rate of last": CircuitBreaker("x", failure_rate=0.6, last=5, min_calls=3, open_for=5, open_at_most=15),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_two_workers_have_one_circuit(any_store, policy):
    run(type("OneCircuit", (Breaker,), {"store": any_store, "policy": policy}))
