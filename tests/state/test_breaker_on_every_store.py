"""The circuit breaker of two workers, held against a model that is one plain object, on each store."""

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from two_workers import Workers, run

from resilient_tasks import CircuitBreaker
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.execution.runtime import SYNC
from resilient_tasks.policies.breaker.circuit import SharedCircuit
from resilient_tasks.policies.breaker.machine import Pass, Refusal, Seen

WORKERS = st.integers(0, 1)


class Model:
    """What a breaker does, with no thought of processes."""

    def __init__(self, policy):
        self.policy, self.position, self.turn = policy, "closed", 0
        self.run, self.counted, self.until, self.open_for = 0, [], 0, 0
        self.probes, self.passed = {}, 0

    def take(self, position):
        self.position, self.turn = position, self.turn + 1
        self.run, self.counted, self.probes, self.passed = 0, [], {}, 0

    def open(self, now, seconds):
        self.take("open")
        self.until, self.open_for = now + seconds, seconds

    def lets_through(self, now):
        """A turn if the call is made in a closed circuit, "probe" if as a probe, None if not."""
        if self.position == "open" and now >= self.until:
            self.take("half_open")
        if self.position == "closed":
            return self.turn
        self.probes = {probe: ends for probe, ends in self.probes.items() if ends > now}
        room = self.position == "half_open" and len(self.probes) + self.passed < self.policy.probes
        return "probe" if room else None

    def hear(self, now, turn, good, probe):
        if turn != self.turn or good is None:
            self.probes.pop(probe, None)
        elif self.position == "half_open" and probe in self.probes:
            self.probes.pop(probe)
            self.passed += good
            if not good:
                self.open(now, min(2 * self.open_for, self.policy.open_at_most))
            elif self.passed == self.policy.probes:
                self.take("closed")
        elif self.position == "closed":
            self.run = 0 if good else self.run + 1
            self.counted.append((now, good))
            if not good and self.is_too_bad(now):
                self.open(now, self.policy.open_for)

    def is_too_bad(self, now):
        if self.policy.failures:
            return self.run >= self.policy.failures
        if self.policy.last:  # of the last calls, however long ago they were
            lately = [good for _, good in self.counted][-self.policy.last :]
        else:
            lately = [good for at, good in self.counted if at > now - self.policy.window]
        return len(lately) >= self.policy.min_calls and lately.count(False) >= self.policy.failure_rate * len(lately)


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
        self.said = []

    def teardown(self):
        self.workers.end()

    @property
    def now(self):
        return self.workers.clock.now()

    def tell_all(self):
        """Have both workers tell what they keep for later, as they do before each call."""
        for circuit in self.circuits:
            circuit.refusal(self.policy._rules)

    @rule(worker=WORKERS)
    def begin_a_call(self, worker):
        expected = self.model.lets_through(self.now)
        leave = self.circuits[worker].admit(self.policy._rules, self.call)
        if expected is None:
            assert isinstance(leave, Refusal)
            return
        assert isinstance(leave, Pass)
        assert bool(leave.probe) == (expected == "probe")
        assert leave.turn == self.model.turn
        if leave.probe:
            self.model.probes[leave.probe] = self.now + self.model.open_for
        self.under_way.append((worker, leave))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), good=st.sampled_from([True, False, False, None]))
    def end_a_call(self, data, good):
        worker, leave = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.circuits[worker].record(self.policy._rules, self.call, leave, Seen(good))
        self.model.hear(self.now, leave.turn, good, leave.probe)
        if self.policy.failures is None and good:
            # A success is told when its worker asks next. Have it asked now, for the model to be a simple one.
            self.circuits[worker].admit(self.policy._rules, self.call) if self.model.position == "closed" else None

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds):
        self.workers.clock.advance(seconds)

    @rule(worker=WORKERS, seconds=st.integers(1, 10))
    def open_by_hand(self, worker, seconds):
        self.circuits[worker].exchange(lambda circuit, now: (circuit.opened(now, seconds, ""), None), self._said)
        self.model.open(self.now, seconds)

    @rule(worker=WORKERS)
    def isolate_by_hand(self, worker):
        self.circuits[worker].exchange(lambda circuit, now: (circuit.isolated(now, ""), None), self._said)
        self.model.take("isolated")

    @rule(worker=WORKERS)
    def close_by_hand(self, worker):
        self.circuits[worker].exchange(lambda circuit, now: (circuit.closed(now, ""), None), self._said)
        self.model.take("closed")

    def _said(self, event, **details):
        self.said.append(event)

    @invariant()
    def both_workers_see_what_the_model_says(self):
        for circuit in self.circuits:
            refused = circuit.refusal(self.policy._rules)
            known = circuit.known
            assert (known.position, known.turn) == (self.model.position, self.model.turn)
            if self.model.position == "isolated":
                assert refused
            elif self.model.position == "open":
                assert bool(refused) == (self.now < self.model.until)
                assert math.isclose(known.since + known.open_for, self.model.until)
            elif self.model.position == "closed":
                assert not refused
                assert self.policy.failures is None or known.run == self.model.run


POLICIES = {
    "in a row": CircuitBreaker("x", failures=3, open_for=5, open_at_most=15),
    "three probes": CircuitBreaker("x", failures=1, open_for=5, open_at_most=15, probes=3),
    "rate in time": CircuitBreaker("x", failure_rate=0.5, window=20, min_calls=3, open_for=5, open_at_most=15),
    "rate of last": CircuitBreaker("x", failure_rate=0.6, last=5, min_calls=3, open_for=5, open_at_most=15),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_two_workers_have_one_circuit(any_store, policy):
    run(type("OneCircuit", (Breaker,), {"store": any_store, "policy": policy}))
